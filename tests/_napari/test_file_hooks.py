from __future__ import annotations

import contextlib

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from PIL import Image as Picture

import napari_dinov3 as nd
from napari_dinov3._napari import file_hooks
from napari_dinov3._napari.open_file import file_layers
from napari_dinov3.errors import FallbackWarning, FileFormatError

RNG = np.random.default_rng(0)


def matrix_of(layer) -> np.ndarray:
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    return np.stack([layer.data_to_world(step) for step in np.eye(layer.ndim)], axis=1) - origin[:, None]


def test_files_and_folders_of_slices_are_read_and_other_folders_left_alone(tmp_path) -> None:
    placed = nd.write(tmp_path / "placed.ome.tif", np.zeros((5, 16, 16), np.uint8), spacing=(5, 2, 2), units="micrometer")
    (tmp_path / "slices").mkdir()
    for i in range(3):
        Picture.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "slices" / f"{i}.png")
    (tmp_path / "empty").mkdir()
    assert {p.name for p in tmp_path.iterdir() if file_hooks.get_reader(str(p)) is not None} == {placed.name, "slices"}
    assert file_hooks.get_reader([str(placed), str(placed)]) is None


def test_a_damaged_file_says_why(tmp_path) -> None:
    path = str(tmp_path / "broken.ome.tif")
    (tmp_path / "broken.ome.tif").write_bytes(b"II*\0")
    with pytest.raises(FileFormatError, match=r"broken\.ome\.tif"):
        file_hooks.get_reader(path)(path)


def test_channels_become_layers_with_scale_units_and_names(tmp_path) -> None:
    data = RNG.integers(0, 255, (3, 2, 16, 20), np.uint8)
    path = nd.write(
        tmp_path / "a.ome.tif", data, axes="zcyx", spacing=(5, 2, 2), units="micrometer", channel_names=("red", "green")
    )
    viewer = ViewerModel()
    for content, options, kind in file_hooks.get_reader(str(path))(str(path)):
        getattr(viewer, f"add_{kind}")(content, **options)
    assert [layer.name for layer in viewer.layers] == ["a red", "a green"]
    np.testing.assert_allclose(viewer.layers[1].scale, (5, 2, 2))
    assert {str(unit) for unit in viewer.layers[1].units} == {"micrometer"}
    np.testing.assert_array_equal(np.asarray(viewer.layers[1].data), data[:, 1])


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_saving_and_opening_keeps_place_units_ids_and_provenance(tmp_path, kind) -> None:
    data = RNG.integers(0, 2**31, (4, 16, 20), np.uint32)
    turned = {
        "scale": (5, 2, 2),
        "translate": (1, 2, 3),
        "rotate": 20,
        "units": ("micrometer",) * 3,
        "axis_labels": ("z", "y", "x"),
        "metadata": {"napari-dinov3": {"task": "probe"}},
    }
    layer = (Image if kind == "image" else Labels)(data, name="mine", **turned)
    writer = file_hooks.write_image if kind == "image" else file_hooks.write_labels
    [path] = writer(str(tmp_path / "a.ome.tif"), *layer.as_layer_data_tuple()[:2])
    [(content, options, found)] = file_hooks.read_layers(path)
    kept = {name: value for name, value in options.items() if name not in ("rgb", "multiscale")}
    again = (Image if found == "image" else Labels)(content, **kept)
    assert found == kind
    np.testing.assert_array_equal(np.asarray(again.data), data)
    np.testing.assert_allclose(matrix_of(again), matrix_of(layer))
    np.testing.assert_allclose(again.data_to_world((0, 0, 0)), layer.data_to_world((0, 0, 0)))
    assert again.units == layer.units
    assert again.metadata["napari-dinov3"]["provenance"]["task"] == "probe"


def test_colours_and_unnamed_axes_are_saved(tmp_path) -> None:
    layer = Image(RNG.integers(0, 255, (16, 40, 3), np.uint8), rgb=True)
    file_hooks.write_image(str(tmp_path / "a.ome.tif"), *layer.as_layer_data_tuple()[:2])
    assert nd.read(tmp_path / "a.ome.tif").axes == "yxs"
    layer = Image(np.zeros((2, 3, 8, 9)))
    file_hooks.write_image(str(tmp_path / "b.ome.tif"), *layer.as_layer_data_tuple()[:2])
    assert nd.read(tmp_path / "b.ome.tif").axes == "tzyx"


