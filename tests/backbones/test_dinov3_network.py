"""The same random network in every layout gives transformers' own numbers."""
# ruff: noqa: E402 (torch is looked for before what needs it)

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the [dinov3] extra is not installed")
pytest.importorskip("transformers", reason="the [dinov3] extra is not installed")

from dinov3_layouts import random_module, small, write

from napari_dinov3.backbones.checkpoints import read_checkpoint
from napari_dinov3.backbones.dinov3_models import SPECS, spec_of
from napari_dinov3.backbones.dinov3_network import build_module, build_network

LAYOUTS = ("transformers", "sharded", "meta", "timm")
FAMILIES = ("dinov3-vits16", "dinov3-vits16plus", "dinov3-vit7b16", "dinov3-vitl16-sat", "dinov3-convnext-tiny")


def _pixels(rows=48, cols=80, seed=1):
    return torch.randn(2, 3, rows, cols, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_each_layout_gives_the_numbers_of_transformers(name, layout, tmp_path):
    spec = small(name)
    module = random_module(spec)
    path = write(module, spec, layout, tmp_path)
    pixels = _pixels() if spec.family == "vit" else _pixels(64, 96)
    with torch.no_grad():
        expected = module(pixel_values=pixels)
    checkpoint = read_checkpoint(path, spec)
    network = build_network(spec, checkpoint, device="cpu", precision="float32")
    cls, patches, _ = network.run(pixels)
    prefix = 5 if spec.family == "vit" else 1
    assert checkpoint.identity.layout == ("transformers" if layout == "sharded" else layout)
    assert torch.allclose(cls, expected.pooler_output, atol=1e-5)
    assert torch.allclose(patches.flatten(1, 2), expected.last_hidden_state[:, prefix:], atol=1e-5)
    assert patches.std() > 0.1  # random weights of a size that matters, so that a lost tensor shows


@pytest.mark.parametrize("name", ["dinov3-vits16", "dinov3-vits16plus", "dinov3-convnext-tiny"])
def test_full_size_networks_load_from_the_meta_layout(name, tmp_path):
    spec = spec_of(name)
    module = random_module(spec)
    network = build_network(spec, read_checkpoint(write(module, spec, "meta", tmp_path), spec), device="cpu", precision="float32")
    pixels = _pixels(64, 64)
    with torch.no_grad():
        expected = module(pixel_values=pixels).last_hidden_state
    _, patches, _ = network.run(pixels)
    assert torch.allclose(patches.flatten(1, 2), expected[:, -patches[0, ..., 0].numel() :], atol=1e-5)


@pytest.mark.parametrize("name", ["dinov3-vits16plus", "dinov3-convnext-tiny"])
def test_the_fingerprint_is_that_of_the_weights_not_of_the_file(name, tmp_path):
    spec = small(name)
    module = random_module(spec)
    read = [read_checkpoint(write(module, spec, layout, tmp_path / layout), spec) for layout in LAYOUTS]
    other = read_checkpoint(write(random_module(spec, seed=1), spec, "meta", tmp_path / "other"), spec)
    assert len({checkpoint.identity.fingerprint for checkpoint in read}) == 1
    assert len({checkpoint.identity.sha256 for checkpoint in read}) == len(LAYOUTS)
    assert other.identity.fingerprint != read[0].identity.fingerprint


def test_layers_are_read_after_their_block_with_the_final_norm(tmp_path):
    spec = small("dinov3-vitb16")
    module = random_module(spec)
    network = build_network(spec, read_checkpoint(write(module, spec, "timm", tmp_path), spec), device="cpu", precision="float32")
    pixels = _pixels()
    with torch.no_grad():
        hidden = module(pixel_values=pixels, output_hidden_states=True).hidden_states
        expected = module.norm(hidden[2])[:, 5:]
    _, last, (second, third) = network.run(pixels, layers=(1, 2))
    assert torch.allclose(second.flatten(1, 2), expected, atol=1e-5)
    assert torch.allclose(third, last, atol=1e-5)


def test_the_third_stage_of_a_convnext_has_stride_16(tmp_path):
    spec = small("dinov3-convnext-tiny")
    network = build_network(
        spec, read_checkpoint(write(random_module(spec), spec, "timm", tmp_path), spec), device="cpu", precision="float32"
    )
    _, last, (third,) = network.run(_pixels(64, 96), layers=(2,))
    assert third.shape == (2, 4, 6, spec.widths[2])
    assert last.shape == (2, 2, 3, spec.widths[3])


@pytest.mark.parametrize(
    "spec",
    [spec_of("dinov3-vits16"), *(small(f"dinov3-{name}") for name in ("vits16plus", "vit7b16", "convnext-tiny"))],
    ids=lambda spec: spec.name,
)
def test_bfloat16_stays_close_to_float32(spec, tmp_path):
    checkpoint = read_checkpoint(write(random_module(spec), spec, "meta", tmp_path), spec)
    pixels = _pixels(96, 96)
    exact = build_network(spec, checkpoint, device="cpu", precision="float32").run(pixels)[1]
    quick = build_network(spec, checkpoint, device="cpu", precision="bfloat16").run(pixels)[1]
    assert torch.nn.functional.cosine_similarity(exact, quick, dim=-1).min() >= 0.999
    assert not torch.equal(exact, quick)


@pytest.mark.parametrize("strength", [1, 10, 200])
def test_written_out_attention_is_softmax_whatever_the_scores(strength):
    from napari_dinov3.backbones.packed_blocks import attend

    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, tokens, 32, generator=generator).bfloat16() for tokens in (70, 70, 70))
    key[..., 0] = query[..., 0] = 16  # all scores of a row far from 0: their exponentials alone leave the range of numbers
    query = strength * query / 32**0.5
    scores = (query.float() @ key.float().transpose(-1, -2)).bfloat16().double()  # rounded, as scores are there too
    expected = torch.softmax(scores * math.log(2), dim=-1) @ value.double()
    with torch.inference_mode():
        got = attend(query, key, value)
    assert torch.isfinite(got).all()
    assert torch.nn.functional.cosine_similarity(got.double(), expected, dim=-1).median() > 0.999


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_table_gives_each_network_its_released_size(spec):
    module = build_module(spec)
    millions = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    assert millions == pytest.approx(spec.millions, abs=0.001)
    assert all(parameter.is_meta for parameter in module.parameters())
