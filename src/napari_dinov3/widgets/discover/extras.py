"""What else the Discover panel adds of a solved cut: scribbles for the Segment panel, objects, boxes, eigenvectors."""

from __future__ import annotations

from typing import Any, Protocol

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari import results
from napari_dinov3._napari.discover import extras
from napari_dinov3._napari.discover.cut import Discovery
from napari_dinov3._napari.session import Session
from napari_dinov3.progress import Job
from napari_dinov3.recipe import ClustersConfig, MaskCutConfig
from napari_dinov3.widgets.discover.fields import BOXES_TIP, OBJECT_FIELDS, OBJECTS_TIP, SCRIBBLES_TIP, VECTOR_TIP
from napari_dinov3.widgets.form import Form
from napari_dinov3.wording import counted

SEGMENT_PANEL = "SegmentPanel"


class Owner(Protocol):
    """The panel whose cut this is."""

    viewer: Any
    session: Session

    @property
    def found(self) -> Discovery | None:
        """The solved cut."""

    def say(self, state: Any, message: str = "") -> None:
        """Show a status."""

    def start(self, job: Job[Any], title: str, on_result: Any) -> None:
        """Run a job."""

    def metadata(self, found: Discovery) -> dict[str, Any]:
        """Provenance of a layer."""


class CutExtras(QWidget):
    """Buttons that add layers of a solved cut.

    Parameters
    ----------
    panel : Owner
        The Discover panel.
    """

    def __init__(self, panel: Owner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._panel = panel
        self.form = Form(OBJECT_FIELDS)
        self.scribbles_button, self.objects_button = QPushButton("Use as scribbles"), QPushButton("Objects to layer")
        self.boxes_button, self.vectors_button = QPushButton("Add boxes"), QPushButton("Add the eigenvectors")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.scribbles_button)
        layout.addWidget(self.form)
        for button in (self.objects_button, self.boxes_button, self.vectors_button):
            layout.addWidget(button)
        self.scribbles_button.clicked.connect(self.add_scribbles)
        self.objects_button.clicked.connect(self.add_objects)
        self.boxes_button.clicked.connect(self.add_boxes)
        self.vectors_button.clicked.connect(self.add_eigenvectors)
        self.form.valueChanged.connect(self.fit_fields)
        self.fit_fields()

    def fit_fields(self) -> None:
        """Show the number that belongs to the chosen kind of objects."""
        method = self.form.value()["objects"]
        self.form.set_shown("rounds", method == "maskcut")
        self.form.set_shown("clusters", method == "clusters")

    def refresh(self, blocked: str, *, running: bool) -> None:
        """Switch the buttons; `blocked` says why they are off."""
        there = self._panel.found is not None
        for button, tip in (
            (self.scribbles_button, SCRIBBLES_TIP),
            (self.objects_button, OBJECTS_TIP),
            (self.boxes_button, BOXES_TIP),
            (self.vectors_button, VECTOR_TIP),
        ):
            button.setEnabled(there and not blocked and not running)
            button.setToolTip(blocked or (tip if there else f"{tip} Press Cut first."))

    def add_boxes(self) -> None:
        """Add a shapes layer with a box around each piece of the masks."""
        found = self._panel.found
        if found is None:
            return
        placement = found.request.source.placement
        boxes = extras.box_shapes(found.cut, placement)
        if not boxes:
            self._panel.say("warning", "The masks are empty, so there are no boxes.")
            return
        found.extras["boxes"] = extras.box_lines(placement)
        name = f"{placement.name} boxes"
        with results.selection_kept(self._panel.viewer):
            layer = results.add_shapes(
                self._panel.viewer, placement, boxes, name=name, metadata=self._panel.metadata(found), **extras.BOX_LOOK
            )
        self._panel.say("done", f"Added {counted(len(boxes), 'box')} as {layer.name!r}.")

    def add_eigenvectors(self) -> None:
        """Add the maps that were split; the first is shown."""
        found = self._panel.found
        if found is None:
            return
        placement, vectors = found.request.source.placement, found.cut.eigenvectors
        found.extras["eigenvectors"] = extras.vector_lines(placement, found.features.stride, vectors.shape[-1])
        added = []
        with results.selection_kept(self._panel.viewer):
            for index in range(vectors.shape[-1]):
                layer = results.add_patches(
                    self._panel.viewer,
                    placement,
                    found.features,
                    vectors[..., index],
                    name=extras.vector_name(placement, index),
                    metadata=self._panel.metadata(found),
                    visible=index == 0,
                    **extras.VECTOR_LOOK,
                )
                added.append(repr(layer.name))
        self._panel.say("done", f"Added {', '.join(added)}; the first is shown.")

    def add_scribbles(self) -> None:
        """Add scribbles made of the masks, and hand them to the Segment panel."""
        found = self._panel.found
        if found is None:
            return
        job = extras.scribble_steps(found.cut, found.request.config.memory_gb)
        self._panel.start(job, "Scribbles", self._show_scribbles)

    def add_objects(self) -> None:
        """Add a labels layer with a number for each object."""
        found, config = self._panel.found, self.config()
        if found is None:
            return
        job = extras.objects_steps(found.cut, found.features, config, found.request.config.memory_gb)

        def show(result: Any) -> str:
            labels, what = result
            placement = found.request.source.placement
            found.extras["objects"] = extras.object_lines(placement, config)
            layer = self._add_labels(found, labels, "objects")
            return f"Added {what} as {layer.name!r}."

        self._panel.start(job, "Objects", show)

    def config(self) -> MaskCutConfig | ClustersConfig | None:
        """Give the settings of many objects as a recipe's; None for the pieces of the mask."""
        found, chosen = self._panel.found, self.form.value()
        if found is None or chosen["objects"] == "pieces":
            return None
        cut = found.config
        common: dict[str, Any] = {"tau": cut.tau, "window": cut.window, "memory_gb": cut.memory_gb}
        if chosen["objects"] == "clusters":
            return ClustersConfig(clusters=chosen["clusters"] if chosen["clusters"] >= 2 else "auto", **common)
        masks: dict[str, Any] = {name: getattr(cut, name) for name in ("opening", "closing", "fill_holes", "min_area")}
        return MaskCutConfig(rounds=chosen["rounds"], bipartition=cut.bipartition or "mean", **masks, **common)

    def _show_scribbles(self, scribbles: Any) -> str:
        found = self._panel.found
        assert found is not None  # a removed image stops its jobs
        placement = found.request.source.placement
        found.extras["scribbles"] = [extras.labels_line(placement, "cut.scribbles()", "scribbles")]
        layer = self._add_labels(found, scribbles, "scribbles")
        self._panel.session.hand_over(SEGMENT_PANEL, image=found.request.key.layer_id, scribbles=layer.unique_id)
        if not scribbles.any():
            return f"The masks are empty, so {layer.name!r} is too; paint in it."
        return f"Added {layer.name!r}: 1 background, 2 foreground. The Segment panel has it as its scribbles."

    def _add_labels(self, found: Discovery, labels: Any, what: str) -> Any:
        placement = found.request.source.placement
        with results.selection_kept(self._panel.viewer):
            return results.add_pixels(
                self._panel.viewer,
                placement,
                labels,
                kind="labels",
                name=f"{placement.name} {what}",
                metadata=self._panel.metadata(found),
                opacity=0.6,
            )
