"""``napari-dinov3 extract IMAGE OUT.zarr``: write the features of an image, to be used again without computing them anew."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinov3.commands.arguments import (
    add_channel,
    add_features,
    add_reading,
    add_region,
    add_writing,
    check_out,
    extract_config,
    read_config,
    read_image,
    run_and_keep,
)
from napari_dinov3.commands.terminal import say
from napari_dinov3.wording import counted

if TYPE_CHECKING:
    from napari_dinov3.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    add_writing(parser, "features to write, such as features.zarr")
    add_channel(parser)
    add_region(parser)
    add_features(parser)
    parser.add_argument(
        "--cache",
        metavar="FOLDER",
        help="keep the features there between runs ('user': where the system keeps "
        "caches), and go on with a run that was stopped",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="spread the planes over this Dask cluster, such as "
        "tcp://10.0.0.1:8786; weights and --cache must lie where its workers see them",
    )
    parser.add_argument("--pca", metavar="FILE", help="also write principal-component colours, such as colours.ome.tif")


def run(options: argparse.Namespace) -> int:
    """Extract features."""
    from napari_dinov3.commands.placing import on_patches
    from napari_dinov3.errors import InputError
    from napari_dinov3.io import write
    from napari_dinov3.recipe import Recipe, Step, WriteConfig

    if not options.out.endswith(".zarr"):
        raise InputError(
            f"{options.out} does not end in .zarr", "features are written as a zarr folder", f"Use {options.out}.zarr"
        )
    check_out(options.out, options.pca, overwrite=options.overwrite)
    recipe = Recipe(
        (
            Step(read_config(options)),
            Step(replace(extract_config(options), cache=options.cache or ("user" if options.scheduler else None))),
            Step(WriteConfig(path=options.out, overwrite=options.overwrite), inputs=("features", "image")),
        )
    )
    if options.scheduler:
        _embed_there(recipe, options)
    features = run_and_keep(recipe, options, title="extract")["features"]
    say(f"{features.backbone} ({features.provenance['reason']})")
    rows, cols = features.grid
    planes = counted(len(features), "plane")
    say(f"{planes} of {rows} x {cols} patches, {features.dim} numbers each, {features.stride:g} pixels apart")
    say(f"Wrote {options.out}")
    if options.pca:
        colours = on_patches(features, (features.pca() * 255).round().astype("uint8"))
        say(f"Wrote {write(options.pca, colours, overwrite=options.overwrite).name}")
    return 0


def _embed_there(recipe: Recipe, options: argparse.Namespace) -> None:
    """Have a cluster put the features in the cache, where the recipe then finds them."""
    from napari_dinov3.commands.terminal import run_job
    from napari_dinov3.features.cluster import extract_on_cluster_steps

    image = read_image(options)
    how = recipe.steps[1].config.options()
    run_job(extract_on_cluster_steps(image, client=options.scheduler, **how), title="cluster")
