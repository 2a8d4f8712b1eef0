"""Synthetic brain images with known truth: six modalities, seeded, of any size, as images, stacks or movies.

Each generator is a function of the same name as its module; ``napari_dinov3.synthetic.em`` is always the function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from napari_dinov3.synthetic.atlas import atlas
from napari_dinov3.synthetic.calcium import calcium
from napari_dinov3.synthetic.connectomics import connectomics
from napari_dinov3.synthetic.em import em
from napari_dinov3.synthetic.histology import histology
from napari_dinov3.synthetic.mri import mri
from napari_dinov3.synthetic.sample import Sample

MODALITIES: Mapping[str, Callable[..., Sample]] = MappingProxyType(
    {
        "em": em,
        "mri": mri,
        "histology": histology,
        "connectomics": connectomics,
        "atlas": atlas,
        "calcium": calcium,
    }
)
"""Generators by name, in the order of the reference study."""

__all__ = ["MODALITIES", "Sample", "atlas", "calcium", "connectomics", "em", "histology", "mri"]
