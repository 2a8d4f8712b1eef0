from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from PIL import Image as Picture

import napari_dinov3 as nd
from napari_dinov3._napari import file_hooks
from napari_dinov3.errors import FileFormatError

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
