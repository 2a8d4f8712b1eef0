"""Object scores by hand-made overlaps."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate import object_scores


@pytest.fixture
def reference() -> np.ndarray:
    labels = np.zeros((40, 40), int)
    labels[0:10, 0:10], labels[20:30, 0:10], labels[20:30, 20:30] = 1, 2, 3
    return labels


def test_the_same_objects_under_other_numbers_score_one(reference) -> None:
    report = object_scores(reference, np.where(reference, reference + 1000, 0))
    assert report.total.average_precision.tolist() == [1.0] * 9
    assert report.total.mean_iou == 1


def test_counts_follow_the_overlap(reference) -> None:
    predicted = np.zeros_like(reference)
    predicted[0:10, 0:8] = 7  # IoU 0.8 with object 1
    predicted[20:30, 4:10] = 8  # IoU 0.6 with object 2
    predicted[35:40, 35:40] = 9  # nothing there; object 3 is missed
    report = object_scores(reference, predicted, thresholds=(0.5, 0.7, 0.9))
    total = report.total
    assert total.matched.tolist() == [2, 1, 0]
    assert total.false.tolist() == [1, 2, 3]
    assert total.missed.tolist() == [1, 2, 3]
    assert total.average_precision.tolist() == [0.5, 0.2, 0]
    assert total.f1.tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert total.precision.tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert float(total.mean_iou) == pytest.approx(0.7)
    assert "| 0.500 | 2 | 1 | 1 |" in total.to_markdown()


def test_at_half_overlap_as_many_pairs_as_possible_match() -> None:
    reference, predicted = np.zeros((1, 12), int), np.zeros((1, 12), int)
    reference[0, 0:4], reference[0, 4:8] = 1, 2
    predicted[0, 0:2], predicted[0, 2:4], predicted[0, 4:6] = 1, 2, 3  # 1 and 2 both have IoU 0.5 with object 1
    scores = object_scores(reference, predicted, thresholds=(0.5,)).total
    assert scores.matched.tolist() == [2]
    assert scores.false.tolist() == [1]
    assert scores.missed.tolist() == [0]


def test_planes_are_scored_for_themselves_and_together(reference) -> None:
    stack, predicted = np.stack([reference, reference]), np.stack([reference, np.zeros_like(reference)])
    report = object_scores(stack, predicted)
    assert [plane.average_precision[0] for plane in report.planes] == [1, 0]
    assert report.total.average_precision[0] == 0.5
    assert len(report) == 2
    across = object_scores(stack, predicted, across="stack")
    assert across.total.matched.tolist()[0] == 3  # each object is half there
    assert across.total.matched.tolist()[1] == 0


def test_no_objects_have_no_score() -> None:
    nothing = np.zeros((2, 8, 8), int)
    assert np.isnan(object_scores(nothing, nothing).total.average_precision).all()
    some = nothing.copy()
    some[0, :4, :4] = 1
    report = object_scores(some, nothing)
    assert report.total.average_precision[0] == 0
    assert np.isnan(report[1].f1[0])


@pytest.mark.parametrize(
    "reference, predicted, options",
    [
        (np.zeros((4, 4), int), np.zeros((4, 5), int), {}),
        (np.zeros((4, 4)), np.zeros((4, 4)), {}),
        (np.zeros((4, 4), int), np.zeros((4, 4), int), {"thresholds": (0,)}),
    ],
)
def test_what_cannot_be_compared_is_refused(reference, predicted, options) -> None:
    with pytest.raises(InputError):
        object_scores(reference, predicted, **options)
