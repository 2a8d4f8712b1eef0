"""Make the pictures of the panels for the documentation: ``python scripts/virtual_screen.py python scripts/screenshots.py``.

Every panel does its task on a synthetic image in a real viewer, and the window is saved as ``docs/images/NAME.png``.
With ``--size 1600x1000`` or ``--out FOLDER`` the pictures are for a look at another screen size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
import numpy as np
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication, QScrollArea
from scipy.ndimage import distance_transform_edt

import napari_dinov3 as nd
from napari_dinov3._napari.open_file import sample_layers
from napari_dinov3.align.transforms import rotation_matrix
from napari_dinov3.align.warp import warp
from napari_dinov3.widgets.panel import TaskPanel

PLUGIN = "napari-dinov3"
LIMIT_S = 120.0


def wait(panel: TaskPanel, seconds: float = 0.3) -> None:
    """Handle events until the panel's job is done, and a little longer so that everything is drawn."""
    end = time.monotonic() + LIMIT_S
    while panel.runner.running and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)
    if panel.runner.running:
        raise TimeoutError(f"{type(panel).__name__} is still running after {LIMIT_S:.0f} s")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def add_sample(viewer: Any, modality: str, **options: Any) -> None:
    for data, keywords, kind in sample_layers(getattr(nd.synthetic, modality)(**options), **options):
        getattr(viewer, f"add_{kind}")(data, **keywords)
    viewer.dims.set_point(0, 0)
    viewer.layers.selection.active = viewer.layers[0]
    viewer.reset_view()


def new_data(viewer: Any, panel: Any) -> None:
    panel.setValue({"modality": "histology", "planes": 1, "size": 512})
    panel.run()


