"""Stacks: foreground keeps its side, masks do not flicker, and a cancelled run goes on where it was."""

import warnings

import numpy as np
import pytest
from scipy import linalg

import napari_dinov3 as nd
from napari_dinov3.discover.affinity import normalise_rows
from napari_dinov3.discover.cut import SolvedPlanes
from napari_dinov3.discover.ncut import smallest_eigenpairs_steps
from napari_dinov3.discover.tokencut import tokencut, tokencut_steps
from napari_dinov3.discover.window_affinity import build_window_affinity_steps
from napari_dinov3.errors import IllPosedWarning, InputError
from napari_dinov3.evaluate.corloc import plane_consistency
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import collect

JOINT = ({"stack": "joint"}, {"stack": "joint", "window": 1}, {"stack": "joint", "window": 2})


def rivals(planes=8, noise=0.3, seed=0):
    """Two objects of different kinds, alike in size: which of them is cut off alone is a matter of noise in each plane."""
    rng = np.random.default_rng(seed)
    means = np.linalg.qr(rng.normal(size=(10, 3)))[0].T * 2
    row, col = np.mgrid[:20, :24]
    known = np.zeros((planes, 20, 24), int)
    for plane in range(planes):
        known[plane][(row - 9) ** 2 + (col - 6) ** 2 < 16 + rng.integers(0, 5)] = 1
        known[plane][(row - 10) ** 2 + (col - 17) ** 2 < 16 + rng.integers(0, 5)] = 2
    return (means[known] + noise * rng.normal(size=(planes, 20, 24, 10))).astype(np.float32), known


def quiet(features, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllPosedWarning)
        return tokencut(features, **options)


def windowed_matrix(planes, tau, window):
    unit = np.concatenate(planes).astype(np.float64)
    at = np.repeat(np.arange(len(planes)), [len(plane) for plane in planes])
    links = (unit @ unit.T > tau) & (np.abs(at[:, None] - at) <= window)
    np.fill_diagonal(links, True)
    return np.where(links, 1.0, 1e-5), at


def some_planes(sizes, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(2, 8))
    return [normalise_rows((means[rng.integers(0, 2, n)] + 0.7 * rng.normal(size=(n, 8))).astype(np.float32)) for n in sizes]


@pytest.mark.parametrize("window", [1, 2, 9])
@pytest.mark.parametrize("sizes", [(30, 41, 17, 25), (8, 0, 13)])
def test_products_are_those_of_the_matrix_in_which_only_neighbours_are_linked(window, sizes):
    planes = some_planes(sizes)
    affinity = collect(build_window_affinity_steps(planes, tau=0.3, window=window))
    matrix, at = windowed_matrix(planes, 0.3, window)
    x = np.random.default_rng(1).normal(size=(sum(sizes), 3)).astype(np.float32)
    np.testing.assert_allclose(collect(affinity.dot_steps(x)), matrix @ x, atol=1e-4)
    np.testing.assert_allclose(affinity.degree, matrix.sum(axis=1), rtol=1e-5)
    pairs = np.abs(at[:, None] - at) <= window
    np.fill_diagonal(pairs, False)
    assert affinity.density == pytest.approx((matrix[pairs] == 1).mean())


@pytest.mark.parametrize("sizes", [(20, 25, 22), (120, 130, 90, 125)])
def test_eigenvectors_are_those_of_the_dense_problem_without_the_trivial_vector_of_each_plane(sizes):
    planes = some_planes(sizes, seed=2)
    affinity = collect(build_window_affinity_steps(planes, tau=0.3, window=1))
    pairs = collect(smallest_eigenpairs_steps(affinity, 2, planes=affinity.planes))
    matrix, at = windowed_matrix(planes, 0.3, 1)
    degree = matrix.sum(axis=1)
    trivial = (at[:, None] == np.arange(len(sizes))) * np.sqrt(degree)[:, None]
    free = linalg.null_space(trivial.T)
    small = free.T @ (matrix / np.sqrt(degree[:, None] * degree)) @ free
    mu, inside = np.linalg.eigh(small)
    np.testing.assert_allclose(pairs.values, 1 - mu[::-1][:2], atol=2e-5)
    expected = (free @ inside[:, -1]) / np.sqrt(degree)
    assert abs(np.corrcoef(pairs.vectors[:, 0], expected)[0, 1]) > 0.9999


