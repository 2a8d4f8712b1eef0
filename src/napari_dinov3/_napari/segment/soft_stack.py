"""Probabilities and uncertainty of a stack while people paint: computed a plane at a time, kept, and shown by lazy layers.

A job computes the planes that are looked at into a :class:`SoftStack`; a layer shows them through a :class:`SoftCanvas`, which
the next answer takes over, so that the layer keeps its array and nothing but the plane in view is drawn again. A plane nobody has
computed yet is drawn empty until the worker has filled it (:class:`SoftView`), and computed by whoever asks for its numbers, such
as the one who saves the layer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.layers import Placement
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.image import Planes
from napari_dinov3.segment.probe import Probe, uncertain

FloatArray = npt.NDArray[np.float32]

MOST_BYTES = 1 << 28
MOST_PLANES = 16


class SoftStack:
    """``(planes, classes + 1, rows, cols)`` float32: the probability of each class, and the uncertainty last.

    Parameters
    ----------
    probe : Probe
        Fitted.
    features : FeatureMap
        Of the image.
    image : Planes
        Which the features were made from.
    """

    def __init__(self, probe: Probe, features: FeatureMap, image: Planes) -> None:
        self.probe, self.features, self.image = probe, features, image
        self.classes = tuple(probe.classes_)
        self.shape = (len(features), len(self.classes) + 1, *features.image_shape)
        self.most = max(1, min(MOST_PLANES, MOST_BYTES // (4 * int(np.prod(self.shape[1:])))))
        self._kept: OrderedDict[int, FloatArray] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, plane: int) -> bool:
        return plane in self._kept

    def kept(self, plane: int) -> FloatArray | None:
        """Give a plane, ``(classes + 1, rows, cols)``, where it is there."""
        with self._lock:
            found = self._kept.get(plane)
            if found is not None:
                self._kept.move_to_end(plane)
            return found

    def plane(self, plane: int) -> FloatArray:
        """Give a plane, ``(classes + 1, rows, cols)``; computed where it is not kept (any more)."""
        found = self.kept(plane)
        if found is not None:
            return found
        # not under the lock: a frame must not wait for a job that computes another plane
        chances = self.probe.predict_proba_plane(self.features, plane, image=self.image)
        found = np.concatenate([chances, uncertain(chances)[None]])
        with self._lock:
            self._kept[plane] = found
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return found

    def wanted(self, focus: int, done: int) -> int | None:
        """Choose the plane to compute next, outward from the one in view; None where all that fit are there.

        Parameters
        ----------
        focus : int
            Plane in view.
        done : int
            How many were computed already.
        """
        nearest = sorted(range(self.shape[0]), key=lambda plane: (abs(plane - focus), plane))
        left = (plane for plane in nearest[: self.most] if plane not in self)
        return next(left, None) if done < self.shape[0] else None


class SoftCanvas:
    """What a layer shows of soft stacks, one after the other.

    Parameters
    ----------
    stack : SoftStack
        The first one.
    index : int
        Which of its classes; -1 is the uncertainty.

    Attributes
    ----------
    array : dask array
        ``(planes, rows, cols)`` float32, always of the present stack. To be shown without napari's cache.
    attended : bool
        Whether a worker fills the plane in view: one that is not there yet is drawn empty, and drawn again later. Where nobody
        does, it is computed by whoever draws it.
    """

    def __init__(self, stack: SoftStack, index: int) -> None:
        self._shown = stack, index
        self._empty: int | None = None
        self.attended = False
        self.array = self._lazy_view()

    @property
    def stack(self) -> SoftStack:
        """The one that is shown."""
        return self._shown[0]

    def fits(self, stack: SoftStack) -> bool:
        """Whether the canvas can go on with another stack."""
        return bool((stack.shape[0], *stack.shape[2:]) == self.array.shape)

    def follow(self, stack: SoftStack, index: int) -> bool:
        """Show another stack from now on; says whether it is another."""
        before, self._shown = self._shown, (stack, index)
        return before[0] is not stack or before[1] != index

    @property
    def outdated(self) -> bool:
        """Whether the plane that was drawn last was drawn empty and is there by now, or will not be filled any more."""
        return self._empty is not None and (self._empty in self.stack or not self.attended)

    def drawn(self, plane: int) -> FloatArray:
        """Give a plane to draw, ``(rows, cols)``: not a number, which is drawn as nothing, where a worker has yet to fill it."""
        stack, index = self._shown
        found = stack.kept(plane) if self.attended else stack.plane(plane)
        self._empty = plane if found is None else None
        return np.full(stack.shape[2:], np.nan, np.float32) if found is None else np.asarray(found[index])

    def _lazy_view(self) -> Any:
        import dask.array

        def one_plane(block_info: Any = None) -> FloatArray:
            stack, index = self._shown
            whole = stack.plane(block_info[None]["chunk-location"][0])
            return np.asarray(whole[index][None])

        planes, _, rows, cols = self._shown[0].shape
        view: Any = dask.array.map_blocks(
            one_plane,
            chunks=((1,) * planes, (rows,), (cols,)),
            dtype=np.dtype(np.float32),
            name=f"soft-{uuid4().hex}",
            meta=np.empty((0, 0, 0), np.float32),
        )
        return view


class SoftView:
    """A canvas as data of a layer, with the axes of the layer. It never keeps the one who draws it waiting.

    Like a dask array in everything but one: ``view[3, :, :]`` and ``view[3:4, :, :]``, which is how napari asks for what it
    draws, give what is there by now. ``view[3]``, ``view[:, :64, :64]``, ``numpy.asarray(view)`` and all else that is asked of
    it, such as by whoever saves the layer, compute what is missing.

    Parameters
    ----------
    canvas : SoftCanvas
        What is shown.
    placement : Placement
        Of the source layer.
    """

    def __init__(self, canvas: SoftCanvas, placement: Placement) -> None:
        self._canvas, self._placement = canvas, placement
        self.whole: Any = placement.arrange(canvas.array)
        self.shape: tuple[int, ...] = self.whole.shape
        self.dtype, self.ndim, self.size = self.whole.dtype, self.whole.ndim, self.whole.size

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        at = self._drawn_at(index)
        if at is None:
            return self.whole[index]
        axis = self._placement.stack
        plane = self._canvas.drawn(0 if axis is None else at[axis])
        kept = sum(isinstance(each, slice) for each in index[:-2])
        return plane[(None,) * kept]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self.whole, dtype=dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "whole":
            raise AttributeError(name)
        return getattr(self.whole, name)

    def __deepcopy__(self, memo: Any) -> Any:
        """Give a duplicated layer what is shown now: the next answer is not for it."""
        return self._placement.arrange(SoftCanvas(*self._canvas._shown).array)

    def _drawn_at(self, index: Any) -> list[int] | None:
        """Read an index as that of a plane to draw: where it lies on the axes before rows and columns; None for any other."""
        if not isinstance(index, tuple) or len(index) != self.ndim:
            return None
        if not all(isinstance(each, slice) and each == slice(None) for each in index[-2:]):
            return None
        at = [_single(each) for each in index[:-2]]
        inside = all(0 <= place < size for place, size in zip(at, self.shape, strict=False))
        return at if inside else None


def _single(index: Any) -> int:
    """Give the place that an index picks on its axis, also as a slice of length one; -1 for any other index."""
    if isinstance(index, int | np.integer):
        return int(index)
    if isinstance(index, slice) and index.start is not None and index.stop == index.start + 1:
        return int(index.start)
    return -1
