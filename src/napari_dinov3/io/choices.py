"""Which files hold several images without saying which one is meant, so that a person must be asked."""

from __future__ import annotations

from pathlib import Path

from napari_dinov3.io import hdf5, numpy_file


def needs_choice(path: Path) -> dict[str, tuple[int, ...]] | None:
    """List the images of an HDF5 or ``.npz`` file that does not say which one is meant: shape by name; None for all others.

    The names are what `dataset` of :func:`napari_dinov3.read` takes.

    Raises
    ------
    FileFormatError
        If the file is damaged.
    InputError
        If the package that reads it is not installed.
    """
    if not path.is_file():
        return None
    name = path.name.lower()
    if name.endswith(hdf5.EXTENSIONS):
        return hdf5.needs_choice(path)
    return numpy_file.needs_choice(path) if name.endswith(numpy_file.EXTENSIONS) else None
