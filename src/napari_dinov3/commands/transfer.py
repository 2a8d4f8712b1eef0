"""``napari-dinov3 transfer NAME=IMAGE,LABELS ...``: train on each data set, test on every one."""

from __future__ import annotations

import argparse
from typing import Any

from napari_dinov3.commands.arguments import add_features, check_out
from napari_dinov3.commands.compare import HEADS, read_labels
from napari_dinov3.commands.terminal import run_job, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("sets", nargs="+", metavar="NAME=IMAGE,LABELS", help="a data set: its name, image and labels file")
    add_features(parser)
    parser.add_argument("--head", default="kernel", choices=HEADS, help="classifier of patch features")
    parser.add_argument("--mask", action="store_true", help="the labels are dense masks: 0 is the background, not unlabelled")
    parser.add_argument("--folds", type=int, default=5, help="of a set on itself: blocks of neighbouring planes held out in turn")
    parser.add_argument("--max-planes", type=int, default=20, help="most labelled planes used of each set, drawn evenly")
    parser.add_argument("--csv", metavar="FILE", help="also write every figure (.csv)")
    parser.add_argument("--plot", metavar="FILE", help="also draw the matrix of F1 (.png)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> int:
    """Transfer."""
    from napari_dinov3.evaluate.plots import save_matrix
    from napari_dinov3.evaluate.transfer_matrix import transfer_steps
    from napari_dinov3.io.atomic import write_text
    from napari_dinov3.segment.probe import Probe

    check_out(options.csv, options.plot, overwrite=options.overwrite)
    job = transfer_steps(
        _datasets(options.sets, mask=options.mask),
        backbone=options.backbone,
        stride=options.stride,
        probe=Probe(head=options.head),
        folds=options.folds,
        max_planes=options.max_planes,
        memory_gb=options.memory_gb,
    )
    found = run_job(job, title="transfer")
    say(f"F1, mean over classes; {found.backbone}, {found.head} head; a set on itself: planes held out\n")
    say(found.to_markdown())
    if options.csv:
        say(f"Wrote {write_text(options.csv, found.to_csv(), overwrite=options.overwrite)}")
    if options.plot:
        words: dict[str, Any] = {"labels": ("tested on", "trained on", "F1"), "title": f"{found.backbone}, {found.head}"}
        path = save_matrix(found.matrix(), found.names, options.plot, overwrite=options.overwrite, **words)
        say(f"Wrote {path}")
    return 0


def _datasets(texts: list[str], *, mask: bool) -> dict[str, tuple[Any, Any]]:
    from napari_dinov3.errors import InputError
    from napari_dinov3.io import read

    sets = {}
    for text in texts:
        name, _, rest = text.partition("=")
        image, _, labels = rest.partition(",")
        if not (name and image and labels) or name in sets:
            raise InputError(text, "NAME=IMAGE,LABELS, each name once", "Write for example flyem=stack.tif,labels.tif")
        sets[name] = (read(image).planes(), read_labels(labels, mask=mask))
    return sets
