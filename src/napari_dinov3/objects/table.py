"""Measure objects: one row an object, of any labels in which every object has a number of its own in the whole stack.

Read plane by plane, so that stacks larger than memory and 100,000 objects are no matter; sums of each plane are added up, which
gives the same numbers as scikit-image's ``regionprops`` on the whole. Boxes are half open: the last row is ``row_end - 1``.
World coordinates and sizes are in the image's own units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.geometry import transform_points
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.progress import Job, Progress, collect

Column = npt.NDArray[Any]
_SHORT = {"micrometer": "um", "nanometer": "nm", "millimeter": "mm", "angstrom": "A", "meter": "m", "pixel": "px"}
_LARGEST_LABEL = 1 << 24  # counting by label keeps an entry for each number up to the largest


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """Columns of one length, one entry an object, in the order of their labels.

    Parameters
    ----------
    columns : mapping of str to array
        ``label`` first.
    units : mapping of str to str
        Of those columns that have one.
    provenance : mapping
        JSON-able facts: what was measured in what.
    """

    columns: Mapping[str, Column] = field(repr=False)
    units: Mapping[str, str]
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Number of each object."""
        return np.asarray(self.columns["label"], np.int64)

    def named(self) -> dict[str, Column]:
        """Give the columns with their units in the names, such as ``"area (um^2)"``: for files and for napari."""
        units = self.units
        return {f"{name} ({units[name]})" if name in units else name: values for name, values in self.columns.items()}

    def joined(self, other: ObjectTable) -> ObjectTable:
        """Add the columns of a table of the same objects.

        Raises
        ------
        InputError
            If it is one of other objects.
        """
        if not np.array_equal(self.labels, other.labels):
            raise InputError(
                f"Tables of {len(self)} and {len(other)} objects, not the same ones",
                "two tables of the same objects",
                "Measure and classify the same labels",
            )
        provenance = {**self.provenance, **other.provenance}
        return ObjectTable({**self.columns, **other.columns}, {**self.units, **other.units}, provenance)


def measure_objects(objects: Any, image: Any = None, **options: Any) -> ObjectTable:
    """Measure every object; see :func:`measure_objects_steps` for the options.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> labels = np.zeros((16, 16), int); labels[2:6, 2:8] = 1
    >>> table = nd.measure_objects(nd.as_planes(labels, spacing=0.5, units="micrometer"))
    >>> table["area"].tolist(), table.units["area"]
    ([6.0], 'um^2')
    """
    return collect(measure_objects_steps(objects, image, **options))


def measure_objects_steps(
    objects: Any,
    image: Any = None,
    *,
    probability: Any = None,
    axes: str | None = None,
    rgb: bool | None = None,
    channel: int | tuple[int, ...] | None = None,
    level: int = 0,
) -> Job[ObjectTable]:
    """Measure plane by plane.

    Parameters
    ----------
    objects : Instances, Planes, opened file or array-like
        ``(planes, H, W)`` or ``(H, W)`` whole numbers, 0 for background. A number that occurs in several planes is one object.
    image : array-like, Planes or opened file, optional
        Intensities of the same pixels; of a colour image each channel is measured.
    probability : array-like, Planes or opened file, optional
        Probability of the class that objects were made of, of the same pixels.
    axes, rgb, channel, level
        Of :func:`napari_dinov3.as_planes`, for the image.

    Returns
    -------
    table : ObjectTable
        Label, class (where the objects know it), plane (the one nearest to the centre), number of planes, pixels, area or (where
        an object lies in several planes) volume, centre in pixels and in the world, box, axes of the ellipse or ellipsoid
        of the same moments, eccentricity, whether it touches a side of the image, mean and standard deviation of the
        intensity, mean probability.

    Raises
    ------
    InputError
        If the labels are no whole numbers, or the image has other planes, rows or columns.

    Notes
    -----
    Eccentricity is ``sqrt(1 - smallest / largest)`` of the variances along the principal axes: 0 for a disk or a ball, near 1
    for a line. In the plane it is that of ``skimage.measure.regionprops``.
    """
    labels = label_planes(objects)
    beside = {
        "intensity": None if image is None else as_planes(image, axes=axes, rgb=rgb, channel=channel, level=level, name="image"),
        "probability": None if probability is None else as_planes(probability, name="probability"),
    }
    for name, other in beside.items():
        if other is not None and other.shape != labels.shape:
            raise InputError(
                f"The objects have shape {labels.shape} and the {name} {other.shape}",
                "the same planes, rows and columns",
                "Measure objects in the image they were made of, at the same pyramid level",
            )
    sums = _Sums(labels, beside["intensity"], beside["probability"])
    for index in range(len(labels)):
        yield Progress(index, len(labels), f"measuring plane {index + 1} of {len(labels)}")
        sums.add(index)
    yield Progress(len(labels), len(labels), "measured")
    return sums.table(getattr(objects, "classes", None))


