"""JSON values checked against the annotations of a config, with errors that name the field.

Only what configs need: bool, int, float, str, None, Literal, unions and tuples of these. JSON has no tuples, so lists become
tuples where a tuple is meant.
"""

from __future__ import annotations

import math
import types
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from napari_dinov3.errors import InputError

_NO_MATCH = object()


def check_value(value: Any, annotation: Any, where: str) -> Any:
    """Fit a value to an annotation.

    Parameters
    ----------
    value : object
        Any Python or JSON value.
    annotation : type
        A resolved annotation.
    where : str
        Task and field, for the message.

    Returns
    -------
    value
        The value with lists as tuples, and whole numbers as float where a float is meant.

    Raises
    ------
    InputError
        If it does not fit.
    """
    fitted = _fit(value, annotation)
    if fitted is _NO_MATCH:
        raise InputError(f"{where} is {value!r}", describe(annotation), "Correct this value")
    return fitted


def describe(annotation: Any) -> str:
    """Name an annotation in plain words."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    if origin is Literal:
        return " or ".join(repr(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if origin is tuple:
        if args[-1] is Ellipsis:
            return f"a list of {describe(args[0])}"
        return f"{len(args)} values ({', '.join(describe(a) for a in args)})"
    return {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}[annotation]


def _fit(value: Any, annotation: Any) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(value, np.generic):
        value = value.item()
    if annotation is None or annotation is type(None):
        return None if value is None else _NO_MATCH
    if origin is Literal:
        return value if any(value == a and type(value) is type(a) for a in args) else _NO_MATCH
    if origin in (Union, types.UnionType):
        fits = (fitted for a in args if (fitted := _fit(value, a)) is not _NO_MATCH)
        return next(fits, _NO_MATCH)
    if origin is tuple:
        return _fit_tuple(value, args)
    if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else _NO_MATCH
    return value if type(value) is annotation else _NO_MATCH


def _fit_tuple(value: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        return _NO_MATCH
    kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
    if len(kinds) != len(value):
        return _NO_MATCH
    fitted = tuple(_fit(v, kind) for v, kind in zip(value, kinds, strict=True))
    return _NO_MATCH if any(v is _NO_MATCH for v in fitted) else fitted
