"""Objects by their features: pooling is exact, a few examples suffice, files are plain, mismatches are said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import FallbackWarning, FeatureMismatchError, FileFormatError, InputError
from napari_dinov3.features.upsample import upsample
from napari_dinov3.objects.pooling import PooledObjects

PLACES = [(row, col) for row in (6, 26, 46) for col in (6, 26, 46)]


@pytest.fixture
def stack() -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Two planes of nine squares: odd ones smooth, even ones striped; and the class of each."""
    rng = np.random.default_rng(0)
    images, labels, truth = rng.normal(0, 0.1, (2, 64, 64)), np.zeros((2, 64, 64), np.int32), {}
    for plane in range(2):
        for number, (row, col) in enumerate(PLACES, start=1 + 9 * plane):
            here = (plane, slice(row, row + 12), slice(col, col + 12))
            labels[here], truth[number] = number, 1 + number % 2
            images[here] += 2 if number % 2 else 2 * (np.arange(12) % 4 < 2)
    return images, labels, truth


@pytest.fixture
def features(stack) -> nd.FeatureMap:
    return nd.extract(stack[0], backbone="filter-bank", stride=4)


def test_pooled_mean_is_that_of_the_features_at_every_pixel(stack, features) -> None:
    labels = stack[1].copy()
    labels[0, 0, 0], labels[1, 63, 60:] = 30, 31  # smaller than a patch, and at the edge
    pooled = nd.pool_objects(features, labels)
    pixels = np.stack(
        [
            upsample(features.plane(z), image_shape=(64, 64), stride=features.stride, first_centre=features.first_centre)
            for z in range(2)
        ]
    )
    for row, number in enumerate(pooled.labels):
        truth = pixels[labels == number].mean(axis=0)
        np.testing.assert_allclose(pooled.features[row, : features.dim], truth, rtol=1e-4, atol=1e-5)


def test_the_rim_is_that_of_the_object() -> None:
    grid = np.zeros((1, 16, 16, 1), np.float32)
    grid[0, 5:11, 5:11] = 1  # inside 1, and 0 along the outline of the object
    labels = np.zeros((16, 16), int)
    labels[4:12, 4:12] = 1
    pooled = nd.pool_objects(nd.FeatureMap.from_array(grid, stride=1), labels)
    mean, spread, rim = pooled.features[0]
    assert rim == 0
    assert mean == pytest.approx(36 / 64)
    assert spread == pytest.approx(np.sqrt(36 / 64 * 28 / 64))


def test_an_object_across_planes_is_pooled_over_them() -> None:
    grid = np.stack([np.zeros((4, 4, 1)), np.ones((4, 4, 1))]).astype(np.float32)
    labels = np.zeros((2, 4, 4), int)
    labels[0, 0, :], labels[1, 0, 0] = 1, 1
    pooled = nd.pool_objects(nd.FeatureMap.from_array(grid, stride=1), labels)
    assert pooled.features[0, 0] == pytest.approx(1 / 5)


def test_patches_without_features_count_nowhere() -> None:
    grid = np.ones((1, 8, 8, 2), np.float32)
    grid[0, :, 4:] = np.nan
    labels = np.zeros((8, 8), int)
    labels[:, :2], labels[:, 3:5], labels[:, 6:] = 1, 2, 3
    pooled = nd.pool_objects(nd.FeatureMap.from_array(grid, stride=1), labels)
    assert pooled.usable.tolist() == [True, True, False]
    np.testing.assert_allclose(pooled.features[1, :2], 1)
    with pytest.raises(InputError, match="Example 3 has no finite features"):
        nd.ObjectClassifier().fit(pooled, {1: 1, 3: 2})
    with pytest.warns(FallbackWarning, match="Only class 4"):
        found = nd.ObjectClassifier().fit(pooled, {1: 4}).predict(pooled)
    assert found.classes.tolist() == [4, 4, 0]


@pytest.mark.parametrize("each, head", [(1, "auto"), (2, "auto"), (2, "logistic"), (3, "prototypes")])
def test_a_few_examples_classify_the_rest_across_planes(stack, features, each, head) -> None:
    _, labels, truth = stack
    pooled = nd.pool_objects(features, labels)
    examples = {number: truth[number] for number in range(1, 1 + 2 * each)}
    found = nd.ObjectClassifier(head=head).fit(pooled, examples).predict(pooled)
    assert dict(zip(found.labels.tolist(), found.classes.tolist(), strict=True)) == truth
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (found.probability > 0.5).all()


def test_three_classes_have_three_probabilities(stack, features) -> None:
    pooled = nd.pool_objects(features, stack[1])
    found = nd.ObjectClassifier(head="logistic").fit(pooled, {1: 2, 2: 5, 4: 9}).predict(pooled)
    assert found.values == (2, 5, 9)
    assert found.probabilities.shape == (18, 3)


