"""Random DINOv3 networks, and their weights written in the three layouts, name by name.

The names of Meta's and timm's layouts are spelled out here from the released state dicts, and the constants of the networks from
the released ``config.json`` files, apart from the package's own rules and table: a mistake in those cannot cancel itself.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_dinov3.backbones.dinov3_models import ModelSpec, spec_of


def small(name: str) -> ModelSpec:
    """The same network with fewer and narrower layers."""
    spec = spec_of(name)
    if spec.family == "convnext":
        return replace(spec, widths=(8, 16, 24, 32), depths=(1, 2, 2, 1))
    return replace(spec, widths=(64,), depths=(3,), heads=2, hidden=96, four_layers=(0, 1, 2))


_GATED = {"dinov3-vits16plus", "dinov3-vith16plus", "dinov3-vit7b16", "dinov3-vit7b16-sat"}
_TEACHERS = {"dinov3-vit7b16", "dinov3-vit7b16-sat"}


def released_config(spec: ModelSpec) -> Any:
    """The configuration as released, of the sizes of a spec."""
    import transformers

    if spec.family == "convnext":
        return transformers.DINOv3ConvNextConfig(
            depths=list(spec.depths), hidden_sizes=list(spec.widths), hidden_act="gelu", layer_norm_eps=1e-6
        )
    gated, biased = spec.name in _GATED, spec.name not in _TEACHERS
    return transformers.DINOv3ViTConfig(
        hidden_size=spec.width,
        intermediate_size=spec.hidden,
        num_hidden_layers=spec.depths[0],
        num_attention_heads=spec.heads,
        patch_size=16,
        num_register_tokens=4,
        layer_norm_eps=1e-5,
        rope_theta=100.0,
        use_gated_mlp=gated,
        hidden_act="silu" if gated else "gelu",
        query_bias=biased,
        key_bias=False,
        value_bias=biased,
        proj_bias=True,
        mlp_bias=True,
    )


def random_module(spec: ModelSpec, seed: int = 0) -> Any:
    """transformers' own module with every parameter random and of a size that matters."""
    import transformers

    kind = transformers.DINOv3ConvNextModel if spec.family == "convnext" else transformers.DINOv3ViTModel
    module = kind(released_config(spec))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "lambda1" in name or name.endswith("gamma"):
                parameter.copy_(0.5 + 0.2 * noise)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.ndim >= 2 and "token" not in name:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.3 * noise)
    return module.eval()


def plain_state(module: Any) -> dict[str, torch.Tensor]:
    return {name.removeprefix("model."): tensor.clone() for name, tensor in module.state_dict().items()}


def meta_state(module: Any, spec: ModelSpec) -> dict[str, torch.Tensor]:
    """As ``torch.load`` gives Meta's released .pth."""
    own = plain_state(module)
    if spec.family == "convnext":
        return _convnext_meta(own, spec)
    width, out = spec.width, {}
    out["cls_token"] = own["embeddings.cls_token"]
    out["storage_tokens"] = own["embeddings.register_tokens"]
    out["mask_token"] = own["embeddings.mask_token"][0]
    out["patch_embed.proj.weight"] = own["embeddings.patch_embeddings.weight"]
    out["patch_embed.proj.bias"] = own["embeddings.patch_embeddings.bias"]
    quarter = width // spec.heads // 4
    out["rope_embed.periods"] = (100.0 ** (torch.arange(quarter) / quarter)).to(torch.bfloat16)
    for i in range(spec.depths[0]):
        ours, theirs = f"layer.{i}.", f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            out[f"{theirs}{norm}.weight"], out[f"{theirs}{norm}.bias"] = own[f"{ours}{norm}.weight"], own[f"{ours}{norm}.bias"]
        attention = f"{ours}attention."
        out[f"{theirs}attn.qkv.weight"] = torch.cat([own[f"{attention}{p}_proj.weight"] for p in "qkv"])
        if spec.qkv_bias:
            ignored = torch.full((width,), 7.0)  # Meta's key bias is there, and masked
            out[f"{theirs}attn.qkv.bias"] = torch.cat([own[f"{attention}q_proj.bias"], ignored, own[f"{attention}v_proj.bias"]])
            out[f"{theirs}attn.qkv.bias_mask"] = torch.cat([torch.ones(width), torch.zeros(width), torch.ones(width)])
        out[f"{theirs}attn.proj.weight"] = own[f"{attention}o_proj.weight"]
        out[f"{theirs}attn.proj.bias"] = own[f"{attention}o_proj.bias"]
        for scale in (1, 2):
            out[f"{theirs}ls{scale}.gamma"] = own[f"{ours}layer_scale{scale}.lambda1"]
        names = {"w1": "gate", "w2": "up", "w3": "down"} if spec.gated else {"fc1": "up", "fc2": "down"}
        for theirs_name, ours_name in names.items():
            for part in ("weight", "bias"):
                out[f"{theirs}mlp.{theirs_name}.{part}"] = own[f"{ours}mlp.{ours_name}_proj.{part}"]
    out["norm.weight"], out["norm.bias"] = own["norm.weight"], own["norm.bias"]
    if not spec.qkv_bias or spec.name.endswith("sat"):  # the teachers and the satellite student keep a norm for local crops
        out["local_cls_norm.weight"], out["local_cls_norm.bias"] = torch.ones(width), torch.zeros(width)
    return out