@pytest.mark.parametrize("ending", ["ome.zarr", "nii.gz"])
@pytest.mark.parametrize("kind", ["image", "labels"])
def test_other_formats_keep_place_units_and_ids(tmp_path, ending, kind) -> None:
    pytest.importorskip({"ome.zarr": "ome_zarr", "nii.gz": "nibabel"}[ending])
    data = RNG.integers(0, 2**31, (4, 16, 20), np.uint32)
    place = {"scale": (5, 2, 2), "translate": (1, 2, 3), "units": ("millimeter",) * 3, "axis_labels": ("z", "y", "x")}
    layer = (Image if kind == "image" else Labels)(data, name="mine", **place)
    writer = file_hooks.write_image if kind == "image" else file_hooks.write_labels
    [path] = writer(str(tmp_path / f"a.{ending}"), *layer.as_layer_data_tuple()[:2])
    [(content, options, found)] = file_hooks.read_layers(path)
    assert found == kind
    np.testing.assert_array_equal(np.asarray(content), data)
    again = Labels(np.asarray(content), affine=options["affine"], units=options["units"])
    np.testing.assert_allclose(again.data_to_world((1, 1, 1)), layer.data_to_world((1, 1, 1)))
    assert again.units == layer.units


def test_a_folder_is_never_replaced_by_saving(tmp_path) -> None:
    pytest.importorskip("ome_zarr")
    (tmp_path / "a.ome.zarr").mkdir()
    layer = Image(np.zeros((8, 9), np.uint8))
    with pytest.raises(OSError, match="exists"):  # napari swallows a ValueError
        file_hooks.write_image(str(tmp_path / "a.ome.zarr"), *layer.as_layer_data_tuple()[:2])


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("numba", [False, True])
def test_names_and_colours_of_ids_reach_the_layer(tmp_path, monkeypatch, dtype, numba) -> None:
    from napari_dinov3._napari import file_options
    from napari_dinov3.io.image_file import ImageFile
    from napari_dinov3.io.legend import LabelName

    number = 614454277 if dtype == np.uint32 else 44541
    ids = np.zeros((8, 9), dtype)
    ids[2:4] = number
    legend = {number: LabelName("Cortex", "CTX", (112, 255, 113))}
    image = ImageFile((ids,), "yx", (1.0, 1.0), ("pixel",) * 2, "atlas", tmp_path, kind="labels", legend=legend)
    monkeypatch.setattr(file_options.importlib.util, "find_spec", lambda name: "there" if numba else None)
    coloured = numba or dtype == np.uint16
    with contextlib.nullcontext() if coloured else pytest.warns(FallbackWarning, match="pip install numba"):
        [(data, options, kind)] = file_layers(image)
    assert kind == "labels"
    if coloured:
        np.testing.assert_allclose(options["colormap"].color_dict[number], (112 / 255, 1, 113 / 255, 1), atol=0.01)
    if dtype == np.uint32:
        options.pop("colormap", None)  # numba may not be here
    layer = ViewerModel().add_labels(data, **options)
    assert "Cortex" in layer.get_status((2, 3))["value"]


def test_every_kind_of_a_data_set_becomes_a_layer_at_one_place(tmp_path) -> None:
    (tmp_path / "cell.swc").write_text("1 1 10 20 5 2.0 -1\n2 3 12 20 5 1.0 1\n")
    nd.write(tmp_path / "cell.ome.tif", np.ones((8, 32, 32), np.uint8), spacing=(3, 0.5, 0.5), units="um")
    nd.write(tmp_path / "cell.geojson", np.eye(9, dtype=np.uint8), kind="labels")
    path = str(tmp_path / "cell.swc")
    viewer = ViewerModel()
    for content, options, kind in (*file_hooks.get_reader(path)(path), *file_hooks.read_layers(str(tmp_path / "cell.geojson"))):
        getattr(viewer, f"add_{kind}")(content, **options)
    stack, lines, points, shapes = viewer.layers
    np.testing.assert_allclose(points.data_to_world(points.data[0]), (15, 10, 5))
    np.testing.assert_allclose(lines.scale, stack.scale)
    assert points.features["type"].tolist() == ["soma", "dendrite"] and len(shapes.data) == 9