def features(viewer: Any, panel: Any) -> None:
    panel.image.setValue("synthetic em")
    panel.show_pca()
    wait(panel)
    viewer.layers["synthetic em PCA"].visible = False
    layer = viewer.layers["synthetic em"]
    rows, cols = np.nonzero(np.asarray(viewer.layers["synthetic em mask"].data[0]))
    panel.pick_button.setChecked(True)
    panel.pick(layer.data_to_world((0, rows[len(rows) // 2], cols[len(rows) // 2])))


def segment(viewer: Any, panel: Any) -> None:
    panel.image.setValue("synthetic em")
    panel.new_scribbles()
    truth, scribbles = viewer.layers["synthetic em mask"].data, viewer.layers["synthetic em scribbles"]
    painted = np.asarray(scribbles.data).copy()
    strokes = ((6, 120), (100, 330), (250, 40), (330, 250), (400, 120), (506, 300))
    for at, (row, col) in enumerate(strokes):
        for step in range(160):
            middle = row + round(4 * np.sin(step / 14 + at))
            painted[0, max(0, middle - 2) : middle + 3, col + step : col + step + 1] = 1
    painted[0, 40:470, 4:9] = painted[0, 40:250, 505:510] = 1
    painted[0][np.asarray(distance_transform_edt(truth[0] == 0)) < 8] = 0
    inside = np.asarray(distance_transform_edt(truth[0] > 0))
    waves = (np.arange(512)[:, None] + 6 * np.sin(np.arange(512) / 9)).astype(int) % 40 < 4
    painted[0][(inside > 5) & waves] = 2
    scribbles.data = painted
    panel.reference.setValue("synthetic em mask")
    panel.run()


def discover(viewer: Any, panel: Any) -> None:
    panel.image.setValue("synthetic histology")
    panel.run()
    wait(panel)
    panel.extras.add_boxes()
    panel.findChild(QScrollArea).verticalScrollBar().setValue(320)  # what the features are is on other pictures


def align(viewer: Any, panel: Any) -> None:
    panel.setValue({"image": "synthetic em", "backbone": None})
    panel.run()
    wait(panel, 1.0)
    panel.add_grid()
    wait(panel)
    panel.findChild(QScrollArea).verticalScrollBar().setValue(390)


def align_pair(viewer: Any, panel: Any) -> None:
    slide = nd.synthetic.histology(size=384).images[0]
    centre = np.array(slide.shape[:2]) / 2
    turned = warp(255 - slide.mean(axis=-1), rotation_matrix(8, (centre[0], centre[1])))
    viewer.add_image(slide, name="histology", scale=(0.5, 0.5), units=("um", "um"))
    scan = turned.reshape(192, 2, 192, 2).mean(axis=(1, 3))
    viewer.add_image(scan, name="scan", colormap="green", opacity=0.6, units=("um", "um"))
    panel.setValue({"image": "histology", "mode": "pair", "moving": "scan", "model": "rigid", "backbone": None})
    panel.run()
    wait(panel)
    viewer.layers["scan"].visible = False
    viewer.reset_view()
    panel.findChild(QScrollArea).verticalScrollBar().setValue(200)


def show(panel: Any, widget: Any) -> None:
    """Scroll a widget of the panel into the middle of what is seen."""
    QApplication.processEvents()
    panel.findChild(QScrollArea).ensureWidgetVisible(widget, 0, 260)


def evaluate(viewer: Any, panel: Any) -> None:
    features = nd.extract(viewer.layers["synthetic em"].data, backbone="filter-bank", stride=4)
    probe = nd.Probe(head="linear").fit(features, {0: viewer.layers["synthetic em mask"].data[0] > 0})
    like = viewer.layers["synthetic em"]
    viewer.add_labels(probe.predict(features), name="found", scale=like.scale, units=like.units)
    panel.setValue({"predicted": "found", "reference": "synthetic em mask"})
    panel.run()
    wait(panel)
    panel.setValue(
        {"image": "synthetic em", "labels": "synthetic em mask", "mask": True, "heads": ("linear", "kernel", "prototypes")}
    )
    panel.compare()
    wait(panel)
    show(panel, panel.compare_table)


def pictures(folder: Path) -> Path:
    """Write a folder of classes: tissue of two kinds and cells; the last two of each are nearly all noise, for some mistakes."""
    rng = np.random.default_rng(0)
    for name, modality, noise in (("cortex", "histology", 0.05), ("medulla", "atlas", 0.05), ("cells", "calcium", 0.05)):
        (folder / name).mkdir(parents=True)
        stack = np.asarray(getattr(nd.synthetic, modality)(planes=8, size=128, rng=1).images, np.float32)
        stack = stack.mean(axis=-1) if stack.ndim == 4 else stack
        for number, image in enumerate((stack - stack.min()) / np.ptp(stack)):
            spoilt = image if number < 6 else 0.01 * image + 0.5
            nd.write(
                folder / name / f"{number}.png", (255 * (spoilt + rng.normal(0, noise, image.shape)).clip(0, 1)).astype(np.uint8)
            )
    return folder


def classify_images(viewer: Any, panel: Any) -> None:
    with TemporaryDirectory() as place:
        panel.setValue({"files": (str(pictures(Path(place) / "sections")),), "size": 128})
        panel.run()
        wait(panel)
    panel.show_mistakes()
    show(panel, panel.save_button)


def batch(viewer: Any, panel: Any) -> None:
    with TemporaryDirectory() as place:
        folder = Path(place) / "stacks"
        folder.mkdir()
        samples = [nd.synthetic.em(planes=2, size=128, rng=seed) for seed in range(4)]
        features = nd.extract(samples[0].images, backbone="filter-bank", stride=4)
        probe = nd.Probe(head="linear").fit(features, samples[0].masks).save(folder.parent / "probe.npz")
        for number, one in enumerate(samples):
            nd.write(folder / f"mouse{number + 1}.ome.tif", one.images, spacing=one.spacing, units=one.units)
        (folder / "damaged.tif").write_bytes(b"no picture")
        panel.setValue({"probe": (str(probe),), "images": (str(folder),), "output": (str(folder.parent / "labels"),)})
        panel.run()
        wait(panel)
    show(panel, panel.table)


SCENES: dict[str, tuple[str, str, dict[str, Any], Callable[[Any, Any], None]]] = {
    "new-data": ("New data", "", {}, new_data),
    "features": ("Features", "em", {"planes": 4, "size": 512}, features),
    "segment": ("Segment", "em", {"planes": 4, "size": 512}, segment),
    "discover": ("Discover", "histology", {"size": 384}, discover),
    "evaluate": ("Evaluate", "em", {"planes": 4, "size": 256}, evaluate),
    "classify-images": ("Classify images", "", {}, classify_images),
    "apply-to-files": ("Apply to files", "", {}, batch),
    "align": ("Align", "em", {"planes": 12, "size": 256, "drift": 6.0}, align),
    "align-pair": ("Align", "", {}, align_pair),
}


def take(name: str, size: tuple[int, int], out: Path) -> Path:
    """Run one scene and save the window."""
    widget, modality, options, act = SCENES[name]
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*size)
    if modality:
        add_sample(viewer, modality, **options)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, widget)
    wait(panel, 0.5)
    act(viewer, panel)
    wait(panel, 0.8)
    path = out / f"{name}.png"
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SCENES), help=f"some of {', '.join(SCENES)}; all by default")
    parser.add_argument("--size", default="1366x768", help="of the window, WIDTHxHEIGHT")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "images")
    chosen = parser.parse_args()
    width, height = map(int, chosen.size.split("x"))
    chosen.out.mkdir(parents=True, exist_ok=True)
    notification_manager.notification_ready.disconnect()  # no toast over the picture
    for name in chosen.names:
        print(take(name, (width, height), chosen.out), flush=True)


if __name__ == "__main__":
    main()
