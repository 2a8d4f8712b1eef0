"""Features on demand: the numbers of a full extraction, only the planes that are asked for, and nothing computed twice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.features import embedding
from napari_dinov3.features.on_demand import complete_steps, extract_on_demand, fill_steps, planes_here
from napari_dinov3.features.store import FeatureStore
from napari_dinov3.progress import collect

PLACEHOLDER = "random-projection-cnx-tiny"
STACK = np.random.default_rng(0).integers(0, 255, (6, 64, 80), dtype=np.uint8)


def counted(stack: np.ndarray = STACK) -> tuple[Any, list[int]]:
    read: list[int] = []

    def load(block: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        if block_info:
            read.append(block_info[0]["chunk-location"][0])
        return block

    chunks = (1, *stack.shape[1:])
    return da.from_array(stack, chunks=chunks).map_blocks(load, dtype=stack.dtype, meta=np.empty((0, 0, 0), stack.dtype)), read


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embed one plane at a time, as with large planes."""
    monkeypatch.setattr(embedding, "BATCH_PIXELS", 1)


@pytest.mark.parametrize("backbone", ["filter-bank", PLACEHOLDER])
@pytest.mark.parametrize("options", [{}, {"batch_size": 2}, {"tile_size": 32}, {"memory_gb": 0.0005}, {"percentiles": (5, 95)}])
def test_the_numbers_are_those_of_a_full_extraction(backbone: str, options: dict[str, Any]) -> None:
    whole = nd.extract(STACK, backbone=backbone, **options)
    features = nd.extract_on_demand(STACK, backbone=backbone, **options)
    assert not planes_here(features)
    for plane in (4, 0, 5):
        np.testing.assert_array_equal(features.plane(plane), whole.plane(plane))
    assert features.signature == whole.signature
    np.testing.assert_array_equal(np.asarray(features.array), np.asarray(whole.array))
    done = collect(complete_steps(features))
    np.testing.assert_array_equal(np.asarray(done.array), np.asarray(whole.array))
    assert done.in_memory == whole.in_memory
    assert dict(done.provenance) == dict(whole.provenance)
    np.testing.assert_array_equal(done.world_from_patch, whole.world_from_patch)


def test_cls_tokens_come_with_the_last_plane() -> None:
    whole, features = nd.extract(STACK, backbone=PLACEHOLDER), extract_on_demand(STACK, backbone=PLACEHOLDER)
    assert features.cls is None
    done = collect(complete_steps(features))
    assert (done.cls is None) == (whole.cls is None)
    if whole.cls is not None:
        np.testing.assert_array_equal(done.cls, whole.cls)


def test_only_planes_that_are_read_are_computed(single: None) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (60, 32, 32), dtype=np.uint8)
    lazy, read = counted(stack)
    features = extract_on_demand(lazy, backbone="filter-bank")
    assert len(read) <= 16  # the sample for the intensity window
    read.clear()
    features.plane(7), features.plane(7)
    assert read == [7]
    assert planes_here(features) == {7}
    assert features.array[3:5].shape[0] == 2
    assert planes_here(features) == {3, 4, 7}
    assert features.array.nbytes == 3 * features.plane(0).nbytes  # evaluated before plane 0 came


def test_indexing_is_that_of_an_array() -> None:
    whole, features = nd.extract(STACK, stride=4), extract_on_demand(STACK, stride=4)
    for index in (-1, (2, 3), (1, slice(2, 4), 5), slice(None, None, 2), [0, 5], (slice(1, 3), 4), ..., (..., 0)):
        np.testing.assert_array_equal(features.array[index], whole.array[index])
    with pytest.raises(IndexError):
        features.array[6]


