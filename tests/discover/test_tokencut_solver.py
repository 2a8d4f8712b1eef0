"""Every way of keeping the graph gives the same products, and the solver the same eigenvectors."""

import numpy as np
import pytest

from napari_dinov3.discover import affinity as module
from napari_dinov3.discover.affinity import build_affinity_steps, normalise_rows
from napari_dinov3.discover.ncut import smallest_eigenpairs_steps
from napari_dinov3.discover.tau import clearest, sweep_tau_steps
from napari_dinov3.progress import collect


def points(n, seed=0, noise=0.8):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(3, 10))
    return normalise_rows((means[rng.integers(0, 3, n)] + noise * rng.normal(size=(n, 10))).astype(np.float32))


def dense_matrix(unit, tau, weighting):
    cosine = (unit @ unit.T).astype(np.float64)
    links = (cosine > tau) * (1.0 if weighting == "binary" else cosine)
    np.fill_diagonal(links, 1)
    return (1 - 1e-5) * links + 1e-5


@pytest.mark.parametrize(
    ("storage", "weighting"),
    [
        ("dense", "binary"),
        ("sparse", "binary"),
        ("bits", "binary"),
        ("streamed", "binary"),
        ("dense", "cosine"),
        ("sparse", "cosine"),
        ("streamed", "cosine"),
    ],
)
@pytest.mark.parametrize("n", [203, 520])
def test_products_and_degrees_are_those_of_the_matrix(storage, weighting, n, monkeypatch):
    monkeypatch.setattr(module, "_TILE", 128)
    unit, tau = points(n), 0.4
    affinity = collect(build_affinity_steps(unit, tau=tau, weighting=weighting, storage=storage))
    matrix = dense_matrix(unit, tau, weighting)
    x = np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32)
    np.testing.assert_allclose(collect(affinity.dot_steps(x)), matrix @ x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(affinity.degree, matrix.sum(axis=1), rtol=1e-5)
    linked = np.count_nonzero(matrix > 1e-4) - n
    assert affinity.density == pytest.approx(linked / (n * (n - 1)), abs=1e-9)
    assert affinity.storage == storage


@pytest.mark.parametrize("storage", ["dense", "sparse", "bits", "streamed"])
def test_eigenpairs_satisfy_their_equation_whatever_the_storage(storage):
    unit, tau = points(400, seed=2), 0.4
    affinity = collect(build_affinity_steps(unit, tau=tau, storage=storage))
    pairs = collect(smallest_eigenpairs_steps(affinity, 3))
    matrix = dense_matrix(unit, tau, "binary")
    degree = matrix.sum(axis=1)
    for value, vector in zip(pairs.values, pairs.vectors.T.astype(np.float64), strict=True):
        left = degree * vector - matrix @ vector
        assert np.linalg.norm((left - value * degree * vector) / np.sqrt(degree)) < 2e-3
        assert vector @ (degree * vector) == pytest.approx(1, abs=1e-3)
        assert abs(degree @ vector) < 1e-2 * np.sqrt(degree.sum())


def test_a_double_eigenvalue_is_seen_as_double():
    n = 600
    unit = np.zeros((n, 4), np.float32)
    unit[np.arange(n), np.arange(n) % 4] = 1  # four separate clusters: eigenvalues two to four are equal
    pairs = collect(smallest_eigenpairs_steps(collect(build_affinity_steps(unit, tau=0.5)), 2))
    assert pairs.values[0] == pytest.approx(pairs.values[1], rel=0.1)
    assert not pairs.well_posed


def test_a_guess_does_not_change_the_result():
    affinity = collect(build_affinity_steps(points(500, seed=4), tau=0.4))
    plain = collect(smallest_eigenpairs_steps(affinity, 2))
    guess = np.random.default_rng(5).normal(size=(500, 3)).astype(np.float32)
    guess[:, 0] = plain.vectors[:, 1]  # a guess without the wanted vector must not hide it
    guided = collect(smallest_eigenpairs_steps(affinity, 2, start=guess))
    np.testing.assert_allclose(guided.values, plain.values, atol=1e-5)
    assert abs(np.corrcoef(guided.vectors[:, 0], plain.vectors[:, 0])[0, 1]) > 0.9999


def test_storage_follows_size_density_and_budget(monkeypatch):
    monkeypatch.setitem(module._DENSE_PATCHES, "binary", 100)
    monkeypatch.setitem(module._DENSE_PATCHES, "cosine", 100)

    def chosen(tau, **options):
        return collect(build_affinity_steps(points(400), tau=tau, **options)).storage

    assert collect(build_affinity_steps(points(90), tau=0.4)).storage == "dense"
    assert chosen(0.4) == "bits"
    assert chosen(0.97) == "sparse"
    assert chosen(0.4, weighting="cosine") == "sparse"
    assert chosen(0.4, weighting="cosine", memory_gb=1e-4) == "streamed"
    assert chosen(0.4, memory_gb=1e-6) == "streamed"


def test_the_sweep_prefers_the_tau_that_separates_the_clusters():
    unit = points(300, seed=6, noise=0.5)
    scores = collect(sweep_tau_steps(unit))
    best = clearest(scores)
    assert max(scores, key=lambda score: score.score).tau == best
    chosen = next(score for score in scores if score.tau == best)
    assert chosen.share > 0.1
    assert chosen.values[0] < chosen.values[1]


def test_the_sweep_reaches_features_whose_cosines_all_lie_near_one():
    unit = normalise_rows(points(300, seed=6, noise=0.3) + 20)
    assert (unit @ unit.T).min() > 0.95
    assert clearest(collect(sweep_tau_steps(unit))) > 0.95


def test_where_no_tau_works_the_middle_of_the_sweep_is_returned():
    unit = np.ones((20, 1), np.float32)
    assert clearest(collect(sweep_tau_steps(unit, taus=(0.1, 0.2, 0.3)))) == 0.2
