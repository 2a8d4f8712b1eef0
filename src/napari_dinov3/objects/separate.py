"""Part classes of pixels into objects: what is done to one plane, or to a stack as a whole.

The image processing is scikit-image's and scipy's; this module puts it in order and keeps the numbers apart from plane to plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress

Method: TypeAlias = Literal["components", "watershed"]
Across: TypeAlias = Literal["planes", "stack"]
Connect: TypeAlias = Literal["faces", "corners"]
Landscape: TypeAlias = Literal["distance", "probability"]
Seeds: TypeAlias = Literal["h-maxima", "peaks"]
Clear: TypeAlias = Literal["none", "sides", "all"]

Found: TypeAlias = npt.NDArray[np.int32]
DEPTHS = {"distance": 1.0, "probability": 0.1}
_CHOICES = {
    "method": get_args(Method),
    "across": get_args(Across),
    "connectivity": get_args(Connect),
    "landscape": get_args(Landscape),
    "seeds": get_args(Seeds),
    "clear_border": get_args(Clear),
    "size_unit": ("pixel", "world"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """Checked options of :func:`~napari_dinov3.objects.instances.objects_from_labels`, see there."""

    method: Method = "components"
    across: Across = "planes"
    classes: tuple[int, ...] | None = None
    threshold: float = 0.5
    connectivity: Connect = "faces"
    landscape: Landscape = "distance"
    seeds: Seeds = "h-maxima"
    depth: float | None = None
    min_distance: int = 5
    min_size: float = 0.0
    max_size: float | None = None
    size_unit: str = "pixel"
    fill_holes: float | str = 0.0
    clear_border: Clear = "none"

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r}", " or ".join(map(repr, known)), "Choose one of these")
        if not 0 < self.threshold <= 1:
            raise InputError(f"threshold={self.threshold}", "a probability above 0, at most 1", "Use 0.5")
        if self.depth is not None and not self.depth > 0:
            raise InputError(f"depth={self.depth}", "a number above 0", "Leave it out, or use 1 pixel")
        if self.min_distance < 1:
            raise InputError(f"min_distance={self.min_distance}", "1 pixel or more", "Use about the radius of an object")
        if self.min_size < 0 or (self.max_size is not None and self.max_size < max(self.min_size, 1e-12)):
            raise InputError(
                f"min_size={self.min_size}, max_size={self.max_size}", "0 <= min_size <= max_size", "Correct one of the two"
            )
        if (isinstance(self.fill_holes, str) and self.fill_holes != "all") or (
            not isinstance(self.fill_holes, str) and self.fill_holes < 0
        ):
            raise InputError(f"fill_holes={self.fill_holes!r}", "a size of 0 or more, or 'all'", "Use 0 to fill none")


def separate_steps(planes: Planes, how: Separation) -> Job[tuple[Found, npt.NDArray[np.int64]]]:
    """Make the objects of a stack: labels ``(planes, H, W)`` and the class of each object."""
    if how.across == "stack" and len(planes) > 1:
        return (yield from _whole_steps(planes, how))
    found = np.zeros(planes.shape, np.int32)
    classes: list[npt.NDArray[np.int64]] = []
    count = 0
    for index in range(len(planes)):
        yield Progress(index, len(planes), f"objects of plane {index + 1} of {len(planes)}: {count} so far")
        part, of_class = _Part(planes.plane(index), planes, how).separate()
        np.add(part, count, out=found[index], where=part > 0)
        count += len(of_class)
        classes.append(of_class)
    return found, np.concatenate(classes)


def _whole_steps(planes: Planes, how: Separation) -> Job[tuple[Found, npt.NDArray[np.int64]]]:
    """Make the objects across planes; reading is one half of the bar, and each class a share of the other."""
    volume: Any = None
    for index in range(len(planes)):
        yield Progress(index, 2 * len(planes), f"reading plane {index + 1} of {len(planes)}")
        plane = planes.plane(index)
        volume = np.empty(planes.shape, plane.dtype) if volume is None else volume
        volume[index] = plane
    part = _Part(volume, planes, how)
    for done, message in part.steps():
        yield Progress(len(planes) + round(len(planes) * done), 2 * len(planes), message)
    return part.result()


class _Part:
    """One plane, or one stack, on its way from pixels to objects."""

    def __init__(self, pixels: npt.NDArray[Any], planes: Planes, how: Separation) -> None:
        self.how = how
        self.probability = _probability(pixels, planes.name) if pixels.dtype.kind == "f" else None
        if self.probability is not None:
            self.classes = (self.probability >= how.threshold).astype(np.uint8)
        else:
            self.classes = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
            if how.classes is not None:
                self.classes = np.where(np.isin(pixels, how.classes), pixels, 0)
        spacing = planes.spacing[3 - pixels.ndim :]
        self.steps_in_pixels = tuple(step / spacing[-2] for step in spacing)
        self.size_of_pixel = float(np.prod(spacing)) if how.size_unit == "world" else 1.0
        self.connectivity = 1 if how.connectivity == "faces" else pixels.ndim
        self.labels: Found = np.zeros(pixels.shape, np.int32)
        self.of_class: list[int] = []

    def separate(self) -> tuple[Found, npt.NDArray[np.int64]]:
        for _ in self.steps():
            pass
        return self.result()

    def steps(self) -> Iterator[tuple[float, str]]:
        """Do the work, telling how far it is, 0..1."""
        from skimage.measure import label

        if self.how.fill_holes:
            yield 0.0, "filling holes"
            self._fill_holes()
        if self.how.method == "components":
            yield 0.2, "connected components"
            self.labels = label(self.classes, background=0, connectivity=self.connectivity).astype(np.int32, copy=False)
        else:
            values = [value for value in np.unique(self.classes).tolist() if value]
            for number, value in enumerate(values):
                yield 0.2 + 0.6 * number / len(values), f"watershed of class {value}"
                self._watershed(self.classes == value)
        yield 0.8, "sizes and border"
        self._clear_border()
        self._keep_sizes()

    def result(self) -> tuple[Found, npt.NDArray[np.int64]]:
        """Give the labels, numbered 1..n, and the class of each."""
        of_class = np.zeros(int(self.labels.max()) + 1 if self.labels.size else 1, np.int64)
        inside = self.labels > 0
        of_class[self.labels[inside]] = self.classes[inside]
        return self.labels, of_class[1:]

    def _fill_holes(self) -> None:
        from scipy.ndimage import binary_fill_holes
        from skimage.measure import label

        most = np.inf if self.how.fill_holes == "all" else float(self.how.fill_holes) / self.size_of_pixel
        for value in np.unique(self.classes).tolist():
            if not value:
                continue
            mask = self.classes == value
            holes = label(binary_fill_holes(mask) & (self.classes == 0), connectivity=1)
            sizes = np.bincount(holes.ravel())
            sizes[0] = 0
            self.classes = np.where((holes > 0) & (sizes[holes] <= most), self.classes.dtype.type(value), self.classes)

    def _watershed(self, mask: npt.NDArray[np.bool_]) -> None:
        from skimage.measure import label
        from skimage.segmentation import watershed

        landscape = self._landscape(mask)
        seeds = self._seeds(landscape, mask)
        lone = label(mask, connectivity=self.connectivity)
        seeded = np.zeros(int(lone.max()) + 1, bool)
        seeded[lone[seeds > 0]] = True
        seeds = np.where((seeds == 0) & mask & ~seeded[lone], lone + int(seeds.max()), seeds)  # no object without a seed
        parts = watershed(-landscape, seeds, mask=mask, connectivity=self.connectivity)
        self.labels[mask] = parts[mask] + int(self.labels.max())

    def _landscape(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        from scipy.ndimage import distance_transform_edt

        if self.how.landscape == "probability":
            assert self.probability is not None  # refused before
            return np.where(mask, self.probability, np.float32(0))
        # the border of the image is no outline: an object cut by it goes on outside
        return np.asarray(distance_transform_edt(mask, sampling=self.steps_in_pixels), np.float32)

    def _seeds(self, landscape: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        from skimage.feature import peak_local_max
        from skimage.measure import label
        from skimage.morphology import local_maxima, reconstruction

        if self.how.seeds == "peaks":
            at = peak_local_max(landscape, min_distance=self.how.min_distance, threshold_abs=1e-6, exclude_border=False)
            seeds = np.zeros(mask.shape, np.int32)
            seeds[tuple(at.T)] = np.arange(1, len(at) + 1)
            return seeds
        depth = DEPTHS[self.how.landscape] if self.how.depth is None else self.how.depth
        if not mask.any() or float(landscape.max()) <= depth:
            return np.zeros(mask.shape, np.int32)
        # the summits of the lowered and rebuilt landscape are plateaus: skimage's h_maxima would mark two equal summits apart,
        # however shallow the saddle between them
        summits = local_maxima(reconstruction(landscape - np.float32(depth), landscape)) & mask
        marked: Found = label(summits, connectivity=mask.ndim).astype(np.int32, copy=False)
        return marked

    def _clear_border(self) -> None:
        from skimage.segmentation import clear_border

        if self.how.clear_border == "none":
            return
        inner = np.zeros(self.labels.shape, bool)
        depth = (slice(1, -1),) if self.how.clear_border == "all" and self.labels.ndim == 3 else (slice(None),)
        inner[(*depth[: self.labels.ndim - 2], slice(1, -1), slice(1, -1))] = True
        self.labels = clear_border(self.labels, mask=inner)

    def _keep_sizes(self) -> None:
        """Drop what is too small or too large, and number the rest 1..n."""
        sizes = np.bincount(self.labels.ravel()) * self.size_of_pixel
        most = np.inf if self.how.max_size is None else self.how.max_size
        kept = (sizes > 0) & (sizes >= self.how.min_size) & (sizes <= most)
        kept[0] = False
        number = np.zeros(len(sizes), np.int32)
        number[kept] = np.arange(1, np.count_nonzero(kept) + 1)
        self.labels = number[self.labels]


def _probability(pixels: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    values = np.nan_to_num(pixels.astype(np.float32), nan=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise InputError(
            f"{name!r} holds decimals from {low:.4g} to {high:.4g}",
            "a probability 0..1, or labels as whole numbers",
            "Convert labels to whole numbers (layer.data.astype(int)), or scale the probability to 0..1",
        )
    return values
