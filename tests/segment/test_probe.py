"""Probes from scribbles: what they learn, keep, refuse and fall back to."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from napari_dinov3.errors import FallbackWarning, FeatureMismatchError, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import collect
from napari_dinov3.segment.probe import Probe

HEADS = ("linear", "kernel", "boosting", "forest", "prototypes")


def striped_map(planes=3, grid=(12, 16), stride=2, dim=6, classes=2, seed=0):
    """Vertical stripes, one class each, as features with a little noise; returns the map and the true labels (1, 2, ...)."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim)) * 4
    stripe = np.arange(grid[1]) * classes // grid[1]
    array = centres[stripe][None, None] + rng.normal(size=(planes, *grid, dim)) * 0.3
    features = FeatureMap.from_array(array, stride=stride)
    truth = np.broadcast_to(np.repeat(stripe + 1, stride), (planes, grid[0] * stride, grid[1] * stride))
    return features, truth


def strokes(truth: np.ndarray, plane: int = 0) -> np.ndarray:
    scribbles = np.zeros(truth.shape, np.int32)
    scribbles[plane, 4:6] = truth[plane, 4:6]
    return scribbles


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_labels_all_planes_from_strokes_on_one(head, classes):
    features, truth = striped_map(classes=classes)
    labels = Probe(head=head).fit(features, strokes(truth)).predict(features)
    assert labels.shape == truth.shape and labels.dtype == np.uint8
    # the pixel beside a stripe's border may go either way
    assert (labels == truth).mean() > 0.95


@pytest.mark.parametrize("head", HEADS)
def test_probabilities_sum_to_one_and_agree_with_the_labels(head):
    features, truth = striped_map(classes=3)
    probe = Probe(head=head).fit(features, strokes(truth))
    probabilities = probe.predict_proba(features)
    assert probabilities.shape == (3, 3, *features.image_shape) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.array(probe.classes_)[probabilities.argmax(axis=1)], probe.predict(features))


def test_uncertainty_is_high_between_classes_and_low_inside():
    features, truth = striped_map()
    unsure = Probe(head="linear").fit(features, strokes(truth)).uncertainty(features)
    border = features.image_shape[1] // 2
    assert unsure.shape == truth.shape
    assert unsure.min() >= 0 and unsure.max() <= 1
    assert unsure[:, :, border - 1 : border + 1].mean() > 5 * unsure[:, :, [4, -4]].mean()


def test_label_values_of_any_size_are_kept():
    features, truth = striped_map()
    regions = np.array([0, 7, 576073699], np.uint32)
    labels = Probe(head="linear").fit(features, regions[strokes(truth)]).predict(features)
    assert labels.dtype == np.uint32
    assert set(np.unique(labels)) == {7, 576073699}


def as_mapping(scribbles):
    return {0: scribbles[0]}


@pytest.mark.parametrize(
    "form",
    [da.from_array, as_mapping, lambda s: s.astype(np.float32), lambda s: s.tolist()],
    ids=["dask", "mapping", "float", "list"],
)
def test_scribbles_of_every_form_train_the_same_probe(form):
    features, truth = striped_map()
    scribbles = strokes(truth)
    expected = Probe().fit(features, scribbles).predict(features)
    np.testing.assert_array_equal(Probe().fit(features, form(scribbles)).predict(features), expected)


def test_a_single_plane_takes_a_flat_labels_image():
    features, truth = striped_map(planes=1)
    assert Probe().fit(features, strokes(truth)[0]).predict(features).shape == (1, *features.image_shape)


def test_a_boolean_mask_is_dense_with_classes_0_and_1():
    features, truth = striped_map()
    probe = Probe().fit(features, truth == 2)
    assert probe.classes_ == (0, 1)
    assert ((probe.predict(features) == 1) == (truth == 2)).mean() > 0.95


def test_lazy_results_equal_the_computed_ones():
    features, truth = striped_map()
    probe = Probe().fit(features, strokes(truth))
    np.testing.assert_array_equal(probe.predict(features, lazy=True).compute(), probe.predict(features))
    np.testing.assert_allclose(probe.predict_proba(features, lazy=True)[1].compute(), probe.predict_proba(features)[1])
    np.testing.assert_allclose(probe.uncertainty(features, lazy=True)[2].compute(), probe.uncertainty(features)[2])


class CountingArray:
    """An array on disk that counts the planes read from it."""

    def __init__(self, array):
        self.array, self.shape, self.reads = array, array.shape, []

    def __getitem__(self, index):
        self.reads.append(index)
        return self.array[index]


def test_only_painted_planes_are_read_for_training():
    features, truth = striped_map(planes=5)
    counting = CountingArray(features.array)
    on_disk = FeatureMap(
        array=counting,
        backbone="array",
        revision="unknown",
        stride=2,
        first_centre=0.5,
        image_shape=features.image_shape,
        world_from_pixel=np.eye(4),
    )
    probe = Probe().fit(on_disk, {3: strokes(truth)[0]})
    assert counting.reads == [3]
    probe.predict(on_disk, lazy=True)[1].compute()
    assert counting.reads == [3, 1]


def test_several_maps_train_one_probe():
    first, truth = striped_map(classes=2, seed=1)
    second, _ = striped_map(classes=2, seed=2)
    left, right = strokes(truth), strokes(truth)
    left[left == 2], right[right == 1] = 0, 0
    probe = Probe().fit([first, second], [left, right])
    assert probe.classes_ == (1, 2)
    assert (probe.predict(first) == truth).mean() > 0.95


