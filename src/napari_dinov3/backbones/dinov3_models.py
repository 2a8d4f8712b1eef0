"""Every DINOv3 network that has been released: its shape, its files, its normalisation. Facts only; no torch here.

Patch 16, one CLS and four register tokens before the patches, LayerNorm eps 1e-5, RoPE base 100 (vision transformers);
strides 4/8/16/32, LayerNorm eps 1e-6 (ConvNeXt). The weights are under the DINOv3 License and never shipped here.

References
----------
.. [1] O. Simeoni et al., "DINOv3", arXiv:2508.10104 (2025), doi:10.48550/arXiv.2508.10104.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from napari_dinov3.backbones.base import BackboneFacts

Family = Literal["vit", "convnext"]
Colour = tuple[float, float, float]

LICENCE = "DINOv3 License (Meta): commercial use allowed, weights only redistributed under the same terms"
LICENCE_URL = "https://ai.meta.com/resources/models-and-libraries/dinov3-license/"
PATCH = 16
REGISTERS = 4
ROPE_BASE = 100.0
NEEDS = ("torch", "transformers", "safetensors")

_LVD_MEAN, _LVD_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SAT_MEAN, _SAT_STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One released network.

    Parameters
    ----------
    name, label : str
        Registry name, and the name people read.
    family : {"vit", "convnext"}
        Which of the two architectures.
    millions : float
        Parameters, in millions.
    widths : tuple of int
        Width of the tokens; for ConvNeXt of each of the four stages.
    depths : tuple of int
        Blocks; for ConvNeXt of each stage.
    heads, hidden : int
        Attention heads and width of the feed-forward layer (transformers only).
    gated : bool
        SwiGLU feed-forward layers rather than a plain MLP.
    qkv_bias : bool
        Whether query and value have a bias (the key never has).
    mean, std : (3,) floats
        Of the colours 0..1 the network was trained on.
    meta_file, meta_repo, mirror : str
        Meta's checkpoint file, Meta's gated repository and the ungated mirror on the Hugging Face hub.
    four_layers : tuple of int
        The usual four-layer set, 0-based (transformers only).
    """

    name: str
    label: str
    family: Family
    millions: float
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: int
    hidden: int
    gated: bool
    qkv_bias: bool
    mean: Colour
    std: Colour
    meta_file: str
    meta_repo: str
    mirror: str
    four_layers: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Numbers a token of the last layer."""
        return self.widths[-1]

    @property
    def megabytes(self) -> float:
        """Size of the float32 weights in 1e6 bytes."""
        return self.millions * 4

    @property
    def stride(self) -> int:
        """Pixels a patch of the last layer."""
        return PATCH if self.family == "vit" else 32

    def config_options(self) -> dict[str, Any]:
        """Keyword arguments of the configuration class in transformers."""
        if self.family == "convnext":
            return {"depths": list(self.depths), "hidden_sizes": list(self.widths)}
        return {
            "patch_size": PATCH,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.depths[0],
            "num_attention_heads": self.heads,
            "use_gated_mlp": self.gated,
            "hidden_act": "silu" if self.gated else "gelu",
            "query_bias": self.qkv_bias,
            "key_bias": False,
            "value_bias": self.qkv_bias,
            "num_register_tokens": REGISTERS,
            "layer_norm_eps": 1e-5,
            "rope_theta": ROPE_BASE,
        }


def _vit(
    size: str,
    label: str,
    millions: float,
    width: int,
    depth: int,
    heads: int,
    hidden: int,
    timm: str,
    *,
    gated: bool = False,
    qkv_bias: bool = True,
    data: str = "lvd1689m",
    tag: str,
    four: tuple[int, ...],
) -> ModelSpec:
    satellite = data == "sat493m"
    return ModelSpec(
        name=f"dinov3-vit{size}" + ("-sat" if satellite else ""),
        label=f"DINOv3 ViT-{label}/16" + (" satellite" if satellite else ""),
        family="vit",
        millions=millions,
        widths=(width,),
        depths=(depth,),
        heads=heads,
        hidden=hidden,
        gated=gated,
        qkv_bias=qkv_bias,
        mean=_SAT_MEAN if satellite else _LVD_MEAN,
        std=_SAT_STD if satellite else _LVD_STD,
        meta_file=f"dinov3_vit{size}_pretrain_{data}-{tag}.pth",
        meta_repo=f"facebook/dinov3-vit{size}-pretrain-{data}",
        mirror=f"timm/vit_{timm}_patch16_dinov3.{data}",
        four_layers=four,
    )


def _convnext(size: str, millions: float, widths: tuple[int, ...], third: int, tag: str) -> ModelSpec:
    return ModelSpec(
        name=f"dinov3-convnext-{size}",
        label=f"DINOv3 ConvNeXt-{size.capitalize()}",
        family="convnext",
        millions=millions,
        widths=widths,
        depths=(3, 3, third, 3),
        heads=0,
        hidden=0,
        gated=False,
        qkv_bias=False,
        mean=_LVD_MEAN,
        std=_LVD_STD,
        meta_file=f"dinov3_convnext_{size}_pretrain_lvd1689m-{tag}.pth",
        meta_repo=f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m",
        mirror=f"timm/convnext_{size}.dinov3_lvd1689m",
    )


_TWELVE, _LARGE, _HUGE, _GIANT = (2, 5, 8, 11), (4, 11, 17, 23), (7, 15, 23, 31), (9, 19, 29, 39)

SPECS: tuple[ModelSpec, ...] = (
    _vit("s16", "S", 21.597, 384, 12, 6, 1536, "small", tag="08c60483", four=_TWELVE),
    _vit("s16plus", "S+", 28.693, 384, 12, 6, 1536, "small_plus", gated=True, tag="4057cbaa", four=_TWELVE),
    _vit("b16", "B", 85.660, 768, 12, 12, 3072, "base", tag="73cec8be", four=_TWELVE),
    _vit("l16", "L", 303.130, 1024, 24, 16, 4096, "large", tag="8aa4cbdd", four=_LARGE),
    _vit("h16plus", "H+", 840.593, 1280, 32, 20, 5120, "huge_plus", gated=True, tag="7c1da9a5", four=_HUGE),
    _vit("7b16", "7B", 6716.035, 4096, 40, 32, 8192, "7b", gated=True, qkv_bias=False, tag="a955f4ea", four=_GIANT),
    _vit("l16", "L", 303.130, 1024, 24, 16, 4096, "large", data="sat493m", tag="eadcf0ff", four=_LARGE),
    _vit(
        "7b16", "7B", 6716.035, 4096, 40, 32, 8192, "7b", gated=True, qkv_bias=False, data="sat493m", tag="a6675841", four=_GIANT
    ),
    _convnext("tiny", 27.820, (96, 192, 384, 768), 9, "21b726bb"),
    _convnext("small", 49.455, (96, 192, 384, 768), 27, "296db49d"),
    _convnext("base", 87.566, (128, 256, 512, 1024), 27, "801f2ba9"),
    _convnext("large", 196.230, (192, 384, 768, 1536), 27, "61fa432d"),
)
_BY_NAME = {spec.name: spec for spec in SPECS}
STAGE3 = "-stage3"

_GOOD_FOR = {
    "dinov3-vits16": "a laptop, as the first choice: textures, cells, tissue",
    "dinov3-vits16plus": "a laptop: textures, cells, tissue; a little better and slower than S",
    "dinov3-vitb16": "better semantics, in 4 times the time of S",
    "dinov3-vitl16": "electron microscopy above all; the best of the practical ones",
    "dinov3-vith16plus": "a large graphics card",
    "dinov3-vit7b16": "comparisons: the teacher of the others; more than 30 GB of memory",
    "dinov3-vitl16-sat": "textures seen from above: trained on satellite images",
    "dinov3-vit7b16-sat": "textures seen from above: the satellite teacher; more than 30 GB of memory",
}


def spec_of(name: str) -> ModelSpec:
    """Look the network of a registry name up; a ConvNeXt's ``-stage3`` entry is the same network, read earlier."""
    return _BY_NAME[name.removesuffix(STAGE3)]


def _facts(spec: ModelSpec, *, stage3: bool = False) -> BackboneFacts:
    width = spec.widths[2] if stage3 else spec.width
    stride = PATCH if stage3 else spec.stride
    good_for = _GOOD_FOR.get(spec.name, "quick runs without a graphics card; few, large patches")
    return BackboneFacts(
        name=spec.name + (STAGE3 if stage3 else ""),
        kind="dinov3",
        patch=stride,
        stride=stride,
        width=width,
        width_rgb=width,
        strides=(stride, stride // 2, stride // 4),
        licence=LICENCE,
        source=f"Hugging Face: {spec.mirror}",
        good_for="quick runs at twice the resolution: the third stage of the ConvNeXt" if stage3 else good_for,
        factory="napari_dinov3.backbones.dinov3:DINOv3",
        needs=NEEDS,
        download_mb=round(spec.megabytes, 1),
    )


def all_facts() -> tuple[BackboneFacts, ...]:
    """Registry entries of all networks; each ConvNeXt also with its stride-16 third stage."""
    entries = []
    for spec in SPECS:
        entries.append(_facts(spec))
        if spec.family == "convnext":
            entries.append(_facts(spec, stage3=True))
    return tuple(entries)
