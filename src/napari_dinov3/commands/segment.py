"""``napari-dinov3 segment IMAGE SCRIBBLES OUT``: learn classes from scribbles and label every pixel."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

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
from napari_dinov3.commands.terminal import say, table
from napari_dinov3.errors import InputError

if TYPE_CHECKING:
    from napari_dinov3.io import ImageFile

MAX_CLASSES = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    parser.add_argument("scribbles", metavar="SCRIBBLES", help="labels image of the same size: 0 where nothing is painted")
    add_writing(parser, "labels to write, such as labels.ome.tif")
    add_channel(parser)
    add_features(parser)
    parser.add_argument(
        "--head",
        default="kernel",
        choices=("kernel", "linear", "boosting", "forest", "prototypes"),
        help="classifier of patch features",
    )
    parser.add_argument(
        "--reference",
        metavar="FILE",
        help="known labels of the same size, 0 where unknown: print accuracy, and F1 and IoU of each class against them",
    )


def run(options: argparse.Namespace) -> int:
    """Segment an image."""
    import numpy as np

    from napari_dinov3.evaluate.metrics import evaluate_labels
    from napari_dinov3.recipe import ProbeConfig, ReadConfig, Recipe, Step, WriteConfig

    check_out(options.out, overwrite=options.overwrite)
    _check_scribbles(options.scribbles)
    reference = _reference(options) if options.reference else None
    recipe = Recipe(
        (
            Step(read_config(options)),
            Step(ReadConfig(path=options.scribbles, kind="labels"), output="scribbles"),
            Step(extract_config(options)),
            Step(ProbeConfig(head=options.head)),
            Step(WriteConfig(path=options.out, kind="labels", overwrite=options.overwrite), inputs=("labels", "features")),
        )
    )
    results = run_and_keep(recipe, options, title="segment")
    labels = results["labels"]
    values, counts = _counts(labels)
    for value, count in zip(values, counts, strict=True):
        say(f"class {value}: {100 * count / labels.size:.2f} % of the pixels")
    if reference is not None:
        report = evaluate_labels(np.reshape(labels, reference.shape), reference.data)
        say(f"\nAgainst {options.reference}: accuracy {report.accuracy:.4f}")
        say(table(report.as_rows()) + "\n")
    say(f"Wrote {options.out}")
    return 0


def _check_scribbles(path: str) -> None:
    """Refuse an image in the place of scribbles: every grey level would become a class."""
    import numpy as np

    from napari_dinov3.io import read

    painted = read(path, kind="labels")
    if painted.rgb or painted.dtype.kind not in "bui":
        raise InputError(
            f"The scribbles {path} are {'a colour image' if painted.rgb else painted.dtype}",
            "whole numbers, one a pixel",
            "Save the labels layer, not a picture of it",
        )
    found: set[int] = set()
    planes = painted.planes()
    for z in range(len(planes)):
        found |= {*np.unique(planes.plane(z)).tolist()} - {0}
        if len(found) > MAX_CLASSES:
            raise InputError(
                f"The scribbles {path} hold more than {MAX_CLASSES} classes, as an ordinary image does",
                f"a labels image: 0 where nothing is painted, then 1, 2 and so on up to {MAX_CLASSES} classes",
                "Give the painted labels second: napari-dinov3 segment IMAGE SCRIBBLES OUT",
            )


def _reference(options: argparse.Namespace) -> ImageFile:
    """Open the known labels, and refuse those of another size before any work."""
    from napari_dinov3.io import read

    reference, painted = read(options.reference, kind="labels"), read(options.scribbles, kind="labels")
    if reference.shape != painted.shape or reference.dtype.kind not in "bui":
        raise InputError(
            f"--reference {options.reference} has shape {reference.shape} and type {reference.dtype}",
            f"whole numbers of shape {painted.shape}, as the scribbles",
            "Give labels of the same image",
        )
    return reference


def _counts(labels: object) -> tuple[list[int], list[int]]:
    import numpy as np

    values, counts = np.unique(np.asarray(labels), return_counts=True)
    return values.tolist(), counts.tolist()
