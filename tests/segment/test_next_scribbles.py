"""Where to paint next: regions, not pixels; apart from each other; not where there is paint."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinov3.errors import InputError
from napari_dinov3.segment.next_scribbles import most_uncertain


def field() -> np.ndarray:
    values = np.zeros((128, 128), np.float32)
    values[20:40, 20:40] = 0.9
    values[90:110, 80:100] = 0.6
    values[5, 120] = 1.0  # one pixel
    return values


def test_the_most_uncertain_regions_come_first_and_lie_apart() -> None:
    places = most_uncertain({3: field(), 7: field() / 4}, size=16, count=3)
    assert [place.plane for place in places][:2] == [3, 3]
    assert (abs(places[0].row - 30), abs(places[0].col - 30)) <= (4, 4)
    assert places[0].uncertainty == pytest.approx(0.9)
    for first in places:
        for second in places:
            same = first is second or first.plane != second.plane
            assert same or max(abs(first.row - second.row), abs(first.col - second.col)) >= 16


def test_what_is_painted_needs_no_other_stroke() -> None:
    painted = np.zeros((128, 128), bool)
    painted[18:42, 18:42] = True
    place = most_uncertain({0: field()}, size=16, count=1, painted={0: painted})[0]
    assert 90 <= place.row <= 110 and 80 <= place.col <= 100


def test_a_probe_that_is_sure_everywhere_gives_no_place_and_nan_counts_as_sure() -> None:
    assert most_uncertain({0: np.full((64, 64), np.nan, np.float32), 1: np.zeros((64, 64), np.float32)}) == ()


def test_senseless_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="size=0"):
        most_uncertain({}, size=0)
