"""``napari-dinov3 experiments``: redo the reference tables."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--seeds", type=int, default=3, help="how many times each experiment is repeated")
    parser.add_argument("--out", default="napari-dinov3-experiments", help="folder for tables and pictures")


def run(options: argparse.Namespace) -> int:
    """Run the experiments."""
    from napari_dinov3.commands.terminal import say
    from napari_dinov3.evaluate.experiments import run_experiments

    say(str(run_experiments(seeds=options.seeds, out=options.out)))
    return 0
