"""``napari-dinov3 convert IN OUT``: read any image this package knows and write it as another format, plane by plane."""

from __future__ import annotations

import argparse

from napari_dinov3.commands.arguments import add_reading, add_writing, check_out, read_config, run_and_keep
from napari_dinov3.commands.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    add_writing(parser, "file to write; its ending decides the format (.ome.tif, .ome.zarr, .nii.gz, .npy, .png, .geojson)")
    parser.add_argument("--kind", choices=("image", "labels"), help="whether the numbers are ids; as the file says by default")


def run(options: argparse.Namespace) -> int:
    """Convert a file."""
    from dataclasses import replace

    from napari_dinov3.recipe import Recipe, Step, WriteConfig

    check_out(options.out, overwrite=options.overwrite)
    recipe = Recipe(
        (
            Step(replace(read_config(options), kind=options.kind)),
            Step(WriteConfig(path=options.out, kind=options.kind, overwrite=options.overwrite), inputs=("image", "image")),
        )
    )
    run_and_keep(recipe, options, title="convert")
    say(f"Wrote {options.out}")
    return 0
