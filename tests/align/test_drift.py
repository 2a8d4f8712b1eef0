"""Solving many links at once, the common frame, anchors and templates."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.align.drift import keeping_trend
from napari_dinov3.align.links import Link, components, planned_links
from napari_dinov3.align.quality import NO_MATCH, MatchQuality
from napari_dinov3.align.solve import interpolated, solve_poses
from napari_dinov3.align.stack import solve_stack
from napari_dinov3.align.template import align_to_template_steps
from napari_dinov3.align.transforms import point_grid, rotation_matrix, translation_matrix
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import transform_points
from napari_dinov3.progress import collect

SHAPE = (200, 160)
POINTS = point_grid(SHAPE, 40)
SURE = MatchQuality(z=30.0, lead=4.0, agreement=0.8, overlap=0.9)


def random_poses(count: int, model: str = "rigid", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    poses = [translation_matrix(*rng.normal(0, 6, 2)) for _ in range(count)]
    if model != "translation":
        poses = [p @ rotation_matrix(rng.normal(0, 4), (100, 80)) for p in poses]
    if model == "affine":
        bend = np.zeros((count, 3, 3))
        bend[:, :2, :2] = rng.normal(0, 0.01, (count, 2, 2))
        poses = [p @ (np.eye(3) + b) for p, b in zip(poses, bend, strict=True)]
    return np.stack(poses)


def links_of(poses: np.ndarray, noise: float = 0.0, seed: int = 1) -> list[Link]:
    rng = np.random.default_rng(seed)
    found = []
    for a, b in planned_links(len(poses)):
        error = translation_matrix(*rng.normal(0, noise, 2)) if noise else np.eye(3)
        found.append(Link(a, b, error @ poses[b] @ np.linalg.inv(poses[a]), SURE))
    return found


def furthest(found: np.ndarray, truth: np.ndarray) -> float:
    """Largest error in pixels once both are seen from the first section."""
    errors = []
    for f, t in zip(found @ np.linalg.inv(found[0]), truth @ np.linalg.inv(truth[0]), strict=True):
        errors.append(np.abs(transform_points(f, POINTS) - transform_points(t, POINTS)).max())
    return float(max(errors))


@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
def test_exact_links_give_exact_poses(model):
    truth = random_poses(12, model if model != "similarity" else "rigid")
    assert furthest(solve_poses(links_of(truth), 12, model=model, shape=SHAPE).transforms, truth) < 1e-3


def test_wrong_links_are_found_and_ignored():
    truth = random_poses(30)
    links = links_of(truth, noise=0.05)
    for k in (5, 31, 60):
        links[k] = Link(links[k].first, links[k].second, translation_matrix(25, -18) @ links[k].matrix, SURE)
    solution = solve_poses(links, 30, model="rigid", shape=SHAPE)
    assert furthest(solution.transforms, truth) < 1.0
    assert (solution.trust[[5, 31, 60]] < 0.01).all()
    assert np.median(solution.trust) > 0.5


def test_affine_solutions_do_not_shrink():
    truth = np.stack([translation_matrix(*np.random.default_rng(z).normal(0, 5, 2)) for z in range(60)])
    found = solve_poses(links_of(truth, noise=0.3), 60, model="affine", shape=SHAPE).transforms
    assert abs(np.linalg.det(found[-1][:2, :2]) - 1) < 0.02


def test_parts_are_numbered_by_size():
    links = [Link(a, b, np.eye(3), match) for a, b, match in ((0, 1, SURE), (2, 3, SURE), (3, 4, SURE), (1, 2, NO_MATCH))]
    assert components(6, links).tolist() == [1, 1, 0, 0, 0, 2]


def test_missing_poses_lie_between():
    poses = np.stack([translation_matrix(z, 0) for z in (0.0, 99.0, 99.0, 6.0)])
    out = interpolated(poses, np.array([False, True, True, False]), SHAPE, model="rigid")
    np.testing.assert_allclose(out[:, 0, 2], [0, 2, 4, 6], atol=1e-9)


def test_trend_keeps_a_steady_lean_and_takes_jitter_away():
    lean = np.stack([translation_matrix(0.8 * z, -0.3 * z) for z in range(40)])
    np.testing.assert_allclose(keeping_trend(lean, SHAPE, model="rigid"), np.tile(np.eye(3), (40, 1, 1)), atol=1e-6)
    jitter = lean.copy()
    jitter[20, 0, 2] += 5
    kept = keeping_trend(jitter, SHAPE, model="rigid")
    assert kept[20, 0, 2] > 4
    assert np.abs(kept[:10, 0, 2]).max() < 0.3


@pytest.fixture(scope="module")
def stack():
    shifts = np.cumsum(np.random.default_rng(5).normal(0, 2, (5, 2)), axis=0)
    sample = nd.synthetic.calcium(planes=5, size=128, rng=1, shifts=shifts)
    return sample, nd.align_stack(sample.images, model="translation", backbone=None)


def test_anchors_hold_their_poses(stack):
    sample, path = stack
    poses = {0: translation_matrix(2, 2), 4: translation_matrix(-3, 1)}
    held = solve_stack(path.links, nd.as_planes(sample.images), model="translation", anchors=poses)
    for z, pose in poses.items():
        np.testing.assert_allclose(held.transforms[z], pose, atol=0.01)
    still = solve_stack(path.links, nd.as_planes(sample.images), model="translation", anchors=[2])
    np.testing.assert_allclose(still.transforms[2], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(still.transforms[0, :2, 2], (path.transforms[0] - path.transforms[2])[:2, 2], atol=1e-3)
    with pytest.raises(InputError, match="anchors"):
        solve_stack(path.links, nd.as_planes(sample.images), model="translation", anchors=[9])


@pytest.mark.parametrize("template", ["mean", "median"])
def test_templates_keep_known_shifts(stack, template):
    sample, path = stack
    better = collect(align_to_template_steps(nd.as_planes(sample.images), path, template=template))
    found = better.transforms[:, :2, 2]
    assert np.abs((found - found[0]) - (sample.shifts - sample.shifts[0])).max() < 0.15


def test_a_run_can_be_resumed(stack):
    sample, path = stack
    known = {}
    steps = nd.align.stack.align_stack_steps(sample.images, model="translation", backbone=None, known=known)
    for _ in range(4):
        next(steps)
    steps.close()
    assert 0 < len(known) < len(path.links)
    begun = dict(known)
    again = nd.align_stack(sample.images, model="translation", backbone=None, known=known)
    assert all(link is begun[link.first, link.second] for link in again.links if (link.first, link.second) in begun)
    np.testing.assert_allclose(again.transforms, path.transforms, atol=1e-6)


def test_a_finer_level_gets_the_same_alignment(stack):
    sample, path = stack
    big = np.kron(sample.images, np.ones((1, 2, 2), np.uint8))
    aligned = path.apply(big, order=1)
    assert aligned.shape == big.shape
    small = path.apply(sample.images, order=1).astype(float)
    reduced = aligned.reshape(5, 128, 2, 128, 2).mean(axis=(2, 4))
    inner = (slice(None), slice(20, 108), slice(20, 108))
    assert np.abs(reduced[inner] - small[inner]).mean() < 1.5
