"""Save transforms and aligned stacks, load transforms and apply them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_dinov3._napari.align.pair import AlignedPair
from napari_dinov3._napari.align.stack import Aligned, resample_steps
from napari_dinov3._napari.layers import Source
from napari_dinov3.align.files import export_transforms, load_alignment, load_provenance, save_alignment
from napari_dinov3.align.pair_alignment import PairAlignment
from napari_dinov3.align.stack_alignment import StackAlignment
from napari_dinov3.errors import InputError
from napari_dinov3.io.writing import write_steps
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import AlignConfig
from napari_dinov3.wording import counted

FORMATS = (
    ("json", "transforms, JSON"),
    ("itk", "transforms, ITK .tfm"),
    ("elastix", "transforms, elastix"),
    (".ome.tif", "aligned image, OME-TIFF"),
    (".ome.zarr", "aligned image, OME-Zarr"),
)
FOLDERS = ("itk", "elastix")
_PATTERNS = {"itk": "*.tfm", "elastix": "*.TransformParameters.*.txt"}


def in_the_way(path: str | Path, what: str) -> str:
    """Say what would be replaced by saving here; empty where nothing is."""
    place = Path(path)
    if what in FOLDERS:
        there = sorted(place.glob(_PATTERNS[what])) if place.is_dir() else []
        return f"{counted(len(there), 'file')} {_PATTERNS[what]} in {place.name}" if there else ""
    return place.name if place.exists() else ""


def with_ending(path: str, what: str) -> str:
    """Give a chosen name the ending of its format, if it has none of its own."""
    ending = ".json" if what == "json" else what
    fits = path.lower().endswith(
        (ending, ".tif", ".tiff") if what == ".ome.tif" else (ending, ".zarr") if "zarr" in what else ending
    )
    return path if fits else path + ending


def save_steps(kept: Aligned | AlignedPair, path: str | Path, what: str) -> Job[Path]:
    """Save an alignment or what it gives; what lies there is replaced (see :func:`in_the_way`).

    Parameters
    ----------
    kept : Aligned or AlignedPair
    path : path-like
        File; a folder for ITK and elastix.
    what : str
        One of `FORMATS`.
    """
    yield Progress(0, 100, f"Saving {Path(path).name}")
    try:
        return (yield from _save_steps(kept, path, what))
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be written: {reason}", "a place you may write to", "Choose another one") from error


def _save_steps(kept: Aligned | AlignedPair, path: str | Path, what: str) -> Job[Path]:
    alignment = kept.alignment if isinstance(kept, Aligned) else kept.pair
    if what == "json":
        return save_alignment(path, alignment, provenance=_provenance(kept))
    if what in FOLDERS:
        export_transforms(path, alignment, tool="itk" if what == "itk" else "elastix")
        return Path(path)
    if isinstance(kept, Aligned):
        like = kept.source.planes
        data = yield from part_of(resample_steps(kept.alignment, like), start=0, span=50, total=100)
    else:
        like, data = kept.fixed.planes, kept.pair.apply(kept.moving.planes.plane(0))[None]
    colours = "s" if data.ndim == 4 else ""
    if like.axes == "yx":
        data = data[0]
    job = write_steps(path, data, like=like, axes=like.axes + colours, provenance=_provenance(kept), overwrite=True)
    return (yield from part_of(job, start=50, span=50, total=100))


def save_lines(kept: Aligned | AlignedPair, path: str | Path, what: str) -> list[str]:
    """Write the save as Python, from ``alignment`` or ``pair`` on."""
    name = "alignment" if isinstance(kept, Aligned) else "pair"
    function = {"json": "save_alignment", "itk": "export_transforms", "elastix": "export_transforms"}[what]
    words = [repr(str(path)), name] + ([f"tool={what!r}"] if what in FOLDERS else [])
    return [f"from napari_dinov3.align.files import {function}", f"{function}({', '.join(words)})"]


def load_for_stack(path: str | Path, source: Source) -> StackAlignment:
    """Load transforms for a stack.

    Raises
    ------
    InputError
        If the file is of a pair, or of a stack of another shape.
    """
    found = load_alignment(path)
    if not isinstance(found, StackAlignment):
        raise InputError(f"{Path(path).name} holds a pair of images", "transforms of a stack", "Choose 'a pair of layers' first")
    planes, rows, cols = source.planes.shape
    if len(found) != planes or found.shape != (rows, cols):
        raise InputError(
            f"{Path(path).name} is of {len(found)} planes of {found.shape[0]} x {found.shape[1]}",
            f"{planes} planes of {rows} x {cols}, as {source.placement.name!r}",
            "Choose the stack, level and region that these transforms were made of",
        )
    return found


def settings_of(path: str | Path, found: StackAlignment) -> AlignConfig:
    """Give the settings that transforms of a stack were made with, as far as their file tells."""
    provenance = load_provenance(path)
    settings = provenance.get("settings") if isinstance(provenance, dict) else None
    try:
        config = AlignConfig.from_options(settings) if isinstance(settings, dict) else None
    except InputError:  # of another version
        config = None
    return AlignConfig(model=found.model, exclude=found.bad) if not isinstance(config, AlignConfig) else config


def load_for_pair(path: str | Path, fixed: Source, moving: Source) -> PairAlignment:
    """Load the transform of a pair; see :func:`load_for_stack`."""
    found = load_alignment(path)
    if not isinstance(found, PairAlignment):
        raise InputError(f"{Path(path).name} holds a stack", "the transform of a pair", "Choose 'planes of a stack' first")
    shapes = fixed.planes.shape[1:], moving.planes.shape[1:]
    if (found.fixed_shape, found.moving_shape) != shapes:
        raise InputError(
            f"{Path(path).name} is of images of {found.fixed_shape} and {found.moving_shape} pixels",
            f"{shapes[0]} and {shapes[1]}, as the chosen layers",
            "Choose the layers that it was made of, or others of their size",
        )
    return found


def load_line(path: str | Path, variable: str) -> list[str]:
    """Write the load as Python."""
    return ["from napari_dinov3.align.files import load_alignment", f"{variable} = load_alignment({str(Path(path).resolve())!r})"]


def _provenance(kept: Aligned | AlignedPair) -> dict[str, Any]:
    from napari_dinov3 import __version__

    names = (
        {"stack": kept.source.placement.name}
        if isinstance(kept, Aligned)
        else {"fixed": kept.fixed.placement.name, "moving": kept.moving.placement.name}
    )
    return {
        "made_with": f"napari-dinov3 {__version__}",
        **names,
        "settings": kept.config.options(),
        "script": "\n".join(kept.lines),
    }
