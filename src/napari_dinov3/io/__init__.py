"""Read what people have, write what they need: lazily, with axes, spacing, units and provenance.

One reader a format; :func:`read` finds the right one by what the path is and how it ends, and :func:`read_layers` opens all
that a data set holds. Every write goes beside its place
and is renamed when whole, and never onto an existing file unasked.
"""

from napari_dinov3.io.feature_store import read_features
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layers import read_layers
from napari_dinov3.io.reading import read
from napari_dinov3.io.vectors import VectorFile
from napari_dinov3.io.writing import write, write_steps

__all__ = ["ImageFile", "VectorFile", "read", "read_features", "read_layers", "write", "write_steps"]
