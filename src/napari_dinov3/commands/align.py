"""``napari-dinov3 align STACK OUT``: align the planes of a stack to each other, and write the aligned stack."""

from __future__ import annotations

import argparse
from typing import Any

from napari_dinov3.commands.arguments import (
    add_channel,
    add_reading,
    add_region,
    add_writing,
    check_out,
    read_config,
    region_of,
    run_and_keep,
)
from napari_dinov3.commands.network_options import add_running, running_options
from napari_dinov3.commands.terminal import say
from napari_dinov3.errors import InputError
from napari_dinov3.wording import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    add_writing(parser, "aligned stack to write, such as aligned.ome.tif")
    add_channel(parser)
    add_region(parser)
    parser.add_argument(
        "--preset",
        choices=("serial", "histology", "movie"),
        help="model, backbone and drift for serial sections, stained sections, or calcium imaging; each can still be given",
    )
    parser.add_argument(
        "--model",
        choices=("translation", "rigid", "similarity", "affine", "elastic"),
        help="what a plane may do (rigid)",
    )
    parser.add_argument("--backbone", help="whose features propose poses (auto); none for pixels alone")
    parser.add_argument(
        "--drift",
        choices=("minimum", "first", "trend", "median", "mean"),
        help="common frame: where all planes move least (minimum), that of the first, with slow movement left in, or once "
        "more to the median of the neighbours or to the mean of all (time series)",
    )
    for name, what in (
        ("anchors", "that stay where they are"),
        ("exclude", "to leave out"),
        ("include", "to place by best match"),
    ):
        parser.add_argument(f"--{name}", metavar="N[,N...]", help=f"planes {what}, counted from 0")
    add_running(parser)
    parser.add_argument("--transforms", metavar="FILE", help="also write the transforms as a table (.csv or .json)")
    parser.add_argument("--alignment", metavar="FILE", help="also write the whole alignment (.json), which the Align panel loads")
    parser.add_argument("--itk", metavar="FOLDER", help="also write an ITK .tfm file a plane")
    parser.add_argument("--elastix", metavar="FOLDER", help="also write elastix TransformParameters of every plane")


def run(options: argparse.Namespace) -> int:
    """Align a stack."""
    from napari_dinov3.io import write
    from napari_dinov3.recipe import AlignConfig, ApplyConfig, Recipe, Step, WriteConfig

    check_out(options.out, options.transforms, options.alignment, options.itk, options.elastix, overwrite=options.overwrite)
    region = region_of(options)
    config = AlignConfig(
        **_method(options),
        channel=options.channel,
        level=options.level,
        region=region,
        anchors=_planes("--anchors", options.anchors) or None,
        exclude=_planes("--exclude", options.exclude),
        include=_planes("--include", options.include),
        **running_options(options),
    )
    # found on a coarse level, the moves are those of the finest too; of a region, the level it was found on is written
    part: dict[str, Any] = {"channel": options.channel, "region": region, "level": options.level if region else 0}
    recipe = Recipe(
        (
            Step(read_config(options)),
            Step(config),
            Step(ApplyConfig(**part)),
            Step(WriteConfig(path=options.out, overwrite=options.overwrite, **part), inputs=("aligned", "image")),
        )
    )
    alignment = run_and_keep(recipe, options, title="align")["alignment"]
    names = ("m00", "m01", "m02", "m10", "m11", "m12")
    rows = [
        {
            "plane": z,
            **dict(zip(names, map(float, matrix[:2].ravel()), strict=True)),
            "quality": float(alignment.quality[z]),
            "bad": z in alignment.bad,
        }
        for z, matrix in enumerate(alignment.transforms)
    ]
    if options.transforms:
        write(options.transforms, rows, overwrite=options.overwrite)
    _write_files(alignment, config, options)
    bad = ", ".join(map(str, alignment.bad))
    if len(alignment.bad) == len(rows):
        say(f"No plane matches another, so none of the {len(rows)} was moved")
    else:
        matching = f"matching none of their neighbours: {bad}" if bad else "all match their neighbours"
        say(f"{counted(len(rows), 'plane')} aligned; {matching}")
    say(f"Wrote {options.out}")
    return 0


def _method(options: argparse.Namespace) -> dict[str, Any]:
    """Take what was given, then what the preset says; what neither says is left to the defaults."""
    from napari_dinov3.align.presets import preset

    given = {name: value for name in ("model", "backbone", "drift") if (value := getattr(options, name)) is not None}
    if given.get("backbone") == "none":
        given["backbone"] = None
    return {**(preset(options.preset) if options.preset else {}), **given}


def _write_files(alignment: Any, config: Any, options: argparse.Namespace) -> None:
    """Write the alignment in the formats that were asked for."""
    from napari_dinov3.align.files import export_transforms, save_alignment

    if options.alignment:
        save_alignment(options.alignment, alignment, provenance={"stack": options.path, "settings": config.options()})
    for tool in ("itk", "elastix"):
        folder = getattr(options, tool)
        if folder:
            export_transforms(folder, alignment, tool="itk" if tool == "itk" else "elastix")


def _planes(option: str, text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise InputError(
            f"{option} {text}", "numbers of planes with commas between them, counted from 0", f"Write for example {option} 3,17"
        ) from None