def test_patch_labels_train_and_come_back_on_the_grid():
    features, truth = striped_map()
    on_grid = truth[:, ::2, ::2]
    np.testing.assert_array_equal(Probe().fit_patches(features, on_grid).predict_patches(features), on_grid)


def test_the_sample_budget_keeps_every_pixel_of_a_small_class():
    features, truth = striped_map(grid=(12, 160))
    scribbles = truth[:1].copy()
    scribbles[:, :, features.image_shape[1] // 2 :] = 0
    scribbles[0, 4, -3:] = 2
    probe = Probe(head="linear", max_samples=100).fit(features, np.concatenate([scribbles, np.zeros_like(truth[1:])]))
    assert (probe.predict(features) == truth).mean() > 0.95


def test_one_seed_gives_one_result_and_samples_are_drawn_with_it():
    features, truth = striped_map(grid=(40, 60))
    first, again = (Probe(max_samples=50, rng=4).fit(features, truth).predict_proba(features) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, Probe(max_samples=50, rng=5).fit(features, truth).predict_proba(features))


def test_a_coarser_first_answer_has_the_full_shape_and_nearly_the_same_labels():
    features, truth = striped_map(grid=(32, 64))
    probe = Probe().fit(features, strokes(truth))
    coarse = probe.predict_plane(features, 0, step=4)
    assert coarse.shape == features.image_shape
    assert (coarse == truth[0]).mean() > 0.9


def test_one_class_falls_back_to_that_class_everywhere_with_a_warning():
    features, truth = striped_map()
    scribbles = strokes(truth)
    scribbles[scribbles == 1] = 0
    with pytest.warns(FallbackWarning, match="Only class 2"):
        probe = Probe().fit(features, scribbles)
    assert np.all(probe.predict(features) == 2)
    assert np.all(probe.predict_proba(features) == 1) and np.all(probe.uncertainty(features) == 0)


def test_class_weights_move_the_border():
    features, truth = striped_map(dim=1, classes=2)
    noisy = FeatureMap.from_array(features.array + np.random.default_rng(3).normal(size=features.array.shape) * 8, stride=2)
    plain, heavy = (Probe(head="linear", class_weight=w).fit(noisy, truth).predict(noisy) for w in (None, {2: 10.0}))
    assert (heavy == 2).mean() > (plain == 2).mean() + 0.1


def test_nothing_labelled_is_refused():
    features, truth = striped_map()
    with pytest.raises(InputError, match="No pixel is labelled"):
        Probe().fit(features, np.zeros(truth.shape, int))


@pytest.mark.parametrize(
    "scribbles, problem",
    [
        (np.ones((3, 24, 31), int), "shape"),
        (np.ones((24, 32), int), "shape"),
        ({7: np.ones((24, 32), int)}, "plane 7"),
        ({0: np.ones((24, 30), int)}, "shape"),
        (np.full((3, 24, 32), 0.5), "whole numbers"),
        (np.full((3, 24, 32), -1), "negative"),
    ],
    ids=["other-width", "flat-for-a-stack", "no-such-plane", "other-plane-width", "fractions", "negative"],
)
def test_scribbles_that_do_not_fit_are_refused(scribbles, problem):
    features, _ = striped_map()
    with pytest.raises(InputError, match=problem):
        Probe().fit(features, scribbles)


def test_nan_features_are_refused_where_they_matter():
    features, truth = striped_map()
    broken = features.array.copy()
    broken[0, 2, 5] = np.nan
    spoiled = FeatureMap.from_array(broken, stride=2)
    with pytest.raises(InputError, match="NaN"):
        Probe().fit(spoiled, strokes(truth))
    probe = Probe().fit(spoiled, strokes(truth, plane=1))
    assert probe.predict_plane(spoiled, 1).shape == features.image_shape
    with pytest.raises(InputError, match="plane 0"):
        probe.predict_plane(spoiled, 0)


def test_features_made_otherwise_are_refused():
    features, truth = striped_map()
    other, _ = striped_map(stride=4)
    probe = Probe().fit(features, strokes(truth))
    with pytest.raises(FeatureMismatchError, match="stride"):
        probe.predict(other)
    with pytest.raises(FeatureMismatchError, match="train"):
        Probe().fit([features, other], [strokes(truth), strokes(truth)])


def test_an_unfitted_probe_says_so():
    features, _ = striped_map()
    with pytest.raises(InputError, match="learned nothing"):
        Probe().predict(features)


@pytest.mark.parametrize("options", [{"head": "magic"}, {"C": 0}, {"landmarks": 0}, {"max_samples": 1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(InputError):
        Probe(**options)


def test_progress_counts_planes_and_can_be_stopped():
    features, truth = striped_map()
    probe = Probe().fit(features, strokes(truth))
    seen = []
    collect(probe.predict_steps(features), seen.append)
    assert [event.done for event in seen] == [0, 1, 2]
    job = probe.predict_steps(features)
    next(job)
    job.close()


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.filterwarnings("ignore:Only class:napari_dinov3.errors.FallbackWarning")  # one class is the case tested
def test_a_saved_probe_answers_as_before(head, classes, tmp_path: Path):
    features, truth = striped_map(classes=classes)
    probe = Probe(head=head, C=0.5).fit(features, strokes(truth))
    loaded = Probe.load(probe.save(tmp_path / "probe"))
    assert loaded.head == head and loaded.options.C == 0.5 and loaded.classes_ == probe.classes_
    np.testing.assert_array_equal(loaded.predict(features), probe.predict(features))
    assert [path.name for path in tmp_path.iterdir()] == ["probe.npz"]
