"""A real cluster of processes gives the local numbers, also when one of them is killed in the middle."""
# ruff: noqa: E402 (distributed is looked for before what needs it)

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import dask.array
import numpy as np
import pytest

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
cloudpickle = pytest.importorskip("cloudpickle")

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.features.cluster import extract_on_cluster_steps

PLACEHOLDER = "random-projection-cnx-tiny"
STACK = np.random.default_rng(0).integers(0, 255, (12, 48, 64), dtype=np.uint8)


def slowly(block: np.ndarray) -> np.ndarray:
    time.sleep(0.1)
    return block


@pytest.fixture(scope="module")
def client():
    cloudpickle.register_pickle_by_value(sys.modules[slowly.__module__])
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _lazy(*, slow: bool = False) -> dask.array.Array:
    lazy = dask.array.from_array(STACK, chunks=(1, 48, 64))
    return lazy.map_blocks(slowly, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)) if slow else lazy


@pytest.mark.parametrize(("backbone", "lazy"), [(PLACEHOLDER, True), ("filter-bank", False)])
def test_a_cluster_gives_the_local_numbers(client, tmp_path: Path, backbone: str, lazy: bool) -> None:
    image = _lazy() if lazy else STACK
    there = nd.extract(image, backbone=backbone, client=client, folder=tmp_path / "there", batch_size=3)
    here = nd.extract(image, backbone=backbone, folder=tmp_path / "here", batch_size=3)
    np.testing.assert_array_equal(np.asarray(there.array[:]), np.asarray(here.array[:]))
    assert dict(there.provenance) == dict(here.provenance)


def test_a_killed_worker_loses_nothing(client, tmp_path: Path) -> None:
    job = extract_on_cluster_steps(_lazy(slow=True), client=client, backbone=PLACEHOLDER, folder=tmp_path / "there", batch_size=1)
    event = next(job)
    while event.done < 4:
        event = next(job)
    workers = client.run(os.getpid)
    address, process = next(iter(workers.items()))
    os.kill(process, signal.SIGKILL)
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            features = stop.value
            break
    assert event.done == len(STACK)
    assert address not in client.scheduler_info()["workers"]
    here = nd.extract(STACK, backbone=PLACEHOLDER, folder=tmp_path / "here", batch_size=1)
    np.testing.assert_array_equal(np.asarray(features.array[:]), np.asarray(here.array[:]))


def test_a_run_closed_in_the_middle_goes_on_without_the_cluster(client, tmp_path: Path) -> None:
    job = extract_on_cluster_steps(_lazy(slow=True), client=client, backbone=PLACEHOLDER, folder=tmp_path / "map", batch_size=1)
    while next(job).done < 3:
        pass
    job.close()
    resumed = nd.extract(_lazy(), backbone=PLACEHOLDER, folder=tmp_path / "map", batch_size=1)
    assert 3 <= resumed.provenance["planes_from_cache"] < len(STACK)
    expected = nd.extract(STACK, backbone=PLACEHOLDER).array.astype(np.float16)
    np.testing.assert_array_equal(np.asarray(resumed.array[:]), expected)


def test_a_scheduler_may_be_given_by_its_address(client, tmp_path: Path) -> None:
    features = nd.extract(STACK[:3], backbone=PLACEHOLDER, client=client.scheduler.address, cache=tmp_path)
    np.testing.assert_array_equal(features.array, nd.extract(STACK[:3], backbone=PLACEHOLDER, cache=tmp_path).array)


def test_a_scheduler_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = distributed.Client
    monkeypatch.setattr("dask.distributed.Client", lambda address, timeout: connect(address, timeout="0.5s"))
    with pytest.raises(InputError, match=r"No scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        nd.extract(STACK[:1], backbone=PLACEHOLDER, client="tcp://127.0.0.1:9", cache=tmp_path)


def test_the_command_line_spreads_planes_over_a_cluster(client, tmp_path: Path) -> None:
    from napari_dinov3 import cli
    from napari_dinov3.features.store import FeatureStore
    from napari_dinov3.io import read_features

    stack = nd.write(tmp_path / "stack.ome.tif", STACK[:4])
    words = [
        "extract",
        stack,
        tmp_path / "there.zarr",
        "--backbone",
        PLACEHOLDER,
        "--scheduler",
        client.scheduler.address,
        "--cache",
        tmp_path / "cache",
    ]
    assert cli.main([str(word) for word in words]) == 0
    (entry,) = FeatureStore(tmp_path / "cache").entries()
    assert entry.complete
    there = read_features(tmp_path / "there.zarr")
    assert there.provenance["planes_from_cache"] == 4
    np.testing.assert_array_equal(there.array[:], nd.extract(STACK[:4], backbone=PLACEHOLDER, cache=tmp_path / "cache").array)