def label_planes(objects: Any) -> Planes:
    """See objects as planes of whole numbers.

    Raises
    ------
    InputError
        If they are a colour image or decimals.
    """
    labels = as_planes(objects, rgb=False if isinstance(objects, np.ndarray) and objects.ndim == 3 else None, name="objects")
    if labels.rgb or labels.dtype.kind not in "bui":
        raise InputError(
            f"The objects {labels.name!r} are {'a colour image' if labels.rgb else f'decimals ({labels.dtype})'}",
            "whole numbers, one for each object, 0 for background",
            "Make objects of a probability map first, or convert labels to whole numbers (astype(int))",
        )
    return labels


def checked_labels(plane: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    """Give the labels of a plane as int64, refusing what cannot be counted by label."""
    labels: npt.NDArray[np.int64] = plane.astype(np.int64)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _LARGEST_LABEL:
        raise InputError(
            f"{name!r} holds labels from {low} to {high}",
            f"labels from 0 to {_LARGEST_LABEL}",
            "Number the objects anew: make objects of this layer, or skimage.segmentation.relabel_sequential",
        )
    return labels


class _Sums:
    """Sums an object, over the planes read so far. Arrays are indexed by label and grow with the largest one."""

    def __init__(self, labels: Planes, image: Planes | None, probability: Planes | None) -> None:
        self.planes, self.image, self.probability = labels, image, probability
        self.channels = 0 if image is None else image.channels
        self.size = 1
        self.totals: dict[str, npt.NDArray[np.float64]] = {}
        self.lowest: dict[str, npt.NDArray[np.int64]] = {}

    def add(self, index: int) -> None:
        """Add a plane."""
        plane = checked_labels(self.planes.plane(index), self.planes.name)
        rows, cols = np.nonzero(plane)
        if not len(rows):
            return
        label = plane[rows, cols]
        self.size = max(self.size, int(label.max()) + 1)
        here = np.bincount(label, minlength=self.size)
        self._sum("pixels", here)
        self._sum("planes", here > 0)
        for name, at in (("row", rows), ("col", cols)):
            self._sum(name, np.bincount(label, at, self.size))
        for name, product in (("row row", rows * rows), ("row col", rows * cols), ("col col", cols * cols)):
            self._sum(name, np.bincount(label, product, self.size))
        self._sum("plane", here * float(index))
        self._sum("plane plane", here * float(index) ** 2)
        self._sum("plane row", np.bincount(label, rows * float(index), self.size))
        self._sum("plane col", np.bincount(label, cols * float(index), self.size))
        for name, at in (("plane", np.full(len(rows), index)), ("row", rows), ("col", cols)):
            self._least(name, label, at)
            self._least(f"-{name}", label, -at)
        self._add_values(index, label, rows, cols)

    def _add_values(
        self, index: int, label: npt.NDArray[np.int64], rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]
    ) -> None:
        for name, source in (("intensity", self.image), ("probability", self.probability)):
            if source is None:
                continue
            values = source.plane(index)[rows, cols].astype(np.float64)
            for channel, column in enumerate(values.reshape(len(rows), -1).T):
                known = np.isfinite(column)  # a NaN in the image is a pixel that was not measured
                key = f"{name} {channel}"
                self._sum(f"{key} count", np.bincount(label[known], minlength=self.size))
                self._sum(key, np.bincount(label[known], column[known], self.size))
                self._sum(f"{key} squares", np.bincount(label[known], column[known] ** 2, self.size))

    def _sum(self, name: str, more: npt.NDArray[Any]) -> None:
        total = self.totals.get(name, np.zeros(0))
        grown = np.zeros(self.size)
        grown[: len(total)] = total
        grown[: len(more)] += more
        self.totals[name] = grown

    def _least(self, name: str, label: npt.NDArray[np.int64], at: npt.NDArray[Any]) -> None:
        least = self.lowest.get(name, np.zeros(0, np.int64))
        grown = np.full(self.size, np.iinfo(np.int64).max)
        grown[: len(least)] = least
        np.minimum.at(grown, label, at)
        self.lowest[name] = grown

    def table(self, classes: npt.NDArray[np.int64] | None) -> ObjectTable:
        """Turn sums into measures."""
        pixels = self._whole("pixels")
        found = np.flatnonzero(pixels)
        count = pixels[found]
        columns: dict[str, Column] = {"label": found}
        units: dict[str, str] = {}
        if classes is not None:
            columns["class"] = np.asarray(classes)[found - 1]
        mean = np.stack([self._whole(name)[found] / np.maximum(count, 1) for name in ("plane", "row", "col")], axis=1)
        columns["plane"] = np.rint(mean[:, 0]).astype(np.int64)
        columns["planes"] = self._whole("planes")[found].astype(np.int64)
        columns["pixels"] = count.astype(np.int64)
        solid = bool((columns["planes"] > 1).any())
        unit = self._unit(solid)
        size, power = ("volume", "^3") if solid else ("area", "^2")
        columns[size] = count * float(np.prod(self.planes.spacing[0 if solid else 1 :]))
        units[size] = f"{unit}{power}"
        for axis, name in enumerate(("plane", "row", "col")):
            columns[f"centre_{name}"] = mean[:, axis]
        self._add_world(columns, units, mean)
        for name in ("plane", "row", "col"):
            columns[f"{name}_start"] = self._lowest(name)[found]
            columns[f"{name}_end"] = 1 - self._lowest(f"-{name}")[found]
        self._add_shape(columns, units, found, mean, solid, unit)
        rows, cols = self.planes.shape[1:]
        columns["on_border"] = (
            (columns["row_start"] == 0)
            | (columns["col_start"] == 0)
            | (columns["row_end"] == rows)
            | (columns["col_end"] == cols)
        )
        self._add_intensities(columns, found)
        return ObjectTable(columns, units, self._provenance())

    def _add_world(self, columns: dict[str, Column], units: dict[str, str], mean: npt.NDArray[np.float64]) -> None:
        world = transform_points(self.planes.world_from_pixel, mean)
        names = (self.planes.axes[0] if len(self.planes.axes) > 2 else "z", "y", "x")
        for axis, name in enumerate(names):
            if axis or len(self.planes.axes) > 2:
                columns[f"centre_{name}"] = world[:, axis]
                units[f"centre_{name}"] = _short(self.planes.units[axis])

    def _add_shape(
        self,
        columns: dict[str, Column],
        units: dict[str, str],
        found: npt.NDArray[np.intp],
        mean: npt.NDArray[np.float64],
        solid: bool,
        unit: str,
    ) -> None:
        """Add the axes of the ellipse or ellipsoid with the same second moments, as scikit-image has them."""
        names = ("plane", "row", "col")[0 if solid else 1 :]
        spacing = self.planes.spacing[0 if solid else 1 :]
        count, centre = self._whole("pixels")[found], mean[:, 0 if solid else 1 :]
        moments = np.empty((len(found), len(names), len(names)))
        for a, first in enumerate(names):
            for b, second in enumerate(names):
                key = f"{first} {second}" if f"{first} {second}" in self.totals else f"{second} {first}"
                covariance = self._whole(key)[found] / np.maximum(count, 1) - centre[:, a] * centre[:, b]
                moments[:, a, b] = covariance * spacing[a] * spacing[b]
        variances = np.maximum(np.linalg.eigvalsh(moments), 0) if len(found) else np.zeros((0, len(names)))
        factor = 2 * np.sqrt(5) if solid else 4.0
        columns["major_axis"], columns["minor_axis"] = factor * np.sqrt(variances[:, -1]), factor * np.sqrt(variances[:, 0])
        ratio = variances[:, 0] / np.maximum(variances[:, -1], 1e-300)
        columns["eccentricity"] = np.where(variances[:, -1] > 0, np.sqrt(1 - ratio), 0.0)  # a single pixel is round
        units["major_axis"] = units["minor_axis"] = unit

    def _add_intensities(self, columns: dict[str, Column], found: npt.NDArray[np.intp]) -> None:
        names = ("",) if self.channels == 1 else ("_red", "_green", "_blue")[: self.channels]
        for channel, suffix in enumerate(names):
            mean, spread = self._mean_and_spread(f"intensity {channel}", found)
            columns[f"intensity_mean{suffix}"], columns[f"intensity_std{suffix}"] = mean, spread
        if self.probability is not None:
            columns["class_probability"] = self._mean_and_spread("probability 0", found)[0]

    def _mean_and_spread(self, key: str, found: npt.NDArray[np.intp]) -> tuple[Column, Column]:
        count = self._whole(f"{key} count")[found]
        mean = np.where(count > 0, self._whole(key)[found] / np.maximum(count, 1), np.nan)
        squares = self._whole(f"{key} squares")[found] / np.maximum(count, 1)
        return mean, np.sqrt(np.maximum(squares - mean**2, 0))

    def _provenance(self) -> dict[str, Any]:
        from napari_dinov3 import __version__

        image = {} if self.image is None else {"image": self.image.name}
        place = {
            "axes": self.planes.axes,
            "spacing": [float(step) for step in self.planes.spacing],
            "units": [*map(str, self.planes.units)],
        }
        return {"task": "measure_objects", "version": __version__, "objects": self.planes.name, **image, **place}

    def _whole(self, name: str) -> npt.NDArray[np.float64]:
        total = self.totals.get(name, np.zeros(0))
        return np.pad(total, (0, self.size - len(total)))

    def _lowest(self, name: str) -> npt.NDArray[np.int64]:
        least = self.lowest.get(name, np.zeros(0, np.int64))
        return np.pad(least, (0, self.size - len(least)))

    def _unit(self, solid: bool) -> str:
        units = {_short(unit) for unit in self.planes.units[0 if solid else 1 :]}
        return units.pop() if len(units) == 1 else "mixed units"


def _short(unit: str) -> str:
    return _SHORT.get(str(unit), str(unit))
