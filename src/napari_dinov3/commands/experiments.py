"""``napari-dinov3 experiments``: redo the reference tables."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--seeds", type=int, default=5, help="how many times each experiment is repeated")
    parser.add_argument("--out", default="napari-dinov3-experiments", help="folder for tables and pictures")


def run(options: argparse.Namespace) -> int:
    """Run the experiments."""
    from napari_dinov3.commands.terminal import note, run_job, say
    from napari_dinov3.evaluate.experiments import ExperimentConfig, run_experiments_steps

    config = ExperimentConfig(seeds=tuple(range(options.seeds)))
    result = run_job(run_experiments_steps(config), title="Experiments")
    say(str(result))  # before the pictures: they need an optional package
    written = result.save(options.out)
    note(f"{len(written)} tables and pictures written to {options.out}")
    return 0
