"""Time, memory and room of a run, told before it is made; without torch."""

from __future__ import annotations

import json

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.backbones import throughput
from napari_dinov3.backbones.options import BackboneOptions
from napari_dinov3.backbones.registry import backbone_facts, load_backbone
from napari_dinov3.backbones.throughput import recall, remember, throughput_key, work_of_tile
from napari_dinov3.features.estimate import estimate_run, measure_speed_steps

PLAIN = BackboneOptions()


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(tmp_path))


# billions of operations an image of 224, 512 and 1024 pixels, as published
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("dinov3-vits16", (9.4, 64, 487)),
        ("dinov3-vits16plus", (12, 78, 545)),
        ("dinov3-vitb16", (36, 215, 1322)),
        ("dinov3-vitl16", (126, 727, 4137)),
        ("dinov3-vith16plus", (344, 1902, 9644)),
        ("dinov3-convnext-tiny", (9, 47, 186)),
    ],
)
def test_the_work_of_a_tile_is_that_of_the_published_networks(name, published):
    counted = [work_of_tile(backbone_facts(name), (side, side), PLAIN) / 1e9 for side in (224, 512, 1024)]
    np.testing.assert_allclose(counted, published, rtol=0.06)


def test_passes_and_enlarging_multiply_the_work():
    facts, tile = backbone_facts("dinov3-convnext-tiny"), (256, 256)
    once = work_of_tile(facts, tile, PLAIN)
    assert work_of_tile(facts, tile, BackboneOptions(shifts=2, flips="all")) == pytest.approx(16 * once)
    assert work_of_tile(facts, tile, BackboneOptions(scale=2)) == pytest.approx(4 * once)


def test_a_speed_is_remembered_between_runs_and_follows_the_computer(tmp_path):
    remember("some|cpu|auto", work=100, seconds=1)
    assert recall("some|cpu|auto") == 100
    remember("some|cpu|auto", work=200, seconds=1)
    assert recall("some|cpu|auto") == pytest.approx(130)
    throughput._KNOWN.clear()
    assert recall("some|cpu|auto") == pytest.approx(130)
    assert json.loads((tmp_path / "throughput.json").read_text())
    throughput._KNOWN.clear()
    (tmp_path / "throughput.json").write_text("damaged")
    assert recall("some|cpu|auto") is None


def test_time_is_unknown_until_measured_and_then_grows_with_the_planes():
    stack = nd.as_planes(np.zeros((4, 64, 96), np.uint8))
    assert estimate_run(stack, "dinov3-vits16").seconds is None
    remember(throughput_key(backbone_facts("dinov3-vits16"), PLAIN), work=1e9, seconds=1)
    told = estimate_run(stack, "dinov3-vits16")
    assert told.seconds == pytest.approx(4 * work_of_tile(backbone_facts("dinov3-vits16"), (64, 96), PLAIN) / 1e9)
    tiled = estimate_run(nd.as_planes(np.zeros((1, 3000, 3000), np.uint8)), "dinov3-vits16")
    assert tiled.seconds == pytest.approx(16 * work_of_tile(backbone_facts("dinov3-vits16"), (1024, 1024), PLAIN) / 1e9)


@pytest.mark.parametrize("options", [PLAIN, BackboneOptions(scale=2, layers="four"), BackboneOptions(shifts=2)])
def test_grid_and_size_are_those_of_the_map(options):
    told = estimate_run(nd.as_planes(np.zeros((2, 70, 101), np.uint8)), "dinov3-vits16", options=options)
    stride = {None: 16, 2: 8}[options.scale] // options.shifts
    dim = 384 * (4 if options.layers == "four" else 1)
    assert (told.stride, told.grid, told.dim) == (stride, (-(-70 // stride), -(-101 // stride)), dim)
    assert told.patch_pixels == 16 / (options.scale or 1)
    assert told.stored_bytes == 2 * told.grid[0] * told.grid[1] * dim * 2
    assert told.memory_bytes > told.stored_bytes


def test_measuring_takes_one_small_tile_and_runs_refine_it():
    key = throughput_key(backbone_facts("filter-bank"), PLAIN)
    speed = nd.collect(measure_speed_steps("filter-bank", options=PLAIN))
    assert speed == recall(key) > 0
    model = load_backbone("filter-bank")
    nd.extract(np.random.default_rng(0).random((4, 64, 64)), backbone=model, batch_size=1)
    assert recall(key) != speed
