"""The registry tells the truth about each backbone, and the placeholders give the same numbers everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from napari_dinov3.backbones.registry import backbone_facts, choose_backbone, list_backbones, load_backbone
from napari_dinov3.errors import InputError, MissingDependencyError

OFFLINE = [facts.name for facts in list_backbones() if not facts.needs]


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("channels", [1, 3])
def test_facts_are_what_the_backbone_does(name: str, channels: int) -> None:
    facts = backbone_facts(name)
    backbone = load_backbone(name)
    side = facts.stride * 4
    tiles = np.random.default_rng(0).random((2, side, side) + ((3,) if channels == 3 else ()), dtype=np.float32)
    patches = backbone.embed(tiles).patches
    assert patches.shape == (2, 4, 4, facts.width if channels == 1 else facts.width_rgb)
    assert patches.dtype == np.float32
    assert backbone.stride == facts.stride
    assert facts.licence and facts.source and facts.good_for


@pytest.mark.parametrize(
    ("name", "digest"),
    [("random-projection-cnx-tiny", "f7b85c3b7347ceac"), ("random-projection-vit-large", "9dc012693c68ff7e")],
)
def test_placeholder_numbers_never_change(name: str, digest: str) -> None:
    ramp = (np.arange(2 * 32 * 48 * 3, dtype=np.int64) * 7919 % 1000 / 1000).astype(np.float32).reshape(2, 32, 48, 3)
    patches = load_backbone(name).embed(ramp).patches
    assert hashlib.sha256(np.ascontiguousarray(patches, "<f4").tobytes()).hexdigest()[:16] == digest


def test_another_seed_is_another_projection() -> None:
    tiles = np.random.default_rng(0).random((1, 32, 32), dtype=np.float32)
    first, second = (load_backbone("random-projection-cnx-tiny", seed=seed) for seed in (0, 1))
    assert first.revision != second.revision
    assert not np.allclose(first.embed(tiles).patches, second.embed(tiles).patches)


def test_random_projection_keeps_distances_on_average() -> None:
    tiles = np.random.default_rng(0).random((1, 128, 128), dtype=np.float32)
    patches = load_backbone("random-projection-vit-large").embed(tiles).patches.reshape(64, -1)
    pixels = tiles[0].reshape(8, 16, 8, 16).transpose(0, 2, 1, 3).reshape(64, -1)

    def distances(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[:, None] - x[None], axis=-1)[np.triu_indices(len(x), 1)]

    assert np.corrcoef(distances(patches), distances(pixels))[0, 1] > 0.8


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="filter-bank"):
        load_backbone("dino")


def test_auto_says_what_it_took() -> None:
    name, reason = choose_backbone("auto")
    assert name in {facts.name for facts in list_backbones()}
    assert reason.startswith("auto")


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from napari_dinov3.backbones import registry

    facts = dataclasses.replace(backbone_facts("filter-bank"), name="absent", needs=("no_such_module",))
    monkeypatch.setitem(registry._BY_NAME, "absent", facts)
    with pytest.raises(MissingDependencyError, match=r"no_such_module.*pip install"):
        load_backbone("absent")
