"""The book of scribbles: copies of painted planes, read again only where something may have changed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from napari_dinov3._napari.segment.scribble_book import Painted, ScribbleBook, planes_of_stroke
from napari_dinov3.image import as_planes
from napari_dinov3.progress import collect


def read(book: ScribbleBook, data: np.ndarray, dirty: set[int] | None = None) -> Painted:
    return collect(book.read_steps(as_planes(data, rgb=False), dirty))


def test_painted_planes_are_copied_and_counted() -> None:
    data = np.zeros((5, 8, 8), np.uint8)
    data[1, :2], data[4, 0] = 3, 1
    painted = read(ScribbleBook(), data)
    assert list(painted.planes) == [1, 4]
    assert painted.counts == {1: 8, 3: 16}
    data[1] = 9
    assert painted.planes[1].max() == 3


def test_only_dirty_planes_are_read_again() -> None:
    data, book = np.zeros((5, 8, 8), np.uint8), ScribbleBook()
    data[1, 0] = 1
    first = read(book, data)
    data[2, 0] = data[3, 0] = 2
    second = read(book, data, {2})
    assert list(second.planes) == [1, 2]
    assert second.planes[1] is first.planes[1]
    data[2] = 0
    third = read(book, data, {2, 99})
    assert third.digest == first.digest
    assert book.ever_painted == {1, 2}


def test_a_stroke_tells_its_planes_where_it_can() -> None:
    old = [((np.array([2, 2, 5]), np.zeros(3, int), np.zeros(3, int)), np.zeros(3), 1)]
    new = [SimpleNamespace(slice_key=(slice(3, 4), slice(0, 9), slice(0, 9))), SimpleNamespace(slice_key=(6, slice(0, 1), 0))]
    assert planes_of_stroke(old, 0) == {2, 5}
    assert planes_of_stroke(new, 0) == {3, 6}
    assert planes_of_stroke(new, None) == {0}
    assert planes_of_stroke("something else", 0) is None