@pytest.mark.parametrize("options", JOINT)
def test_a_joint_cut_does_not_flicker_where_single_planes_do(options):
    features, known = rivals()
    alone = quiet(features, tau=0.45, component="all").grid_masks
    together = quiet(features, tau=0.45, component="all", **options).grid_masks
    assert plane_consistency(alone, known) < 0.97
    assert plane_consistency(together, known) >= 0.99


@pytest.mark.parametrize("options", JOINT)
@pytest.mark.parametrize("modality", ["em", "connectomics"])
def test_synthetic_stacks_are_cut_right_and_without_flicker(modality, options):
    sample = nd.synthetic.MODALITIES[modality](planes=5, size=96, rng=3)
    cut = quiet(nd.extract(sample.images, backbone="filter-bank", stride=2), image=sample.images, **options)
    known = np.asarray(sample.masks)
    assert plane_consistency(cut.masks, known) >= 0.99
    assert np.count_nonzero(cut.masks & known) / np.count_nonzero(cut.masks | known) > 0.9


def test_a_window_does_not_cut_between_planes_however_long_the_stack():
    features, known = rivals(planes=30)
    features[known == 2] = features[known == 0][: np.count_nonzero(known == 2)]
    cut = quiet(features, tau=0.45, stack="joint", window=1, component="all", bipartition="otsu")
    part = cut.grid_masks.mean(axis=(1, 2))
    assert part.min() > 0.02
    assert part.max() < 0.4
    assert plane_consistency(cut.grid_masks, known == 1) >= 0.99
    assert cut.well_posed.all()


def test_planes_that_hang_together_with_no_other_are_flagged():
    rng = np.random.default_rng(0)
    features = np.zeros((4, 12, 12, 4), np.float32)
    features[:2, ..., 0], features[2:, ..., 2] = 1, 1
    features[:2, 3:8, 3:8] = (0, 1, 0, 0)
    cut = quiet(features + 0.02 * rng.normal(size=features.shape), tau=0.2, stack="joint", window=1, component="all")
    assert cut.grid_masks[:2].any()
    assert cut.well_posed.tolist() == [True, True, False, False]


def test_a_window_solved_on_a_coarser_grid_agrees_with_the_direct_solution():
    features, _ = rivals(planes=4)
    options = {"tau": 0.45, "stack": "joint", "window": 1, "component": "all", "bipartition": "otsu"}
    direct = quiet(features, max_patches=4 * 480, **options).grid_masks
    coarse = quiet(features, max_patches=4 * 120, **options).grid_masks
    assert np.count_nonzero(direct & coarse) / np.count_nonzero(direct | coarse) > 0.97


def test_matched_planes_have_one_foreground():
    features, known = rivals(planes=6, noise=0.2)
    features[known == 2] = features[known == 0][: np.count_nonzero(known == 2)]  # one kind of object only
    flipped = features.copy()
    alone = quiet(flipped, tau=0.45, component="all", bipartition="otsu", stack="planes")
    matched = quiet(flipped, tau=0.45, component="all", bipartition="otsu", stack="matched")
    signs = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(*2 * [matched.eigenvectors[..., 0]], strict=True)]
    assert min(signs) > 0
    assert plane_consistency(matched.grid_masks, known == 1) >= 0.99
    np.testing.assert_allclose(np.abs(matched.eigenvectors), np.abs(alone.eigenvectors))


