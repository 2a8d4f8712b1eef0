"""Classes of whole images: figures against scikit-learn's, groups kept apart, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from napari_dinov3.classify.images import ImageClassifier
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate import ImageClassification, cross_validate_images

CLASSES = tuple("abcdefg")


@pytest.fixture(scope="module")
def found() -> ImageClassification:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(len(CLASSES)), 8)
    vectors = np.eye(len(CLASSES))[codes] + rng.normal(0, 0.6, (len(codes), len(CLASSES)))
    return cross_validate_images(vectors, [CLASSES[code] for code in codes], folds=4)


def test_figures_equal_those_of_scikit_learn(found: ImageClassification) -> None:
    true, guess = found.truth, found.predicted
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(true, guess, average="macro", zero_division=0)
    report = found.report
    assert 0.5 < found.top(1) < 1  # neither trivial nor chance
    assert (report.macro_precision, report.macro_recall, report.macro_f1) == pytest.approx((precision, recall, f1))
    assert report.weighted(report.f1) == pytest.approx(metrics.f1_score(true, guess, average="weighted"))
    assert report.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(true, guess))
    assert found.top(1) == pytest.approx(metrics.accuracy_score(true, guess))
    assert found.top(5) == pytest.approx(metrics.top_k_accuracy_score(true, found.probabilities, k=5))
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(true, guess))


def test_the_worst_classes_and_the_surest_mistakes_come_first(found: ImageClassification) -> None:
    recalls = [recall for _, recall, _ in found.worst()]
    assert recalls == sorted(recalls) and len(recalls) == len(CLASSES)
    wrong = found.mistakes()
    assert set(wrong) == set(np.flatnonzero(found.truth != found.predicted))
    assert (np.diff(found.probabilities[wrong].max(axis=1)) <= 0).all()


def test_tables(found: ImageClassification) -> None:
    assert [row["class"] for row in found.as_rows()] == [*CLASSES, "macro average", "weighted average"]
    assert sum(sum(v for k, v in row.items() if k in CLASSES) for row in found.confusion_rows()) == 56
    assert "Top-1" in found.to_markdown() and "top-5" in found.summary()
    assert len(found.prediction_rows()) == 56


def test_copies_in_one_group_cannot_help() -> None:
    """Random labels on pairs of equal vectors: split at random the twin gives the class away, grouped it does not."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(60, 80)).repeat(2, axis=0)
    labels = [("a", "b")[code] for code in rng.integers(0, 2, 60).repeat(2)]
    apart = cross_validate_images(vectors, labels, groups=np.arange(60).repeat(2).tolist()).top(1)
    leaking = cross_validate_images(vectors, labels).top(1)
    assert leaking > 0.8 and apart < 0.7


@pytest.mark.parametrize(
    ("labels", "groups", "text"),
    [
        (["a"] * 6, None, "One class only: a"),
        (["a"] * 5 + ["b"], None, r"A single image \(or group\) of b"),
        (["a"] * 3 + ["b"] * 3, [1, 2, 3, 4, 4, 4], r"A single image \(or group\) of b"),
        (["a"] * 5, None, "6 vectors and 5 labels"),
    ],
)
def test_classes_that_cannot_be_tested_are_refused(labels: list[str], groups: list[int] | None, text: str) -> None:
    with pytest.raises(InputError, match=text):
        cross_validate_images(np.random.default_rng(0).normal(size=(6, 3)), labels, groups=groups)


def test_options_of_the_classifier_are_used() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    strong = cross_validate_images(vectors, list("ab") * 10, classifier=ImageClassifier(C=1e-6))
    assert np.allclose(strong.probabilities, 0.5, atol=0.01)
