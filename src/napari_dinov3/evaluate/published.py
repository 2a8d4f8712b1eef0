"""What the reference works published, to stand beside what is measured here.

The *study* covers six modalities with two placeholder backbones; the *first report* three of them, with the diagonal rule for
registration. Both used 16x16 patches through a pseudo-random projection, as the ``random-projection-*`` backbones do.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

CNX, VIT = "random-projection-cnx-tiny", "random-projection-vit-large"


class Scores(NamedTuple):
    """Accuracy and F1 of the positive class, 0..1."""

    accuracy: float
    f1: float


STUDY = MappingProxyType({
    ("em", CNX): Scores(0.981, 0.951), ("em", VIT): Scores(0.984, 0.959),
    ("mri", CNX): Scores(0.875, 0.600), ("mri", VIT): Scores(0.894, 0.653),
    ("histology", CNX): Scores(0.938, 0.941), ("histology", VIT): Scores(0.947, 0.950),
    ("connectomics", CNX): Scores(0.956, 0.936), ("connectomics", VIT): Scores(0.975, 0.965),
    ("atlas", CNX): Scores(0.888, 0.769), ("atlas", VIT): Scores(0.900, 0.810),
    ("calcium", CNX): Scores(0.941, 0.913), ("calcium", VIT): Scores(0.959, 0.942),
})  # fmt: skip
"""Trained and tested on one modality, by (modality, backbone)."""

STUDY_SHIFT_ERROR = 2.33
"""Patches, the same in all twelve cells: what always answering (0, 0) scores."""

FIRST_REPORT_SHIFT_ERROR = MappingProxyType({
    ("em", CNX): 1.33, ("em", VIT): 2.33, ("mri", CNX): 0.67, ("mri", VIT): 0.67,
    ("histology", CNX): 1.33, ("histology", VIT): 2.33,
})  # fmt: skip
"""Patches, with the diagonal rule."""

FIRST_REPORT = MappingProxyType({
    ("em", CNX): Scores(0.997, 0.966), ("em", VIT): Scores(1.0, 1.0),
    ("mri", CNX): Scores(1.0, 0.0), ("mri", VIT): Scores(1.0, 0.0),
    ("histology", CNX): Scores(1.0, 1.0), ("histology", VIT): Scores(1.0, 1.0),
})  # fmt: skip
"""Trained and tested on one modality in the first report, whose MRI training set had no positive patch."""

FIRST_REPORT_TRANSFER = MappingProxyType({
    ("em", "mri"): Scores(0.797, 0.0), ("em", "histology"): Scores(0.006, 0.0),
    ("mri", "em"): Scores(0.956, 0.0), ("mri", "histology"): Scores(0.931, 0.0),
    ("histology", "em"): Scores(0.009, 0.0), ("histology", "mri"): Scores(0.219, 0.0),
})  # fmt: skip
"""Trained on the first, tested on the second modality; alike for both backbones."""

STUDY_TRANSFER_F1 = (
    (("em", "connectomics"), ("histology", "calcium"), "0.54-0.72"),
    (("histology", "calcium"), ("em",), "rarely works"),
    (("atlas",), ("connectomics",), "about 0.49"),
    (("em", "histology", "connectomics", "atlas", "calcium"), ("mri",), "below 0.32"),
)
"""F1 of transfer as the study describes it: trained on any of the first, tested on any of the second."""
