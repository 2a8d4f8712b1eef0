"""Options of :func:`~napari_dinov3.align.stack.align_stack` for usual cases, as panel and command line offer them."""

from __future__ import annotations

from typing import Any, Literal, get_args

from napari_dinov3.errors import InputError

Preset = Literal["serial", "histology", "movie"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
_OPTIONS: dict[Preset, dict[str, Any]] = {
    "serial": {"model": "affine", "backbone": "auto", "drift": "trend"},
    "histology": {"model": "rigid", "backbone": "auto", "drift": "minimum"},
    "movie": {"model": "translation", "backbone": None, "drift": "mean"},
}


def preset(name: str) -> dict[str, Any]:
    """Give the options for a usual case, to be passed on and changed at will.

    Parameters
    ----------
    name : {"serial", "histology", "movie"}
        Serial sections of electron microscopy, whose slow trend is anatomy; stained sections; a time series of calcium imaging,
        where every frame is moved to the mean of all.

    Returns
    -------
    options : dict
        ``model``, ``backbone`` and ``drift``.

    Raises
    ------
    InputError
        For another name.

    Examples
    --------
    >>> preset("movie")
    {'model': 'translation', 'backbone': None, 'drift': 'mean'}
    """
    for known, options in _OPTIONS.items():
        if name == known:
            return dict(options)
    raise InputError(f"preset {name!r}", f"one of {', '.join(PRESETS)}", "Choose one of these, or give the options themselves")
