"""``napari-dinov3 segment IMAGE SCRIBBLES OUT``: learn classes from scribbles and label every pixel."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari_dinov3.commands.arguments import (
    add_channel,
    add_features,
    add_reading,
    add_region,
    add_writing,
    check_out,
    extract_config,
    read_config,
    region_of,
    run_and_keep,
)
from napari_dinov3.commands.terminal import run_job, say, table
from napari_dinov3.errors import InputError
from napari_dinov3.progress import Job, part_of

if TYPE_CHECKING:
    from napari_dinov3.io import ImageFile
    from napari_dinov3.recipe import ProbeConfig

MAX_CLASSES = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    parser.add_argument("scribbles", metavar="SCRIBBLES", help="labels image of the same size: 0 where nothing is painted")
    add_writing(parser, "labels to write, such as labels.ome.tif")
    add_channel(parser)
    add_region(parser)
    add_features(parser)
    add_probe(parser)
    parser.add_argument(
        "--also",
        nargs=2,
        action="append",
        default=[],
        metavar=("IMAGE", "SCRIBBLES"),
        help="train on this image and its scribbles too; may be given several times",
    )
    parser.add_argument("--probabilities", metavar="FILE", help="also write the probability of each class, a channel each")
    parser.add_argument("--save-probe", metavar="FILE", help="also keep the trained probe (.npz), for `napari-dinov3 apply`")
    parser.add_argument(
        "--reference",
        metavar="FILE",
        help="known labels of the same size, 0 where unknown: print accuracy, and F1 and IoU of each class against them",
    )


def run(options: argparse.Namespace) -> int:
    """Segment an image."""
    import numpy as np

    from napari_dinov3.evaluate.metrics import evaluate_labels
    from napari_dinov3.recipe import ReadConfig, Recipe, Step, WriteConfig

    check_out(options.out, options.probabilities, options.save_probe, overwrite=options.overwrite)
    config = probe_config(options)
    for scribbles in (options.scribbles, *(pair[1] for pair in options.also)):
        _check_scribbles(scribbles, config.region)
    reference = _reference(options) if options.reference else None
    recipe = Recipe(
        (
            Step(read_config(options)),
            Step(ReadConfig(path=options.scribbles, kind="labels"), output="scribbles"),
            Step(extract_config(options)),
            Step(config),
            Step(WriteConfig(path=options.out, kind="labels", overwrite=options.overwrite), inputs=("labels", "features")),
        )
    )
    if options.also or options.probabilities or options.save_probe:
        labels = run_job(_with_more_steps(options, config), title="segment")
    else:
        labels = run_and_keep(recipe, options, title="segment")["labels"]
    values, counts = _counts(labels)
    for value, count in zip(values, counts, strict=True):
        say(f"class {value}: {100 * count / labels.size:.2f} % of the pixels")
    if reference is not None:
        report = evaluate_labels(np.reshape(labels, reference.shape), reference.data)
        say(f"\nAgainst {options.reference}: accuracy {report.accuracy:.4f}")
        say(table(report.as_rows()) + "\n")
    say(f"Wrote {options.out}")
    return 0


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Add the options of a probe."""
    add = parser.add_argument
    heads = ("kernel", "linear", "boosting", "forest", "prototypes", "decoder")
    add("--head", default="kernel", choices=heads, help="classifier of patch features; decoder needs torch")
    add("--C", metavar="NUMBER|cv", help="how closely linear and kernel follow the scribbles; cv: tried on held-out strokes")
    add("--class-weight", metavar="LABEL=W,...|none", help="weight of classes, such as 2=3; by default each class the same total")
    add("--thresholds", metavar="LABEL=P,...", help="probability a class needs where it is not one half, such as 2=0.3")
    add(
        "--prior",
        default="estimated",
        choices=("estimated", "scribbles"),
        help="how common classes are: in the image, or painted",
    )
    add("--refine", type=float, default=0.0, metavar="PIXELS", help="radius of a filter that pulls classes to edges of the image")
    add("--smooth-z", type=float, default=0.0, metavar="PLANES", help="spread of the average along the stack")
    add("--median", type=int, default=0, metavar="PIXELS", help="side of the square in which the most frequent class wins, odd")
    add("--loss", default="cross-entropy", choices=("cross-entropy", "dice"), help="of the decoder")
    add("--epochs", type=int, default=60, help="most rounds of training of the decoder")


