"""The image classifier: what it learns, keeps and refuses."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import napari_dinov3 as nd
from napari_dinov3.classify.images import ImageClassifier, pool_planes
from napari_dinov3.errors import FallbackWarning, FileFormatError, InputError

MADE_BY = {"backbone": "filter-bank", "stride": 8}


@pytest.fixture
def table() -> tuple[np.ndarray, list[str]]:
    codes = np.arange(30) % 3
    return np.eye(3)[codes] + np.random.default_rng(0).normal(0, 0.5, (30, 3)), [("x", "y", "z")[code] for code in codes]


@pytest.mark.parametrize("classes", [2, 3])
def test_unscaled_it_is_multinomial_logistic_regression(table: tuple[np.ndarray, list[str]], classes: int) -> None:
    kept = [at for at, label in enumerate(table[1]) if label in "xyz"[:classes]]
    vectors, labels = table[0][kept], [table[1][at] for at in kept]
    ours = ImageClassifier(scaling="none").fit(vectors, labels).predict_proba(vectors)
    theirs = LogisticRegression(max_iter=1000).fit(vectors, labels).predict_proba(vectors)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_scaling_makes_units_irrelevant(table: tuple[np.ndarray, list[str]]) -> None:
    vectors, labels = table
    one = ImageClassifier().fit(vectors, labels).predict_proba(vectors)
    other = ImageClassifier().fit(vectors * [1e-3, 1, 1e3], labels).predict_proba(vectors * [1e-3, 1, 1e3])
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_number_that_never_varies_changes_nothing(table: tuple[np.ndarray, list[str]]) -> None:
    vectors, labels = table
    flat = np.hstack([vectors, np.full((30, 1), 1e6)])
    assert ImageClassifier().fit(flat, labels).predict(flat) == ImageClassifier().fit(vectors, labels).predict(vectors)


def test_a_file_gives_the_same_answers_and_says_what_it_fits(table: tuple[np.ndarray, list[str]], tmp_path: Path) -> None:
    vectors, labels = table
    model = ImageClassifier(C=0.5).fit(vectors, labels, made_by=MADE_BY)
    again = ImageClassifier.load(model.save(tmp_path / "model"))
    assert (again.classes_, again.settings) == (("x", "y", "z"), model.settings)
    np.testing.assert_array_equal(again.predict_proba(vectors, made_by=MADE_BY), model.predict_proba(vectors))
    with pytest.raises(InputError, match="stride 8 and 4"):
        again.predict(vectors, made_by={**MADE_BY, "stride": 4})
    with pytest.raises(InputError, match="3 and 2 numbers"):
        again.predict(vectors[:, :2])
    with pytest.raises(InputError, match="exists"):
        model.save(tmp_path / "model.npz")


def test_other_files_are_refused_and_nothing_is_unpickled(table: tuple[np.ndarray, list[str]], tmp_path: Path) -> None:
    good = ImageClassifier().fit(*table).save(tmp_path / "good.npz")
    with np.load(good) as archive:
        parts = dict(archive)

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("unpickled",))

    header = json.loads(str(parts["header"]))
    bad = {
        "pickle": {**parts, "mean": np.array([Evil()], dtype=object)},
        "nan": {**parts, "weights": parts["weights"] * np.nan},
        "shape": {**parts, "bias": parts["bias"][:1]},
        "other": {**parts, "header": np.array(json.dumps({**header, "format": "x"}))},
        "newer": {**parts, "header": np.array(json.dumps({**header, "version": 9}))},
        "settings": {**parts, "header": np.array(json.dumps({**header, "settings": {"C": -1}}))},
    }
    for name, content in bad.items():
        np.savez(tmp_path / f"{name}.npz", **content)
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(3))
    for name in (*bad, "raw", "missing"):
        with pytest.raises(FileFormatError):
            ImageClassifier.load(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    ("vectors", "labels", "text"),
    [
        (np.ones((3, 2)), ["a"] * 3, "One class only: a"),
        (np.ones((3, 2)), ["a", "b"], "3 vectors and 2 labels"),
        (np.array([[1.0], [np.nan]]), ["a", "b"], "the first at 1"),
        (np.ones(3), ["a", "b", "a"], "Vectors of shape"),
    ],
)
def test_bad_training_sets_are_refused(vectors: np.ndarray, labels: list[str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        ImageClassifier().fit(vectors, labels)


def test_a_classifier_that_stops_early_says_so(table: tuple[np.ndarray, list[str]]) -> None:
    with pytest.warns(FallbackWarning, match="stopped after 1"):
        ImageClassifier(max_iter=1, C=100).fit(*table)


def test_pooling_puts_mean_and_spread_of_patches_side_by_side() -> None:
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    features = nd.FeatureMap.from_array(array)
    vectors = pool_planes(features)
    assert vectors.shape == (2, 10)
    np.testing.assert_allclose(vectors[1, :5], array[1].reshape(-1, 5).mean(0), atol=1e-6)
    np.testing.assert_allclose(vectors[1, 5:], array[1].reshape(-1, 5).std(0), atol=1e-6)
    with pytest.raises(InputError, match="no CLS token"):
        pool_planes(features, pooling="cls")


def test_with_a_cls_token_it_comes_first() -> None:
    array, cls = np.ones((2, 3, 3, 4), np.float32), np.arange(8, dtype=np.float32).reshape(2, 4)
    features = nd.FeatureMap.from_array(array, cls=cls)
    np.testing.assert_array_equal(pool_planes(features), np.hstack([cls, np.ones((2, 4))]))
    np.testing.assert_array_equal(pool_planes(features, pooling="cls"), cls)
