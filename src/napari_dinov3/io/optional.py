"""Packages that only some formats need."""

from __future__ import annotations

import importlib
from typing import Any

from napari_dinov3.errors import MissingDependencyError

_PIP = {"nrrd": "pynrrd", "ome_zarr": "ome-zarr"}


def require(module: str, what: str) -> Any:
    """Import an optional module.

    Parameters
    ----------
    module : str
        Name to import.
    what : str
        What needs it, as the beginning of a sentence.

    Raises
    ------
    MissingDependencyError
        With the command that installs it.
    """
    package = _PIP.get(module.split(".")[0], module.split(".")[0])
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs the package {package}", "that package installed", f"Run: pip install {package}"
        ) from error
