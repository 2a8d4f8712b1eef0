"""The feature map: what an image becomes once, and every task is a cheap function of.

Immutable. It knows which backbone made it, from what intensities, and where each patch lies in the image and in the world,
and it says so when another map does not fit. The array may live in memory or on disk (a zarr array with one plane a chunk);
:meth:`FeatureMap.plane` reads one plane either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3 import geometry
from napari_dinov3.errors import FeatureMismatchError, InputError

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class FeatureMap:
    """Patch features of every plane of an image.

    Parameters
    ----------
    array : (planes, rows, cols, dim) float32 or float16
        numpy, or a zarr array read plane by plane.
    backbone, revision : str
        Name in the registry, and what identifies its weights and preprocessing.
    stride : float
        Image pixels between the centres of neighbouring patches.
    first_centre : float
        Pixel coordinate of the first patch's centre on both axes.
    image_shape : (2,) ints
        Rows and columns of the image.
    world_from_pixel : (4, 4) float64
        Of the image, on ``(plane, row, col, 1)``.
    axes, spacing, units
        As in :class:`~napari_dinov3.image.Planes`.
    cls : (planes, dim) float32, optional
        CLS token of each plane, where the backbone has one.
    provenance : mapping
        JSON-able facts: package version, backbone, intensity window, image name.
    """

    array: Any = field(repr=False)
    backbone: str
    revision: str
    stride: float
    first_centre: float
    image_shape: tuple[int, int]
    world_from_pixel: geometry.Matrix = field(repr=False)
    axes: str = "zyx"
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    units: tuple[str, str, str] = ("pixel", "pixel", "pixel")
    cls: FloatArray | None = field(default=None, repr=False)
    provenance: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __post_init__(self) -> None:
        if len(self.array.shape) != 4 or 0 in self.array.shape:
            raise InputError(
                f"Features have shape {tuple(self.array.shape)}",
                "(planes, rows, cols, dim), none of them 0",
                "Add the missing axis, for example features[None]",
            )

    @classmethod
    def from_array(cls, array: npt.ArrayLike, /, *, stride: float = 16, **facts: Any) -> FeatureMap:
        """Wrap features made elsewhere.

        Parameters
        ----------
        array : (planes, rows, cols, dim) or (rows, cols, dim) array-like
            Patch features.
        stride : float
            Image pixels between patch centres.
        **facts
            Any other field of :class:`FeatureMap`.
        """
        features = np.asarray(array, dtype=np.float32)
        if features.ndim == 3:
            features = features[None]
        if features.ndim != 4:
            raise InputError(
                f"Features have shape {features.shape}",
                "(planes, rows, cols, dim) or (rows, cols, dim)",
                "Reshape the array to its patch grid",
            )
        _, rows, cols, _ = features.shape
        defaults: dict[str, Any] = {
            "backbone": "array",
            "revision": "unknown",
            "first_centre": (stride - 1) / 2,
            "image_shape": (round(rows * stride), round(cols * stride)),
            "world_from_pixel": np.eye(4),
        }
        return cls(array=features, stride=stride, **{**defaults, **facts})

    def __len__(self) -> int:
        return int(self.array.shape[0])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patch grid."""
        return int(self.array.shape[1]), int(self.array.shape[2])

    @property
    def dim(self) -> int:
        """Numbers a patch."""
        return int(self.array.shape[3])

    @property
    def in_memory(self) -> bool:
        """Whether the features are a numpy array rather than on disk."""
        return isinstance(self.array, np.ndarray)

    @property
    def pixel_from_patch(self) -> geometry.Matrix:
        """(4, 4): patch index to image pixel."""
        return geometry.pixel_from_patch(self.stride, self.first_centre)

    @property
    def world_from_patch(self) -> geometry.Matrix:
        """(4, 4): patch index ``(plane, row, col)`` to world."""
        return self.world_from_pixel @ self.pixel_from_patch

    def plane(self, index: int) -> FloatArray:
        """Read one plane as ``(rows, cols, dim)`` float32."""
        return np.asarray(self.array[index], dtype=np.float32)

    def patch_at(self, row: float, col: float) -> tuple[int, int]:
        """Find the patch nearest to a pixel.

        Raises
        ------
        InputError
            If the pixel lies outside the image.
        """
        height, width = self.image_shape
        if not (-0.5 <= row <= height - 0.5 and -0.5 <= col <= width - 0.5):
            raise InputError(
                f"Pixel (row {row:g}, col {col:g})",
                f"a pixel of the image, rows 0..{height - 1}, cols 0..{width - 1}",
                "Choose a point inside the image",
            )
        at_row, at_col = self.patches_at(np.array([[row, col]]))[0]
        return int(at_row), int(at_col)

    def patches_at(self, points: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Find the patches nearest to pixels.

        Parameters
        ----------
        points : (n, 2) floats
            Row and column of each pixel; points outside are moved to the border.

        Returns
        -------
        patches : (n, 2) ints
            Row and column in the patch grid.
        """
        at = np.rint((np.asarray(points, dtype=np.float64) - self.first_centre) / self.stride).astype(np.intp)
        clipped: npt.NDArray[np.intp] = np.clip(at, 0, np.array(self.grid) - 1)
        return clipped

    def check_fits(self, other: FeatureMap | Mapping[str, Any], what: str = "These feature maps") -> None:
        """Refuse features that were not made the same way.

        Parameters
        ----------
        other : FeatureMap or mapping
            Another map, or the `signature` of one.

        Raises
        ------
        FeatureMismatchError
            Naming each difference (backbone, revision, stride, width).
        """
        theirs = other.signature if isinstance(other, FeatureMap) else other
        different = [f"{key} {mine!r} and {theirs.get(key)!r}" for key, mine in self.signature.items() if mine != theirs.get(key)]
        if different:
            raise FeatureMismatchError(
                f"{what} do not fit together: {'; '.join(different)}",
                "the same backbone, revision, stride and width",
                "Extract both with the same backbone settings",
            )

    @property
    def signature(self) -> dict[str, Any]:
        """What two maps must share to be compared: backbone, revision, stride and width."""
        return {"backbone": self.backbone, "revision": self.revision, "stride": float(self.stride), "dim": self.dim}

    def pca(self, **options: Any) -> FloatArray:
        """Colour every patch by the first three principal components; see :func:`napari_dinov3.features.views.pca_colours`."""
        from napari_dinov3.features import views

        return views.pca_colours(self, **options)

    def similarity(self, plane: int = 0, row: float = 0, col: float = 0, **options: Any) -> FloatArray:
        """Compare every patch with the one at a pixel; see :func:`napari_dinov3.features.views.similarity_to_point`."""
        from napari_dinov3.features import views

        return views.similarity_to_point(self, plane, row, col, **options)

    def similarity_to_region(self, mask: npt.ArrayLike, **options: Any) -> FloatArray:
        """Compare every patch with a painted region; see :func:`napari_dinov3.features.views.similarity_to_region`."""
        from napari_dinov3.features import views

        return views.similarity_to_region(self, mask, **options)

    def foreground(self, **options: Any) -> npt.NDArray[np.bool_]:
        """Split the patches by the first principal component; see :func:`napari_dinov3.features.grouping.foreground`."""
        from napari_dinov3.features import grouping

        return grouping.foreground(self, **options)

    def clusters(self, clusters: int = 6, **options: Any) -> npt.NDArray[np.int32]:
        """Group the patches by k-means; see :func:`napari_dinov3.features.grouping.cluster_patches`."""
        from napari_dinov3.features import grouping

        return grouping.cluster_patches(self, clusters=clusters, **options)

    def nearest_planes(self, plane: int = 0, **options: Any) -> tuple[npt.NDArray[np.intp], FloatArray]:
        """Find the planes most like one; see :func:`napari_dinov3.features.grouping.nearest_planes`."""
        from napari_dinov3.features import grouping

        return grouping.nearest_planes(self, plane, **options)

    def similarity_across(self, other: FeatureMap, **options: Any) -> FloatArray:
        """Compare a patch with those of another image; see :func:`napari_dinov3.features.grouping.similarity_across`."""
        from napari_dinov3.features import grouping

        return grouping.similarity_across(self, other, **options)

    def gram_distance(self, other: FeatureMap, **options: Any) -> float:
        """Tell how differently two backbones see one image; see :func:`napari_dinov3.features.grouping.gram_distance`."""
        from napari_dinov3.features import grouping

        return grouping.gram_distance(self, other, **options)

    def gram(self, plane: int = 0, **options: Any) -> FloatArray:
        """Cosine of all pairs of patches of a plane; see :func:`napari_dinov3.features.views.gram_matrix`."""
        from napari_dinov3.features import views

        return views.gram_matrix(self, plane, **options)
