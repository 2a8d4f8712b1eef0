"""How a network is run: what a script, a recipe, the command line and the panels choose beside its name.

Pure facts, without torch: what is asked for, whether a backbone offers it, and what grid it leads to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from napari_dinov3.backbones.base import BackboneFacts
from napari_dinov3.backbones.dinov3_models import STAGE3, spec_of
from napari_dinov3.backbones.sources import Source
from napari_dinov3.errors import InputError

Layers = Literal["last", "four"] | tuple[int, ...]
Flips = Literal["none", "horizontal", "all"]

SCALES = (1, 2, 4)
SHIFTS = (1, 2, 4)
_REVISION = re.compile(
    r"-(?P<layers>last|[\d+]+(?=-calibration))(?:-calibration\d+)?-x(?P<scale>\d+)-shifts(?P<shifts>\d+)-flips-(?P<flips>[a-z]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneOptions:
    """Options of a network; the defaults are right for most things.

    Parameters
    ----------
    scale : {1, 2, 4}, optional
        Enlarge the image this many times before it is embedded, so that a patch covers fewer of its pixels; by default what the
        stride and the shifts ask for.
    layers : {"last", "four"} or tuple of int
        The last layer after its LayerNorm; the usual four, or 0-based blocks, standardised and put side by side.
    shifts : {1, 2, 4}
        Average over this many sub-patch shifts along each axis, which refines the grid at the same patch size.
    flips : {"none", "horizontal", "all"}
        Average over mirrored images, mirrored back.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision : {"auto", "float32", "bfloat16"}
        Of matrix products.
    weights : path, optional
        File or folder in any of the three formats; by default they are looked for in `source`.
    source : {"auto", "folder", "cache", "mirror", "meta"}
        Where to look for weights, see :mod:`napari_dinov3.backbones.sources`.
    """

    scale: int | None = None
    layers: Layers = "last"
    shifts: int = 1
    flips: Flips = "none"
    device: str = "auto"
    precision: str = "auto"
    weights: str | Path | None = None
    source: Source = "auto"

    def given(self) -> dict[str, Any]:
        """List the options that are not at their default."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}


OPTION_NAMES = tuple(field.name for field in fields(BackboneOptions))


def split_options(options: Mapping[str, Any]) -> tuple[BackboneOptions, dict[str, Any]]:
    """Part keyword options into those of the backbone and the others."""
    own = {name: value for name, value in options.items() if name in OPTION_NAMES}
    if isinstance(own.get("layers"), list):
        own["layers"] = tuple(own["layers"])
    return BackboneOptions(**own), {name: value for name, value in options.items() if name not in own}


def options_of(backbone: str, revision: str) -> BackboneOptions:
    """Read from the revision of a feature map how its network was run, to run it so again.

    Parameters
    ----------
    backbone, revision : str
        Of a map, also a joint one.

    Returns
    -------
    options : BackboneOptions
        The defaults where no part is a network.
    """
    found = _REVISION.search(revision)
    if found is None:
        return BackboneOptions()
    fixed = found["layers"] == "last" or STAGE3 in backbone  # a third stage is its own choice of layer
    layers: Layers = "last" if fixed else tuple(int(number) for number in found["layers"].split("+"))
    flips: Any = found["flips"]
    return BackboneOptions(scale=int(found["scale"]), shifts=int(found["shifts"]), flips=flips, layers=layers)


def check_offered(facts: BackboneFacts, options: BackboneOptions) -> None:
    """Refuse options for a backbone that has none.

    Raises
    ------
    InputError
        Naming them.
    """
    given = options.given()
    if given and facts.kind != "dinov3":
        raise InputError(
            f"{', '.join(f'{name}={value!r}' for name, value in given.items())} for backbone {facts.name!r}",
            "a DINOv3 network, which alone has these options",
            "Leave them out, or choose a DINOv3 network",
        )


def stride_of(facts: BackboneFacts, stride: int | None, options: BackboneOptions) -> int:
    """Tell the pixels between patch centres that a choice of stride, scale and shifts leads to.

    Parameters
    ----------
    facts : BackboneFacts
        Of the backbone.
    stride : int, optional
        As asked for; by default what scale and shifts make of the backbone's own.
    options : BackboneOptions
        Scale and shifts.

    Raises
    ------
    InputError
        If the stride is not on offer, or the three contradict each other.
    """
    for name, value, offered in (("shifts", options.shifts, SHIFTS), ("scale", options.scale or 1, SCALES)):
        if value not in offered:
            raise InputError(f"{name}={value}", "1, 2 or 4", "Choose one of these")
    finer = options.shifts * (options.scale or 1)
    wanted = facts.stride // finer if stride is None else stride
    if wanted not in facts.strides:
        finest = facts.stride // min(facts.strides)
        raise InputError(
            f"stride={stride} for backbone {facts.name!r}" if finer == 1 else f"A grid {finer} times finer for {facts.name!r}",
            f"a stride of {', '.join(map(str, facts.strides))}; scale times shifts is at most {finest}",
            "Choose one of these strides, or another backbone",
        )
    if facts.kind != "dinov3":
        return wanted
    if facts.stride % (wanted * finer) or (options.scale is not None and facts.stride != wanted * finer):
        raise InputError(
            f"stride={stride} with shifts={options.shifts} and scale={options.scale} for {facts.name}",
            f"{facts.stride} = stride x scale x shifts",
            "Leave the stride or the scale out: either follows from the other two",
        )
    return wanted


def scale_of(facts: BackboneFacts, stride: int, shifts: int) -> int:
    """Tell how many times the image is enlarged for a stride that :func:`stride_of` gave."""
    return max(1, facts.stride // (stride * shifts))


def width_of(facts: BackboneFacts, *, rgb: bool, options: BackboneOptions) -> int:
    """Tell how many numbers a patch has."""
    width = facts.width_rgb if rgb else facts.width
    if facts.kind != "dinov3" or options.layers == "last" or facts.name.endswith(STAGE3):
        return width
    spec = spec_of(facts.name)
    if spec.family == "convnext":
        return width
    return width * len(spec.four_layers if options.layers == "four" else options.layers)
