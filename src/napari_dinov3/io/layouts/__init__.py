"""Layouts of public data sets, one a file: what they are made of, and how it lies together in one world.

Each is recognised by names alone, so that asking costs no more than listing a folder, and claims nothing it cannot open.
"""

from __future__ import annotations

from pathlib import Path

from napari_dinov3.io.layouts.atlas import LAYOUT as ATLAS
from napari_dinov3.io.layouts.bids import LAYOUT as BIDS
from napari_dinov3.io.layouts.cell_tracking import LAYOUT as CELL_TRACKING
from napari_dinov3.io.layouts.cremi import LAYOUT as CREMI
from napari_dinov3.io.layouts.geojson import LAYOUT as GEOJSON
from napari_dinov3.io.layouts.layout import Layout
from napari_dinov3.io.layouts.neurofinder import LAYOUT as NEUROFINDER
from napari_dinov3.io.layouts.ome_labels import LAYOUT as OME_LABELS
from napari_dinov3.io.layouts.snemi3d import LAYOUT as SNEMI3D
from napari_dinov3.io.layouts.swc import LAYOUT as SWC

LAYOUTS: tuple[Layout, ...] = (
    NEUROFINDER,
    CELL_TRACKING,
    SNEMI3D,
    BIDS,
    ATLAS,
    CREMI,
    OME_LABELS,
    SWC,
    GEOJSON,
)


def find_layout(path: Path) -> Layout | None:
    """Find the layout of a file or folder, or None."""
    try:
        return next((layout for layout in LAYOUTS if layout.claims(path)), None)
    except OSError:  # a folder that may not be listed
        return None