def test_every_task_reads_such_a_map() -> None:
    image = np.random.default_rng(0).normal(100, 3, (3, 64, 64))
    image[:, 20:44, 24:48] += 60
    scribbles = np.zeros(image.shape, np.uint8)
    scribbles[0, 4:8, 4:60], scribbles[0, 28:32, 28:44] = 1, 2
    whole = nd.extract(image, stride=4)
    new = lambda: extract_on_demand(image, stride=4)  # noqa: E731
    np.testing.assert_array_equal(
        nd.Probe().fit(new(), scribbles).predict(new()), nd.Probe().fit(whole, scribbles).predict(whole)
    )
    np.testing.assert_array_equal(nd.tokencut(new(), tau=0.5).masks, nd.tokencut(whole, tau=0.5).masks)
    np.testing.assert_array_equal(new().similarity(plane=1, row=30, col=30), whole.similarity(plane=1, row=30, col=30))
    np.testing.assert_array_equal(new().pca(), whole.pca())


def test_a_stopped_job_keeps_finished_planes_and_begun_ones_go_on(single: None) -> None:
    lazy, read = counted()
    features = extract_on_demand(lazy, backbone="filter-bank", tile_size=32)  # 6 tiles a plane
    read.clear()
    job = fill_steps(features, (4, 1))
    while not planes_here(features):
        next(job)
    next(job), next(job)
    job.close()
    assert planes_here(features) == {4}
    collect(fill_steps(features, (1,)))
    assert planes_here(features) == {1, 4}
    assert read == [4, 1]  # plane 1 was not begun anew


def test_threads_share_the_work(single: None) -> None:
    lazy, read = counted()
    features = extract_on_demand(lazy, backbone="filter-bank", tile_size=32)
    whole = nd.extract(STACK, backbone="filter-bank", tile_size=32)
    read.clear()
    seen: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda n=n: seen.update({n: features.plane(n % 3)})) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read) == [0, 1, 2]
    for number, plane in seen.items():
        np.testing.assert_array_equal(plane, whole.plane(number % 3))


def test_a_plane_that_could_not_be_read_is_tried_again(single: None) -> None:
    fail = [True]

    def load(block: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        if block_info and block_info[0]["chunk-location"][0] == 2 and fail[0]:
            raise OSError("the disk is gone")
        return block

    chunks = (1, 64, 80)
    lazy = da.from_array(STACK, chunks=chunks).map_blocks(load, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    fail[0] = False
    features = extract_on_demand(lazy)
    fail[0] = True
    with pytest.raises(OSError, match="gone"):
        features.plane(2)
    fail[0] = False
    np.testing.assert_array_equal(features.plane(2), nd.extract(STACK).plane(2))


@pytest.mark.parametrize("memory_gb", [2.0, 0.0005])
def test_planes_in_a_store_are_there_the_next_time(tmp_path: Path, single: None, memory_gb: float) -> None:
    store = FeatureStore(tmp_path)
    first = extract_on_demand(STACK, cache=store, memory_gb=memory_gb)
    first.plane(3), first.plane(1)
    lazy, read = counted()
    again = extract_on_demand(lazy, cache=FeatureStore(tmp_path), memory_gb=memory_gb)
    read.clear()
    assert planes_here(again) == {1, 3}
    assert (first.provenance["planes_from_cache"], again.provenance["planes_from_cache"]) == (0, 2)
    np.testing.assert_array_equal(again.plane(3), first.plane(3))
    assert not read
    done = collect(complete_steps(again, 2))
    whole = nd.extract(STACK, cache=FeatureStore(tmp_path), memory_gb=memory_gb)
    assert whole.provenance["planes_from_cache"] == 6  # a full extraction takes what was made on demand
    assert {**done.provenance, "planes_from_cache": 6} == dict(whole.provenance)
    assert "planes_from_cache" not in extract_on_demand(STACK).provenance  # nothing is looked for where nothing is kept
    np.testing.assert_array_equal(np.asarray(done.array), np.asarray(whole.array))
    assert done.in_memory == whole.in_memory


def test_wrong_options_are_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError):
        extract_on_demand(STACK, backbone="filter-bank", stride=3)
