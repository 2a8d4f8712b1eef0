"""The table of released networks, against what Meta and transformers publish of them."""

from __future__ import annotations

import pytest

from napari_dinov3.backbones.dinov3_models import PATCH, REGISTERS, ROPE_BASE, SPECS, STAGE3, ModelSpec, spec_of

LVD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SAT = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))

# width, blocks, heads, feed-forward width, gated, biases of query and value, four layers, timm's name
VITS = {
    "dinov3-vits16": (384, 12, 6, 1536, False, True, (2, 5, 8, 11), "small"),
    "dinov3-vits16plus": (384, 12, 6, 1536, True, True, (2, 5, 8, 11), "small_plus"),
    "dinov3-vitb16": (768, 12, 12, 3072, False, True, (2, 5, 8, 11), "base"),
    "dinov3-vitl16": (1024, 24, 16, 4096, False, True, (4, 11, 17, 23), "large"),
    "dinov3-vith16plus": (1280, 32, 20, 5120, True, True, (7, 15, 23, 31), "huge_plus"),
    "dinov3-vit7b16": (4096, 40, 32, 8192, True, False, (9, 19, 29, 39), "7b"),
}
CONVNEXTS = {
    "dinov3-convnext-tiny": ((96, 192, 384, 768), (3, 3, 9, 3)),
    "dinov3-convnext-small": ((96, 192, 384, 768), (3, 3, 27, 3)),
    "dinov3-convnext-base": ((128, 256, 512, 1024), (3, 3, 27, 3)),
    "dinov3-convnext-large": ((192, 384, 768, 1536), (3, 3, 27, 3)),
}
META_TAGS = {
    "dinov3-vits16": "08c60483",
    "dinov3-vits16plus": "4057cbaa",
    "dinov3-vitb16": "73cec8be",
    "dinov3-vitl16": "8aa4cbdd",
    "dinov3-vitl16-sat": "eadcf0ff",
    "dinov3-vith16plus": "7c1da9a5",
    "dinov3-vit7b16": "a955f4ea",
    "dinov3-vit7b16-sat": "a6675841",
    "dinov3-convnext-tiny": "21b726bb",
    "dinov3-convnext-small": "296db49d",
    "dinov3-convnext-base": "801f2ba9",
    "dinov3-convnext-large": "61fa432d",
}


def test_every_released_network_is_there_and_no_other():
    assert {spec.name for spec in SPECS} == set(META_TAGS)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.family == "vit"], ids=lambda spec: spec.name)
def test_a_vision_transformer_is_as_released(spec: ModelSpec):
    width, blocks, heads, hidden, gated, biased, four, timm = VITS[spec.name.removesuffix("-sat")]
    assert (spec.width, spec.depths, spec.heads, spec.hidden) == (width, (blocks,), heads, hidden)
    assert (spec.gated, spec.qkv_bias, spec.four_layers) == (gated, biased, four)
    satellite = spec.name.endswith("-sat")
    data = "sat493m" if satellite else "lvd1689m"
    size = spec.name.removeprefix("dinov3-").removesuffix("-sat")
    assert (spec.mean, spec.std) == (SAT if satellite else LVD)
    assert spec.meta_file == f"dinov3_{size}_pretrain_{data}-{META_TAGS[spec.name]}.pth"
    assert spec.meta_repo == f"facebook/dinov3-{size}-pretrain-{data}"
    assert spec.mirror == f"timm/vit_{timm}_patch16_dinov3.{data}"


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.family == "convnext"], ids=lambda spec: spec.name)
def test_a_convnext_is_as_released(spec: ModelSpec):
    assert (spec.widths, spec.depths) == CONVNEXTS[spec.name]
    assert (spec.mean, spec.std, spec.stride) == (*LVD, 32)
    size = spec.name.removeprefix("dinov3-convnext-")
    assert spec.meta_file == f"dinov3_convnext_{size}_pretrain_lvd1689m-{META_TAGS[spec.name]}.pth"
    assert spec.meta_repo == f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m"
    assert spec.mirror == f"timm/convnext_{size}.dinov3_lvd1689m"
    assert spec_of(spec.name + STAGE3) is spec


def test_the_constants_of_the_transformers_are_the_published_ones():
    assert (PATCH, REGISTERS, ROPE_BASE) == (16, 4, 100.0)
    options = spec_of("dinov3-vits16plus").config_options()
    assert (options["layer_norm_eps"], options["rope_theta"]) == (1e-5, 100.0)
    assert (options["key_bias"], options["hidden_act"]) == (False, "silu")
    assert spec_of("dinov3-vitb16").config_options()["hidden_act"] == "gelu"
