"""An ordered list of steps with named results: JSON, replay without a GUI, and a plain script.

The file is JSON: ``{"format": "napari-dinov3-recipe", "version": 1, "made_with": ..., "steps": [{"task", "inputs", "output",
"options"}]}``. A recipe holds no data and runs nothing but the tasks of this package. Relative paths in it count from the
folder given to :func:`run_recipe_steps` (the current one by default).
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.recipe.configs import CONFIGS
from napari_dinov3.recipe.image_configs import WriteConfig
from napari_dinov3.recipe.task_config import TaskConfig

FORMAT = "napari-dinov3-recipe"
VERSION = 1
_MAX_FILE_BYTES = 10_000_000  # a recipe is a few kilobytes; anything larger is another file
_STEP_TICKS = 100


@dataclass(frozen=True, slots=True)
class Step:
    """One task with the names of what goes in and of its result.

    Parameters
    ----------
    config : TaskConfig
        Which task, with which options.
    inputs : tuple of str, optional
        Names of earlier results, or dotted attributes of them (``"cut.masks"``); the task's usual names by default.
    output : str, optional
        Name of the result; the task's usual one by default.
    """

    config: TaskConfig
    inputs: tuple[str, ...] | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        inputs = self.config.inputs if self.inputs is None else tuple(self.inputs)
        output = self.config.output if self.output is None else self.output
        task = self.config.task
        if len(inputs) != len(self.config.inputs):
            raise InputError(
                f"Step {task!r} has {len(inputs)} inputs ({', '.join(inputs) or 'none'})",
                f"{len(self.config.inputs)}: {', '.join(self.config.inputs) or 'none'}",
                "Correct its inputs",
            )
        for name in inputs:
            if not all(_is_name(part) for part in name.split(".")):
                raise InputError(f"Step {task!r} has the input {name!r}", "a plain name, or name.attribute", "Rename this input")
        if bool(output) != bool(self.config.output) or (output and not _is_name(output)):
            raise InputError(
                f"Step {task!r} has the output {output!r}",
                "a plain name" if self.config.output else "none: it writes a file",
                "Rename the output",
            )
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "output", output)

    @property
    def names(self) -> tuple[str, ...]:
        """Resolved input names."""
        return self.inputs or ()

    def to_python(self, sources: Mapping[str, str] | None = None) -> str:
        """Write the step as a line of Python; names in `sources` are replaced by expressions."""
        sources = sources or {}
        return self.config.to_python(*(sources.get(name, name) for name in self.names), output=self.output)

    def to_json(self) -> dict[str, Any]:
        """List the step as JSON values, every option included so that later defaults do not change it."""
        return {"task": self.config.task, "inputs": list(self.names), "output": self.output, "options": self.config.options()}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in the order in which they run.

    Parameters
    ----------
    steps : tuple of Step
        Each may use the results of those before it.
    made_with : str
        Version of this package that made the recipe; the present one by default.
    """

    steps: tuple[Step, ...]
    made_with: str = ""

    def __post_init__(self) -> None:
        from napari_dinov3 import __version__

        object.__setattr__(self, "steps", tuple(self.steps))
        object.__setattr__(self, "made_with", self.made_with or __version__)

    @property
    def free_inputs(self) -> tuple[str, ...]:
        """Names that no earlier step makes: the caller gives them."""
        made: set[str] = set()
        free: dict[str, None] = {}
        for step in self.steps:
            free.update(dict.fromkeys(root for name in step.names if (root := name.split(".")[0]) not in made))
            made.add(step.output or "")
        return tuple(free)

    def to_json(self) -> str:
        """Write the recipe as JSON text."""
        steps = [step.to_json() for step in self.steps]
        return json.dumps({"format": FORMAT, "version": VERSION, "made_with": self.made_with, "steps": steps}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read JSON text back.

        Raises
        ------
        FileFormatError
            If it is not a recipe of this version.
        InputError
            If a step is wrong; the message starts with its number.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(
                f"The recipe is not JSON: {error}",
                "a recipe file of this package",
                "Choose another file, or save the recipe again",
            ) from error
        if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("steps"), list):
            raise FileFormatError(
                "The JSON is not a recipe",
                f'an object with "format": "{FORMAT}" and a list of "steps"',
                "Choose another file, or save the recipe again",
            )
        if found.get("version") != VERSION:
            raise FileFormatError(
                f"The recipe has version {found.get('version')!r}",
                f"version {VERSION}",
                "Open it with the version of napari-dinov3 that wrote it, or update this one",
            )
        made_with = found.get("made_with", "")
        return cls(tuple(_steps_from_json(found["steps"])), made_with if isinstance(made_with, str) else "")


