"""New data: synthetic images with known truth, or a file or folder, as layers with scale and units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_dinov3._napari import open_file, script
from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.file_options import LayerData
from napari_dinov3._napari.layers import free_name
from napari_dinov3.io.layers import Record
from napari_dinov3.progress import Job
from napari_dinov3.synthetic import MODALITIES, Sample
from napari_dinov3.widgets.data.dataset_chooser import ask
from napari_dinov3.widgets.form import Choice, Form, Number, wrapped_label
from napari_dinov3.widgets.panel import TaskPanel

NAMES = {"em": "EM", "mri": "MRI"}
FIELDS = (
    Choice(
        "modality",
        "Modality",
        "EM bodies, MRI lesion, nuclei, filaments, atlas regions or cells, each with its true mask.",
        "em",
        tuple((name, NAMES.get(name, name)) for name in MODALITIES),
    ),
    Number("planes", "Planes", "Planes of the stack, or frames of the movie; 1 gives a single image.", 16, 1, 2000, 1, 0),
    Number("size", "Size (px)", "Rows and columns.", 512, 16, 8192, 64, 0),
    Number("rng", "Seed", "The same seed gives the same image.", 0, 0, 2**31 - 1, 1, 0),
    Number("drift", "Drift (px)", "Largest random shift between neighbouring planes, known exactly.", 0, 0, 100, 0.5, 1),
)
UNITS = (("pixel", "not known"), ("nanometer", "nm"), ("micrometer", "µm"), ("millimeter", "mm"))
OWN_SIZE = "Used where the file does not say; a file's own spacing and unit always count."
CALIBRATION = (
    Choice("unit", "Pixel size", f"Unit of the spacing. {OWN_SIZE}", "pixel", UNITS),
    Number("plane", "Planes apart", f"Distance between neighbouring planes. {OWN_SIZE}", 1.0, 0.0001, 1e6, 0.1, 4),
    Number("row", "Rows apart", f"Distance between neighbouring rows. {OWN_SIZE}", 1.0, 0.0001, 1e6, 0.1, 4),
    Number("col", "Columns apart", f"Distance between neighbouring columns. {OWN_SIZE}", 1.0, 0.0001, 1e6, 0.1, 4),
)
PLACE = (("scale", "sample.spacing"), ("units", "sample.units"), ("axis_labels", "tuple(sample.axes)"))
FILTER = (
    "Images (*.tif *.tiff *.svs *.ndpi *.png *.jpg *.jpeg *.bmp *.npy *.npz *.nii *.gz *.nrrd *.nhdr *.mha *.mhd "
    "*.h5 *.hdf5 *.hdf *.swc *.geojson);;All files (*)"
)


class DataPanel(TaskPanel):
    """Make synthetic data, or open a file or folder."""

    title = "New data"
    summary = "Draw a synthetic image with a known mask, or open a file or a folder of slices."
    run_text = "Draw"
    help_text = (
        "Draw: adds an image layer and a hidden labels layer with the true mask. With drift, the planes are shifted by a known "
        "random walk; the shifts are in the layers' metadata.\n"
        "Open: TIFF, PNG, JPEG, numpy, or a folder of numbered slices. Pixels are read when they are looked at; spacing and "
        "units come from the file. Where it does not say, set the pixel size before opening: beside a layer without a unit, "
        "napari shows all others in pixels. An HDF5 or .npz file that holds several images asks which of them to open."
    )

    def build(self) -> None:
        """Add the two ways to get data."""
        self.form = Form(FIELDS)
        self.form.valueChanged.connect(self.changed)
        self.file_button, self.folder_button = QPushButton("Open a file…"), QPushButton("Open a folder of slices…")
        self.file_button.setToolTip("Choose an image file.")
        self.folder_button.setToolTip("Choose a folder whose images are the planes of a stack.")
        self.file_button.clicked.connect(lambda: self.open_path())
        self.folder_button.clicked.connect(lambda: self.open_path(folder=True))
        self.section("Draw a synthetic image", self.form)
        self.calibration = Form(CALIBRATION)
        self.calibration.valueChanged.connect(self.changed)
        self.section(
            "Open",
            wrapped_label("Where a file does not say its pixel size:"),
            self.calibration,
            self.file_button,
            self.folder_button,
        )

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        return {**self.form.value(), "calibration": self.calibration.value()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        self.form.setValue(value)
        self.calibration.setValue(value.get("calibration", {}))

    def refresh(self, *_: Any) -> None:
        """Bring buttons and status line in step; spacings are asked for once there is a unit."""
        super().refresh()
        known = self.calibration.value()["unit"] != "pixel"
        for name in ("plane", "row", "col"):
            self.calibration.set_shown(name, known)

    def problem(self) -> str:
        """Nothing is ever missing."""
        return ""

    def ready_text(self) -> str:
        """Say what is drawn."""
        value = self.form.value()
        planes = f"{value['planes']} planes of " if value["planes"] > 1 else ""
        return f"Draws {planes}{value['size']} x {value['size']} pixels and their mask."

    def make_job(self) -> Job[Sample]:
        """Draw the sample."""
        value = self.form.value()
        return open_file.make_sample_steps(value.pop("modality"), **value)

    def show_result(self, result: Sample) -> str:
        """Add image and mask."""
        return self._add(open_file.sample_layers(result, **self.form.value()))

    def script(self) -> str:
        """Write the drawing as Python."""
        value = self.form.value()
        words = ", ".join(f"{key}={item!r}" for key, item in value.items() if key != "modality")
        single = value["planes"] == 1
        place = ", ".join(f"{key}={what}{'[1:]' * single}" for key, what in PLACE)
        index = "[0]" if single else ""
        return script.script_of(
            [
                f"sample = nd.synthetic.{value['modality']}({words})",
                f"viewer.add_image(sample.images{index}, name=sample.name, rgb=sample.rgb, {place})",
                f"viewer.add_labels(sample.masks{index}.astype('uint8'), name=sample.name + ' mask', {place})",
            ]
        )

    def open_path(self, path: str | Path | None = None, *, folder: bool = False) -> None:
        """Open a file or folder; asks for one where none is given."""
        if path is None and folder:
            path = QFileDialog.getExistingDirectory(self, "Open a folder of slices")
        elif path is None:
            path = QFileDialog.getOpenFileName(self, "Open an image", "", FILTER)[0]
        if path:
            self.start(open_file.open_steps(path), f"Opening {Path(path).name}", self._show_file)

    def _show_file(self, opened: tuple[Record, ...] | open_file.Offer) -> str:
        if isinstance(opened, open_file.Offer):
            return self._ask(opened)
        records = [open_file.calibrated(record, **self.calibration.value()) for record in opened]
        stated = any(set(record.units) - {"pixel"} for record in records)
        bare = "" if stated else " The file does not say how large its pixels are; see Pixel size."
        return self._add(open_file.file_layers(records)) + bare

    def _ask(self, offer: open_file.Offer) -> str:
        chosen = ask(offer.path.name, offer.datasets, self.window())
        if not chosen:
            return f"Nothing of {offer.path.name} was opened."
        self.start(open_file.open_steps(offer.path, chosen), f"Opening {', '.join(chosen)}", self._show_file)
        return f"Opening {', '.join(chosen)}."

    def _add(self, layers: list[LayerData]) -> str:
        names = []
        for data, options, kind in layers:
            name = free_name(self.viewer.layers, options["name"])
            names.append(getattr(self.viewer, f"add_{kind}")(data, **{**options, "name": name}).name)
        self.viewer.layers.selection.active = unwrap(self.viewer.layers[names[0]])
        self.viewer.reset_view()
        return f"Added {', '.join(map(repr, names))}."
