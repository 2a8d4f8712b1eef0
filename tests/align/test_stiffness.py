"""The stiffness chosen is the one the data were made with, and nothing else is needed for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from napari_dinov3.align.elastic import bending_matrix
from napari_dinov3.align.stiffness import Wishes, most_probable, solved

CONTROL = (14, 12)
COUNT = 2 * CONTROL[0] * CONTROL[1]


def drawn(stiffness: float, seed: int) -> tuple[Wishes, np.ndarray]:
    """Coefficients whose bends have the inverse variance `stiffness`, and measurements of them of variance 1 / precision."""
    rng = np.random.default_rng(seed)
    energy = sparse.block_diag([bending_matrix(CONTROL)] * 2).toarray()
    values, vectors = np.linalg.eigh(energy)
    scale = np.where(values > 1e-9, 1 / np.sqrt(np.maximum(values, 1e-9) * stiffness), 3.0)
    truth = vectors @ (scale * rng.normal(size=COUNT))
    precision = rng.uniform(0.5, 20, COUNT)
    target = precision * truth + np.sqrt(precision) * rng.normal(size=COUNT)
    return Wishes(sparse.diags(precision).tocsr(), target, CONTROL), truth


@pytest.mark.parametrize("stiffness", [0.1, 1.0, 10.0, 100.0])
def test_the_stiffness_of_the_truth_is_found(stiffness):
    chosen = [most_probable(drawn(stiffness, seed)[0])[1] for seed in range(5)]
    assert stiffness / 4 < np.exp(np.mean(np.log(chosen))) < stiffness * 4


def test_it_is_closer_to_the_truth_than_softer_and_stiffer_ones():
    errors = []
    for seed in range(5):
        wishes, truth = drawn(3.0, seed)
        tried = [most_probable(wishes)[0], *(solved(wishes, s)[0] for s in (0.03, 300.0))]
        errors.append([np.sqrt(np.mean(np.square(c - truth))) for c in tried])
    mine, softer, stiffer = np.mean(errors, axis=0)
    assert mine < 0.9 * min(softer, stiffer)


@pytest.mark.parametrize("start", [1e-3, 1e6])
def test_a_start_far_off_leads_to_the_same(start):
    wishes, _ = drawn(10.0, 0)
    assert most_probable(wishes, start)[1] == most_probable(wishes)[1]


def test_pure_noise_is_left_affine():
    rng = np.random.default_rng(0)
    precision = np.full(COUNT, 4.0)
    wishes = Wishes(sparse.diags(precision).tocsr(), np.sqrt(precision) * rng.normal(size=COUNT), CONTROL)
    coefficients, _ = most_probable(wishes)
    bends = bending_matrix(CONTROL)
    assert all(part @ bends @ part < 0.01 for part in coefficients.reshape(2, -1))


def test_where_nothing_is_known_the_field_goes_on_straight():
    rows, cols = np.indices(CONTROL)
    plane = np.concatenate([(0.3 * rows).ravel(), (1.0 - 0.2 * cols).ravel()])
    known = np.tile((cols < 5).ravel(), 2).astype(float) * 100
    coefficients, _ = most_probable(Wishes(sparse.diags(known).tocsr(), known * plane, CONTROL))
    np.testing.assert_allclose(coefficients, plane, atol=0.02)
