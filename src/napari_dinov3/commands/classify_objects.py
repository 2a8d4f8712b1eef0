"""``napari-dinov3 classify-objects IMAGE OBJECTS OUT``: give every object a class, from a few examples or a taught classifier."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.wording import counted

if TYPE_CHECKING:
    from napari_dinov3.recipe import ClassifyObjectsConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    parser.add_argument("objects", metavar="OBJECTS", help="labels of the same size, one number an object")
    add_writing(parser, "labels image of the classes to write, such as classes.ome.tif")
    add_channel(parser)
    add_features(parser)
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument("--examples", metavar="FILE", help="CSV with the columns label, class and perhaps name")
    known.add_argument("--classifier", metavar="FILE", help="a classifier taught before (.npz)")
    parser.add_argument(
        "--head", default="auto", choices=("auto", "logistic", "prototypes"), help="what learns from the examples"
    )
    parser.add_argument("--save-classifier", metavar="FILE", help="also write what was learned (.npz), for other images")
    parser.add_argument(
        "--table", metavar="FILE", help="also write one row an object (.csv or .json): measures, class, probability"
    )


def run(options: argparse.Namespace) -> int:
    """Classify objects."""
    from napari_dinov3.io import write
    from napari_dinov3.recipe import (
        ClassifyObjectsConfig,
        MeasureConfig,
        PaintClassesConfig,
        ReadConfig,
        Recipe,
        Step,
        WriteConfig,
    )

    if options.save_classifier and options.classifier:
        raise InputError("--save-classifier with --classifier", "examples to learn from", "Copy the classifier's file instead")
    check_out(options.out, options.table, options.save_classifier, overwrite=options.overwrite)
    examples, names = read_examples(Path(options.examples)) if options.examples else ((), ())
    classifier = str(Path(options.classifier).expanduser().absolute()) if options.classifier else None
    config = ClassifyObjectsConfig(examples=examples, names=names, classifier=classifier, head=options.head)
    output = WriteConfig(path=options.out, kind="labels", overwrite=options.overwrite)
    recipe = Recipe(
        (
            Step(read_config(options)),
            Step(ReadConfig(path=options.objects, kind="labels"), output="objects"),
            Step(extract_config(options)),
            Step(config),
            Step(MeasureConfig(channel=options.channel, level=options.level)),
            Step(PaintClassesConfig()),
            Step(output, inputs=("class_labels", "features")),
        )
    )
    results = run_and_keep(recipe, options, title="classify")
    classes = results["object_classes"]
    for value in classes.values:
        name = f" {classes.names[value]}" if value in classes.names else ""
        say(f"class {value}{name}: {int((classes.classes == value).sum())} of {counted(len(classes.labels), 'object')}")
    unknown = int((classes.classes == 0).sum())
    if unknown:
        say(f"without a class, since their features are not finite: {counted(unknown, 'object')}")
    say(f"Wrote {options.out}")
    if options.table:
        write(options.table, results["table"].joined(classes.table), overwrite=options.overwrite)
        say(f"Wrote {options.table}")
    if options.save_classifier:
        say(f"Wrote {_save(results, config, options)}")
    return 0


def read_examples(path: Path) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, str], ...]]:
    """Read examples: pairs of object and class, and pairs of class and name.

    Raises
    ------
    FileFormatError
        If it is no CSV file with whole numbers in the columns ``label`` and ``class``.
    """
    wanted = "a CSV file with the columns label and class (whole numbers), and perhaps name"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        examples = tuple((int(row["label"]), int(row["class"])) for row in rows)
        names = tuple(sorted({(int(row["class"]), row["name"]) for row in rows if row.get("name")}))
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error}", wanted, "Check the path") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise FileFormatError(f"{path} is not a table of examples ({error!r})", wanted, "Correct the table") from error
    if not examples:
        raise FileFormatError(f"{path} holds no example", wanted, "Add an object of each class")
    return examples, names


def _save(results: dict[str, Any], config: ClassifyObjectsConfig, options: argparse.Namespace) -> Path:
    from napari_dinov3.commands.terminal import run_job
    from napari_dinov3.objects.classifier import ObjectClassifier
    from napari_dinov3.objects.pooling import pool_objects_steps

    pooled = run_job(pool_objects_steps(results["features"], results["objects"]), title="save")
    taught = ObjectClassifier(head=config.head, C=config.C, names=dict(config.names)).fit(pooled, dict(config.examples))
    return taught.save(options.save_classifier, overwrite=options.overwrite)
