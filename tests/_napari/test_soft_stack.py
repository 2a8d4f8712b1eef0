"""Probabilities that layers show while people paint: computed once, kept as far as they fit, the newest probe's on the canvas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3._napari.segment import soft_stack
from napari_dinov3._napari.segment.soft_stack import SoftCanvas, SoftStack

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
