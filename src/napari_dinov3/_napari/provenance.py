"""What a result layer remembers: which layer it came from, with which settings, and how to do it again.

It lies in ``layer.metadata["napari-dinov3"]`` as plain JSON-able values, so it can be read in the console, copied and saved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

KEY = "napari-dinov3"
DATA_TASKS = ("read", "synthetic")


def provenance(task: str, *, source: str, settings: Mapping[str, Any], script: str = "", **facts: Any) -> dict[str, Any]:
    """Describe how a result was made, as layer metadata.

    Parameters
    ----------
    task : str
        Such as ``"similarity"``.
    source : str
        Name of the layer the result was made from.
    settings : mapping
        Of the task; arrays become lists.
    script : str
        Python code that makes it again in the napari console.
    **facts
        Anything else worth keeping: features, measured quality, the clicked point.

    Returns
    -------
    metadata : dict
        With the one key ``"napari-dinov3"``.
    """
    from napari_dinov3 import __version__

    record = {"task": task, "version": __version__, "source": source, "settings": dict(settings), "script": script, **facts}
    return {KEY: json.loads(json.dumps(record, default=_plain))}


def provenance_of(layer: Any) -> dict[str, Any]:
    """Read what a layer remembers; empty for a layer that was not made here."""
    record = layer.metadata.get(KEY, {})
    return dict(record)


def is_result(layer: Any) -> bool:
    """Whether a task of this package made the layer; data that were read or drawn are no results."""
    return provenance_of(layer).get("task", "read") not in DATA_TASKS


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
