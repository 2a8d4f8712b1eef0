"""``napari-dinov3 evaluate PREDICTED REFERENCE``: measure labels against reference labels."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from napari_dinov3.commands.arguments import check_out
from napari_dinov3.commands.terminal import run_job, say, table

if TYPE_CHECKING:
    from napari_dinov3.evaluate.segmentation import IgnoreLabel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("predicted", metavar="PREDICTED", help="labels to be measured")
    parser.add_argument("reference", metavar="REFERENCE", help="labels of the same image that are true")
    parser.add_argument("--tolerance", type=float, default=2.0, help="how far off a boundary may be and still be right")
    parser.add_argument(
        "--tolerance-unit",
        default="pixel",
        choices=("pixel", "world"),
        help="of the tolerance; world: the unit of the reference file's spacing",
    )
    parser.add_argument(
        "--ignore",
        default="auto",
        metavar="LABEL",
        help="reference label that means 'not labelled', or none; auto: 0 where the prediction never says 0",
    )
    parser.add_argument(
        "--pairing",
        default="same",
        choices=("same", "overlap"),
        help="equal numbers are the same class, or classes are paired by the pixels they share",
    )
    parser.add_argument(
        "--objects",
        choices=("planes", "stack"),
        help="labels are objects with a number each, compared in each plane or across planes: precision, recall, F1 and AP",
    )
    parser.add_argument("--csv", metavar="FILE", help="also write the table (.csv)")
    parser.add_argument("--planes", metavar="FILE", help="also write one row a plane (.csv)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> int:
    """Measure."""
    from napari_dinov3.evaluate.segmentation import evaluate_segmentation_steps
    from napari_dinov3.evaluate.tables import rows_to_csv
    from napari_dinov3.io import read
    from napari_dinov3.io.atomic import write_text

    check_out(options.csv, options.planes, overwrite=options.overwrite)
    predicted, reference = (read(path, kind="labels").planes() for path in (options.predicted, options.reference))
    if options.objects:
        return _objects(predicted.data, reference.data, options)
    world = options.tolerance_unit == "world"
    job = evaluate_segmentation_steps(
        predicted.data,
        reference.data,
        tolerance=options.tolerance,
        spacing=reference.spacing[1:] if world else None,
        unit=reference.units[2] if world else "pixel",
        ignore_label=ignored(options.ignore),
        pairing=options.pairing,
    )
    scores = run_job(job, title="evaluate")
    say(table(scores.as_rows()))
    say(f"\n{scores.summary()}")
    for path, text in ((options.csv, scores.to_csv()), (options.planes, rows_to_csv(scores.plane_rows()))):
        if path:
            say(f"Wrote {write_text(path, text, overwrite=options.overwrite)}")
    return 0


def _objects(predicted: Any, reference: Any, options: argparse.Namespace) -> int:
    from napari_dinov3.errors import InputError
    from napari_dinov3.evaluate.object_metrics import object_scores_steps
    from napari_dinov3.evaluate.tables import rows_to_csv
    from napari_dinov3.io.atomic import write_text

    if options.planes:
        raise InputError("--planes with --objects", "a table of the classes of each plane", "Leave --planes out, or --objects")
    scores = run_job(object_scores_steps(reference, predicted, across=options.objects), title="evaluate").total
    say(table(scores.as_rows()))
    say(f"\n{scores.summary()}")
    if options.csv:
        say(f"Wrote {write_text(options.csv, rows_to_csv(scores.as_rows()), overwrite=options.overwrite)}")
    return 0


def ignored(text: str) -> IgnoreLabel:
    """Read the value of ``--ignore``."""
    from napari_dinov3.errors import InputError

    if text in ("auto", "none"):
        return None if text == "none" else "auto"
    if not text.isdecimal():
        raise InputError(f"--ignore {text}", "a label, auto or none", "Write for example --ignore 0")
    return int(text)