def test_matching_turns_a_plane_whose_foreground_is_on_the_other_side():
    features = np.zeros((3, 10, 10, 2), np.float32)
    features[..., 0] = 1
    features[0, :, :4] = features[2, :, :4] = (0, 1)
    features[1, :, :6] = (0, 1)  # here the same object is larger than the rest, and the strongest patch on the other side
    alone = quiet(features, tau=0.5, component="all").grid_masks
    matched = quiet(features, tau=0.5, component="all", stack="matched").grid_masks
    assert alone[1, 0, 0] != alone[0, 0, 0]
    assert matched[:, 0, 0].tolist() == [matched[0, 0, 0]] * 3
    assert (matched[:, 0, 0] != matched[:, 0, 9]).all()


@pytest.mark.parametrize("options", [{}, {"stack": "matched"}, *JOINT])
def test_planes_without_a_finite_feature_are_left_out(options):
    features, _ = rivals(planes=4)
    features[1] = np.nan
    cut = quiet(features, tau=0.45, component="all", **options)
    assert not cut.grid_masks[1].any()
    assert cut.grid_masks[[0, 2, 3]].any(axis=(1, 2)).all()
    empty = quiet(np.full_like(features, np.nan), tau=0.45, **options)
    assert not empty.masks.any()
    assert not empty.well_posed.any()


@pytest.mark.parametrize("options", [{}, {"stack": "matched"}, *JOINT])
def test_a_cancelled_run_goes_on_where_it_was(options, monkeypatch):
    features = FeatureMap.from_array(rivals(planes=5)[0])
    whole = quiet(features, tau=0.45, **options)
    kept = SolvedPlanes()
    job = tokencut_steps(features, tau=0.45, resume=kept, **options)
    while len(kept) < 3:
        next(job)
    job.close()
    assert len(kept) == 3
    read = []
    plane = FeatureMap.plane
    monkeypatch.setattr(FeatureMap, "plane", lambda self, index: (read.append(index), plane(self, index))[1])
    monkeypatch.setattr("napari_dinov3.discover.solve.scaling_of", lambda *_: (np.float32(0), np.float32(1)))
    monkeypatch.setattr("napari_dinov3.discover.joint.scaling_of", lambda *_: (np.float32(0), np.float32(1)))
    resumed = quiet(features, tau=0.45, resume=kept, **options)
    assert set(read) == {3, 4}  # those that were finished are not read again
    np.testing.assert_array_equal(resumed.eigenvectors, whole.eigenvectors)
    np.testing.assert_array_equal(resumed.grid_masks, whole.grid_masks)


def test_what_was_kept_is_not_used_for_other_options_or_features():
    features = FeatureMap.from_array(rivals(planes=3)[0])
    kept = SolvedPlanes()
    quiet(features, tau=0.45, resume=kept)
    other = quiet(features, tau=0.3, resume=kept)
    np.testing.assert_array_equal(other.eigenvectors, quiet(features, tau=0.3).eigenvectors)
    second = FeatureMap.from_array(rivals(planes=3, seed=9)[0])
    np.testing.assert_array_equal(quiet(second, tau=0.3, resume=kept).eigenvectors, quiet(second, tau=0.3).eigenvectors)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"window": 0, "stack": "joint"}, "window=0"),
        ({"window": 1.5, "stack": "joint"}, "window=1.5"),
        ({"window": 2}, "stack='planes'"),
        ({"window": 2, "stack": "joint", "weighting": "cosine"}, "weighting='cosine'"),
        ({"stack": "volume"}, "stack='volume'"),
    ],
)
def test_wrong_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        tokencut(rivals(planes=2)[0], tau=0.4, **options)


def test_consistency_counts_places_whose_true_label_stays():
    known = np.zeros((2, 2, 2), int)
    known[1, 0, 0] = 1
    found = np.zeros((2, 2, 2), int)
    found[1, 0] = 1
    assert plane_consistency(found, known) == pytest.approx(2 / 3)
    assert plane_consistency(found, found) == 1
    with pytest.raises(InputError, match="the same"):
        plane_consistency(found, known[0])
