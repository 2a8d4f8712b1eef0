"""Names of the same weights in three worlds, turned into the names of transformers' modules.

Three layouts of one network are in use: Meta's own (``blocks.0.attn.qkv.weight``, ``storage_tokens``, ``ls1.gamma``), timm's
(``reg_token``, ``gamma_1``, ``mlp.fc1_g``; biases of query and value apart, and none where they are zero) and transformers'
(``layer.0.attention.q_proj.weight``; newer versions put ``model.`` before it). The names here are written from the published
state dicts; no code of the three is used. Nothing is guessed: what fits no rule is reported, not dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from napari_dinov3.backbones.dinov3_models import ROPE_BASE, Family
from napari_dinov3.errors import FileFormatError

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["transformers", "meta", "timm"]

# One name of each layout and family that the other layouts do not have.
_MARKS: tuple[tuple[str, Layout, Family], ...] = (
    ("storage_tokens", "meta", "vit"),
    ("reg_token", "timm", "vit"),
    ("embeddings.register_tokens", "transformers", "vit"),
    ("downsample_layers.0.0.weight", "meta", "convnext"),
    ("stem.0.weight", "timm", "convnext"),
    ("stages.0.downsample_layers.0.weight", "transformers", "convnext"),
)
_PREFIXES = ("module.", "backbone.", "model.")

_BLOCK_RULES = (
    (r"blocks\.(\d+)\.norm([12])\.(weight|bias)", r"layer.\1.norm\2.\3"),
    (r"blocks\.(\d+)\.attn\.proj\.(weight|bias)", r"layer.\1.attention.o_proj.\2"),
    (r"blocks\.(\d+)\.mlp\.fc1\.(weight|bias)", r"layer.\1.mlp.up_proj.\2"),
    (r"patch_embed\.proj\.(weight|bias)", r"embeddings.patch_embeddings.\1"),
    (r"cls_token", r"embeddings.cls_token"),
    (r"mask_token", r"embeddings.mask_token"),
    (r"norm\.(weight|bias)", r"norm.\1"),
)
_RULES: dict[tuple[Layout, Family], tuple[tuple[str, str], ...]] = {
    ("meta", "vit"): (
        *_BLOCK_RULES,
        (r"storage_tokens", r"embeddings.register_tokens"),
        (r"blocks\.(\d+)\.ls([12])\.gamma", r"layer.\1.layer_scale\2.lambda1"),
        (r"blocks\.(\d+)\.mlp\.fc2\.(weight|bias)", r"layer.\1.mlp.down_proj.\2"),
        (r"blocks\.(\d+)\.mlp\.w1\.(weight|bias)", r"layer.\1.mlp.gate_proj.\2"),
        (r"blocks\.(\d+)\.mlp\.w2\.(weight|bias)", r"layer.\1.mlp.up_proj.\2"),
        (r"blocks\.(\d+)\.mlp\.w3\.(weight|bias)", r"layer.\1.mlp.down_proj.\2"),
    ),
    ("timm", "vit"): (
        *_BLOCK_RULES,
        (r"reg_token", r"embeddings.register_tokens"),
        (r"blocks\.(\d+)\.gamma_([12])", r"layer.\1.layer_scale\2.lambda1"),
        (r"blocks\.(\d+)\.attn\.([qv])_bias", r"layer.\1.attention.\2_proj.bias"),
        (r"blocks\.(\d+)\.mlp\.fc1_g\.(weight|bias)", r"layer.\1.mlp.gate_proj.\2"),
        (r"blocks\.(\d+)\.mlp\.fc1_x\.(weight|bias)", r"layer.\1.mlp.up_proj.\2"),
        (r"blocks\.(\d+)\.mlp\.fc2\.(weight|bias)", r"layer.\1.mlp.down_proj.\2"),
    ),
    ("meta", "convnext"): (
        (r"downsample_layers\.(\d)\.(\d)\.(weight|bias)", r"stages.\1.downsample_layers.\2.\3"),
        (r"stages\.(\d)\.(\d+)\.dwconv\.(weight|bias)", r"stages.\1.layers.\2.depthwise_conv.\3"),
        (r"stages\.(\d)\.(\d+)\.norm\.(weight|bias)", r"stages.\1.layers.\2.layer_norm.\3"),
        (r"stages\.(\d)\.(\d+)\.pwconv([12])\.(weight|bias)", r"stages.\1.layers.\2.pointwise_conv\3.\4"),
        (r"stages\.(\d)\.(\d+)\.gamma", r"stages.\1.layers.\2.gamma"),
        (r"norm\.(weight|bias)", r"layer_norm.\1"),
    ),
    ("timm", "convnext"): (
        (r"stem\.(\d)\.(weight|bias)", r"stages.0.downsample_layers.\1.\2"),
        (r"stages\.(\d)\.downsample\.(\d)\.(weight|bias)", r"stages.\1.downsample_layers.\2.\3"),
        (r"stages\.(\d)\.blocks\.(\d+)\.conv_dw\.(weight|bias)", r"stages.\1.layers.\2.depthwise_conv.\3"),
        (r"stages\.(\d)\.blocks\.(\d+)\.norm\.(weight|bias)", r"stages.\1.layers.\2.layer_norm.\3"),
        (r"stages\.(\d)\.blocks\.(\d+)\.mlp\.fc([12])\.(weight|bias)", r"stages.\1.layers.\2.pointwise_conv\3.\4"),
        (r"stages\.(\d)\.blocks\.(\d+)\.gamma", r"stages.\1.layers.\2.gamma"),
        (r"head\.norm\.(weight|bias)", r"layer_norm.\1"),
    ),
}
# Present in some files, without effect on the features: RoPE periods (checked, then computed), the norm that only Meta's
# training applies to local crops, and Meta's second name for the last norm of a ConvNeXt.
_PERIODS = re.compile(r"rope(_embed)?\.periods|rope_embeddings\.(inv_freq|periods)")
_UNUSED = re.compile(r"local_cls_norm\.(weight|bias)|norms\.3\.(weight|bias)")
_QKV = re.compile(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias|bias_mask)")


@dataclass(slots=True)
class Mapped:
    """Weights under transformers' names (without a leading ``model.``).

    ``tensors``: by new name. ``source``: the name each had in the file. ``unknown``: names that fit no rule.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def add(self, name: str, tensor: Tensor, source: str) -> None:
        """Take one tensor in."""
        self.tensors[name] = tensor
        self.source[name] = source


