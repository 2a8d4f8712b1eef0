"""Discover: TokenCut finds what stands out, without labels; masks follow the settings once the cut is solved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from qtpy.QtWidgets import QPushButton

from napari_dinov3._napari import discovery, jobs, results, script
from napari_dinov3._napari.discovery import Discovery
from napari_dinov3._napari.layers import pixel_at
from napari_dinov3._napari.provenance import provenance
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job
from napari_dinov3.recipe import TokenCutConfig
from napari_dinov3.segment.tokencut import ONE_CLICK, TokenCut
from napari_dinov3.widgets.click_picker import ClickPicker
from napari_dinov3.widgets.form import Choice, Flag, Form, Number, Slider, wrapped_label
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.runner import Cancelled, Done, Failed
from napari_dinov3.widgets.status import error_text

SIDES = (
    ("seed", "strongest"),
    ("border", "inside"),
    ("bright", "brighter"),
    ("dark", "darker"),
    ("click", "clicked place"),
)
SPLITS = (("mean", "mean"), ("median", "median"), ("gap", "largest gap"), ("otsu", "Otsu"))
PIECES = (("seed", "strongest"), ("largest", "largest"), ("all", "all"))
CUT_FIELDS = (
    Flag("auto_tau", "Choose tau for each plane", "Take the threshold with the clearest cut, out of a sweep.", True),
    Slider("tau", "Tau (cosine)", "Patches more alike than this are linked; needs a new run.", 0.2, 0.0, 0.95, 0.05, 2),
    Choice(
        "stack",
        "Planes",
        "Whether planes are cut one by one, or all together so that objects keep their side.",
        "planes",
        (("planes", "one by one"), ("joint", "together")),
    ),
)
MASK_FIELDS = (
    Choice("bipartition", "Split at", "Where the eigenvector is split into two sides; the paper takes the mean.", "otsu", SPLITS),
    Choice(
        "side",
        "Foreground",
        "The object's side: with the strongest patch (the paper), off the border, or as it says.",
        "border",
        SIDES,
    ),
    Choice(
        "component", "Pieces", "Which connected pieces are kept: the paper keeps the one with the strongest patch.", "all", PIECES
    ),
    Number("opening", "Opening (patches)", "Radius of an opening, which drops specks and thin bridges.", 0, 0, 50, 1, 0),
    Number("closing", "Closing (patches)", "Radius of a closing, which bridges narrow gaps.", 0, 0, 50, 1, 0),
    Number("min_area", "Smallest (patches)", "Pieces of fewer patches are dropped.", 0, 0, 100_000, 1, 0),
    Number(
        "refine",
        "Follow edges (px)",
        "How far outlines may move to the edges of the image; 0 leaves them on patches.",
        ONE_CLICK.refine,
        0,
        512,
        4,
        0,
    ),
    Flag("fill_holes", "Fill holes", "Background enclosed by the mask joins it.", False),
    Flag("invert", "Invert", "Take the other side.", False),
)
BOXES_TIP = "Add a shapes layer with a box around each piece."
VECTOR_TIP = "Add the map that was split, one value a patch."
PICK_OFF, PICK_ON = "Click on the object", "Click on the object: on"


class DiscoverPanel(ImagePanel):
    """TokenCut with masks that follow the settings."""

    title = "Discover (TokenCut)"
    summary = "Find what stands out in every plane, without any labels."
    run_text = "Cut"
    help_text = (
        "1. Cut: patches that look alike are linked, and the image falls into two sides.\n"
        "2. Masks, below, follow at once; no new cut is needed. If the wrong side is marked, choose another foreground, or click "
        "on the object.\n"
        "3. A note tells when the image does not decide the cut: try another tau, a larger stride, or another backbone.\n"
        "The method expects one object or kind of object that differs from its surround."
    )

    def build_task(self) -> None:
        """Add the cut, the masks and the extra layers."""
        self.owned = self.session.owned(type(self).__name__)
        self._wanted: tuple[jobs.FeatureRequest, TokenCutConfig, list[str]] | None = None
        self._remask: TokenCutConfig | None = None
        self._clicks: dict[Hashable, tuple[float, float]] = {}
        self.picker = ClickPicker(self.viewer, self._on_click, self._on_pick_taken)
        self.cut_form, self.mask_form = Form(CUT_FIELDS), Form(MASK_FIELDS)
        self.mask_note = wrapped_label(name="mask_note")
        self.pick_button = QPushButton(PICK_OFF)
        self.pick_button.setCheckable(True)
        self.pick_button.setToolTip("While this is on, a click in the image marks the object's side.")
        self.pick_button.toggled.connect(self._on_pick_toggled)
        self.mask_form.insert_below("side", self.pick_button)
        self.boxes_button, self.vector_button = QPushButton("Add boxes"), QPushButton("Add the eigenvector")
        self.boxes_button.clicked.connect(self.add_boxes)
        self.vector_button.clicked.connect(self.add_eigenvector)
        self.section("Cut", self.cut_form)
        self.section("Masks (follow at once)", self.mask_note, self.mask_form)
        self.section("More from this cut", self.boxes_button, self.vector_button)
        self.cut_form.valueChanged.connect(self.changed)
        self.mask_form.valueChanged.connect(self._on_mask_changed)
        self.on_close(self.picker.stop)

    @property
    def found(self) -> Discovery | None:
        """The solved cut; it outlives the panel, and goes with its image."""
        found: Discovery | None = self.session.kept(type(self).__name__).get("found")
        return found

    @property
    def click(self) -> tuple[float, float] | None:
        """Row and column that were clicked in the chosen image, at its pyramid level."""
        return self._clicks.get(self._click_key())

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        return {**super().value(), **self.cut_form.value(), **self.mask_form.value(), "click": self.click}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings; a click belongs to the chosen image."""
        super().setValue(value)
        if value.get("click") is not None:
            self._clicks[self._click_key()] = tuple(value["click"])
        elif "click" in value:
            self._clicks.pop(self._click_key(), None)
        self.cut_form.setValue(value)
        self.mask_form.setValue(value)

    def config(self) -> TokenCutConfig:
        """Give the settings as a recipe's."""
        cut = self.cut_form.value()
        return TokenCutConfig(
            tau="auto" if cut["auto_tau"] else cut["tau"],
            stack=cut["stack"],
            memory_gb=self.session.features_config.memory_gb,
            **self._mask_values(),
        )

    def problem(self) -> str:
        """Ask for an image, and for a click where one is needed."""
        problem = super().problem()
        if not problem and self.mask_form.value()["side"] == "click" and self.click is None:
            return f"no place was clicked in this image; press '{PICK_OFF}' and click in the image."
        return problem

    def other_image(self) -> str:
        """Say why the masks do not follow: they are of another image than the chosen one; empty where they follow."""
        if self.found is None or self._problem_of_image():
            return ""
        made = self.found.request
        if made.image == self.request().image:
            return ""
        return (
            f"The masks shown are of {made.source.placement.name!r} as it was cut, not of the chosen image, level and time "
            "point. Press Cut; these settings count for it."
        )

    def refresh(self, *_: Any) -> None:
        """Bring buttons in step, the task's own too."""
        super().refresh()
        self.cut_form.set_shown("tau", not self.cut_form.value()["auto_tau"])
        self.pick_button.setHidden(self.mask_form.value()["side"] != "click")
        other = self.other_image()
        self.mask_note.setText(other)
        self.mask_note.setHidden(not other)
        for button, tip in ((self.boxes_button, BOXES_TIP), (self.vector_button, VECTOR_TIP)):
            button.setEnabled(self.found is not None and not other and not self.runner.running)
            button.setToolTip(other or tip)

    def make_job(self) -> Job[tuple[FeatureMap, TokenCut, Any]]:
        """Solve the cut of every plane."""
        request, config = self.request(), self.config()
        self._wanted, self._remask = (request, config, self.extract_script()), None
        return discovery.discover_steps(self.session, request, config)

    def show_result(self, result: tuple[FeatureMap, TokenCut, Any]) -> str:
        """Show the masks."""
        assert self._wanted is not None  # only called for a job of make_job
        (request, config, lines), (features, cut, masks) = self._wanted, result
        found = Discovery(request, config, features, cut, lines)
        self.session.kept(type(self).__name__).update(layer_id=request.key.layer_id, found=found)
        message = self._show_masks(found, masks)
        self.refresh()
        return message

    def script(self) -> str:
        """Write the cut, the masks, and what else was asked for of this image."""
        source, found = self.source(), self.found
        placement = source.placement
        lines = [
            *self.extract_script(),
            discovery.cut_line(self.config(), script.axes_of(source)),
            discovery.masks_line(placement),
        ]
        extras = found.extras if found is not None and not self.other_image() else ()
        if "boxes" in extras:
            lines += discovery.box_lines(placement)
        if "eigenvector" in extras:
            stride = jobs.estimate_features(source.planes, self.session.features_config).stride
            lines.append(discovery.vector_line(placement, stride))
        return script.script_of(lines)

    def add_boxes(self) -> None:
        """Add a shapes layer with a box around each piece of the masks."""
        found = self.found
        if found is None:
            return
        placement = found.request.source.placement
        boxes = discovery.box_shapes(found.cut, placement)
        if not boxes:
            self.say("warning", "The masks are empty, so there are no boxes.")
            return
        found.extras.add("boxes")
        with results.selection_kept(self.viewer):
            layer = results.add_shapes(
                self.viewer,
                placement,
                boxes,
                name=f"{placement.name} boxes",
                metadata=self._metadata(found),
                **discovery.BOX_LOOK,
            )
        self.say("done", f"Added {len(boxes)} boxes as {layer.name!r}.")

    def add_eigenvector(self) -> None:
        """Add the map that was split."""
        found = self.found
        if found is None:
            return
        placement = found.request.source.placement
        found.extras.add("eigenvector")
        with results.selection_kept(self.viewer):
            layer = results.add_patches(
                self.viewer,
                placement,
                found.features,
                found.cut.eigenvectors[..., 0],
                name=f"{placement.name} eigenvector",
                metadata=self._metadata(found),
                **discovery.VECTOR_LOOK,
            )
        self.say("done", f"Added {layer.name!r}.")

    def _metadata(self, found: Discovery) -> dict[str, Any]:
        cut = found.cut
        return provenance(
            "tokencut",
            source=found.request.source.placement.name,
            settings=found.config.options(),
            script=found.script,
            features=found.features.provenance,
            tau=cut.tau,
            well_posed=cut.well_posed,
            boxes=cut.boxes if len(cut) <= 200 else (),
        )

    def _show_masks(self, found: Discovery, masks: Any) -> str:
        placement, metadata = found.request.source.placement, self._metadata(found)

        def add() -> Any:
            return results.add_pixels(
                self.viewer, placement, masks, kind="labels", name=f"{placement.name} discovered", metadata=metadata, opacity=0.5
            )

        data = placement.arrange(results.storable(masks, "labels"))
        layer = self.owned.show(data, belongs_to=found.request.place, metadata=metadata, add=add)
        decided = int(found.cut.well_posed.sum())
        share = found.cut.grid_masks.mean()
        return f"{layer.name!r} covers {share:.0%} of the image; the cut is clear in {decided} of {len(found.cut)} planes."

    def _show_remask(self, result: tuple[TokenCut, Any]) -> str:
        found, (cut, masks) = self.found, result
        assert found is not None and self._remask is not None  # a removed image stops its masks
        found.cut, found.config = cut, self._remask
        return self._show_masks(found, masks)

    def _follow(self) -> None:
        """Make the masks anew where they differ from the settings. A cut that is being solved is followed when it is there."""
        found, masking = self.found, self._on_result == self._show_remask
        if found is None or self._problem() or self.other_image() or (self.runner.running and not masking):
            return
        shown = self._remask if self.runner.running and self._remask is not None else found.config
        wanted = found.masked_by(self._mask_values())
        if wanted == shown:
            return
        self._remask, found.request = wanted, replace(found.request, source=self.source())  # the image may have been moved
        job = discovery.remask_steps(found.cut, found.request.source.planes, wanted, found.request.config.memory_gb)
        self.start(job, "Masks", self._show_remask)

    def _on_finished(self, outcome: Done | Failed | Cancelled) -> None:
        super()._on_finished(outcome)
        if isinstance(outcome, Done):
            self._follow()

    def _on_mask_changed(self) -> None:
        self.changed()
        if not self._restoring:
            self._follow()

    def _on_pick_toggled(self, on: bool) -> None:
        self.pick_button.setText(PICK_ON if on else PICK_OFF)
        (self.picker.start if on else self.picker.stop)()

    def _on_pick_taken(self) -> None:
        self.pick_button.setChecked(False)

    def _on_click(self, world: Any, rest: bool = True) -> None:
        if not rest:
            return
        try:
            source = self.source()
        except InputError as error:
            self.say("error", error_text(error))
            return
        _, row, col = pixel_at(source, world)
        rows, cols = source.planes.shape[1:]
        if not (-0.5 <= row <= rows - 0.5 and -0.5 <= col <= cols - 0.5):
            self.say("warning", f"Row {row:.0f}, column {col:.0f} lies outside the image; click on the object.")
            return
        self._clicks[self._click_key()] = (round(row, 1), round(col, 1))
        self.pick_button.setChecked(False)
        self._on_mask_changed()

    def _mask_values(self) -> dict[str, Any]:
        return {**self.mask_form.value(), "click": self.click}

    def _click_key(self) -> Hashable:
        layer = self.image.value()
        return None if layer is None else (layer.unique_id, self._level())

    def _problem_of_image(self) -> str:
        try:
            return ImagePanel.problem(self)
        except InputError as error:
            return str(error)
