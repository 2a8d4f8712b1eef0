"""TokenCut against the paper's algorithm, and on everything that is not a proper image."""

import warnings

import numpy as np
import pytest
from scipy import linalg, ndimage

from napari_dinov3.discover.tokencut import option_values, tokencut, tokencut_steps
from napari_dinov3.errors import IllPosedWarning, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Progress


def scene(seed, rows, cols, noise, dim=12):
    """Features of an ellipse and a small disc on a background, with noise; the ellipse is the known object."""
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[:rows, :cols]
    centre = rng.uniform(0.4, 0.6, 2) * (rows, cols)
    radii = rng.uniform(0.2, 0.3, 2) * (rows, cols)
    objects = (((row - centre[0]) / radii[0]) ** 2 + ((col - centre[1]) / radii[1]) ** 2 < 1).astype(int)
    objects[: rows // 6, : cols // 6] = 2
    means = rng.normal(size=(3, dim))
    return (means[objects] + noise * rng.normal(size=(rows, cols, dim))).astype(np.float32), objects == 1


def paper(features, tau):
    """Masks as in the paper, section 3, with a dense solver: eigenvalues, eigenvector, bipartition, seed component."""
    rows, cols, dim = features.shape
    flat = features.reshape(-1, dim).astype(np.float64)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    affinity = np.where(flat @ flat.T > tau, 1.0, 1e-5)
    degree = np.diag(affinity.sum(axis=1))
    values, vectors = linalg.eigh(degree - affinity, degree, subset_by_index=[1, 2])
    vector = vectors[:, 0]
    seed = np.abs(vector).argmax()
    part = vector > vector.mean()
    if not part[seed]:
        part = ~part
    pieces, _ = ndimage.label(part.reshape(rows, cols))
    return values, vector.reshape(rows, cols), part.reshape(rows, cols), pieces == pieces.ravel()[seed]


def tied(vector):
    """Patches with the same links have the same entry: which of two such is the seed, rounding decides, even in the paper."""
    largest, second = np.sort(np.abs(vector).ravel())[:-3:-1]
    return second > 0.998 * largest


def iou(a, b):
    return np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b))


CASES = [
    (seed, rows, cols, noise, quantile)
    for seed, (rows, cols, noise, quantile) in enumerate(
        (rows, cols, noise, quantile)
        for rows, cols in ((7, 9), (14, 14), (20, 16), (24, 24), (30, 22))
        for noise in (0.3, 0.6, 0.9, 1.2, 1.5)
        for quantile in (0.6, 0.8)
    )
]


@pytest.mark.parametrize(("seed", "rows", "cols", "noise", "quantile"), CASES)
def test_masks_equal_the_dense_reference_where_the_cut_is_well_posed(seed, rows, cols, noise, quantile):
    features, _ = scene(seed, rows, cols, noise)
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    unit = unit.reshape(-1, unit.shape[-1])
    tau = float(np.quantile(unit @ unit.T, quantile))
    values, vector, part, mask = paper(features, tau)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        cut = tokencut(features, tau=tau)
    np.testing.assert_allclose(cut.eigenvalues[0], values, atol=2e-5)
    gap = (values[1] - values[0]) / values[1]
    if cut.well_posed[0]:
        assert gap > 0.009
        assert abs(np.corrcoef(cut.eigenvectors[0, ..., 0].ravel(), vector.ravel())[0, 1]) > 0.999
        whole = cut.with_masks(component="all").grid_masks[0]
        assert max(iou(whole, part), iou(~whole, part)) >= 0.99
        if not tied(vector):
            assert iou(whole, part) >= 0.99
            assert iou(cut.grid_masks[0], mask) >= 0.99
    else:
        assert gap < 0.011 or values[1] - values[0] < 3e-5


def test_enough_of_those_cases_are_well_posed():
    posed = 0
    for seed, rows, cols, noise, quantile in CASES[::5]:
        features, _ = scene(seed, rows, cols, noise)
        unit = (features / np.linalg.norm(features, axis=-1, keepdims=True)).reshape(-1, features.shape[-1])
        values, *_ = paper(features, float(np.quantile(unit @ unit.T, quantile)))
        posed += values[1] - values[0] > 0.01 * values[1]
    assert posed >= 8


def test_the_known_object_is_found_and_boxed_in_pixels():
    features, known = scene(3, 24, 32, 0.3)
    cut = tokencut(features, tau=0.5)
    assert cut.masks.shape == (1, 24 * 16, 32 * 16)
    assert cut.masks.dtype == bool
    assert iou(cut.masks[0], np.kron(known, np.ones((16, 16), bool))) > 0.95
    rows, cols = np.nonzero(cut.masks[0])
    np.testing.assert_array_equal(cut.boxes[0], [[rows.min(), cols.min(), rows.max() + 1, cols.max() + 1]])


