"""Segmentation against a reference: regions, boundaries, planes, pairing, and what is refused."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate import evaluate_segmentation
from napari_dinov3.evaluate.boundary import boundary_counts


def disc(radius: float, size: int = 64) -> np.ndarray:
    rows, cols = np.indices((size, size)) - (size - 1) / 2
    return (np.hypot(rows, cols) <= radius).astype(np.uint8)


def test_a_boundary_moved_by_the_tolerance_is_right_and_by_more_is_not() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[:, 20:] = 1
    moved = np.roll(truth, 3, axis=1)
    moved[:, :3] = 0
    assert boundary_counts(moved, truth, tolerance=3).f1.tolist() == [1.0, 1.0]
    assert boundary_counts(moved, truth, tolerance=2.9).f1.tolist() == [0.0, 0.0]


def test_the_tolerance_is_a_distance_in_the_world_where_spacing_is_given() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[20:] = 1
    moved = np.zeros_like(truth)
    moved[22:] = 1  # two rows of 0.5
    assert boundary_counts(moved, truth, tolerance=1.0, spacing=(0.5, 10.0)).mean_f1 == 1
    assert boundary_counts(moved, truth, tolerance=0.9, spacing=(0.5, 0.1)).mean_f1 == 0


def test_boundary_counts_equal_a_direct_count() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (rng.integers(0, 3, (12, 14)).repeat(3, 0).repeat(3, 1) for _ in range(2))
    counts = boundary_counts(ours, theirs, tolerance=2)

    def border(labels: np.ndarray, value: int) -> list[tuple[int, int]]:
        rows, cols = labels.shape
        near = lambda r, c: [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]  # noqa: E731
        inside = [(r, c) for r in range(rows) for c in range(cols) if labels[r, c] == value]
        return [
            (r, c) for r, c in inside if any(0 <= a < rows and 0 <= b < cols and labels[a, b] != value for a, b in near(r, c))
        ]

    for at, value in enumerate(counts.classes):
        first, second = border(ours, value), border(theirs, value)
        close = lambda some, others: sum(  # noqa: E731
            min(np.hypot(r - a, c - b) for a, b in others) <= 2 for r, c in some
        )
        assert counts.counts[at].tolist() == [len(first), close(first, second), len(second), close(second, first)]


def test_the_edge_of_the_image_and_unlabelled_pixels_make_no_boundary() -> None:
    whole = np.ones((20, 20), np.uint8)
    assert np.isnan(boundary_counts(whole, whole).mean_f1)
    partly = whole.copy()
    partly[:, :10] = 0
    assert np.isnan(boundary_counts(whole, partly, ignore_label=0).f1).all()


def test_the_same_labels_score_one_everywhere() -> None:
    truth = np.stack([disc(20), disc(10)])
    scores = evaluate_segmentation(truth, truth)
    assert scores.report.accuracy == scores.mean_iou == scores.mean_boundary_f1 == 1
    assert [score.plane for score in scores.planes] == [0, 1]
    assert scores.ignored is None  # the prediction says 0, so 0 is a class


def test_planes_are_counted_and_measured_one_by_one() -> None:
    truth = np.stack([disc(20)] * 2)
    found = np.stack([disc(20), disc(10)])
    scores = evaluate_segmentation(found, truth)
    overlap = disc(10).sum() / disc(20).sum()
    assert scores.planes[0].iou == 1 and scores.planes[1].iou < 0.7
    assert scores.report.iou[1] == pytest.approx((1 + overlap) / 2)
    row = scores.as_rows()[1]
    assert row["dice"] == row["f1"] == pytest.approx(2 * row["iou"] / (1 + row["iou"]))


def test_a_prediction_without_zero_leaves_the_unlabelled_out() -> None:
    truth = np.zeros((1, 20, 20), np.uint8)
    truth[0, 5], truth[0, 10] = 1, 2
    found = np.ones((1, 20, 20), np.uint8)
    found[0, 8:] = 2
    scores = evaluate_segmentation(found, truth)
    assert scores.ignored == 0 and scores.report.accuracy == 1 and scores.report.support.sum() == 40


def test_classes_numbered_otherwise_are_paired() -> None:
    truth = np.stack([disc(20)])
    found = truth + 1
    plain, paired = (evaluate_segmentation(found, truth, pairing=how) for how in ("same", "overlap"))
    assert plain.report.accuracy < 0.5
    assert paired.report.accuracy == 1 and paired.pairs == {1: 0, 2: 1} and "1 = reference 0" in paired.summary()


def test_lazy_labels_and_whole_floats_give_the_same() -> None:
    truth, found = np.stack([disc(20)] * 3), np.stack([disc(18)] * 3)
    plain = evaluate_segmentation(found, truth)
    lazy = evaluate_segmentation(dask.array.from_array(found.astype(float), chunks=(1, 64, 64)), truth)
    np.testing.assert_array_equal(plain.report.counts, lazy.report.counts)


@pytest.mark.parametrize(
    ("found", "truth", "text"),
    [
        (np.zeros((4, 4), int), np.zeros((5, 5), int), "one shape"),
        (np.ones((4, 4), int), np.zeros((4, 4), int), "No pixel of the reference"),
        (np.full((4, 4), np.nan), np.ones((4, 4), int), "16 of them NaN"),
        (np.full((4, 4), 0.5), np.ones((4, 4), int), "no whole numbers"),
        (np.ones((2, 2, 4, 4), int), np.ones((2, 2, 4, 4), int), "(planes, rows, cols)"),
    ],
)
def test_what_cannot_be_compared_is_said(found: np.ndarray, truth: np.ndarray, text: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate_segmentation(found, truth)
    assert text in str(caught.value)


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(InputError, match="tolerance"):
        evaluate_segmentation(disc(5), disc(5), tolerance=-1)


def test_tables_have_one_row_a_class_and_no_nan() -> None:
    scores = evaluate_segmentation(np.ones((4, 4), int), np.ones((4, 4), int))
    lines = scores.to_csv().splitlines()
    assert lines[0] == "class,pixels,precision,recall,f1,dice,iou,boundary_f1"
    assert lines[1] == "1,16,1.0,1.0,1.0,1.0,1.0," and len(lines) == 3
    assert "Boundary F1" in scores.to_markdown()
