"""Draw docs/images/formats.png: a sample of each format, opened in napari by its path, with the scale bar on.

    xvfb-run -a -s "-screen 0 1366x768x24" python scripts/picture_formats.py docs/images/formats.png

Every sample shows the same field: a grid of 20 micrometres with discs, so that the bar can be checked against it by eye.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE, STEP_UM = 256, 0.5  # 128 micrometres across
GRID = int(20 / STEP_UM)
SETTLE_S, WIDTH = 1.5, 400


def field() -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE), 40, np.uint8)
    image[(rows % GRID == 0) | (cols % GRID == 0)] = 200
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for number, (row, col) in enumerate(((70, 70), (130, 180), (200, 90)), start=1):
        inside = (rows - row) ** 2 + (cols - col) ** 2 < 20**2
        image[inside], labels[inside] = 140, number
    return image, labels


def write_samples(folder: Path) -> dict[str, Path]:
    import h5py
    import nibabel
    import nrrd
    import tifffile

    import napari_dinov3 as nd

    image, labels = field()
    stack, ids = np.stack([image] * 4), np.stack([labels] * 4)
    um = {"spacing": (2.0, STEP_UM, STEP_UM), "units": "micrometer"}
    out = {
        name: folder / file
        for name, file in {
            "OME-TIFF": "a.ome.tif",
            "OME-Zarr": "a.ome.zarr",
            "NIfTI": "a.nii.gz",
            "NRRD": "a.nrrd",
            "MetaImage": "a.mha",
        }.items()
    }
    nd.write(out["OME-TIFF"], stack, **um)
    nd.write(out["OME-Zarr"], ids, kind="labels", **um)
    nibabel.save(nibabel.Nifti1Image(stack.T, np.diag([STEP_UM / 1e3, STEP_UM / 1e3, 2e-3, 1])), out["NIfTI"])
    step = np.diag([STEP_UM, STEP_UM, 2.0])
    nrrd.write(str(out["NRRD"]), stack.T, {"space": "LPS", "space directions": step, "space units": ["um"] * 3})
    try:
        import SimpleITK as sitk

        picture = sitk.GetImageFromArray(stack)
        picture.SetSpacing((STEP_UM / 1e3, STEP_UM / 1e3, 2e-3))
        sitk.WriteImage(picture, str(out["MetaImage"]))
    except ImportError:
        del out["MetaImage"]
    out["ImageJ (as a folder)"] = folder / "slices"
    (folder / "slices").mkdir()
    for i in range(4):
        tifffile.imwrite(
            folder / "slices" / f"s{i}.tif", image, imagej=True, resolution=(1 / STEP_UM,) * 2, metadata={"unit": "um"}
        )
    out["SVS pyramid"] = folder / "a.svs"
    colour = np.stack([image, image // 2, 255 - image], axis=-1)
    with tifffile.TiffWriter(out["SVS pyramid"]) as writer:
        for step_ in (1, 2):
            head = f"Aperio Image Library v11\r\n{SIDE // step_}x{SIDE // step_} |MPP = {STEP_UM}"
            options: dict[str, Any] = {"photometric": "rgb", "metadata": None, "description": head}
            writer.write(colour[::step_, ::step_], tile=(64, 64), **options)
            if step_ == 1:
                writer.write(colour[::4, ::4], rowsperstrip=16, **options)
    out["CREMI"] = folder / "cremi.hdf"
    with h5py.File(out["CREMI"], "w") as file:
        for name, data in (("raw", stack), ("labels/neuron_ids", ids.astype(np.uint64))):
            file[f"volumes/{name}"] = data
            file[f"volumes/{name}"].attrs["resolution"] = (2000.0, 500.0, 500.0)
    out["Neurofinder"] = folder / "neurofinder.00.00"
    (out["Neurofinder"] / "images").mkdir(parents=True)
    (out["Neurofinder"] / "regions").mkdir()
    for i in range(6):
        tifffile.imwrite(out["Neurofinder"] / "images" / f"image{i:05d}.tiff", image + np.uint8(i))
    nd.write(out["Neurofinder"] / "regions" / "regions.json", labels, kind="labels")
    (out["Neurofinder"] / "info.json").write_text(json.dumps({"rate-hz": 7, "pixels-per-micron": 1 / STEP_UM}))
    out["Cell Tracking Challenge"] = folder / "Fluo" / "01"
    for name in ("01", "01_GT/TRA"):
        (folder / "Fluo" / name).mkdir(parents=True)
    options = {"imagej": True, "resolution": (1 / STEP_UM,) * 2, "metadata": {"unit": "um"}}
    for i in range(4):
        tifffile.imwrite(folder / "Fluo/01" / f"t{i:03d}.tif", np.roll(image, 4 * i, 1), **options)
        tifffile.imwrite(folder / "Fluo/01_GT/TRA" / f"man_track{i:03d}.tif", np.roll(labels, 4 * i, 1))
    (folder / "Fluo/01_GT/TRA/man_track.txt").write_text("".join(f"{i} 0 3 0\n" for i in (1, 2, 3)))
    out["Allen CCF"] = folder / "ccf"
    out["Allen CCF"].mkdir()
    head = {"space": "LPS", "space directions": np.diag([25.0] * 3)}
    nrrd.write(str(folder / "ccf/annotation_25.nrrd"), ids.T * np.uint32(200_000_000), head)
    nrrd.write(str(folder / "ccf/average_template_25.nrrd"), stack.T, head)
    tree = [
        {"id": k * 200_000_000, "name": f"region {k}", "acronym": f"R{k}", "color_hex_triplet": c}
        for k, c in ((1, "70FF71"), (2, "FF7080"), (3, "7080FF"))
    ]
    (folder / "ccf/1.json").write_text(json.dumps({"msg": tree}))
    out["SWC over its stack"] = folder / "cell.swc"
    nd.write(folder / "cell.ome.tif", stack, **um)
    nodes = [(70, 70), (100, 110), (130, 180), (160, 140), (200, 90)]
    out["SWC over its stack"].write_text(
        "".join(f"{i} {1 if i == 1 else 3} {c} {r} 0 6 {i - 1 if i > 1 else -1}\n" for i, (r, c) in enumerate(nodes, start=1))
    )
    return out


def photograph(samples: dict[str, Path], picture: Path) -> None:
    import napari
    from napari.qt import get_qapp
    from PIL import Image, ImageDraw

    from napari_dinov3._napari.file_hooks import get_reader

    shots = []
    for name, path in samples.items():
        viewer = napari.Viewer()
        viewer.window.resize(1000, 720)
        reader: Callable[[str], Any] | None = get_reader(str(path))
        assert reader is not None, path
        for data, options, kind in reader(str(path)):
            layer = getattr(viewer, f"add_{kind}")(data, **options)
            if kind == "labels":
                layer.opacity = 0.45
        overlays = viewer.canvas.overlays if hasattr(viewer, "canvas") else viewer  # moved in napari 0.9
        overlays.scale_bar.visible = True
        if viewer.dims.ndim > 2:
            viewer.dims.set_point(0, viewer.dims.range[0].start)
        viewer.reset_view()
        until = time.monotonic() + SETTLE_S  # slices and overlays arrive through the event loop
        while time.monotonic() < until:
            get_qapp().processEvents()
            time.sleep(0.02)
        shot = Image.fromarray(viewer.screenshot(canvas_only=True, flash=False)[..., :3])
        shot = shot.resize((WIDTH, round(WIDTH * shot.height / shot.width)), Image.Resampling.LANCZOS)
        sheet = Image.new("RGB", (shot.width, shot.height + 24), "black")
        sheet.paste(shot, (0, 24))
        ImageDraw.Draw(sheet).text((6, 4), name, fill="white", font_size=14)
        shots.append(sheet)
        viewer.close()
    across = 4
    wide, tall = shots[0].size
    whole = Image.new("RGB", (across * wide, -(-len(shots) // across) * tall))
    for at, shot in enumerate(shots):
        whole.paste(shot.resize((wide, tall)), (at % across * wide, at // across * tall))
    whole.save(picture)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        photograph(write_samples(Path(folder)), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
