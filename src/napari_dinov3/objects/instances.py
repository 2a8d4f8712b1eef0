"""Objects from classes: connected components, or a seeded watershed that parts objects which touch.

The input is labels (whole numbers: the classes of pixels, 0 is background) or a probability map (decimals 0..1). Objects are
made in each plane for itself, or across the planes of a stack. Every object has a number of its own in the whole stack, from 1
without gaps, and the class of the pixels it was made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.objects.separate import Across, Clear, Connect, Landscape, Method, Seeds, Separation, separate_steps
from napari_dinov3.progress import Job, Progress, collect
from napari_dinov3.wording import counted

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """Objects, numbered 1..count.

    Parameters
    ----------
    labels : (planes, H, W) int32
        0 is background.
    classes : (count,) int64
        Class of each object: the value of its pixels, or 1 for a probability map.
    across : {"planes", "stack"}
        Whether objects end with their plane.
    spacing, units, world_from_pixel, axes, name
        Of the image they were made of, as in :class:`~napari_dinov3.image.Planes`.
    """

    labels: Labels = field(repr=False)
    classes: npt.NDArray[np.int64] = field(repr=False)
    across: Across
    axes: str
    spacing: tuple[float, float, float]
    units: tuple[str, str, str]
    world_from_pixel: npt.NDArray[np.float64] = field(repr=False)
    name: str = "objects"

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.classes)

    def planes(self, *, channel: Any = None, level: int = 0) -> Planes:
        """See the labels as planes in their place; `channel` and `level` have nothing to choose from."""
        return Planes(self.labels, self.axes, self.spacing, self.units, self.world_from_pixel, self.name)


def objects_from_labels(labels: Any, **options: Any) -> Instances:
    """Make objects out of labels or a probability map; see :func:`objects_from_labels_steps` for the options.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> classes = np.zeros((32, 32), np.uint8)
    >>> classes[2:10, 2:10], classes[20:30, 4:12], classes[20:30, 12:20] = 1, 1, 2
    >>> objects = nd.objects_from_labels(classes, min_size=20)
    >>> objects.count, objects.classes.tolist()
    (3, [1, 1, 2])
    """
    return collect(objects_from_labels_steps(labels, **options))


def objects_from_labels_steps(
    labels: Any,
    *,
    method: Method = "components",
    across: Across = "planes",
    classes: Sequence[int] | None = None,
    threshold: float = 0.5,
    connectivity: Connect = "faces",
    landscape: Landscape = "distance",
    seeds: Seeds = "h-maxima",
    depth: float | None = None,
    min_distance: int = 5,
    min_size: float = 0.0,
    max_size: float | None = None,
    size_unit: str = "pixel",
    fill_holes: float | str = 0.0,
    clear_border: Clear = "none",
    axes: str | None = None,
    rgb: bool | None = None,
    channel: int | None = None,
    level: int = 0,
) -> Job[Instances]:
    """Make objects plane by plane, or in the whole stack at once.

    Parameters
    ----------
    labels : array-like, Planes or opened file
        Whole numbers: the class of each pixel, 0 for background (instances too, where they are to be separated or filtered).
        Decimals: the probability of one class, 0..1; NaN counts as 0.
    method : {"components", "watershed"}
        Connected pixels of one class are one object, or touching objects are parted by a watershed from seeds.
    across : {"planes", "stack"}
        Objects of each plane, read one at a time; or of the stack, which is held in memory.
    classes : ints, optional
        Which classes objects are made of; all but 0 by default. Objects of different classes never join.
    threshold : float
        Probability from which a pixel belongs to an object.
    connectivity : {"faces", "corners"}
        Whether pixels that touch only at a corner (or an edge of a voxel) are connected.
    landscape : {"distance", "probability"}
        What the watershed floods: the distance to the outline, in pixels of the rows, or the probability.
    seeds : {"h-maxima", "peaks"}
        One object for each summit that rises by `depth` over the saddle to a higher one; or for each highest place within
        `min_distance` pixels.
    depth : float, optional
        See `seeds`: in pixels (1 by default), or in probability (0.1 by default).
    min_distance : int
        See `seeds`.
    min_size, max_size : float
        Smaller and larger objects are dropped.
    size_unit : {"pixel", "world"}
        Of sizes: pixels, or the image's own area (for ``across="stack"`` volume), such as square micrometers.
    fill_holes : float or "all"
        Background enclosed by one class joins it, up to this size.
    clear_border : {"none", "sides", "all"}
        Drop objects that touch the sides of the image; ``"all"`` also those in the first and last plane of a stack.
    axes, rgb, channel, level
        Of :func:`napari_dinov3.as_planes`, for the labels; `channel` chooses one of several probability maps.

    Returns
    -------
    objects : Instances

    Raises
    ------
    InputError
        If the input is a colour image or holds decimals outside 0..1, or an option does not fit.

    References
    ----------
    P. Soille, "Morphological Image Analysis", 2nd ed., Springer 2004, chapters 6 (h-maxima) and 9 (watershed).
    """
    planes = as_planes(labels, axes=axes, rgb=rgb, channel=channel, level=level, name="labels")
    how = Separation(
        method=method,
        across=across,
        classes=None if classes is None else tuple(int(value) for value in classes),
        threshold=threshold,
        connectivity=connectivity,
        landscape=landscape,
        seeds=seeds,
        depth=depth,
        min_distance=min_distance,
        min_size=min_size,
        max_size=max_size,
        size_unit=size_unit,
        fill_holes=fill_holes,
        clear_border=clear_border,
    )
    check_source(planes, how)
    found, classes_found = yield from separate_steps(planes, how)
    count = len(classes_found)
    yield Progress(len(planes), len(planes), counted(count, "object"))
    return Instances(
        found, classes_found, across, planes.axes, planes.spacing, planes.units, planes.world_from_pixel, planes.name
    )


def check_source(planes: Planes, how: Separation) -> None:
    """Refuse what cannot be made into objects, before a pixel is read."""
    if planes.rgb:
        raise InputError(
            f"{planes.name!r} is a colour image",
            "labels (whole numbers) or the probability of one class (decimals 0..1)",
            "Choose the labels or the probability of a segmentation, or one channel",
        )
    if how.method == "watershed" and how.landscape == "probability" and planes.dtype.kind != "f":
        raise InputError(
            f"landscape='probability' for {planes.name!r}, which holds {planes.dtype}",
            "a probability map: decimals 0..1",
            "Use landscape='distance', or give the probability of a class instead of labels",
        )
