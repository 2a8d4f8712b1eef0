"""Probabilities and uncertainty of a stack while people paint: computed a plane at a time, kept, and shown by lazy layers.

A job computes the planes that are looked at into a :class:`SoftStack`; a layer shows them through a :class:`SoftCanvas`, which
the next answer takes over, so that the layer keeps its array and nothing but the plane in view is drawn again. A plane nobody has
computed yet is computed by whoever asks for it, such as the one who saves the layer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

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

    def plane(self, plane: int) -> FloatArray:
        """Give a plane, ``(classes + 1, rows, cols)``; computed where it is not kept (any more)."""
        with self._lock:
            found = self._kept.get(plane)
            if found is not None:
                self._kept.move_to_end(plane)
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
    """

    def __init__(self, stack: SoftStack, index: int) -> None:
        self._shown = stack, index
        self.array = self._lazy_view()

    def fits(self, stack: SoftStack) -> bool:
        """Whether the canvas can go on with another stack."""
        return bool((stack.shape[0], *stack.shape[2:]) == self.array.shape)

    def follow(self, stack: SoftStack, index: int) -> bool:
        """Show another stack from now on; says whether it is another."""
        before, self._shown = self._shown, (stack, index)
        return before[0] is not stack or before[1] != index

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