def test_auto_tau_finds_the_known_object_too():
    features, known = scene(5, 28, 28, 0.5)
    features[:4, :4] = features[-4:, -4:]  # without the second object, so that there is one answer
    cut = tokencut(features)
    assert iou(cut.grid_masks[0], known) > 0.9
    assert cut.well_posed.all()
    assert 0 <= cut.tau[0] < 1


def test_planes_are_solved_one_by_one():
    stack = np.stack([scene(seed, 16, 16, 0.4)[0] for seed in range(3)])
    together = tokencut(stack, tau=0.5)
    for index in range(3):
        alone = tokencut(stack[index], tau=0.5)
        np.testing.assert_array_equal(together.eigenvectors[index], alone.eigenvectors[0])
        np.testing.assert_array_equal(together.boxes[index], alone.boxes[0])


def test_new_masks_from_the_same_cut_share_its_eigenvectors():
    cut = tokencut(scene(1, 20, 20, 0.4)[0], tau=0.5)
    inverse = cut.with_masks(component="all", invert=True)
    assert inverse.eigenvectors is cut.eigenvectors
    np.testing.assert_array_equal(inverse.grid_masks, ~cut.with_masks(component="all").grid_masks)
    assert option_values(inverse)["invert"] is True
    assert option_values(inverse)["tau"] == 0.5


def test_the_sign_of_the_eigenvector_is_fixed_by_its_largest_entry():
    cut = tokencut(scene(2, 18, 18, 0.4)[0], tau=0.5, vectors=4)
    assert cut.eigenvectors.shape == (1, 18, 18, 4)
    flat = cut.eigenvectors[0].reshape(-1, 4)
    assert (flat[np.abs(flat).argmax(axis=0), range(4)] > 0).all()
    assert (np.diff(cut.eigenvalues[0]) >= 0).all()


def test_geometry_comes_from_the_feature_map():
    features, _ = scene(4, 12, 10, 0.3)
    cut = tokencut(FeatureMap.from_array(features, stride=4, image_shape=(47, 38)), tau=0.5)
    assert cut.masks.shape == (1, 47, 38)
    assert (cut.boxes[0][:, 2:] <= (47, 38)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 5), (2, 1, 1, 3), (1, 12, 12, 4)])
@pytest.mark.parametrize("tau", [0.0, 0.9, 1.0, "auto"])
def test_constant_features_give_an_empty_mask_and_a_warning(shape, tau):
    with pytest.warns(IllPosedWarning, match="ill posed"):
        cut = tokencut(np.ones(shape, np.float32), tau=tau)
    assert not cut.masks.any()
    assert not cut.well_posed.any()
    assert [len(boxes) for boxes in cut.boxes] == [0] * shape[0]


def test_features_of_zeros_are_like_nothing():
    with pytest.warns(IllPosedWarning, match="no two patches are linked"):
        assert not tokencut(np.zeros((6, 6, 3), np.float32), tau=0.5).masks.any()


@pytest.mark.parametrize(("rows", "cols"), [(1, 2), (1, 3), (3, 1), (2, 2)])
@pytest.mark.parametrize("tau", [-1.0, 0.0, 0.5, 1.0, "auto"])
def test_grids_of_a_few_patches_do_not_fail(rows, cols, tau):
    features = np.random.default_rng(0).normal(size=(rows, cols, 4)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllPosedWarning)
        cut = tokencut(features, tau=tau)
    assert cut.eigenvectors.shape == (1, rows, cols, 2)
    assert np.isfinite(cut.eigenvectors).all()


def test_planes_of_nan_are_empty_and_the_others_unharmed():
    features, _ = scene(6, 16, 16, 0.3)
    stack = np.stack([features, np.full_like(features, np.nan)])
    with pytest.warns(IllPosedWarning, match=r"1 of 2 planes.*Plane 1: no patch has a finite feature"):
        cut = tokencut(stack, tau=0.5)
    np.testing.assert_array_equal(cut.grid_masks[0], tokencut(features, tau=0.5).grid_masks[0])
    assert not cut.grid_masks[1].any()
    assert np.isnan(cut.tau[1]) or cut.tau[1] == 0.5


def test_patches_of_nan_are_left_out():
    features, known = scene(7, 16, 16, 0.3)
    features[:, 0] = np.nan
    cut = tokencut(features, tau=0.5, component="all")
    assert not cut.grid_masks[0][:, 0].any()
    assert (cut.eigenvectors[0][:, 0] == 0).all()
    assert iou(cut.with_masks(component="seed").grid_masks[0], known) > 0.9


def test_no_links_at_tau_1_is_said():
    with pytest.warns(IllPosedWarning, match="lower tau"):
        cut = tokencut(scene(8, 10, 10, 0.5)[0], tau=1)
    assert not cut.masks.any()


def test_everything_linked_is_said():
    with pytest.warns(IllPosedWarning, match="raise tau"):
        tokencut(np.abs(scene(8, 10, 10, 0.1)[0]) + 10, tau=0.0)


def test_three_equal_separate_clusters_are_ill_posed():
    features = np.zeros((12, 9, 3), np.float32)
    for cluster in range(3):
        features[4 * cluster : 4 * cluster + 4, :, cluster] = 1
    with pytest.warns(IllPosedWarning, match="nearly coincide"):
        tokencut(features, tau=0.5)


