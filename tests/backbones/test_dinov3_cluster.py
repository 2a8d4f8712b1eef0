"""DINOv3 in the process of a worker: loaded there from the same file, the same bits."""
# ruff: noqa: E402 (torch is looked for before what needs it)

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [dinov3] extra is not installed")
pytest.importorskip("transformers", reason="the [dinov3] extra is not installed")
distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")

from dinov3_layouts import random_module, write

import napari_dinov3 as nd
from napari_dinov3.backbones.dinov3_models import spec_of
from napari_dinov3.backbones.registry import load_backbone

NAME = "dinov3-vits16"


@pytest.fixture
def one_thread():
    """As the worker has; one, since each spends seconds on importing PyTorch. How many share the planes is tested without it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_worker_gives_the_bits_of_a_local_run(tmp_path, one_thread):
    weights = write(random_module(spec_of(NAME)), spec_of(NAME), "timm", tmp_path / "weights")
    backbone = load_backbone(NAME, weights=weights, device="cpu", precision="float32")
    stack = np.random.default_rng(0).random((6, 48, 64), dtype=np.float32)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        there = nd.extract(stack, backbone=backbone, client=client, folder=tmp_path / "there", batch_size=1)
    here = nd.extract(stack, backbone=backbone, folder=tmp_path / "here", batch_size=1)
    np.testing.assert_array_equal(np.asarray(there.array[:]), np.asarray(here.array[:]))
    np.testing.assert_array_equal(there.cls, here.cls)
