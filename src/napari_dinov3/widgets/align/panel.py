"""Align: bring the planes of a stack, or two layers, into register, keep the transforms, carry other layers along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtWidgets import QLineEdit

from napari_dinov3._napari import script
from napari_dinov3._napari.align import files as alignment_files
from napari_dinov3._napari.align import pair as alignment_pair
from napari_dinov3._napari.align import stack as alignment
from napari_dinov3._napari.align.channel import channel_count, point_of_channel
from napari_dinov3._napari.align.layers import result_lines
from napari_dinov3._napari.align.network import network_of, network_words
from napari_dinov3._napari.align.pair import AlignedPair
from napari_dinov3._napari.align.stack import Aligned, planes_text
from napari_dinov3._napari.compat import world_point
from napari_dinov3._napari.image_classes import parse_planes
from napari_dinov3._napari.layers import Source, read_layer
from napari_dinov3.errors import InputError
from napari_dinov3.progress import Job
from napari_dinov3.recipe import AlignConfig, PairConfig
from napari_dinov3.widgets.align.fields import FIELDS, MODE, PRESETS
from napari_dinov3.widgets.align.pair import PairFields
from napari_dinov3.widgets.align.results import NAME, AlignResults
from napari_dinov3.widgets.feature_facts import missing_text, network_text
from napari_dinov3.widgets.form import Form, wrapped_label
from napari_dinov3.widgets.panel import field_row
from napari_dinov3.widgets.status import error_text
from napari_dinov3.wording import counted

_CONFIG = ("model", "drift")
CANCEL_MS = 700
"""After which Cancel answers although a comparison is still under way."""


class AlignPanel(AlignResults):
    """Bring a stack, or two layers, into register."""

    title = "Align"
    summary = "Bring the planes of a stack, or two layers, into register; the originals stay as they are."
    run_text = "Align"
    help_text = (
        "1. Choose a stack and what a plane may do: try translation or rigid first. Or choose a pair: the image stays, the "
        "moving layer is resampled onto it; stain, modality and pixel size may differ.\n"
        "2. Align adds a resampled copy. The table says how each plane was moved. Match counts standard deviations above wrong "
        "offsets: from 6.5 a match is accepted; a plane that matches no neighbour gets a pose between theirs. A cancelled run "
        "goes on where it was.\n"
        "3. Look across the stack, at a checkerboard, or blink. Move other layers along: channels, labels, points, shapes.\n"
        "4. Save the transforms, for other tools too, or the aligned image."
    )

    def build_task(self) -> None:
        """Add settings and results."""
        self._matching = False
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(CANCEL_MS)
        self._patience.timeout.connect(self.runner.let_go)
        self.runner.finished.connect(self._on_matched)
        self.mode, self.form = Form((MODE,)), Form(FIELDS)
        self.pair = PairFields(self.viewer)
        self.anchors = QLineEdit()
        self.anchors.setPlaceholderText("such as 0, 40")
        self.anchors.setToolTip("Planes that stay where they are, instead of a common frame: numbers and ranges, counted from 0.")
        self.anchors.setAccessibleName("Planes that stay")
        self.anchor_row = field_row("Planes that stay", self.anchors)
        self.section("Alignment", self.mode, self.pair, self.form, self.anchor_row)
        self.network = wrapped_label(name="network")
        self.form.insert_below("backbone", self.network)
        self.session.features_changed.connect(self.changed)
        self.on_close(partial(self.session.features_changed.disconnect, self.changed))
        self.form.editor("preset").currentIndexChanged.connect(self._on_preset)
        self.mode.valueChanged.connect(self.changed)
        self.form.valueChanged.connect(self.changed)
        self.pair.valueChanged.connect(self.changed)
        self.anchors.editingFinished.connect(self.changed)
        self.on_close(self.pair.dispose)
        self.build_results()

    @property
    def needs_features(self) -> bool:
        """Whether features take part, if they are chosen: landmarks alone need none."""
        return not (self.is_pair and self.pair.value()["start"] == "only")

    @property
    def is_pair(self) -> bool:
        """Whether two layers are aligned, not the planes of one."""
        return bool(self.mode.value()["mode"] == "pair")

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        own = {**self.mode.value(), **self.form.value(), "anchors": self.anchors.text(), **self.pair.value()}
        return {**super().value(), **own}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        super().setValue(value)
        self._offer_channels()
        self.mode.setValue(value)
        with QSignalBlocker(self.form.editor("preset")):
            self.form.setValue(value)
        self.pair.setValue(value)
        if "anchors" in value:
            self.anchors.setText(str(value["anchors"]))
        self.changed()

    def config(self) -> AlignConfig:
        """Give the settings of a stack as a recipe's."""
        chosen, text = self.form.value(), self.anchors.text().strip()
        anchors = parse_planes(text, len(self.source().planes)) if text else None
        return AlignConfig(**{name: chosen[name] for name in _CONFIG}, **self._proposed(), anchors=anchors)

    def _proposed(self) -> dict[str, Any]:
        """Give the backbone of the proposals as options."""
        pixels = self.form.value()["backbone"] is None
        return {"backbone": None} if pixels else network_words(self.session.features_config)

    def pair_config(self, fixed: Source, moving: Source) -> PairConfig:
        """Give the settings of a pair as a recipe's."""
        chosen, start = self.form.value(), self.pair.value()["start"]
        marks = None
        if start == "place":
            marks = alignment_pair.from_places(fixed, moving)
        elif start != "search" and self.pair.landmarks is not None:
            marks = alignment_pair.landmarks_of(self.pair.landmarks, fixed, moving)
        return PairConfig(
            model=chosen["model"],
            **self._proposed(),
            landmarks=None if marks is None else alignment_pair.as_option(marks),
            landmark_use="fit" if start == "only" else "start",
        )

    def source(self) -> Source:
        """Read the chosen channel of the chosen layer as planes, lazily."""
        layer = self.image.value()
        point = point_of_channel(layer, world_point(self.viewer), self.form.value()["channel"])
        return read_layer(layer, point=point, level=self._level(), region=self.part.region(layer))

    def pair_sources(self) -> tuple[Source, Source]:
        """Read the plane in view of the fixed and of the moving layer."""
        point, layer = world_point(self.viewer), self.image.value()
        at = point_of_channel(layer, point, self.form.value()["channel"])
        fixed = alignment_pair.one_plane(layer, at, level=self._level(), region=self.part.region(layer))
        return fixed, alignment_pair.in_one_unit(fixed, alignment_pair.one_plane(self.pair.moving, point))

    def slider_state(self) -> Any:
        """Give what the sliders choose: of a pair the planes too."""
        if self.image.value() is None or not self.is_pair or self.pair.moving is None:
            return super().slider_state()
        return tuple(source.placement.fixed for source in self.pair_sources())

    def problem(self) -> str:
        """Ask for a stack, or for a second layer."""
        problem = super().problem()
        if not problem and self.form.value()["backbone"] is not None and self.needs_features:
            config = self.session.features_config
            problem = missing_text(replace(config, backbone=network_of(config)))
        if problem:
            return problem
        if self.is_pair:
            missing = self.pair.problem(self.image.value())
            if not missing:
                self.pair_config(*self.pair_sources())
            return missing
        if len(self.source().planes) < 2:
            return f"{self.image.value().name!r} is a single image; choose a stack of two planes or more, or a pair of layers."
        self.config()
        return ""

    def ready_text(self) -> str:
        """Say what is there of a run that was cancelled."""
        if self.is_pair:
            return ""
        config, source = self.config(), self.source()
        return alignment.links_text(self._known(source, config), len(source.planes), config.reach)

    def cancelled_text(self) -> str:
        """Say that the links stay."""
        text = "" if self._problem() else self.ready_text()
        return f"{text}; Align goes on from them." if text else super().cancelled_text()

    def refresh(self, *_: Any) -> None:
        """Show what belongs to the chosen kind of alignment, and bring all in step."""
        self._offer_channels()
        pair = self.is_pair
        self.pair.setHidden(not pair)
        self.anchor_row.setHidden(pair)
        for name in ("preset", "drift"):
            self.form.set_shown(name, not pair)
        self.form.set_shown("channel", channel_count(self.image.value()) > 1)
        self.network.setHidden(self.form.value()["backbone"] is None)
        self.network.setText(network_text(self.session.features_config))
        super().refresh()

    def cancel(self) -> None:
        """Stop matching: a comparison that is under way ends in the background, and counts for the next run."""
        if self._matching:
            self._patience.start()
        super().cancel()

    def make_job(self) -> Job[Any]:
        """Estimate and resample."""
        self._matching = True
        image = self.image.value()
        if self.is_pair:
            fixed, moving = self.pair_sources()
            pair_config = self.pair_config(fixed, moving)
            self._asked_pair = (fixed, moving, pair_config, tuple(self.pair_lines()), self.pair.moving)
            return alignment_pair.pair_steps(fixed, moving, pair_config)
        source, config = self.source(), self.config()
        self._asked = (source, config, tuple(self.align_lines()), image)
        return alignment.align_steps(source.planes, config, known=self._known(source, config))

    def _on_matched(self, *_: Any) -> None:
        self._matching = False
        self._patience.stop()

    def show_result(self, result: Any) -> str:
        """Add the aligned image, keep the transforms, fill the table."""
        found, data = result
        if self._is_of_pair(found):
            return self._show_pair(found, data)
        source, config, lines, like = self._asked
        layer = self.show_kept(Aligned(found, source, config, lines), data, like)
        bad, count = len(found.bad), len(found.transforms)
        lost = f"; no neighbour matches {planes_text(found.bad)}, placed between the others" if bad else ""
        if bad == count:
            lost = "; none matches another, so nothing was moved"
        return f"Added {layer.name!r}: {counted(count, 'plane')}{lost}.{self._offer_whole(source, like)}"

    def _offer_whole(self, source: Source, like: Any) -> str:
        """Choose the image itself as the layer to move along where only a channel or a coarse level of it was moved."""
        if channel_count(like) < 2 and not self._level() and self.part.value() is None:
            return ""
        if self.follower.value() is None:
            self.follower.setValue(like)
        return f" 'Move this layer along' moves all of {source.placement.name!r}: every channel, at every level."

    def align_lines(self) -> list[str]:
        """Write the alignment of a stack as Python, from the layer on."""
        source = self.source()
        config = self.config() if not source.planes.rgb else replace(self.config(), axes=script.axes_of(source))
        return [*self.image_script(), config.to_python("image")]

    def pair_lines(self) -> list[str]:
        """Write the alignment of a pair as Python, from the layers on."""
        fixed, moving = self.pair_sources()
        config = self.pair_config(fixed, moving)
        return [*self._layer_lines(fixed, moving), config.to_python(*map(_with_spacing, (fixed, moving), ("fixed", "moving")))]

    def script(self) -> str:
        """Write alignment and resampling; and the layer that moves along, where one is chosen."""
        if self.is_pair:
            fixed, moving = self.pair_sources()
            lines: list[str] = self.pair_lines()
            planned: Any = AlignedPair(_NOT_YET, fixed, moving, self.pair_config(fixed, moving), ())
            lines += result_lines(planned, self.pair.moving)
        else:
            lines = self.align_lines()
            planned = Aligned(_NOT_YET, self.source(), self.config(), ())
            lines += result_lines(planned, self.image.value())
        return script.script_of([*lines, *self.follow_lines(planned)])

    def load(self, path: str) -> None:
        """Apply transforms of a file to the chosen layers."""
        try:
            problem = self._problem()
            if problem:
                self.say("blocked", problem)
                return
            job, show = self._loaded_pair(path) if self.is_pair else self._loaded_stack(path)
        except (InputError, OSError) as error:
            self.say("error", error_text(error))
            return
        self.start(job, "Applying transforms", show)

    def _loaded_stack(self, path: str) -> tuple[Job[Any], Any]:
        source, like = self.source(), self.image.value()
        found = alignment_files.load_for_stack(path, source)
        lines = (*self.image_script(), *alignment_files.load_line(path, "alignment"))
        kept = Aligned(found, source, alignment_files.settings_of(path, found), lines, loaded=True)
        return alignment.resample_steps(found, source.planes), partial(self._show_loaded, kept, like)

    def _loaded_pair(self, path: str) -> tuple[Job[Any], Any]:
        fixed, moving = self.pair_sources()
        found = alignment_files.load_for_pair(path, fixed, moving)
        lines = (*self._layer_lines(fixed, moving), *alignment_files.load_line(path, "pair"))
        kept = AlignedPair(found, fixed, moving, PairConfig(model=found.model), lines)
        return alignment_pair.moved_steps(found, moving), partial(self._show_loaded, kept, self.pair.moving)

    def _show_loaded(self, kept: Any, like: Any, data: Any) -> str:
        return f"Added {self.show_kept(kept, data, like).name!r} with the transforms of the file."

    def _show_pair(self, found: Any, data: Any) -> str:
        fixed, moving, config, lines, like = self._asked_pair
        if found.refused:
            raise InputError(
                found.reason,
                "two images that show the same place",
                "Choose other images or planes, another movement, or landmarks on both to start from",
            )
        layer = self.show_kept(AlignedPair(found, fixed, moving, config, lines), data, like)
        return f"Added {layer.name!r}, in the place of {fixed.placement.name!r}."

    def _is_of_pair(self, found: Any) -> bool:
        return hasattr(found, "moving_shape")

    def _layer_lines(self, fixed: Source, moving: Source) -> list[str]:
        image, other = self.image.value(), self.pair.moving
        return [
            *script.layer_lines(fixed, variable="fixed", level=self._level(), multiscale=bool(image.multiscale)),
            *script.layer_lines(moving, variable="moving", multiscale=bool(other.multiscale)),
        ]

    def _known(self, source: Source, config: AlignConfig) -> Any:
        """Give the links of the last run of these pixels and settings, to be filled further."""
        key = alignment.links_key(source, config, self.session.version(self.image.value()))
        runs = self.session.kept(f"{NAME} links")
        if runs.get("key") != key:
            runs.clear()
            runs.update(key=key, links={}, layer_id=source.placement.layer_id)
        return runs["links"]

    def _offer_channels(self) -> None:
        count = channel_count(self.image.value())
        options = ((None, "as the slider"), *((i, str(i)) for i in range(count if count > 1 else 0)))
        with QSignalBlocker(self.form):
            self.form.set_options("channel", options)

    def _on_preset(self, *_: Any) -> None:
        self.form.setValue(PRESETS.get(self.form.value()["preset"], {}))


class _NotYet:
    """Stands for an alignment that is only written down, not computed."""


_NOT_YET: Any = _NotYet()


def _with_spacing(source: Source, name: str) -> str:
    planes = source.planes
    words = [name] + (["axes='yxs'"] if planes.rgb else [])
    words.append(f"spacing={tuple(round(float(s), 12) for s in planes.spacing[1:])}")
    return f"nd.as_planes({', '.join(words)})"
