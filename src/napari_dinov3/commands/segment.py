"""``napari-dinov3 segment IMAGE SCRIBBLES OUT``: learn classes from scribbles and label every pixel."""

from __future__ import annotations

import argparse

from napari_dinov3.commands.arguments import (
    add_channel,
    add_features,
    add_reading,
    add_writing,
    check_out,
    extract_config,
    read_config,
    run_and_keep,
)
from napari_dinov3.commands.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    parser.add_argument("scribbles", metavar="SCRIBBLES", help="labels image of the same size: 0 where nothing is painted")
    add_writing(parser, "labels to write, such as labels.ome.tif")
    add_channel(parser)
    add_features(parser)
    parser.add_argument("--head", default="kernel", choices=("kernel", "linear", "boosting", "forest", "prototypes"),
                        help="classifier of patch features")


def run(options: argparse.Namespace) -> int:
    """Segment an image."""
    from napari_dinov3.recipe import ProbeConfig, ReadConfig, Recipe, Step, WriteConfig

    check_out(options.out, overwrite=options.overwrite)
    recipe = Recipe((
        Step(read_config(options)),
        Step(ReadConfig(path=options.scribbles, kind="labels"), output="scribbles"),
        Step(extract_config(options)),
        Step(ProbeConfig(head=options.head)),
        Step(WriteConfig(path=options.out, kind="labels", overwrite=options.overwrite), inputs=("labels", "features")),
    ))
    results = run_and_keep(recipe, options, title="segment")
    labels = results["labels"]
    values, counts = _counts(labels)
    for value, count in zip(values, counts, strict=True):
        say(f"class {value}: {100 * count / labels.size:.2f} % of the pixels")
    say(f"Wrote {options.out}")
    return 0


def _counts(labels: object) -> tuple[list[int], list[int]]:
    import numpy as np

    values, counts = np.unique(np.asarray(labels), return_counts=True)
    return values.tolist(), counts.tolist()