def timm_state(module: Any, spec: ModelSpec, *, biases: bool = True) -> dict[str, torch.Tensor]:
    """As a timm ``model.safetensors``; without `biases` as the mirrors, which drop query and value biases."""
    own = plain_state(module)
    if spec.family == "convnext":
        return _convnext_timm(own, spec)
    out = {
        "cls_token": own["embeddings.cls_token"],
        "reg_token": own["embeddings.register_tokens"],
        "patch_embed.proj.weight": own["embeddings.patch_embeddings.weight"],
        "patch_embed.proj.bias": own["embeddings.patch_embeddings.bias"],
        "norm.weight": own["norm.weight"],
        "norm.bias": own["norm.bias"],
    }
    for i in range(spec.depths[0]):
        ours, theirs = f"layer.{i}.", f"blocks.{i}."
        out[f"{theirs}gamma_1"], out[f"{theirs}gamma_2"] = own[f"{ours}layer_scale1.lambda1"], own[f"{ours}layer_scale2.lambda1"]
        attention = f"{ours}attention."
        out[f"{theirs}attn.qkv.weight"] = torch.cat([own[f"{attention}{p}_proj.weight"] for p in "qkv"])
        if biases and spec.qkv_bias:
            for p in "qv":
                out[f"{theirs}attn.{p}_bias"] = own[f"{attention}{p}_proj.bias"]
        for part in ("weight", "bias"):
            out[f"{theirs}norm1.{part}"], out[f"{theirs}norm2.{part}"] = own[f"{ours}norm1.{part}"], own[f"{ours}norm2.{part}"]
            out[f"{theirs}attn.proj.{part}"] = own[f"{attention}o_proj.{part}"]
            if spec.gated:
                out[f"{theirs}mlp.fc1_g.{part}"] = own[f"{ours}mlp.gate_proj.{part}"]
                out[f"{theirs}mlp.fc1_x.{part}"] = own[f"{ours}mlp.up_proj.{part}"]
            else:
                out[f"{theirs}mlp.fc1.{part}"] = own[f"{ours}mlp.up_proj.{part}"]
            out[f"{theirs}mlp.fc2.{part}"] = own[f"{ours}mlp.down_proj.{part}"]
    return out


def _convnext_meta(own: dict[str, torch.Tensor], spec: ModelSpec) -> dict[str, torch.Tensor]:
    out = {}
    for part in ("weight", "bias"):
        out[f"norm.{part}"] = out[f"norms.3.{part}"] = own[f"layer_norm.{part}"]
        for stage, depth in enumerate(spec.depths):
            for step in (0, 1):
                out[f"downsample_layers.{stage}.{step}.{part}"] = own[f"stages.{stage}.downsample_layers.{step}.{part}"]
            for block in range(depth):
                ours, theirs = f"stages.{stage}.layers.{block}.", f"stages.{stage}.{block}."
                out[f"{theirs}gamma"] = own[f"{ours}gamma"]
                out[f"{theirs}dwconv.{part}"] = own[f"{ours}depthwise_conv.{part}"]
                out[f"{theirs}norm.{part}"] = own[f"{ours}layer_norm.{part}"]
                out[f"{theirs}pwconv1.{part}"] = own[f"{ours}pointwise_conv1.{part}"]
                out[f"{theirs}pwconv2.{part}"] = own[f"{ours}pointwise_conv2.{part}"]
    return out


def _convnext_timm(own: dict[str, torch.Tensor], spec: ModelSpec) -> dict[str, torch.Tensor]:
    out = {}
    for part in ("weight", "bias"):
        out[f"head.norm.{part}"] = own[f"layer_norm.{part}"]
        for stage, depth in enumerate(spec.depths):
            for step in (0, 1):
                down = f"stages.{stage}.downsample.{step}" if stage else f"stem.{step}"
                out[f"{down}.{part}"] = own[f"stages.{stage}.downsample_layers.{step}.{part}"]
            for block in range(depth):
                ours, theirs = f"stages.{stage}.layers.{block}.", f"stages.{stage}.blocks.{block}."
                out[f"{theirs}gamma"] = own[f"{ours}gamma"]
                out[f"{theirs}conv_dw.{part}"] = own[f"{ours}depthwise_conv.{part}"]
                out[f"{theirs}norm.{part}"] = own[f"{ours}layer_norm.{part}"]
                out[f"{theirs}mlp.fc1.{part}"] = own[f"{ours}pointwise_conv1.{part}"]
                out[f"{theirs}mlp.fc2.{part}"] = own[f"{ours}pointwise_conv2.{part}"]
    return out


def write(module: Any, spec: ModelSpec, layout: str, folder: Path) -> Path:
    """Write a network in one of the three formats; returns what a user would point at."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if layout == "meta":
        path = folder / "weights.pth"
        torch.save(meta_state(module, spec), path)
        return path
    if layout == "timm":
        path = folder / "model.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in timm_state(module, spec).items()}, path)
        return path
    if layout == "transformers":
        module.save_pretrained(folder)
        return folder
    save_file({name: tensor.contiguous() for name, tensor in plain_state(module).items()}, folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(plain_state(module), "part.safetensors")})
    )
    return folder
