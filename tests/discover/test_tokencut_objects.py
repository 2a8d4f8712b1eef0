"""Several objects, each with one number through the whole stack."""

import warnings

import numpy as np
import pytest

from napari_dinov3.discover.many import eigengap, maskcut, maskcut_steps, spectral_clusters
from napari_dinov3.errors import IllPosedWarning, InputError
from napari_dinov3.progress import collect


def stack(planes=4, noise=0.25, seed=0):
    """Two drifting discs of different kinds on a background: features (planes, 20, 22, 10) and known labels 0, 1, 2."""
    rng = np.random.default_rng(seed)
    means = np.linalg.qr(rng.normal(size=(10, 3)))[0].T * 2
    row, col = np.mgrid[:20, :22]
    known = np.zeros((planes, 20, 22), int)
    for plane in range(planes):
        known[plane][(row - 6 - plane) ** 2 + (col - 6) ** 2 < 18] = 1
        known[plane][(row - 11) ** 2 + (col - 16 + plane) ** 2 < 12] = 2
    return (means[known] + noise * rng.normal(size=(planes, 20, 22, 10))).astype(np.float32), known


def agreement(labels, known):
    """Part of the patches with the right label, after the best renaming of labels for the whole stack at once."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((labels.max() + 1, known.max() + 1))
    np.add.at(table, (labels.ravel(), known.ravel()), 1)
    rows, cols = linear_sum_assignment(-table)
    return table[rows, cols].sum() / labels.size


def test_clusters_are_the_known_objects_with_one_number_in_all_planes():
    features, known = stack()
    found = spectral_clusters(features, tau=0.4)
    assert found.count == 3
    assert agreement(found.grid_labels, known) >= 0.99
    assert found.labels.shape == (4, 20 * 16, 22 * 16)


def test_labels_do_not_flicker_from_plane_to_plane():
    features, known = stack(planes=6, noise=0.3)
    labels = spectral_clusters(features, tau=0.4, clusters=3).grid_labels
    same_object = known[1:] == known[:-1]
    assert (labels[1:] == labels[:-1])[same_object].mean() >= 0.99


def test_the_number_of_clusters_can_be_given_and_the_largest_comes_first():
    features, _ = stack(planes=1)
    found = spectral_clusters(features, tau=0.4, clusters=2)
    assert found.count == 2
    assert np.count_nonzero(found.grid_labels == 1) > np.count_nonzero(found.grid_labels == 2)


def test_repeated_cuts_find_one_object_after_the_other():
    features, known = stack(noise=0.15)
    found = maskcut(features, tau=0.4, rounds=2)
    assert found.count == 2
    assert agreement(found.grid_labels, known) >= 0.98
    for plane in range(1, 4):
        both = (found.grid_labels[plane] > 0) & (found.grid_labels[plane - 1] > 0) & (known[plane] == known[plane - 1])
        assert (found.grid_labels[plane] == found.grid_labels[plane - 1])[both].all()


def test_objects_that_hang_apart_from_everything_are_found_though_each_single_cut_is_arbitrary():
    features = np.zeros((12, 12, 3), np.float32)
    features[..., 0] = 1
    features[1:5, 1:5], features[7:11, 6:10] = (0, 1, 0), (0, 0.1, 1)
    found = maskcut(features, tau=0.5)
    assert found.count == 2
    np.testing.assert_array_equal(found.grid_labels[0] > 0, features[..., 0] == 0)


def test_repeated_cuts_stop_when_nothing_is_left_to_cut():
    features = np.zeros((10, 10, 2), np.float32)
    features[..., 0] = 1
    features[2:6, 2:6] = (0, 1)
    found = maskcut(features, tau=0.5, rounds=5)
    assert found.count == 1
    np.testing.assert_array_equal(found.grid_labels[0] > 0, features[..., 1] > 0)


@pytest.mark.parametrize("find", [maskcut, spectral_clusters])
def test_uniform_and_nan_features_give_no_object(find):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllPosedWarning)
        uniform = find(np.ones((8, 8, 3), np.float32), tau=0.5)
        empty = find(np.full((2, 4, 4, 3), np.nan, np.float32), tau=0.5)
    assert uniform.count <= 1
    assert empty.count == 0
    assert not empty.labels.any()


def test_no_object_is_said():
    with pytest.warns(IllPosedWarning, match="No object was found"):
        maskcut(np.ones((8, 8, 3), np.float32), tau=0.5)


def test_the_eigengap_counts_clusters():
    assert eigengap(np.array([1e-5, 2e-5, 3e-5, 0.8, 0.9])) == 4
    assert eigengap(np.array([1e-5, 0.7, 0.8, np.nan])) == 2
    assert eigengap(np.array([np.nan, np.nan])) == 2


def test_a_job_reports_its_progress():
    events = []
    collect(maskcut_steps(stack(planes=2)[0], tau=0.4), events.append)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert events[-1].fraction == 1


@pytest.mark.parametrize(
    ("find", "options", "match"),
    [
        (maskcut, {"rounds": 0}, "rounds=0"),
        (maskcut, {"refine": 3}, "Unknown option refine"),
        (spectral_clusters, {"clusters": 1}, "clusters=1"),
        (spectral_clusters, {"clusters": "many"}, "clusters='many'"),
        (spectral_clusters, {"vectors": 4}, "Unknown option vectors"),
        (spectral_clusters, {"stack": "planes", "tau": 0.4}, "stack='planes'"),
    ],
)
def test_wrong_options_are_refused(find, options, match):
    with pytest.raises(InputError, match=match):
        find(stack(planes=2)[0], **options)