def recognise(names: Iterable[str]) -> tuple[Layout, Family] | None:
    """Tell layout and family from the names of a state dict; None if it is no DINOv3 network."""
    known = set(names)
    for mark, layout, family in _MARKS:
        if mark in known or f"model.{mark}" in known:
            return layout, family
    return None


def strip_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take a wrapper's prefix (``module.``, ``backbone.``) off when every name has it."""
    names = dict(state)
    for prefix in _PREFIXES[:2]:
        if names and all(name.startswith(prefix) for name in names):
            names = {name.removeprefix(prefix): tensor for name, tensor in names.items()}
    return names


def to_transformers(state: Mapping[str, Tensor], layout: Layout, family: Family) -> Mapped:
    """Rename and reshape a state dict to transformers' modules.

    Parameters
    ----------
    state : mapping of str to Tensor
        As read from the file.
    layout, family
        From :func:`recognise`.

    Returns
    -------
    mapped : Mapped
        Query, key and value split; Meta's mask of the key bias applied; the mask token as ``(1, 1, width)``.

    Raises
    ------
    FileFormatError
        If the file's RoPE periods are not those of DINOv3, or it has a key bias that is not masked to zero.
    """
    mapped = Mapped()
    for name, tensor in state.items():
        if _PERIODS.fullmatch(name.removeprefix("model.")):
            if not name.endswith("inv_freq"):
                _check_periods(name, tensor)
        elif _UNUSED.fullmatch(name):
            continue
        elif layout == "transformers":
            mapped.add(name.removeprefix("model."), tensor, name)
        elif match := _QKV.fullmatch(name):
            _split_qkv(mapped, state, name, int(match[1]), match[2])
        elif (renamed := _rename(name, layout, family)) is not None:
            mapped.add(renamed, tensor[None] if renamed == "embeddings.mask_token" and tensor.ndim == 2 else tensor, name)
        else:
            mapped.unknown.append(name)
    return mapped


def _rename(name: str, layout: Layout, family: Family) -> str | None:
    for pattern, replacement in _RULES[layout, family]:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return None


def _split_qkv(mapped: Mapped, state: Mapping[str, Tensor], name: str, block: int, part: str) -> None:
    """Split a fused projection; Meta keeps a bias for the key and a mask that sets it to zero."""
    if part == "bias_mask":
        return
    tensor = state[name]
    if tensor.shape[0] % 3:
        mapped.unknown.append(name)
        return
    query, key, value = tensor.chunk(3, dim=0)
    prefix = f"layer.{block}.attention."
    mapped.add(f"{prefix}q_proj.{part}", query, name)
    mapped.add(f"{prefix}v_proj.{part}", value, name)
    if part == "weight":
        mapped.add(f"{prefix}k_proj.weight", key, name)
        return
    mask = state.get(f"{name}_mask")
    if mask is None:
        return
    first, middle, last = mask.chunk(3, dim=0)
    if bool((key * middle).abs().max() > 0) or bool(((first - 1).abs().max() + (last - 1).abs().max()) > 0):
        raise FileFormatError(
            f"{name}_mask lets a key bias through or hides a query or value bias",
            "DINOv3 masks the key bias to zero and nothing else",
            "Use an unmodified DINOv3 checkpoint",
        )


def _check_periods(name: str, periods: Tensor) -> None:
    """Compare a file's RoPE periods, kept as bfloat16 by Meta, with those that transformers computes."""
    values = periods.double().flatten()
    count = values.numel()
    expected = [ROPE_BASE ** (step / count) for step in range(count)]
    if any(abs(float(value) / want - 1) > 0.01 for value, want in zip(values, expected, strict=True)):
        raise FileFormatError(
            f"{name} runs from {float(values[0]):g} to {float(values[-1]):g}",
            f"RoPE periods of base {ROPE_BASE:g}, as in every released DINOv3",
            "Use an unmodified DINOv3 checkpoint",
        )
