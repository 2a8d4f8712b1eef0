"""What the configs of all tasks share: options with names and types, and one line of Python for each.

A config knows the names of its inputs and of its result, but no data. ``ExtractConfig(stride=4).to_python("image")`` is the
line ``features = nd.extract(image, stride=4)``; only options that differ from the defaults are written.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from napari_dinov3.errors import InputError
from napari_dinov3.progress import Job
from napari_dinov3.recipe.schema import check_value

PLANES = ("axes", "rgb", "channel", "level", "region")
"""How the planes of an image are taken: options of :func:`napari_dinov3.as_planes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskConfig:
    """Options of one task; the fields of a subclass mirror the keyword options of its function.

    Attributes
    ----------
    task : str
        Name in a recipe file.
    takes : tuple of str
        Usual names of what goes in, in the function's order; see `inputs`.
    output : str
        Usual name of the result; empty where there is none.
    paths : tuple of str
        Options that are places of files, one or a tuple each; relative ones count from the recipe's folder.
    """

    task: ClassVar[str] = ""
    takes: ClassVar[tuple[str, ...]] = ()
    output: ClassVar[str] = ""
    paths: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name, annotation in _annotations(type(self)).items():
            value = check_value(getattr(self, name), annotation, f"{self.task}: {name}")
            object.__setattr__(self, name, value)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Usual names of what goes in with these options, in the function's order."""
        return self.takes

    def options(self, *, changed_only: bool = False) -> dict[str, Any]:
        """List the options by name.

        Parameters
        ----------
        changed_only : bool
            Leave out those that have their default value.
        """
        chosen = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not changed_only or field.default is dataclasses.MISSING or value != field.default:
                chosen[field.name] = value
        return chosen

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TaskConfig:
        """Build a config from named options, such as those of a recipe file.

        Raises
        ------
        InputError
            For an unknown, missing or wrong option, naming it.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InputError(
                f"{cls.task}: {', '.join(map(repr, unknown))} is not an option",
                f"options out of {', '.join(known) or 'none'}",
                "Remove it, or correct its name",
            )
        missing = [n for n, field in known.items() if field.default is dataclasses.MISSING and n not in options]
        if missing:
            raise InputError(f"{cls.task}: {', '.join(missing)} is missing", "a value for it", "Add this option")
        return cls(**options)

    def to_python(self, *inputs: str, output: str | None = None) -> str:
        """Write the task as a line of Python, with the package imported as ``nd``.

        Parameters
        ----------
        *inputs : str
            Expressions that take the place of the usual input names, in the same order.
        output : str, optional
            Name for the result; the usual one by default, nothing where empty.
        """
        names = (*inputs, *self.inputs[len(inputs) :])
        target = self.output if output is None else output
        return (f"{target} = " if target else "") + self._expression(names)

    def steps(self, *inputs: Any) -> Job[Any]:
        """Run the task on values in the order of `inputs`; yields progress, returns the result."""
        raise NotImplementedError

    def _expression(self, names: tuple[str, ...]) -> str:
        raise NotImplementedError

    def _call(self, function: str, *arguments: str, skip: tuple[str, ...] = ()) -> str:
        options = self.options(changed_only=True)
        words = [*arguments, *(f"{name}={value!r}" for name, value in options.items() if name not in skip)]
        return f"{function}({', '.join(words)})"


def _annotations(config: type[TaskConfig]) -> dict[str, Any]:
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}
