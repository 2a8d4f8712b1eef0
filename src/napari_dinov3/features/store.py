"""Where a feature map's numbers are kept: in memory while they fit, else on disk, one plane a chunk.

On disk is a zarr array in a temporary folder that goes when the map does, or in a folder of the user's choice.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

MAP_SHARE = 0.5  # of the memory budget; the rest is for tiles, filters and the answer


def allocate(shape: tuple[int, int, int, int], *, memory_gb: float, folder: Path | None = None) -> Any:
    """Make room for the features of a stack.

    Parameters
    ----------
    shape : (planes, rows, cols, dim)
        Of the map.
    memory_gb : float
        Budget of the whole run; a map over half of it goes to disk.
    folder : Path, optional
        Put the zarr array there instead of in a temporary folder.

    Returns
    -------
    array : numpy.ndarray or zarr.Array
        float32 in memory, float16 on disk (features are of order 1, and read back at half the cost).
    """
    if folder is None and np.prod(shape, dtype=np.float64) * 4 <= memory_gb * 1e9 * MAP_SHARE:
        return np.empty(shape, np.float32)
    import zarr

    temporary = folder is None
    path = Path(tempfile.mkdtemp(prefix="napari-dinov3-")) if folder is None else Path(folder)
    array = zarr.create_array(
        store=path / "features.zarr", shape=shape, chunks=(1, *shape[1:]), dtype="float16", compressors=None, overwrite=False
    )
    if temporary:
        weakref.finalize(array, shutil.rmtree, path, ignore_errors=True)
    return array
