"""``napari-dinov3 experiments``: redo the reference tables, beside the published figures."""

from __future__ import annotations

import argparse

from napari_dinov3.commands.arguments import results_folder
from napari_dinov3.commands.terminal import run_job, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--seeds", type=int, default=5, help="how many times each experiment is repeated")
    parser.add_argument("--out", help="folder for tables and heat maps; the first free of napari-dinov3-experiments, -2 ...")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that holds something already")


def run(options: argparse.Namespace) -> int:
    """Run the experiments."""
    from napari_dinov3.errors import InputError
    from napari_dinov3.evaluate.experiment_result import ExperimentConfig
    from napari_dinov3.evaluate.experiment_tables import to_markdown
    from napari_dinov3.evaluate.experiments import run_experiments_steps, save_report

    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}", "at least one repeat", "Leave it out for 5: a mean and a spread")
    with results_folder(options.out, default="napari-dinov3-experiments", overwrite=options.overwrite) as folder:
        result = run_job(run_experiments_steps(ExperimentConfig(seeds=tuple(range(options.seeds)))), title="experiments")
        say(to_markdown(result))
        for path in save_report(result, folder):
            say(f"Wrote {path}")
    return 0