def test_a_coarse_solve_refined_on_the_fine_grid_agrees_with_the_direct_one():
    features, _ = scene(9, 40, 40, 0.9)
    direct = tokencut(features, tau=0.3, component="all")
    coarse = tokencut(features, tau=0.3, component="all", max_patches=500)
    assert abs(np.corrcoef(direct.eigenvectors[..., 0].ravel(), coarse.eigenvectors[..., 0].ravel())[0, 1]) > 0.99
    assert iou(direct.grid_masks, coarse.grid_masks) > 0.95


def test_features_of_the_filter_bank_are_standardised_by_default_and_others_are_not():
    features, known = scene(10, 20, 20, 0.3)
    features = features * np.geomspace(0.01, 100, features.shape[-1], dtype=np.float32) + 300
    raw = FeatureMap.from_array(features)
    bank = FeatureMap.from_array(features, backbone="filter-bank")
    assert iou(tokencut(bank, tau=0.3).grid_masks[0], known) > 0.9
    with pytest.warns(IllPosedWarning, match="all patches are linked"):
        tokencut(raw, tau=0.3)
    np.testing.assert_array_equal(tokencut(raw, tau=0.3, scaling="standardize").grid_masks, tokencut(bank, tau=0.3).grid_masks)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tau": 1.5}, "tau=1.5"),
        ({"tau": float("nan")}, "tau=nan"),
        ({"tau": "best"}, "tau='best'"),
        ({"bipartition": "half"}, "bipartition='half'"),
        ({"threshold": 0.3}, "Unknown option threshold"),
        ({"side": "bright"}, "without an image"),
        ({"side": "click"}, "without a click"),
        ({"click": (1000, 2), "side": "click"}, r"click=\(1000, 2\)"),
        ({"opening": -1}, "opening=-1"),
        ({"vectors": 0}, "vectors=0"),
        ({"epsilon": 0}, "epsilon=0"),
        ({"max_patches": 1}, "max_patches=1"),
        ({"memory_gb": 0}, "memory_gb=0"),
        ({"scaling": "log"}, "scaling='log'"),
        ({"image": np.zeros((3, 3)), "side": "dark"}, "The image has planes, rows, cols"),
    ],
)
def test_wrong_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        tokencut(scene(0, 8, 8, 0.3)[0], **options)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (1, 2, 3, 4, 5), (0, 3, 4)])
def test_arrays_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match="Features have shape"):
        tokencut(np.zeros(shape), tau=0.5)


def test_the_job_reports_progress_and_can_be_closed():
    job = tokencut_steps(np.stack([scene(0, 16, 16, 0.5)[0]] * 2), tau=0.5)
    events = []
    try:
        while True:
            events.append(next(job))
    except StopIteration as stop:
        assert len(stop.value) == 2
    assert all(isinstance(event, Progress) and 0 <= event.done <= event.total for event in events)
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].fraction == 1
    half = tokencut_steps(scene(0, 16, 16, 0.5)[0], tau=0.5)
    next(half)
    half.close()


def stack_of_a_moving_object(planes=5, noise=0.8):
    """An object that drifts through planes whose contrast changes."""
    rng = np.random.default_rng(11)
    means = rng.normal(size=(2, 12))
    row, col = np.mgrid[:24, :24]
    known = np.stack([(row - 10 - index) ** 2 + (col - 8 - 1.5 * index) ** 2 < 30 for index in range(planes)])
    features = means[known.astype(int)] + noise * rng.normal(size=(planes, 24, 24, 12))
    return features.astype(np.float32), known


def test_a_joint_cut_keeps_the_object_on_one_side_through_the_stack():
    features, known = stack_of_a_moving_object()
    cut = tokencut(features, tau=0.3, stack="joint", component="all")
    assert len(set(cut.thresholds)) == 1
    assert iou(cut.grid_masks, known) > 0.9
    assert cut.well_posed.all()
    reduced = tokencut(features, tau=0.3, stack="joint", component="all", max_patches=600)
    assert iou(reduced.grid_masks, cut.grid_masks) > 0.95


def test_a_joint_cut_of_one_plane_is_the_plain_cut():
    features, _ = stack_of_a_moving_object(planes=1)
    joint, plain = tokencut(features, tau=0.3, stack="joint"), tokencut(features, tau=0.3)
    np.testing.assert_array_equal(joint.eigenvectors, plain.eigenvectors)
    np.testing.assert_array_equal(joint.grid_masks, plain.grid_masks)


def test_a_joint_cut_passes_over_planes_of_nan():
    features, known = stack_of_a_moving_object()
    features[2] = np.nan
    cut = tokencut(features, tau=0.3, stack="joint", component="all")
    assert not cut.grid_masks[2].any()
    assert iou(cut.grid_masks[[0, 1, 3, 4]], known[[0, 1, 3, 4]]) > 0.9
