"""``napari-dinov3 run RECIPE.json``: replay a recipe, or show it as a script."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinov3.commands.terminal import run_job, say

if TYPE_CHECKING:
    from napari_dinov3.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("recipe", metavar="RECIPE.json", help="written by --recipe, by the demo or by a widget")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE", help="file for an input the recipe asks for")
    parser.add_argument("--folder", help="where relative paths in the recipe start; the recipe's own folder by default")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--python", action="store_true", help="do not run it: print it as a Python script")


def run(options: argparse.Namespace) -> int:
    """Replay a recipe."""
    from napari_dinov3.errors import InputError
    from napari_dinov3.io import read
    from napari_dinov3.recipe import load_recipe, run_recipe_steps, to_python

    recipe = load_recipe(options.recipe)
    if options.overwrite:
        recipe = _replacing(recipe)
    named = dict(word.partition("=")[::2] for word in options.input)
    unknown = sorted(set(named) - set(recipe.free_inputs))
    if unknown or not all(named.values()):
        raise InputError(
            f"--input {' '.join(options.input)}", f"NAME=FILE for {', '.join(recipe.free_inputs) or 'none'}", "Correct the names"
        )
    if options.python:
        say(to_python(recipe, {name: f"nd.read({path!r})" for name, path in named.items()}).rstrip())
        return 0
    folder = Path(options.folder) if options.folder else Path(options.recipe).absolute().parent
    inputs = {name: read(path) for name, path in named.items()}
    run_job(run_recipe_steps(recipe, inputs, folder=folder), title="run")
    for step in recipe.steps:
        if step.config.task == "write":
            say(f"Wrote {folder / step.config.options()['path']}")
    return 0


def _replacing(recipe: Recipe) -> Recipe:
    """Let every step that writes replace what is there."""
    from napari_dinov3.recipe import WriteConfig

    steps = [
        replace(step, config=replace(step.config, overwrite=True)) if isinstance(step.config, WriteConfig) else step
        for step in recipe.steps
    ]
    return replace(recipe, steps=tuple(steps))
