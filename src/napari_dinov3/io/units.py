"""Names of length and time units: one spelling in this package, the spellings of file formats at its edge."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from napari_dinov3.errors import FallbackWarning, InputError

PIXEL = "pixel"

_SPELLINGS = {
    "picometer": ("pm", "picometre"),
    "angstrom": ("å", "a", "ångström"),
    "nanometer": ("nm", "nanometre", "nanometers", "nanometres"),
    "micrometer": ("µm", "μm", "um", "micron", "microns", "micrometre", "micrometers", "micrometres", r"\u00b5m", "�m"),
    "millimeter": ("mm", "millimetre", "millimeters", "millimetres"),
    "centimeter": ("cm", "centimetre"),
    "meter": ("m", "metre", "meters", "metres"),
    "inch": ("in", "inches", '"'),
    "second": ("s", "sec", "seconds"),
    "millisecond": ("ms", "msec", "milliseconds"),
    "microsecond": ("µs", "μs", "us", "microseconds"),
    "minute": ("min", "minutes"),
    "hour": ("h", "hr", "hours"),
    PIXEL: ("", "px", "pixels", "voxel", "reference frame"),
}
_KNOWN = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in (unit, *spellings)}
_OME = {
    "picometer": "pm",
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "inch": "in",
    "second": "s",
    "millisecond": "ms",
    "microsecond": "µs",
    "minute": "min",
    "hour": "h",
    PIXEL: "pixel",
}


def unit_name(spelling: str | None) -> str:
    """Give a unit's one name in this package.

    Parameters
    ----------
    spelling : str or None
        As a file or a user writes it: ``"µm"``, ``"micron"``, ``"um"`` ...

    Returns
    -------
    unit : str
        ``"micrometer"`` and the like; ``"pixel"`` where it is unknown or missing.
    """
    if spelling is None:
        return PIXEL
    text = spelling.strip()
    return _KNOWN.get(text, _KNOWN.get(text.lower(), PIXEL))


def chosen_unit(spelling: str | None) -> str:
    """Give a unit's one name where a person chose it: unlike a file's tag, a misspelt one is refused.

    Raises
    ------
    InputError
        For a unit this package does not know.
    """
    text = "" if spelling is None else spelling.strip()
    if text not in _KNOWN and text.lower() not in _KNOWN:
        raise InputError(
            f"Unit {spelling!r}",
            f"one of {', '.join(_SPELLINGS)}, or its usual short form",
            "Correct the spelling, for example units='micrometer'",
        )
    return unit_name(text)


def chosen_spacing(values: Sequence[Any]) -> tuple[float, ...]:
    """Check a spacing a person chose.

    Raises
    ------
    InputError
        If one is not a number above 0.
    """
    sizes = [usable_spacing(value) for value in values]
    if None in sizes:
        raise InputError(
            f"Spacing {', '.join(map(str, values))}",
            "finite numbers above 0",
            "Give the distance between neighbours on each axis",
        )
    return tuple(size for size in sizes if size is not None)


def ome_unit(unit: str) -> str:
    """Spell a unit as OME-XML does."""
    return _OME[unit_name(unit)]


def usable_spacing(value: float | str | None, where: str = "") -> float | None:
    """Accept a spacing a file gives, or None where it is missing, not a number, not finite or not positive.

    Parameters
    ----------
    value : float, str or None
        As the file has it.
    where : str
        What states it; a spacing that is there and cannot be one is warned of by this name.
    """
    try:
        number = float(value) if value is not None else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if math.isfinite(number) and number > 0:
        return number
    if where and value is not None:
        warnings.warn(
            FallbackWarning(
                f"{where} states a spacing of {value}, which cannot be; pixels are counted instead. Give it by spacing=..."
            ),
            stacklevel=3,
        )
    return None
