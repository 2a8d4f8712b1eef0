"""Copied code runs as it is, and puts its layers where the panel put them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_dinov3._napari import script
from napari_dinov3._napari.layers import read_layer

PLACES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "stack": ((4, 16, 20), {"scale": (2, 0.5, 0.5), "units": ("um", "um", "um"), "axis_labels": ("z", "y", "x")}),
    "image": ((16, 20), {"scale": (0.1, 0.2), "translate": (3, 4)}),
    "turned": ((16, 20), {"rotate": 30, "shear": (0.2,), "affine": [[1, 0, 3], [0.1, 1, 4], [0, 0, 1]]}),
    "movie": ((3, 4, 16, 20), {"scale": (10, 2, 1, 1), "translate": (5, 0, 0, 0)}),
    "colour": ((4, 16, 20, 3), {"rgb": True}),
}


@pytest.mark.parametrize(("shape", "place"), PLACES.values(), ids=PLACES)
def test_the_code_reads_the_layer_and_adds_its_result_in_the_same_place(shape: tuple[int, ...], place: dict[str, Any]) -> None:
    viewer = ViewerModel()
    data = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    layer = viewer.add_image(data, name="the 'image'", **place)
    point = (15,) + (0,) * (layer.ndim - 1)
    source = read_layer(layer, point=point)
    add = script.add_line(
        "labels", "result", name="result", placement=source.placement, transform=source.placement.pixel_transform(), opacity=0.5
    )
    pick = "[..., 0]" if source.planes.rgb else ""
    work = f"result = nd.as_planes(image, axes={script.axes_of(source)!r}).data{pick}.astype(int)"
    code = script.script_of([*script.layer_lines(source), work, add])
    exec(code, {"viewer": viewer})
    made = viewer.layers["result"]
    pixels = source.planes.data[..., 0] if source.planes.rgb else source.planes.data
    np.testing.assert_array_equal(made.data.reshape(source.planes.shape), pixels)
    fixed = dict(source.placement.fixed)
    corner = [fixed.get(axis, 0) for axis in range(layer.ndim)]
    np.testing.assert_allclose(made.data_to_world((0,) * made.ndim), layer.data_to_world(corner))
    assert made.units == layer.units
    assert made.axis_labels == layer.axis_labels
    assert made.opacity == 0.5


def test_a_pyramid_is_read_at_its_level() -> None:
    viewer = ViewerModel()
    finest = np.zeros((32, 32))
    layer = viewer.add_image([finest, finest[::2, ::2]], multiscale=True, name="pyramid")
    source = read_layer(layer, level=1)
    lines = script.layer_lines(source, level=1, multiscale=True)
    names: dict[str, Any] = {"viewer": viewer}
    exec(lines[0], names)
    assert names["image"].shape == (16, 16)
