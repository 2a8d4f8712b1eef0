"""Discover: TokenCut finds what stands out, without labels; masks follow the settings once the cut is solved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtWidgets import QPushButton

from napari_dinov3._napari import discovery, results, script
from napari_dinov3._napari.layers import pixel_at
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.provenance import provenance
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job
from napari_dinov3.recipe import TokenCutConfig
from napari_dinov3.segment.tokencut import ONE_CLICK, TokenCut
from napari_dinov3.widgets.click_picker import ClickPicker
from napari_dinov3.widgets.form import Choice, Flag, Form, Number, Slider
from napari_dinov3.widgets.image_panel import ImagePanel

SIDES = (
    ("seed", "strongest"), ("border", "inside"), ("bright", "brighter"), ("dark", "darker"),
    ("click", "where I click"),
)
SPLITS = (("mean", "mean"), ("median", "median"), ("gap", "largest gap"), ("otsu", "Otsu"))
PIECES = (("seed", "strongest"), ("largest", "largest"), ("all", "all"))
CUT_FIELDS = (
    Flag("auto_tau", "Choose tau for each plane", "Take the threshold with the clearest cut, out of a sweep.", True),
    Slider("tau", "Tau (cosine)", "Patches more alike than this are linked; needs a new run.", 0.2, 0.0, 0.95, 0.05, 2),
    Choice("stack", "Planes", "Whether planes are cut one by one, or all together so that objects keep their side.", "planes",
           (("planes", "one by one"), ("joint", "together"))),
)
MASK_FIELDS = (
    Choice("bipartition", "Split at", "Where the eigenvector is split into two sides; the paper takes the mean.", "otsu", SPLITS),
    Choice("side", "Foreground", "The object's side: with the strongest patch (the paper), off the border, or as it says.",
           "border", SIDES),
    Choice("component", "Pieces", "Which connected pieces are kept: the paper keeps the one with the strongest patch.", "all",
           PIECES),
    Number("opening", "Opening (patches)", "Radius of an opening, which drops specks and thin bridges.", 0, 0, 50, 1, 0),
    Number("closing", "Closing (patches)", "Radius of a closing, which bridges narrow gaps.", 0, 0, 50, 1, 0),
    Number("min_area", "Smallest (patches)", "Pieces of fewer patches are dropped.", 0, 0, 100_000, 1, 0),
    Number("refine", "Follow edges (px)", "How far outlines may move to the edges of the image; 0 leaves them on patches.",
           ONE_CLICK.refine, 0, 512, 4, 0),
    Flag("fill_holes", "Fill holes", "Background enclosed by the mask joins it.", False),
    Flag("invert", "Invert", "Take the other side.", False),
)
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
        self.owned, self.vectors = OwnedLayer(self.viewer), OwnedLayer(self.viewer)
        self.cut: TokenCut | None = None
        self._click: tuple[float, float] | None = None
        self._features: FeatureMap | None = None
        self._remasking = False
        self.picker = ClickPicker(self.viewer, self._on_click)
        self.cut_form, self.mask_form = Form(CUT_FIELDS), Form(MASK_FIELDS)
        self.pick_button = QPushButton(PICK_OFF)
        self.pick_button.setCheckable(True)
        self.pick_button.setToolTip("While this is on, a click in the image marks the object's side.")
        self.pick_button.toggled.connect(self._on_pick_toggled)
        self.boxes_button = QPushButton("Add boxes")
        self.boxes_button.setToolTip("Add a shapes layer with a box around each piece.")
        self.boxes_button.clicked.connect(self.add_boxes)
        self.vector_button = QPushButton("Add the eigenvector")
        self.vector_button.setToolTip("Add the map that was split, one value a patch.")
        self.vector_button.clicked.connect(self.add_eigenvector)
        self.section("Cut", self.cut_form)
        self.section("Masks (follow at once)", self.mask_form, self.pick_button)
        self.section("More from this cut", self.boxes_button, self.vector_button)
        self.cut_form.valueChanged.connect(self.changed)
        self.mask_form.valueChanged.connect(self._on_mask_changed)
        self.on_close(self.picker.stop)

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        return {**super().value(), **self.cut_form.value(), **self.mask_form.value(), "click": self._click}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        super().setValue(value)
        self._click = value.get("click", self._click)
        self.cut_form.setValue(value)
        self.mask_form.setValue(value)

    def config(self) -> TokenCutConfig:
        """Give the settings as a recipe's."""
        cut, masks = self.cut_form.value(), self.mask_form.value()
        return TokenCutConfig(tau="auto" if cut["auto_tau"] else cut["tau"], click=self._click,
                              memory_gb=self.session.features_config.memory_gb, **masks)

    def problem(self) -> str:
        """Ask for an image, and for a click where one is needed."""
        problem = super().problem()
        if not problem and self.mask_form.value()["side"] == "click" and self._click is None:
            return f"no place was clicked; press '{PICK_OFF}' and click in the image."
        return problem

    def refresh(self, *_: Any) -> None:
        """Bring buttons in step, the task's own too."""
        super().refresh()
        self.cut_form.set_shown("tau", not self.cut_form.value()["auto_tau"])
        self.pick_button.setHidden(self.mask_form.value()["side"] != "click")
        for button in (self.boxes_button, self.vector_button):
            button.setEnabled(self.cut is not None and not self.runner.running)

    def make_job(self) -> Job[tuple[FeatureMap, TokenCut, Any]]:
        """Solve the cut of every plane."""
        self._request, self._config, self._remasking = self.request(), self.config(), False
        return discovery.discover_steps(self.session, self._request, self._config)

    def show_result(self, result: tuple[FeatureMap, TokenCut, Any]) -> str:
        """Show the masks."""
        self._features, self.cut, masks = result
        message = self._show_masks((self.cut, masks))
        self.refresh()
        return message

    def script(self) -> str:
        """Write the cut and the masks."""
        source = self.source()
        cut = discovery.cut_line(self.config(), script.axes_of(source))
        add = script.add_line("labels", "cut.masks.astype('uint8')", name=f"{source.placement.name} discovered",
                              placement=source.placement, transform=source.placement.pixel_transform())
        return script.script_of([*self.extract_script(), cut, add])

    def add_boxes(self) -> None:
        """Add a shapes layer with a box around each piece of the masks."""
        if self.cut is None:
            return
        placement = self._request.source.placement
        boxes = discovery.box_shapes(self.cut, placement)
        if not boxes:
            self.say("warning", "The masks are empty, so there are no boxes.")
            return
        with results.selection_kept(self.viewer):
            layer = results.add_shapes(self.viewer, placement, boxes, name=f"{placement.name} boxes", metadata=self._metadata(),
                                       shape_type="rectangle", edge_color="yellow", face_color="transparent", edge_width=2)
        self.say("done", f"Added {len(boxes)} boxes as {layer.name!r}.")

    def add_eigenvector(self) -> None:
        """Add the map that was split."""
        if self.cut is None or self._features is None:
            return
        placement = self._request.source.placement
        with results.selection_kept(self.viewer):
            layer = results.add_patches(self.viewer, placement, self._features, self.cut.eigenvectors[..., 0],
                                        name=f"{placement.name} eigenvector", metadata=self._metadata(), colormap="viridis")
        self.say("done", f"Added {layer.name!r}.")

    def _metadata(self) -> dict[str, Any]:
        cut = self.cut
        assert cut is not None and self._features is not None  # only called with a result
        return provenance("tokencut", source=self._request.source.placement.name, settings=self._config.options(),
                          script=self.ran_script, features=self._features.provenance, tau=cut.tau, well_posed=cut.well_posed,
                          boxes=cut.boxes if len(cut) <= 200 else ())

    def _show_masks(self, result: tuple[TokenCut, Any]) -> str:
        self.cut, masks = result
        placement, metadata = self._request.source.placement, self._metadata()

        def add() -> Any:
            return results.add_pixels(self.viewer, placement, masks, kind="labels", name=f"{placement.name} discovered",
                                      metadata=metadata, opacity=0.5)

        data = placement.arrange(results.storable(masks, "labels"))
        layer = self.owned.show(data, belongs_to=self._request.place, metadata=metadata, add=add)
        decided = int(self.cut.well_posed.sum())
        share = self.cut.grid_masks.mean()
        return f"{layer.name!r} covers {share:.0%} of the image; the cut is clear in {decided} of {len(self.cut)} planes."

    def _on_mask_changed(self) -> None:
        self.changed()
        solving = self.runner.running and not self._remasking
        if self.cut is None or solving or self._problem():
            return
        self._remasking, self._config, self.ran_script = True, self.config(), self.script()
        job = discovery.remask_steps(self.cut, self._request.source.planes, self._config, self._request.config.memory_gb)
        self.start(job, "Masks", self._show_masks)

    def _on_pick_toggled(self, on: bool) -> None:
        self.pick_button.setText(PICK_ON if on else PICK_OFF)
        (self.picker.start if on else self.picker.stop)()

    def _on_click(self, world: Any, rest: bool = True) -> None:
        if rest:
            _, row, col = pixel_at(self.source(), world)
            self._click = (row, col)
            self.pick_button.setChecked(False)
            self._on_mask_changed()
