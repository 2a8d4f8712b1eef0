"""``napari-dinov3 objects LABELS OUT``: make objects of labels or of a probability, and measure them."""

from __future__ import annotations

import argparse
from typing import Any, Literal

from napari_dinov3.commands.arguments import add_channel, add_reading, add_writing, check_out, read_config, run_and_keep
from napari_dinov3.commands.terminal import say, table
from napari_dinov3.errors import InputError
from napari_dinov3.wording import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    add_writing(parser, "objects to write, such as objects.ome.tif")
    add_channel(parser)
    add_making(parser)
    parser.add_argument("--image", metavar="FILE", help="measure intensities in this image of the same size")
    parser.add_argument(
        "--table", metavar="FILE", help="also write one row an object (.csv or .json), sizes in the image's units"
    )
    parser.add_argument("--reference", metavar="FILE", help="known objects of the same size: print precision, recall, F1 and AP")


def add_making(parser: argparse.ArgumentParser) -> None:
    """Add how objects are made."""
    choices: dict[str, tuple[tuple[str, ...], str]] = {
        "method": (("components", "watershed"), "connected pixels of a class, or a watershed that parts what touches"),
        "across": (("planes", "stack"), "objects of each plane, or across the planes"),
        "connectivity": (("faces", "corners"), "whether pixels that touch only at a corner are connected"),
        "landscape": (("distance", "probability"), "what a watershed floods"),
        "seeds": (("h-maxima", "peaks"), "summits higher than --depth over a saddle, or farther apart than --min-distance"),
        "size-unit": (("pixel", "world"), "unit of sizes: pixels, or the image's own area or volume"),
        "clear-border": (("none", "sides", "all"), "drop objects at the sides; all: also in the first and last plane"),
    }
    for name, (values, text) in choices.items():
        parser.add_argument(f"--{name}", choices=values, default=values[0], help=text)
    parser.add_argument("--classes", metavar="N[,N...]", help="make objects of these classes only")
    parser.add_argument("--threshold", type=float, default=0.5, help="probability from which a pixel belongs to an object")
    parser.add_argument("--depth", type=float, help="by default 1 pixel, or 0.1 for a probability")
    parser.add_argument("--min-distance", type=int, default=5, metavar="PIXELS", help="see --seeds peaks")
    parser.add_argument("--min-size", type=float, default=0.0, help="smaller objects are dropped")
    parser.add_argument("--max-size", type=float, help="larger objects are dropped")
    parser.add_argument("--fill-holes", default="0", metavar="SIZE", help="holes up to this size are filled, or: all")


def run(options: argparse.Namespace) -> int:
    """Make objects."""
    from napari_dinov3.io import read
    from napari_dinov3.recipe import MeasureConfig, ObjectsConfig, ReadConfig, Recipe, Step, WriteConfig

    check_out(options.out, options.table, overwrite=options.overwrite)
    source = read(**read_config(options).options())
    soft = source.dtype.kind == "f"
    config = ObjectsConfig(**_making(options), channel=options.channel, level=options.level)
    steps = [Step(read_config(options), output="labels"), Step(config)]
    if options.image:
        steps.append(Step(ReadConfig(path=options.image)))
    # several maps in one file: the objects' own probability would have to be chosen out of them
    measured = MeasureConfig(intensity=bool(options.image), probability=soft and options.channel is None and not options.level)
    steps.append(Step(measured))
    labels = WriteConfig(path=options.out, kind="labels", overwrite=options.overwrite)
    steps.append(Step(labels, inputs=("objects.labels", "objects")))
    if options.table:
        steps.append(Step(WriteConfig(path=options.table, overwrite=options.overwrite), inputs=("table", "objects")))
    results = run_and_keep(Recipe(tuple(steps)), options, title="objects")
    _say_counts(results["objects"], results["table"])
    if options.reference:
        _say_scores(options.reference, results["objects"])
    for path in (options.out, options.table):
        if path:
            say(f"Wrote {path}")
    return 0


def _making(options: argparse.Namespace) -> dict[str, Any]:
    names = ("method", "across", "connectivity", "landscape", "seeds", "size_unit", "clear_border", "threshold", "depth")
    making = {name: getattr(options, name) for name in (*names, "min_distance", "min_size", "max_size")}
    return {**making, "classes": _classes(options.classes), "fill_holes": _fill(options.fill_holes)}


def _say_counts(objects: Any, measured: Any) -> None:
    size = "volume" if "volume" in measured.columns else "area"
    for value in sorted({*objects.classes.tolist()}):
        sizes = measured[size][measured["class"] == value]
        unit = measured.units[size]
        say(f"class {value}: {counted(len(sizes), 'object')}, mean {size} {sizes.mean():.4g} {unit}")
    if not objects.count:
        say("no objects: nothing in the labels, or nothing of the sizes that were asked for")


def _say_scores(path: str, objects: Any) -> None:
    from napari_dinov3.evaluate.object_metrics import object_scores
    from napari_dinov3.io import read

    known = read(path, kind="labels").planes()
    scores = object_scores(known.data, objects.labels, across=objects.across)
    say(f"\nAgainst {path}, {len(scores)} {'planes' if len(scores) > 1 else 'plane or volume'}:")
    say(table(scores.as_rows()) + "\n")


def _classes(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--classes {text}", "whole numbers with commas between them", "Write for example --classes 1,3"
        ) from None


def _fill(text: str) -> float | Literal["all"]:
    try:
        return "all" if text == "all" else float(text)
    except ValueError:
        raise InputError(f"--fill-holes {text}", "a size, or all", "Write for example --fill-holes 50") from None
