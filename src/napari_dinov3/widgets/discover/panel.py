"""Discover: TokenCut finds what stands out, without labels; masks follow the settings once the cut is solved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from qtpy.QtWidgets import QPushButton

from napari_dinov3._napari import jobs, results, script
from napari_dinov3._napari.compat import world_point
from napari_dinov3._napari.discover import cut as discovery
from napari_dinov3._napari.discover.cut import Discovered, Discovery
from napari_dinov3._napari.layers import pixel_at, plane_at
from napari_dinov3._napari.provenance import provenance
from napari_dinov3.discover.cut import SolvedPlanes
from napari_dinov3.discover.tokencut import TokenCut
from napari_dinov3.errors import InputError
from napari_dinov3.progress import Job
from napari_dinov3.recipe import TokenCutConfig
from napari_dinov3.widgets.click_picker import ClickPicker
from napari_dinov3.widgets.discover.extras import CutExtras
from napari_dinov3.widgets.discover.fields import AUTO_FIELDS, MASK_FIELDS, STACK_FIELDS, TAU_LABEL, TAU_TIP
from napari_dinov3.widgets.discover.histogram_slider import HistogramSlider
from napari_dinov3.widgets.form import Form, wrapped_label
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.runner import Cancelled, Done, Failed
from napari_dinov3.widgets.status import error_text

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
        self.cut_form, self.stack_form, self.mask_form = Form(AUTO_FIELDS), Form(STACK_FIELDS), Form(MASK_FIELDS)
        self.tau = HistogramSlider(TAU_LABEL, TAU_TIP, minimum=-1.0)
        self.extras = CutExtras(self)
        self.mask_note = wrapped_label(name="mask_note")
        self.pick_button = QPushButton(PICK_OFF)
        self.pick_button.setCheckable(True)
        self.pick_button.setToolTip("While this is on, a click in the image marks the object's side.")
        self.pick_button.toggled.connect(self._on_pick_toggled)
        self.mask_form.insert_below("side", self.pick_button)
        self.section("Cut", self.cut_form, self.tau, self.stack_form)
        self.section("Masks (follow at once)", self.mask_note, self.mask_form)
        self.section("More from this cut", self.extras)
        for widget in (self.cut_form, self.tau, self.stack_form, self.extras.form):
            widget.valueChanged.connect(self.changed)
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
        forms = (self.cut_form, self.stack_form, self.mask_form, self.extras.form)
        values = {name: value for form in forms for name, value in form.value().items()}
        return {**super().value(), **values, "tau": self.tau.value(), "click": self.click}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings; a click belongs to the chosen image."""
        super().setValue(value)
        if value.get("click") is not None:
            self._clicks[self._click_key()] = tuple(value["click"])
        elif "click" in value:
            self._clicks.pop(self._click_key(), None)
        if value.get("tau") is not None:
            self.tau.setValue(value["tau"])
        for form in (self.cut_form, self.stack_form, self.mask_form, self.extras.form):
            form.setValue(value)

    def config(self) -> TokenCutConfig:
        """Give the settings as a recipe's."""
        stack = self.stack_form.value()
        windowed = stack["stack"] == "window"
        return TokenCutConfig(
            tau="auto" if self.cut_form.value()["auto_tau"] else round(self.tau.value(), 4),
            stack="joint" if windowed else stack["stack"],
            window=stack["window"] if windowed else None,
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
        self.stack_form.set_shown("window", self.stack_form.value()["stack"] == "window")
        self.pick_button.setHidden(self.mask_form.value()["side"] != "click")
        other = self.other_image()
        self.mask_note.setText(other)
        self.mask_note.setHidden(not other)
        self.extras.fit_fields()
        self.extras.refresh(other, running=self.runner.running)
        self._show_similarities()

    def slider_state(self) -> Hashable:
        """Follow the plane in view too: its tau is shown."""
        state = super().slider_state()
        return state if self.image.value() is None else (state, plane_at(self.source(), world_point(self.viewer)))

    def cancelled_text(self) -> str:
        """Say what is kept of a cancelled cut."""
        solved = len(self._solved())
        return f"{solved} solved planes are kept; Cut goes on with the rest." if solved else super().cancelled_text()

    def make_job(self) -> Job[Discovered]:
        """Solve the cut of every plane."""
        request, config = self.request(), self.config()
        self._wanted, self._remask = (request, config, self.extract_script()), None
        return discovery.discover_steps(self.session, request, config, self._solved())

    def show_result(self, result: Discovered) -> str:
        """Show the masks."""
        assert self._wanted is not None  # only called for a job of make_job
        (request, config, lines), (features, cut, masks, similar) = self._wanted, result
        found = Discovery(request, config, features, cut, lines, similar)
        kept = self.session.kept(type(self).__name__)
        kept.update(layer_id=request.key.layer_id, found=found)
        kept.pop("solved", None)
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
        if found is not None and not self.other_image():
            lines += [line for extra in found.extras.values() for line in extra]
        return script.script_of(lines)

    def metadata(self, found: Discovery) -> dict[str, Any]:
        """Write down how a layer of this cut came about."""
        cut = found.cut
        return provenance(
            "tokencut",
            source=found.request.source.placement.name,
            settings=found.config.options(),
            script=found.script,
            features=found.features.provenance,
            tau=cut.tau,
            well_posed=cut.well_posed,
            clear=cut.clear,
            boxes=cut.boxes if len(cut) <= 200 else (),
        )

    def _solved(self) -> SolvedPlanes:
        """Give what a cancelled cut has solved."""
        solved: SolvedPlanes = self.session.kept(type(self).__name__).setdefault("solved", SolvedPlanes())
        return solved

    def _show_similarities(self) -> None:
        """Draw how alike the patches are, and the tau that was chosen for the plane in view."""
        found, automatic = self.found, self.cut_form.value()["auto_tau"]
        if found is None or self.other_image():
            self.tau.set_bars((), "The bars come with the first cut.")
            self.tau.set_chosen(self.tau.value() if automatic else None)
            return
        request = found.request
        plane = min(plane_at(request.source, world_point(self.viewer)), len(found.cut) - 1)
        chosen = float(found.cut.tau[plane])
        tau = chosen if automatic else self.tau.value()
        text = f"{found.similar.above(tau):.0%} of the pairs of patches are more alike than {tau:.2f}."
        self.tau.set_bars(found.similar.bars(), f"Chosen for this plane: {tau:.2f}. {text}" if automatic else text)
        self.tau.set_chosen(chosen if automatic else None)

    def _show_masks(self, found: Discovery, masks: Any) -> str:
        placement, metadata = found.request.source.placement, self.metadata(found)

        def add() -> Any:
            return results.add_pixels(
                self.viewer, placement, masks, kind="labels", name=f"{placement.name} discovered", metadata=metadata, opacity=0.5
            )

        data = placement.arrange(results.storable(masks, "labels"))
        layer = self.owned.show(data, belongs_to=found.request.place, metadata=metadata, add=add)
        covers = f"{layer.name!r} covers {found.cut.grid_masks.mean():.0%} of the image{discovery.clear_text(found.cut)}."
        return " ".join(filter(None, (covers, discovery.unclear_text(found.cut), discovery.side_text(found.cut))))

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
