"""Taking the position out: unrelated images no longer match at equal coordinates, content still does."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.backbones.base import Embedding
from napari_dinov3.backbones.registry import backbone_facts, load_backbone
from napari_dinov3.errors import FeatureMismatchError, InputError
from napari_dinov3.features.positional import for_matching, position_basis, remove_position

RNG = np.random.default_rng(0)
CODE = RNG.normal(size=(8, 384)).astype(np.float32)


class Placed:
    """The reference projection with a strong code of row and column added, as a transformer has."""

    def __init__(self) -> None:
        self._inner = load_backbone("random-projection-cnx-tiny")
        self.facts, self.stride, self.halo, self.revision = backbone_facts("dinov3-vits16"), 16, 0, "placed"
        self.passes = 0

    def width(self, channels: int) -> int:
        return 384

    def embed(self, tiles: np.ndarray) -> Embedding:
        self.passes += 1
        patches = self._inner.embed(tiles).patches
        angles = np.meshgrid(*(np.linspace(-1, 1, n) for n in patches.shape[1:3]), indexing="ij")
        waves = [wave(np.pi * angle * frequency) for angle in angles for frequency in (0.5, 1) for wave in (np.sin, np.cos)]
        return Embedding((patches + 2 * np.stack(waves, -1) @ CODE).astype(np.float32), None)


def _matches(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Index of the best match in `b` of every patch of `a`."""
    flat = [x.reshape(-1, x.shape[-1]) / np.linalg.norm(x.reshape(-1, x.shape[-1]), axis=1, keepdims=True) for x in (a, b)]
    return np.argmax(flat[0] @ flat[1].T, axis=1)


@pytest.fixture
def images() -> np.ndarray:
    """A texture, and the same moved by two patches along the rows with new content coming in."""
    texture = RNG.random((160 + 32, 160)).astype(np.float32)
    return np.stack([texture[:160], texture[32:]])


def test_content_matches_where_position_pulled_it_to_no_shift(images: np.ndarray) -> None:
    model = Placed()
    features = nd.extract(images, backbone=model)
    free = for_matching(features, model, components=8)
    place = np.arange(100)
    shifted = place[20:] - 20  # the true partner in the second image
    assert np.mean(_matches(features.plane(0), features.plane(1)) == place) > 0.9
    assert np.mean(_matches(free.plane(0), free.plane(1))[20:] == shifted) > 0.9


def test_the_basis_is_orthonormal_spans_the_code_and_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(tmp_path))
    model = Placed()
    basis = position_basis(model, (160, 160), components=8)
    np.testing.assert_allclose(basis @ basis.T, np.eye(8), atol=1e-5)
    outside = CODE - (CODE @ basis.T) @ basis
    assert np.linalg.norm(outside) < 0.25 * np.linalg.norm(CODE)
    again = position_basis(model, (160, 160), components=8)
    np.testing.assert_array_equal(again, basis)
    assert model.passes == 1
    position_basis(model, (160, 176), components=8)
    assert model.passes == 2


def test_a_map_on_disk_is_debiased_as_it_is_read(images: np.ndarray, tmp_path) -> None:
    model = Placed()
    kept, plain = nd.extract(images, backbone=model, folder=tmp_path), nd.extract(images, backbone=model)
    lazy, whole = (for_matching(features, model) for features in (kept, plain))
    assert not lazy.in_memory and whole.in_memory
    np.testing.assert_allclose(lazy.plane(1), whole.plane(1), atol=2e-3)  # float16 on disk
    np.testing.assert_allclose(lazy.array[:, 2], whole.array[:, 2], atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(whole.array, axis=-1), 1, atol=1e-5)


def test_a_debiased_map_is_not_taken_for_the_original(images: np.ndarray) -> None:
    model = Placed()
    features = nd.extract(images, backbone=model)
    with pytest.raises(FeatureMismatchError, match="without-position-20"):
        for_matching(features, model).check_fits(features)


def test_backbones_without_a_position_code_are_left_alone(images: np.ndarray) -> None:
    model = load_backbone("random-projection-cnx-tiny")
    features = nd.extract(images, backbone=model)
    assert for_matching(features, model) is features


def test_impossible_requests_are_refused(images: np.ndarray) -> None:
    features = nd.extract(images, backbone=Placed())
    with pytest.raises(InputError, match="components=0"):
        position_basis(Placed(), (64, 64), components=0)
    with pytest.raises(InputError, match="at least two patches"):
        position_basis(Placed(), (16, 16))
    with pytest.raises(InputError, match=r"basis of shape \(2, 5\)"):
        remove_position(features, np.zeros((2, 5), np.float32))
