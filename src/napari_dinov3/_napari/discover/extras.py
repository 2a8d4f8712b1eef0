"""What else a solved cut gives: boxes, eigenvectors, scribbles to start a probe from, numbered objects. Each with its Python."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari import script
from napari_dinov3._napari.layers import Placement
from napari_dinov3.discover.mask_scribbles import mask_to_scribbles
from napari_dinov3.discover.tokencut import TokenCut
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import ClustersConfig, MaskCutConfig
from napari_dinov3.wording import counted

BOX_LOOK: dict[str, Any] = {"shape_type": "rectangle", "edge_color": "yellow", "face_color": "transparent", "edge_width": 2}
VECTOR_LOOK: dict[str, Any] = {"colormap": "viridis"}


def box_lines(placement: Placement) -> list[str]:
    """Write how a box around each piece is added."""
    before = ["0.0"] * (placement.ndim - 2)
    if placement.stack is not None:
        before[placement.stack] = "plane"
    corner = ", ".join([*before, "row", "col"])
    shapes_only = replace(placement, stack=0, fixed=())  # corners have all axes already; an array would be given them
    return [
        f"boxes = [[({corner}) for row, col in ((r0, c0), (r0, c1), (r1, c1), (r1, c0))]",
        "         for plane, found in enumerate(cut.boxes) for r0, c0, r1, c1 in found - 0.5]",
        script.add_line(
            "shapes",
            "boxes",
            name=f"{placement.name} boxes",
            placement=shapes_only,
            transform=placement.pixel_transform(),
            **BOX_LOOK,
        ),
    ]


def vector_lines(placement: Placement, stride: float, count: int) -> list[str]:
    """Write how the maps that were split are added."""
    return [
        script.add_line(
            "image",
            f"cut.eigenvectors[..., {index}]",
            name=vector_name(placement, index),
            placement=placement,
            transform=placement.patch_transform(stride, (stride - 1) / 2),
            **VECTOR_LOOK,
            visible=index == 0,
        )
        for index in range(count)
    ]


def vector_name(placement: Placement, index: int) -> str:
    """Name the layer of an eigenvector."""
    return f"{placement.name} eigenvector" + (f" {index + 1}" if index else "")


def labels_line(placement: Placement, expression: str, what: str) -> str:
    """Write how labels at full size are added."""
    return script.add_line(
        "labels", expression, name=f"{placement.name} {what}", placement=placement, transform=placement.pixel_transform()
    )


def scribble_steps(cut: TokenCut, memory_gb: float) -> Job[npt.NDArray[np.uint8]]:
    """Make scribbles of the masks of all planes."""
    height, width = cut.cut.image_shape
    _check_memory(len(cut) * height * width / 1e9, memory_gb)
    scribbles = np.zeros((len(cut), height, width), np.uint8)
    for index in range(len(cut)):
        yield Progress(index, len(cut), f"scribbles of plane {index + 1} of {len(cut)}")
        scribbles[index] = mask_to_scribbles(cut.mask(index), margin=cut.cut.stride)
    return scribbles


def objects_steps(
    cut: TokenCut, features: FeatureMap, config: MaskCutConfig | ClustersConfig | None, memory_gb: float
) -> Job[tuple[npt.NDArray[np.int32], str]]:
    """Label objects through all planes, without a config the pieces of the masks; a sentence comes along."""
    height, width = cut.cut.image_shape
    _check_memory(4 * len(cut) * height * width / 1e9, memory_gb)
    if config is None:
        yield Progress(0, 1, "numbering pieces")
        labels = cut.labels
        return labels, counted(int(labels.max()), "piece")
    found = yield from part_of(config.steps(features), start=0, span=90, total=100)
    yield Progress(90, 100, "drawing labels")
    return found.labels, counted(found.count, "cluster" if isinstance(config, ClustersConfig) else "object")


def object_lines(placement: Placement, config: MaskCutConfig | ClustersConfig | None) -> list[str]:
    """Write how objects are numbered and added."""
    if config is None:
        return [labels_line(placement, "cut.labels", "objects")]
    return [config.to_python("features"), labels_line(placement, "objects.labels", "objects")]


def _check_memory(needed_gb: float, memory_gb: float) -> None:
    if needed_gb > memory_gb:
        raise InputError(
            f"Labels of all planes take {needed_gb:.1f} GB",
            f"at most the {memory_gb:g} GB set for features",
            "Choose a coarser pyramid level or fewer planes, or allow more memory in the Features panel",
        )


def box_shapes(cut: TokenCut, placement: Placement) -> list[npt.NDArray[np.float64]]:
    """Write the boxes as corners in the layer's own coordinates, for a shapes layer.

    Returns
    -------
    corners : list of (4, ndim) float64
        One rectangle a box, around whole pixels.
    """
    shapes = []
    for plane, boxes in enumerate(cut.boxes):
        for row0, col0, row1, col1 in boxes:
            corners = np.zeros((4, placement.ndim))
            corners[:, -2:] = [(row0, col0), (row0, col1), (row1, col1), (row1, col0)]
            corners[:, -2:] -= 0.5
            if placement.stack is not None:
                corners[:, placement.stack] = plane
            shapes.append(corners)
    return shapes