def probe_config(options: argparse.Namespace) -> ProbeConfig:
    """Collect the options of a probe."""
    from napari_dinov3.recipe import ProbeConfig

    strength = options.C if options.C in (None, "cv") else _number(options.C, "--C", "a number above 0, or cv")
    weight = {None: "balanced", "none": None}.get(options.class_weight, options.class_weight)
    chosen: dict[str, Any] = {
        "C": strength,
        "class_weight": _pairs(weight, "--class-weight") if weight not in (None, "balanced") else weight,
        "thresholds": _pairs(options.thresholds, "--thresholds") if options.thresholds else None,
        "device": getattr(options, "device", "auto") or "auto",
        "channel": options.channel,
        "level": options.level,
        "region": region_of(options),
    }
    names = ("head", "prior", "refine", "smooth_z", "median", "loss", "epochs")
    return ProbeConfig(**{name: getattr(options, name) for name in names}, **chosen)


def _with_more_steps(options: argparse.Namespace, config: ProbeConfig) -> Job[Any]:
    """Train on several images, and write probabilities and the probe beside the labels."""
    from napari_dinov3.image import as_planes
    from napari_dinov3.io import read, write_steps
    from napari_dinov3.recipe.segment_configs import painted_on
    from napari_dinov3.segment.probe import Probe

    if options.region and options.also:
        raise InputError("--region together with --also", "one image", "Leave one of them out, or train on parts cut out before")
    if options.recipe:
        raise InputError(
            "--recipe together with --also, --probabilities or --save-probe",
            "a recipe of one image and its labels",
            "Leave one of them out",
        )
    extract = extract_config(options)
    image = read(**read_config(options).options())
    others = [read(path) for path, _ in options.also]
    maps = []
    for number, one in enumerate((image, *others)):
        maps.append((yield from part_of(extract.steps(one), start=30 * number, span=30, total=30 * (len(others) + 4))))
    total, done = 30 * (len(others) + 4), 30 * (len(others) + 1)
    painted = [painted_on(maps[0], read(options.scribbles, kind="labels"), region=config.region)]
    painted += [read(path, kind="labels").planes().data for _, path in options.also]
    probe = yield from part_of(Probe(**config.arguments).fit_steps(maps, painted), start=done, span=30, total=total)
    planes = as_planes(image, channel=config.channel, level=config.level, region=config.region)
    labels = yield from part_of(probe.predict_steps(maps[0], image=planes), start=done + 30, span=30, total=total)
    yield from write_steps(options.out, labels, like=maps[0], kind="labels", overwrite=options.overwrite)
    if options.probabilities:
        soft = probe.predict_proba(maps[0], image=planes, lazy=True)
        chances, axes = (soft[0], "cyx") if planes.is_2d else (soft, f"{planes.axes[0]}cyx")
        names = tuple(f"class {value}" for value in probe.classes_)
        how: dict[str, Any] = {"like": planes, "axes": axes, "kind": "image", "channel_names": names}
        yield from write_steps(options.probabilities, chances, overwrite=options.overwrite, **how)
        say(f"Wrote {options.probabilities}: {', '.join(names)}")
    if options.save_probe:
        say(f"Wrote {probe.save(options.save_probe, overwrite=options.overwrite)}")
    return labels


def _pairs(text: str, name: str) -> dict[int, float]:
    expected = "labels with numbers, such as 1=0.5,2=3"
    try:
        return {int(label): float(value) for label, value in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise InputError(f"{name} {text}", expected, f"Write for example {name} 2=0.3") from None


def _number(text: str, name: str, expected: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name} {text}", expected, f"Write for example {name} 10") from None


def _check_scribbles(path: str, region: Sequence[float] | None) -> None:
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
    if region is not None and planes.shape[1] >= region[2] and planes.shape[2] >= region[3]:  # else they are of the part alone
        planes = planes.cropped(region)
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

    if options.region or options.level:
        raise InputError(
            "--reference together with --region or --level",
            "the whole image",
            "Leave it out, and compare with `evaluate` afterwards",
        )
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
