"""File > Open Sample: one synthetic image of each modality, with its known mask, scale and units."""

from __future__ import annotations

from napari_dinov3._napari.file_options import LayerData
from napari_dinov3._napari.open_file import sample_layers
from napari_dinov3.synthetic import MODALITIES

SIZE = 512
PLANES = {"em": 16, "calcium": 16, "connectomics": 16}
"""Modalities that come as stacks; the others as single images."""


def em() -> list[LayerData]:
    """Electron microscopy: a stack of noise with bright round bodies."""
    return _sample("em")


def mri() -> list[LayerData]:
    """MRI: a radial gradient with a lesion."""
    return _sample("mri")


def histology() -> list[LayerData]:
    """Histology: a pink background with dark nuclei."""
    return _sample("histology")


def connectomics() -> list[LayerData]:
    """Connectomics: a stack with filaments."""
    return _sample("connectomics")


def atlas() -> list[LayerData]:
    """Atlas: pastel stripes with regions."""
    return _sample("atlas")


def calcium() -> list[LayerData]:
    """Calcium imaging: a movie of bright blobs."""
    return _sample("calcium")


def _sample(modality: str) -> list[LayerData]:
    options = {"planes": PLANES.get(modality, 1), "size": SIZE, "rng": 0}
    return sample_layers(MODALITIES[modality](**options), **options)
