"""``napari-dinov3 compare IMAGE LABELS``: which backbone and head suit these labels, held out by plane."""

from __future__ import annotations

import argparse
from typing import Any

from napari_dinov3.commands.arguments import add_channel, add_reading, check_out, read_image
from napari_dinov3.commands.terminal import note, run_job, say

HEADS = ("linear", "kernel", "boosting", "forest", "prototypes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    parser.add_argument("labels", metavar="LABELS", help="scribbles or dense labels of the same size, 0 where unlabelled")
    add_channel(parser)
    parser.add_argument("--backbones", default="filter-bank", metavar="A[,B...]", help="see `napari-dinov3 backbones`")
    parser.add_argument("--heads", default="linear,kernel", metavar="A[,B...]", help=f"out of {', '.join(HEADS)}")
    parser.add_argument("--strides", metavar="N[,N...]", help="every backbone at these strides that it offers")
    parser.add_argument("--mask", action="store_true", help="the labels are a dense mask: 0 is the background, not unlabelled")
    parser.add_argument("--folds", type=int, default=5, help="blocks of neighbouring planes that are held out in turn")
    parser.add_argument("--max-planes", type=int, default=20, help="most labelled planes used, drawn evenly")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="memory the features may take")
    parser.add_argument("--csv", metavar="FILE", help="also write the table (.csv)")
    parser.add_argument("--plot", metavar="FILE", help="also draw it (.png)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> int:
    """Compare."""
    from napari_dinov3.evaluate.backbones import compare_backbones_steps
    from napari_dinov3.evaluate.plots import save_comparison
    from napari_dinov3.io.atomic import write_text

    check_out(options.csv, options.plot, overwrite=options.overwrite)
    planes = read_image(options).planes(channel=options.channel, level=options.level)
    job = compare_backbones_steps(
        planes,
        read_labels(options.labels, mask=options.mask),
        backbones=words(options.backbones),
        heads=heads(options.heads),
        strides=strides(options.strides),
        folds=options.folds,
        max_planes=options.max_planes,
        memory_gb=options.memory_gb,
    )
    comparison = run_job(job, title="compare")
    say(comparison.to_markdown())
    if options.csv:
        say(f"Wrote {write_text(options.csv, comparison.to_csv(), overwrite=options.overwrite)}")
    if options.plot:
        say(f"Wrote {save_comparison(comparison, options.plot, overwrite=options.overwrite)}")
    failed = {score.backbone: score.problem for score in comparison.scores if score.problem}
    for backbone, problem in failed.items():
        note(f"{backbone} was left out: {problem}")
    return 1 if failed else 0


def read_labels(path: str, *, mask: bool) -> Any:
    """Open labels as ``(planes, H, W)``, lazily; a mask as bool."""
    from napari_dinov3.io import read

    data = read(path, kind="labels").planes().data
    return data > 0 if mask else data


def words(text: str) -> list[str]:
    """Split at commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def heads(text: str) -> Any:
    """Read names of heads."""
    from napari_dinov3.errors import InputError

    unknown = [word for word in words(text) if word not in HEADS]
    if unknown:
        raise InputError(f"--heads {text}", f"names out of {', '.join(HEADS)}", "Correct the names")
    return words(text)


def strides(text: str | None) -> list[int | None]:
    """Read strides; none for the backbones' own."""
    from napari_dinov3.errors import InputError

    if text is None:
        return [None]
    if not all(word.isdecimal() and int(word) for word in words(text)):
        raise InputError(f"--strides {text}", "whole numbers with commas between them", "Write for example --strides 2,4")
    return [int(word) for word in words(text)]
