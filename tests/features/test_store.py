"""Stored maps survive what stops a run, are found again by content, and stay within their budget."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.backbones.registry import load_backbone
from napari_dinov3.errors import InputError
from napari_dinov3.features.store import FeatureStore
from napari_dinov3.features.stored_map import StoredMap, open_map

PLACEHOLDER = "random-projection-cnx-tiny"
SHAPE = (3, 4, 5, 6)
PLANE = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6) / 8  # exact in float16


class Counting:
    """A backbone that counts the tiles it embeds."""

    def __init__(self) -> None:
        self._inner = load_backbone(PLACEHOLDER)
        self.facts, self.stride, self.halo, self.revision = self._inner.facts, 16, 0, self._inner.revision
        self.tiles = 0

    def width(self, channels: int) -> int:
        return self._inner.width(channels)

    def embed(self, tiles: np.ndarray):
        self.tiles += len(tiles)
        return self._inner.embed(tiles)


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (12, 48, 64), dtype=np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store", budget_gb=1)


def test_a_second_run_computes_nothing_and_says_so(stack: np.ndarray, store: FeatureStore) -> None:
    model = Counting()
    first = nd.extract(stack, backbone=model, cache=store)
    assert model.tiles == 12
    second = nd.extract(stack, backbone=model, cache=store)
    assert model.tiles == 12
    np.testing.assert_array_equal(first.array, second.array)
    assert (first.provenance["planes_from_cache"], second.provenance["planes_from_cache"]) == (0, 12)
    assert {**first.provenance, "planes_from_cache": 12} == dict(second.provenance)


def test_stored_features_are_those_of_a_plain_run_in_float16(stack: np.ndarray, store: FeatureStore) -> None:
    plain = nd.extract(stack, backbone=PLACEHOLDER)
    stored = nd.extract(stack, backbone=PLACEHOLDER, cache=store)
    np.testing.assert_array_equal(stored.array, plain.array.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("stop_after", [1, 4, 8])
def test_a_cancelled_run_goes_on_where_it_was(stack: np.ndarray, tmp_path: Path, stop_after: int, batch_size: int) -> None:
    whole = nd.extract(stack, backbone=PLACEHOLDER, folder=tmp_path / "whole", batch_size=batch_size)
    job = nd.extract_steps(stack, backbone=Counting(), folder=tmp_path / "cut", batch_size=batch_size)
    done = 0
    while done < stop_after:
        done = next(job).done
    job.close()
    again = Counting()
    resumed = nd.extract(stack, backbone=again, folder=tmp_path / "cut", batch_size=batch_size)
    assert resumed.provenance["planes_from_cache"] >= stop_after
    assert again.tiles <= 12 - stop_after + batch_size
    np.testing.assert_array_equal(np.asarray(resumed.array[:]), np.asarray(whole.array[:]))


def test_a_killed_process_leaves_a_store_that_goes_on(stack: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", stack)
    script = (
        "import os, sys, numpy as np, napari_dinov3 as nd\n"
        "job = nd.extract_steps(np.load(sys.argv[1]), backbone='random-projection-cnx-tiny', folder=sys.argv[2], batch_size=1)\n"
        "for event in job:\n"
        "    if event.done == 5:\n"
        "        os._exit(9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path / "stack.npy", tmp_path / "map"], check=False, timeout=120)
    assert killed.returncode == 9
    model = Counting()
    resumed = nd.extract(stack, backbone=model, folder=tmp_path / "map", batch_size=1)
    assert model.tiles == 12 - 5
    expected = nd.extract(stack, backbone=PLACEHOLDER).array.astype(np.float16)
    np.testing.assert_array_equal(np.asarray(resumed.array[:]), expected)


@pytest.mark.parametrize("change", ["pixels", "window", "stride", "tile"])
def test_another_image_or_setting_is_another_map(stack: np.ndarray, store: FeatureStore, change: str) -> None:
    nd.extract(stack, backbone="filter-bank", cache=store)
    other = stack.copy()
    other[3, 2, 1] ^= 1
    options = {"window": {"percentiles": (2, 98)}, "stride": {"stride": 4}, "tile": {"tile_size": 32}}.get(change, {})
    nd.extract(other if change == "pixels" else stack, backbone="filter-bank", cache=store, **options)
    assert len(store.entries()) == 2


def test_a_folder_of_another_map_is_refused_and_left_alone(stack: np.ndarray, tmp_path: Path) -> None:
    first = nd.extract(stack, backbone=PLACEHOLDER, folder=tmp_path / "map")
    before = np.asarray(first.array[:])
    with pytest.raises(InputError, match="exists and holds the features of another image"):
        nd.extract(stack[::-1], backbone=PLACEHOLDER, folder=tmp_path / "map")
    np.testing.assert_array_equal(StoredMap(tmp_path / "map").array[:], before)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"miaow")
    with pytest.raises(InputError, match="exists and holds other files"):
        nd.extract(stack, backbone=PLACEHOLDER, folder=tmp_path / "photos")


def test_cls_tokens_come_back_exactly(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    stored = open_map(tmp_path / "map", key="k", shape=SHAPE, facts={})
    for plane in (2, 0, 1):
        assert stored.cls is None
        stored.write(plane, PLANE + plane, tokens[plane])
    again = StoredMap(tmp_path / "map")
    assert again.complete
    np.testing.assert_array_equal(again.cls, tokens)
    np.testing.assert_array_equal(again.array[1], PLANE + 1)


def test_a_torn_journal_line_and_a_short_chunk_count_as_missing(tmp_path: Path) -> None:
    stored = open_map(tmp_path / "map", key="k", shape=SHAPE, facts={})
    for plane in range(3):
        stored.write(plane, PLANE, None)
    chunk = tmp_path / "map" / "features.zarr" / "c" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-2])
    journal = tmp_path / "map" / "planes.jsonl"
    journal.write_text(journal.read_text().rstrip()[:-4])
    again = StoredMap(tmp_path / "map")
    assert again.pending == (0, 2)
    again.write(2, PLANE, None)
    again.write(0, PLANE, None)
    assert StoredMap(tmp_path / "map").complete


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = open_map(tmp_path / "map", key="k", shape=SHAPE, facts={})
    stored.write(0, PLANE, None)

    class FullDisk:
        def __setitem__(self, at: object, value: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored, "array", FullDisk())
    with pytest.raises(InputError, match=r"disk of .* is full.*what was computed so far is kept.*goes on where it stopped"):
        stored.write(1, PLANE, None)
    assert StoredMap(tmp_path / "map").pending == (1, 2)


def _age(store: FeatureStore, key: str, hours: float) -> None:
    when = time.time() - hours * 3600
    os.utime(store.folder / key / "used", (when, when))


def test_the_longest_unused_map_makes_room(tmp_path: Path) -> None:
    size = 3 * 4 * 5 * 6 * 2
    store = FeatureStore(tmp_path, budget_gb=(3 * size + 9000) / 1e9)
    for key, hours in (("old", 2), ("older", 3), ("new", 1)):
        stored = store.open(key, SHAPE, {"image": key})
        for plane in range(3):
            stored.write(plane, PLANE, None)
        _age(store, key, hours)
    store.open("old", SHAPE, {})  # used again
    used = store.nbytes
    store.budget_gb = (used + size // 2) / 1e9
    store.open("next", SHAPE, {})
    assert {entry.key for entry in store.entries()} == {"old", "new", "next"}
    assert store.clear() > 0
    assert store.entries() == ()


def test_a_map_in_use_is_not_removed(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, budget_gb=1e-6)
    store.open("first", SHAPE, {})
    store.open("second", SHAPE, {})
    assert len(store.entries()) == 2


def test_a_map_larger_than_the_budget_is_refused(stack: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than the feature cache's"):
        nd.extract(stack, backbone=PLACEHOLDER, cache=FeatureStore(tmp_path, budget_gb=1e-6))
    with pytest.raises(InputError, match="budget_gb=0"):
        FeatureStore(tmp_path, budget_gb=0)


def test_a_damaged_map_is_begun_anew(stack: np.ndarray, store: FeatureStore) -> None:
    expected = nd.extract(stack, backbone=PLACEHOLDER, cache=store).array
    (entry,) = store.entries()
    (store.folder / entry.key / "manifest.json").write_text("{")
    assert not store.entries()[0].complete
    np.testing.assert_array_equal(nd.extract(stack, backbone=PLACEHOLDER, cache=store).array, expected)
    assert store.entries()[0].complete


def test_entries_tell_what_is_stored(stack: np.ndarray, store: FeatureStore) -> None:
    nd.extract(stack, backbone=PLACEHOLDER, cache=store, name="brain")
    (entry,) = store.entries()
    assert (entry.image, entry.backbone, entry.planes, entry.complete) == ("brain", PLACEHOLDER, 12, True)
    assert entry.nbytes >= 12 * 3 * 4 * 384 * 2
    assert json.loads((store.folder / entry.key / "manifest.json").read_text())["format"] == 1


def test_the_users_own_store_is_where_the_cache_variable_says(
    stack: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(tmp_path))
    nd.extract(stack, backbone=PLACEHOLDER, cache="user")
    assert len(FeatureStore().entries()) == 1
    assert FeatureStore().folder == tmp_path / "features"