def test_examples_keep_their_class(stack, features) -> None:
    _, labels, truth = stack
    wrong = {**{number: truth[number] for number in range(1, 13)}, 13: 3 - truth[13]}
    pooled = nd.pool_objects(features, labels)
    found = nd.ObjectClassifier(C=0.01).fit(pooled, wrong).predict(pooled)
    assert found.classes[12] == truth[13]
    kept = found.with_examples(wrong)
    assert kept.classes[12] == wrong[13]
    assert kept.probability[12] < 0.5
    again = nd.classify_objects(features, labels, examples=wrong, C=0.01)
    np.testing.assert_array_equal(again.classes, kept.classes)


def test_classes_are_painted_over_their_objects(stack, features) -> None:
    _, labels, truth = stack
    found = nd.classify_objects(features, labels, examples=((1, truth[1]), (2, truth[2])), names=((1, "striped"), (2, "smooth")))
    painted = nd.paint_classes(found, labels)
    for number, value in truth.items():
        assert set(painted[labels == number].tolist()) == {value}
    assert not painted[labels == 0].any()
    assert found.paint(np.array([0, 1, 999])).tolist() == [0, truth[1], 0]
    assert found.table["object_class_name"][0] == {1: "striped", 2: "smooth"}[truth[1]]
    assert len(nd.measure_objects(labels).joined(found.table)["object_class"]) == 18


@pytest.mark.parametrize("examples", [{1: 2, 2: 1}, {1: 2, 2: 1, 3: 2, 4: 1}, {1: 2, 2: 1, 3: 3, 4: 1, 5: 2, 6: 3}])
def test_a_saved_classifier_gives_the_same_answers_on_another_image(stack, features, tmp_path, examples) -> None:
    images, labels, _ = stack
    pooled = nd.pool_objects(features, labels)
    taught = nd.ObjectClassifier(names={1: "a"}).fit(pooled, examples)
    loaded = nd.ObjectClassifier.load(taught.save(tmp_path / "cells"))
    other = nd.pool_objects(nd.extract(images[:1] * 1.1, backbone="filter-bank", stride=4), labels[:1])
    np.testing.assert_allclose(loaded.predict(other).probabilities, taught.predict(other).probabilities, rtol=1e-4, atol=1e-6)
    assert loaded.names == {1: "a"}
    by_file = nd.classify_objects(features, labels, classifier=tmp_path / "cells.npz")
    np.testing.assert_array_equal(by_file.classes, taught.predict(pooled).classes)


def test_other_features_are_refused(stack, features) -> None:
    images, labels, _ = stack
    taught = nd.ObjectClassifier().fit(nd.pool_objects(features, labels), {1: 1, 2: 2})
    coarser = nd.pool_objects(nd.extract(images, backbone="filter-bank", stride=8), labels)
    with pytest.raises(FeatureMismatchError, match=r"stride 4\.0 and 8\.0"):
        taught.predict(coarser)


def test_a_file_of_something_else_is_refused(stack, features, tmp_path) -> None:
    probe = nd.Probe(head="linear").fit(features, np.minimum(stack[1], 2)).save(tmp_path / "probe.npz")
    with pytest.raises(FileFormatError, match="not a usable object classifier"):
        nd.ObjectClassifier.load(probe)
    with pytest.raises(FileFormatError, match="no file"):
        nd.ObjectClassifier.load(tmp_path / "nothing.npz")
    taught = nd.ObjectClassifier().fit(nd.pool_objects(features, stack[1]), {1: 1, 2: 2})
    taught._fitted = replace(taught.fitted, values=(1, 2, 3))
    with pytest.raises(FileFormatError, match="not fit together"):
        nd.ObjectClassifier.load(taught.save(tmp_path / "broken.npz"))


@pytest.mark.parametrize(
    "examples, message",
    [({}, "No object has a class"), ({99: 1}, "Example 99 is not among"), ({1: 0}, "Class 0")],
)
def test_wrong_examples_are_said(stack, features, examples, message) -> None:
    with pytest.raises(InputError, match=message):
        nd.ObjectClassifier().fit(nd.pool_objects(features, stack[1]), examples)


def test_objects_of_another_image_are_refused(features) -> None:
    with pytest.raises(InputError, match="same planes, rows and columns"):
        nd.pool_objects(features, np.ones((64, 64), int))
    with pytest.raises(InputError, match="no object"):
        nd.pool_objects(features, np.zeros((2, 64, 64), int))
    with pytest.raises(InputError, match="Neither"):
        nd.classify_objects(features, np.ones((2, 64, 64), int))


def test_one_object_is_classified(features) -> None:
    labels = np.zeros((2, 64, 64), int)
    labels[0, 4:20, 4:20] = 5
    with pytest.warns(FallbackWarning):
        found = nd.classify_objects(features, labels, examples={5: 1})
    assert found.classes.tolist() == [1]


def test_features_that_do_not_vary_do_no_harm() -> None:
    pooled = PooledObjects.of(np.array([1, 2, 3, 4]), np.array([[1, 0], [1, 5], [1, 1], [1, 4]], np.float32), {"dim": 1})
    assert nd.ObjectClassifier().fit(pooled, {1: 1, 2: 2}).predict(pooled).classes.tolist() == [1, 2, 1, 2]
