"""Labels of a stack while they are made, and what a layer shows of them.

A job puts finished planes into a :class:`Prediction`; a plane is never changed once it is there, only replaced by a better one.
A layer shows a copy, the :class:`Canvas`, because people paint in layers; the next prediction takes over the same canvas.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.segment.soft_stack import SoftStack
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.image import Planes
from napari_dinov3.segment.probe import Probe

LABELS_SHARE = (
    0.25  # of the memory budget; larger label stacks are kept where they are looked at, and a layer takes as much again
)
LOOKED_AT = 16  # planes of a large stack that are kept


class PlaneStack:
    """``(planes, rows, cols)`` labels of which some planes are there; the others read as 0.

    Parameters
    ----------
    shape : (3,) ints
        Of the whole stack.
    dtype : numpy dtype
        Of the labels.
    limit : int, optional
        Most planes kept; the first of them go first.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any], *, limit: int | None = None) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, 3
        self._limit = limit
        self._planes: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Memory of the planes that are there."""
        return len(self._planes) * self.shape[1] * self.shape[2] * self.dtype.itemsize

    def put(self, plane: int, labels: npt.NDArray[Any]) -> None:
        """Keep a plane; it must not be changed any more."""
        self._planes[plane] = labels
        self._planes.move_to_end(plane)
        while self._limit is not None and len(self._planes) > self._limit:
            self._planes.popitem(last=False)

    def planes(self) -> dict[int, npt.NDArray[Any]]:
        """List the planes that are there, safely while a worker puts more."""
        return dict(self._planes.copy())

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        if isinstance(index, int | np.integer):
            found = self._planes.get(range(len(self))[int(index)])
            return np.zeros(self.shape[1:], self.dtype) if found is None else found
        part: npt.NDArray[Any] = np.asarray(self)[index]
        return part

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        whole = np.zeros(self.shape, dtype or self.dtype)
        for plane, labels in self.planes().items():
            whole[plane] = labels
        return whole


@dataclass(slots=True, eq=False)
class Prediction:
    """Labels that a job fills plane by plane.

    Parameters
    ----------
    probe : Probe
        Fitted once the job has come that far.
    features : FeatureMap or None
        Once there is a map.
    labels : PlaneStack, dask array or None
        Filled in the order the planes are wanted; or dask, computed when looked at.
    done : set of int
        Planes that hold their final labels; a coarse first answer does not count.
    report : str
        Comparison with a reference, where one was given; its first line says the most.
    soft : SoftStack or None
        Probabilities and uncertainty, once they were asked for.
    """

    probe: Probe
    features: FeatureMap | None = None
    labels: Any = None
    done: set[int] = field(default_factory=set)
    report: str = ""
    soft: SoftStack | None = None

    @property
    def trained(self) -> bool:
        """Whether the probe is fitted."""
        return self.features is not None

    @property
    def begun(self) -> bool:
        """Whether there is anything to show."""
        return self.labels is not None and (not isinstance(self.labels, PlaneStack) or bool(self.labels.nbytes))

    def soft_of(self, image: Planes) -> SoftStack:
        """Give probabilities and uncertainty, computed plane by plane when asked for."""
        assert self.features is not None  # a trained prediction has them
        if self.soft is None or self.soft.probe is not self.probe:
            self.soft = SoftStack(self.probe, self.features, image)
        return self.soft

    @property
    def complete(self) -> bool:
        """Whether every plane is labelled, in memory."""
        return isinstance(self.labels, PlaneStack) and len(self.done) == len(self.labels) == len(self.labels.planes())


class Canvas:
    """What a layer shows of predictions, one after the other; a pixel that was painted meanwhile keeps its paint.

    Parameters
    ----------
    prediction : Prediction
        With its labels begun.

    Attributes
    ----------
    array : numpy or dask array
        ``(planes, rows, cols)``. dask for stacks too large for memory: what is not there yet reads as 0.
    """

    def __init__(self, prediction: Prediction) -> None:
        self._written: dict[int, npt.NDArray[Any]] = {}
        labels = prediction.labels
        self.lazy = not isinstance(labels, PlaneStack) or labels._limit is not None
        if not self.lazy:
            self.array: Any = np.zeros(labels.shape, labels.dtype)
        else:
            self.array = self._lazy_view(labels) if isinstance(labels, PlaneStack) else labels
        self.follow(prediction)

    def fits(self, prediction: Prediction) -> bool:
        """Whether the canvas can go on with another prediction."""
        labels = prediction.labels
        if not isinstance(labels, PlaneStack) or (labels._limit is not None) != self.lazy:
            return False
        return labels.shape == self.array.shape and np.can_cast(labels.dtype, self.array.dtype)

    def follow(self, prediction: Prediction) -> set[int]:
        """Show another prediction from now on; planes it has not reached keep what they show. Gives what changed."""
        self.prediction = prediction
        return self.catch_up()

    def catch_up(self) -> set[int]:
        """Copy the planes that are new since the last time; call it in the main thread.

        Returns
        -------
        planes : set of int
            Those that show something else now.
        """
        labels = self.prediction.labels
        if not isinstance(labels, PlaneStack):
            return set()
        planes = labels.planes()
        fresh = {plane for plane, drawn in planes.items() if self._written.get(plane) is not drawn}
        for plane in fresh:
            if not self.lazy:
                shown, before = self.array[plane], self._written.get(plane)
                np.copyto(shown, planes[plane], where=shown == (0 if before is None else before))
            self._written[plane] = planes[plane]
        if self.lazy:
            for plane in [plane for plane in self._written if plane not in planes]:
                if len(self._written) > LOOKED_AT:
                    del self._written[plane]
        return fresh

    def _lazy_view(self, labels: PlaneStack) -> Any:
        import dask.array

        written, shape, dtype = self._written, labels.shape[1:], labels.dtype

        def one_plane(block_info: Any = None) -> Any:
            found = written.get(block_info[None]["chunk-location"][0])
            return (np.zeros(shape, dtype) if found is None else found.astype(dtype, copy=False))[None]

        return dask.array.map_blocks(
            one_plane,
            chunks=((1,) * len(labels), *((size,) for size in shape)),
            dtype=dtype,
            name=f"canvas-{uuid4().hex}",
            meta=np.empty((0, 0, 0), dtype),
        )
