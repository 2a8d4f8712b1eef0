"""Options of a network on the command line: how finely, how precisely and where it runs, and which weights it has."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from napari_dinov3.errors import InputError


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the options of a DINOv3 network."""
    from napari_dinov3.backbones.options import SCALES, SHIFTS, Flips

    group = parser.add_argument_group("options of a DINOv3 network")
    group.add_argument("--scale", type=int, choices=SCALES, help="enlarge the image first, so that a patch covers less of it")
    group.add_argument("--shifts", type=int, choices=SHIFTS, default=1, help="average over sub-patch shifts: a finer grid")
    group.add_argument("--flips", choices=get_args(Flips), default="none", help="average over mirrored images")
    group.add_argument("--layers", default="last", metavar="last|four|N[,N...]", help="layers to read; numbers count from 0")
    group.add_argument("--colours", choices=("own", "neighbours"), default="own", help="three neighbouring planes as colours")
    _add_running(group)


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add where and how precisely a DINOv3 network runs, and which weights it has; not what it makes."""
    _add_running(parser.add_argument_group("options of a DINOv3 network"))


def _add_running(group: argparse._ArgumentGroup) -> None:
    from napari_dinov3.backbones.sources import Source

    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of matrix products")
    group.add_argument("--weights", metavar="PATH", help="file or folder of weights, in any of the three formats")
    group.add_argument("--source", choices=get_args(Source), default="auto", help="where to look for weights on this computer")


def network_options(options: argparse.Namespace) -> dict[str, Any]:
    """Collect what :func:`add_network` added, as fields of an ``ExtractConfig``."""
    names = ("scale", "shifts", "flips", "colours")
    return {**{name: getattr(options, name) for name in names}, "layers": _layers(options.layers), **running_options(options)}


def running_options(options: argparse.Namespace) -> dict[str, Any]:
    """Collect what :func:`add_running` added, as fields of a config."""
    weights = None if options.weights is None else str(Path(options.weights).expanduser().absolute())
    return {"device": options.device, "precision": options.precision, "weights": weights, "source": options.source}


def _layers(text: str) -> str | tuple[int, ...]:
    if text in ("last", "four"):
        return text
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--layers {text}", "last, four, or numbers with commas between them", "Write --layers 2,5,8") from None
