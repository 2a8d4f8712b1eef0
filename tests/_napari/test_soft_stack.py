"""Probabilities that layers show while people paint: computed once, kept as far as they fit, the newest probe's on the canvas."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image
from napari.utils._proxies import PublicOnlyProxy

import napari_dinov3 as nd
from napari_dinov3._napari.file_hooks import read_layers, write_image
from napari_dinov3._napari.layers import read_layer
from napari_dinov3._napari.segment import soft_stack
from napari_dinov3._napari.segment.soft_stack import SoftCanvas, SoftStack, SoftView

RNG = np.random.default_rng(0)


def stack(head: Any = "linear") -> SoftStack:
    images = RNG.normal(100, 3, (4, 32, 40)).astype(np.float32)
    images[:, 8:20, 8:24] += 60
    features = nd.extract(images, backbone="filter-bank", stride=4)
    scribbles = np.zeros(images.shape, np.uint8)
    scribbles[0, 2:5, 2:38], scribbles[0, 10:18, 10:22] = 1, 2
    probe = nd.Probe(head=head).fit(features, scribbles)
    return SoftStack(probe, features, nd.image.as_planes(images))


def test_a_plane_holds_the_probabilities_and_last_the_uncertainty_and_is_computed_once() -> None:
    soft = stack()
    assert 2 not in soft
    plane = soft.plane(2)
    assert soft.plane(2) is plane and 2 in soft
    np.testing.assert_array_equal(plane[:2], soft.probe.predict_proba_plane(soft.features, 2))
    np.testing.assert_array_equal(plane[2], soft.probe.uncertainty_plane(soft.features, 2))


def test_planes_are_wanted_outward_from_the_one_in_view_and_only_as_many_as_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_stack, "MOST_PLANES", 3)
    soft = stack()
    order = []
    while (plane := soft.wanted(2, len(order))) is not None:
        order.append(plane)
        soft.plane(plane)
    assert order == [2, 1, 3]
    soft.plane(0)
    assert [plane in soft for plane in range(4)] == [True, True, False, True]


def test_a_canvas_shows_the_stack_it_was_given_last_in_the_same_array() -> None:
    first, second = stack(), stack("prototypes")
    canvas = SoftCanvas(first, 1)
    before = np.asarray(canvas.array[1])
    np.testing.assert_array_equal(before, first.plane(1)[1])
    assert canvas.fits(second) and canvas.follow(second, 1) and not canvas.follow(second, 1)
    np.testing.assert_array_equal(np.asarray(canvas.array[1]), second.plane(1)[1])
    assert not np.array_equal(np.asarray(canvas.array[1]), before)


def shown(ndim: int = 3) -> tuple[SoftCanvas, SoftView, Image]:
    """A canvas that a worker fills, what a layer shows of it, and that layer; with four axes the first one is fixed."""
    canvas = SoftCanvas(stack(), 1)
    canvas.attended = True
    source = Image(np.zeros((2, 4, 32, 40)[-ndim:], np.uint8), name="source")
    view = SoftView(canvas, read_layer(source, stack_axis=ndim - 3).placement)
    return canvas, view, Image(view, contrast_limits=(0, 1), name="soft")


@pytest.mark.parametrize("ndim", [3, 4])
def test_what_is_not_there_is_drawn_empty_and_drawn_again_when_it_is(ndim: int) -> None:
    canvas, view, layer = shown(ndim)
    assert layer.data is view and view.shape == (1, 4, 32, 40)[-ndim:]
    assert not canvas.stack._kept  # adding a layer computes nothing
    index = (*(slice(0, 1),) * (ndim - 3), slice(2, 3), slice(None), slice(None))  # as napari asks
    empty = np.asarray(view[index])
    assert empty.shape == (1,) * (ndim - 2) + (32, 40) and np.isnan(empty).all()
    assert 2 not in canvas.stack and not canvas.outdated
    plane = canvas.stack.plane(2)
    assert canvas.outdated
    np.testing.assert_array_equal(np.asarray(view[index]).reshape(32, 40), plane[1])
    assert not canvas.outdated


def test_where_no_worker_fills_it_a_plane_is_computed_by_who_draws_it() -> None:
    canvas, view, _ = shown()
    assert np.isnan(view[3, :, :]).all()
    canvas.attended = False
    assert canvas.outdated
    assert np.isfinite(view[3, :, :]).all() and not canvas.outdated


def test_whoever_reads_or_saves_gets_every_number() -> None:
    canvas, view, layer = shown()
    assert isinstance(view[1], da.Array) and view.chunks == ((1, 1, 1, 1), (32,), (40,))
    whole = np.stack([canvas.stack.probe.predict_proba_plane(canvas.stack.features, plane)[1] for plane in range(4)])
    np.testing.assert_array_equal(np.asarray(view), whole)
    canvas.stack._kept.clear()
    np.testing.assert_array_equal(view[:, :20, 4:8], whole[:, :20, 4:8])
    canvas.stack._kept.clear()
    planes = read_layer(layer).planes
    np.testing.assert_array_equal([planes.plane(plane) for plane in range(4)], whole)
    canvas.stack._kept.clear()
    np.testing.assert_array_equal(np.max(view, axis=0), whole.max(axis=0))


def test_a_duplicate_keeps_the_answer_it_was_made_of() -> None:
    canvas, view, _ = shown()
    before = np.asarray(view)
    copy = deepcopy(view)
    assert canvas.follow(stack("prototypes"), 1)
    assert not np.array_equal(np.asarray(view), before)
    np.testing.assert_array_equal(np.asarray(copy), before)


def test_another_plugin_which_sees_napari_through_a_proxy_reads_the_same_numbers() -> None:
    _, _, layer = shown()
    behind = PublicOnlyProxy(layer)
    np.testing.assert_array_equal(np.asarray(behind.data), np.asarray(layer.data))
    planes = read_layer(behind).planes
    np.testing.assert_array_equal(planes.plane(3), np.asarray(layer.data)[3])
    np.testing.assert_array_equal(np.asarray(behind.data[1]), np.asarray(layer.data)[1])


@pytest.mark.parametrize("name", ["soft.ome.tif", "soft.ome.zarr", "soft.nii.gz"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_saving_a_layer_writes_every_number(tmp_path: Path, name: str, ndim: int) -> None:
    canvas, _, _ = shown()
    source = Image(np.zeros((4, 32, 40)[-ndim:], np.uint8), name="source")
    layer = Image(SoftView(canvas, read_layer(source).placement), contrast_limits=(0, 1), name="soft")
    (path,) = write_image(str(tmp_path / name), *layer.as_layer_data_tuple()[:2])
    saved, *_ = read_layers(path)[0]
    level = saved[0] if isinstance(saved, list) else saved
    np.testing.assert_allclose(np.asarray(level).reshape(layer.data.shape), np.asarray(layer.data), atol=1e-6)
