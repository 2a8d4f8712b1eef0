"""Three neighbouring planes of a grey stack as the three colours of one.

A network that takes colours then sees a little depth: a membrane that is cut slantwise, or a dot that is there in one plane only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes

NEIGHBOURS = "-neighbours"
"""Ends the revision of maps that were made so: they do not fit together with others."""


def neighbours_as_colours(planes: Planes) -> Planes:
    """Take the plane before, the plane itself and the plane after as red, green and blue.

    Parameters
    ----------
    planes : Planes
        Of a grey stack; lazy ones stay lazy. The first and last plane stand in for the neighbour they lack.

    Returns
    -------
    planes : Planes
        ``(planes, rows, cols, 3)``, for :func:`napari_dinov3.extract`. 8-bit values become 16-bit, because 8-bit colours are
        taken as they are while a grey stack's window is to be found by percentiles.

    Raises
    ------
    InputError
        If the planes are coloured already, or there is a single one.
    """
    import dask.array

    if planes.rgb or len(planes) < 2:
        what = "is in colour" if planes.rgb else "has a single plane"
        raise InputError(f"{planes.name!r} {what}", "a grey stack of two planes or more", "Extract it as it is")
    data = planes.data
    if not planes.lazy:
        data = dask.array.from_array(data, chunks=(1, *data.shape[1:]))
    if planes.dtype == np.uint8:
        data = data.astype(np.uint16)
    before, after = dask.array.concatenate([data[:1], data[:-1]]), dask.array.concatenate([data[1:], data[-1:]])
    return replace(planes, data=dask.array.stack([before, data, after], axis=-1))