def save_recipe(path: str | Path, recipe: Recipe, *, overwrite: bool = False) -> Path:
    """Write a recipe file.

    Parameters
    ----------
    path : path-like
        Where; usually ends in ``.json``.
    recipe : Recipe
        What.
    overwrite : bool
        Whether an existing file may be replaced.
    """
    from napari_dinov3.io.atomic import write_text

    return write_text(path, recipe.to_json(), overwrite=overwrite)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe file; see :meth:`Recipe.from_json`."""
    path = Path(path)
    try:
        size = path.stat().st_size
        text = path.read_text("utf-8") if size <= _MAX_FILE_BYTES else ""
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"{path} cannot be read: {error}", "a recipe file of this package", "Choose another file"
        ) from error
    if size > _MAX_FILE_BYTES:
        raise FileFormatError(f"{path} has {size:,} bytes", f"a recipe of at most {_MAX_FILE_BYTES:,}", "Choose another file")
    return Recipe.from_json(text)


def run_recipe_steps(recipe: Recipe, inputs: Mapping[str, Any] | None = None, *, folder: str | Path = ".") -> Job[dict[str, Any]]:
    """Replay a recipe.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    inputs : mapping, optional
        Values of the recipe's `free_inputs`, by name.
    folder : path-like
        Where relative paths in the recipe start.

    Returns
    -------
    results : dict
        Every named result, inputs included.

    Raises
    ------
    InputError
        If an input is missing, or a file to be written exists and may not be replaced: before the first step.
    """
    results = dict(inputs or {})
    missing = [name for name in recipe.free_inputs if name not in results]
    if missing:
        raise InputError(
            f"The recipe needs {', '.join(missing)}",
            "a value for each of its inputs",
            "Give them, for example run_recipe(recipe, {'image': image}), or add a read step",
        )
    _check_places(recipe, Path(folder))
    total = max(1, len(recipe.steps) * _STEP_TICKS)
    for number, step in enumerate(recipe.steps):
        values = [_resolve(results, name) for name in step.names]
        job = _in_folder(step.config, Path(folder)).steps(*values)
        result = yield from part_of(job, start=number * _STEP_TICKS, span=_STEP_TICKS, total=total)
        if step.output:
            results[step.output] = result
    yield Progress(total, total, "Done")
    return results


def run_recipe(
    recipe: Recipe,
    inputs: Mapping[str, Any] | None = None,
    *,
    folder: str | Path = ".",
    on_progress: Callable[[Progress], object] | None = None,
) -> dict[str, Any]:
    """Replay a recipe to its end; see :func:`run_recipe_steps`."""
    return collect(run_recipe_steps(recipe, inputs, folder=folder), on_progress)


def to_python(recipe: Recipe, sources: Mapping[str, str] | None = None) -> str:
    """Write a recipe as a script that runs anywhere this package is installed.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    sources : mapping, optional
        Python expressions that give the recipe's `free_inputs`, such as ``{"image": "viewer.layers['em'].data"}``. Inputs
        without one are named in a comment and must exist where the script runs.
    """
    sources = sources or {}
    free = recipe.free_inputs
    unnamed = [name for name in free if name not in sources]
    lines = [f"# Made with napari-dinov3 {' '.join(recipe.made_with.split())}", "import napari_dinov3 as nd", ""]
    if unnamed:
        lines += [f"# This script needs: {', '.join(unnamed)}", ""]
    lines += [f"{name} = {sources[name]}" for name in free if name in sources]
    lines += [step.to_python() for step in recipe.steps]
    return "\n".join(lines) + "\n"


def _steps_from_json(entries: list[Any]) -> Iterator[Step]:
    for number, entry in enumerate(entries, start=1):
        task = entry.get("task") if isinstance(entry, dict) else None
        if not isinstance(task, str) or task not in CONFIGS:
            raise InputError(f"Step {number} has the task {task!r}", f"one of {', '.join(CONFIGS)}", "Correct this step")
        options, inputs, output = entry.get("options", {}), entry.get("inputs"), entry.get("output")
        named = inputs is None or (isinstance(inputs, list) and all(isinstance(i, str) for i in inputs))
        if not isinstance(options, dict) or not named or not isinstance(output, str | None):
            raise InputError(
                f"Step {number} ({task}) is malformed",
                "options as an object, inputs as a list of names, output as a name",
                "Correct this step",
            )
        try:
            config = CONFIGS[task].from_options(options)
            yield Step(config, None if inputs is None else tuple(inputs), output)
        except InputError as error:
            raise InputError(f"Step {number}: {error.problem}", error.expected, error.action) from error


def _is_name(text: str) -> bool:
    """Accept public identifiers only: a recipe must not reach into private attributes, nor inject code into a script."""
    return text.isidentifier() and not text.startswith("_") and not keyword.iskeyword(text) and text != "nd"


def _resolve(results: Mapping[str, Any], name: str) -> Any:
    root, *attributes = name.split(".")
    value = results[root]
    for attribute in attributes:
        if not hasattr(value, attribute):
            raise InputError(
                f"{name!r}: a {type(value).__name__} has no {attribute!r}",
                "a public attribute of the result",
                "Correct the input's name",
            )
        value = getattr(value, attribute)
    return value


def _check_places(recipe: Recipe, folder: Path) -> None:
    """Refuse files that cannot be written before hours of work are done for them."""
    from napari_dinov3.io.atomic import check_target

    for step in recipe.steps:
        placed = _in_folder(step.config, folder)
        if isinstance(placed, WriteConfig):
            check_target(placed.path, overwrite=placed.overwrite)


def _in_folder(config: TaskConfig, folder: Path) -> TaskConfig:
    def placed(path: Any) -> Any:
        if isinstance(path, tuple):
            return tuple(map(placed, path))
        return str(folder / Path(path).expanduser()) if path else path

    return replace(config, **{name: placed(getattr(config, name)) for name in config.paths}) if config.paths else config
