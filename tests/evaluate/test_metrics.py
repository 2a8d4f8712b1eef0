"""Measures of labels, against counts made by hand and scikit-learn."""

from __future__ import annotations

import csv
import io

import dask.array as da
import numpy as np
import pytest
from sklearn import metrics as sk

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.metrics import Report, evaluate_labels


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 4, (3, 20, 30))
    predicted = np.where(rng.random(reference.shape) < 0.7, reference, rng.integers(1, 4, reference.shape))
    return predicted, reference


def test_agrees_with_scikit_learn(labels):
    predicted, reference = labels
    report = evaluate_labels(predicted, reference, ignore_label=None)
    truth, ours = reference.ravel(), predicted.ravel()
    np.testing.assert_array_equal(report.counts, sk.confusion_matrix(truth, ours))
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, ours)
    np.testing.assert_allclose(report.precision, precision)
    np.testing.assert_allclose(report.recall, recall)
    np.testing.assert_allclose(report.f1, f1)
    np.testing.assert_array_equal(report.support, support)
    np.testing.assert_allclose(report.iou, sk.jaccard_score(truth, ours, average=None))
    assert report.accuracy == pytest.approx(sk.accuracy_score(truth, ours))
    assert report.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(truth, ours))
    assert report.macro_f1 == pytest.approx(f1.mean())


def test_unlabelled_pixels_count_nowhere(labels):
    predicted, reference = labels
    kept = reference > 0
    report = evaluate_labels(predicted, reference)
    alone = evaluate_labels(predicted[kept], reference[kept], ignore_label=None)
    assert report.classes == (1, 2, 3)
    np.testing.assert_array_equal(report.counts, alone.counts)


def test_counts_by_hand():
    report = evaluate_labels([1, 1, 2, 2, 2, 0], [1, 2, 2, 2, 1, 1], ignore_label=None)
    assert report.counts.tolist() == [[0, 0, 0], [1, 1, 1], [0, 1, 2]]
    assert report.accuracy == pytest.approx(0.5)
    assert report.iou.tolist() == pytest.approx([0, 0.25, 0.5])
    assert report.dice.tolist() == pytest.approx([0, 0.4, 2 / 3])


def test_classes_in_neither_image_are_left_out_of_means():
    report = Report((1, 2, 3), np.array([[4, 0, 0], [0, 0, 0], [2, 0, 2]]))
    assert np.isnan(report.f1[1]) and np.isnan(report.precision[1]) and np.isnan(report.recall[1])
    assert report.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)


def test_sum_of_planes_is_the_whole(labels):
    predicted, reference = labels
    whole = evaluate_labels(predicted, reference)
    parts = [evaluate_labels(p, r) for p, r in zip(predicted, reference, strict=True)]
    np.testing.assert_array_equal(sum(parts[1:], parts[0]).counts, whole.counts)


def test_lazy_arrays_give_the_same(labels):
    predicted, reference = labels
    lazy = evaluate_labels(da.from_array(predicted, chunks=(1, 20, 30)), reference)
    np.testing.assert_array_equal(lazy.counts, evaluate_labels(predicted, reference).counts)


def test_tables_carry_names_and_means(labels):
    report = evaluate_labels(*labels, names={1: "membrane"})
    rows = report.as_rows()
    assert [row["class"] for row in rows] == ["membrane", "2", "3", "mean"]
    assert "| membrane |" in report.to_markdown() and f"{report.accuracy:.3f}" in report.to_markdown()
    read = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [float(row["f1"]) for row in read[:3]] == pytest.approx(report.f1.tolist())


@pytest.mark.parametrize(
    ("predicted", "reference"),
    [(np.ones((2, 3), int), np.ones((3, 2), int)), (np.ones((2, 2)), np.ones((2, 2), int)), (np.ones(4, int), np.zeros(4, int))],
)
def test_labels_that_cannot_be_compared_are_refused(predicted, reference):
    with pytest.raises(InputError):
        evaluate_labels(predicted, reference)
