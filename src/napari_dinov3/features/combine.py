"""Several feature maps of one image as one: meaning from a network beside edges from filters, each on its own stride.

The joint map lies on the grid of the finest; coarser maps are interpolated bilinearly on it when a plane is read, so that it
takes no memory of its own. A probe reads the parts instead (:func:`parts_of`): at labelled pixels, and for a linear head on
whole planes, each part is taken on its own grid and only the scores are interpolated.

Network features carry their meaning in their direction, so each of their patches is scaled to length 1; filter responses of
intensities of 0..1 have lengths about 1 by themselves. Cosines, distances and principal components of a joint map thus
weigh its parts alike; a probe moreover gives every part the same share of the variance, whatever its width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.options import OPTION_NAMES
from napari_dinov3.backbones.registry import JOINT, backbone_facts, list_backbones, part_names
from napari_dinov3.errors import FeatureMismatchError, InputError
from napari_dinov3.features.feature_map import FeatureMap, FloatArray
from napari_dinov3.progress import Job, part_of


def combine(maps: Sequence[FeatureMap]) -> FeatureMap:
    """Join feature maps of the same image.

    Parameters
    ----------
    maps : list of FeatureMap
        Two or more, of the same planes and pixels; any backbones and strides.

    Returns
    -------
    features : FeatureMap
        ``.array`` is ``(planes, rows, cols, dim)`` on the finest grid, read a plane at a time; ``.backbone`` names all parts.

    Raises
    ------
    InputError
        If there are fewer than two maps.
    FeatureMismatchError
        If they are of different images.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> from napari_dinov3.features.combine import combine
    >>> image = np.zeros((64, 64))
    >>> names = ("random-projection-cnx-tiny", "filter-bank")
    >>> combine([nd.extract(image, backbone=name) for name in names]).array.shape
    (1, 32, 32, 416)
    """
    maps = [part for each in maps for part in (each.array.sources if isinstance(each.array, JointArray) else (each,))]
    if len(maps) < 2:
        raise InputError(f"{len(maps)} feature map to combine", "two or more", "Use the one map as it is")
    first = maps[0]
    for other in maps[1:]:
        if len(other) != len(first) or other.image_shape != first.image_shape:
            raise FeatureMismatchError(
                f"Feature maps of {len(first)} planes of {_size(first)} and of {len(other)} planes of {_size(other)} to combine",
                "maps of the same planes of the same image",
                "Extract all of them from the same image",
            )
    finest = min(maps, key=lambda part: part.stride)
    array = JointArray(maps, finest)
    return replace(
        finest,
        array=array,
        backbone=JOINT.join(part.backbone for part in maps),
        revision=JOINT.join(f"{part.revision}/{part.stride:g}" for part in maps),
        cls=next((part.cls for part in maps if part.cls is not None), None),
        provenance=MappingProxyType({**finest.provenance, "parts": [dict(part.provenance) for part in maps]}),
    )


def parts_of(features: FeatureMap) -> tuple[FeatureMap, ...]:
    """List the maps a joint map is made of, scaled as in it; any other map is its own only part."""
    return features.array.parts if isinstance(features.array, JointArray) else (features,)


def is_joint(backbone: object) -> bool:
    """Tell whether a backbone is named as several."""
    return isinstance(backbone, str) and JOINT in backbone


def joint_steps(
    extract_one: Callable[..., Job[FeatureMap]],
    image: Any,
    *,
    backbone: str,
    stride: int | None = None,
    memory_gb: float = 2.0,
    folder: str | Path | None = None,
    **options: Any,
) -> Job[FeatureMap]:
    """Extract one map after the other, and combine them.

    Parameters
    ----------
    extract_one : callable
        Makes the job for one backbone: takes the image and the options that follow.
    image : array-like or Planes
        Of all parts.
    backbone : str
        Names joined by ``+``.
    stride : int, optional
        For the parts that offer it; the others keep their own.
    memory_gb : float
        Shared out between the parts.
    folder : path, optional
        Each part gets a folder in it.
    **options
        Of `extract_one`; those of a network reach networks only.
    """
    names = part_names(backbone)
    facts = [backbone_facts(name) for name in names]
    if stride is not None and not any(stride in each.strides for each in facts):
        raise InputError(
            f"stride={stride} for backbone {backbone!r}",
            "; ".join(f"{each.name}: one of {', '.join(map(str, each.strides))}" for each in facts),
            "Choose a stride that a part offers, or leave it out",
        )
    maps = []
    for number, each in enumerate(facts):
        own = {key: value for key, value in options.items() if each.kind == "dinov3" or key not in OPTION_NAMES}
        if folder is not None:
            own["folder"] = Path(folder).expanduser() / each.name
        job = extract_one(
            image, backbone=each.name, stride=stride if stride in each.strides else None, memory_gb=memory_gb / len(facts), **own
        )
        maps.append((yield from part_of(job, start=100 * number, span=100, total=100 * len(facts))))
    return combine(maps)


class JointArray:
    """``(planes, rows, cols, dim)`` float32 on the finest grid of several maps, computed where it is read.

    Parameters
    ----------
    maps : list of FeatureMap
        Parts of the same image.
    finest : FeatureMap
        The one whose grid is taken.
    """

    def __init__(self, maps: Iterable[FeatureMap], finest: FeatureMap) -> None:
        self.sources = tuple(maps)
        self.parts = tuple(replace(part, array=_Unit(part)) if _is_network(part) else part for part in self.sources)
        self.widths = tuple(part.dim for part in self.parts)
        self.shape = (len(finest), *finest.grid, sum(self.widths))
        self.ndim, self.dtype = 4, np.dtype(np.float32)
        self._stride, self._first = finest.stride, finest.first_centre

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if isinstance(first, int | np.integer):
            plane = self.rows(range(len(self))[int(first)], 0, self.shape[1])
            return np.asarray(plane[tuple(rest)])
        planes = [self[int(plane)] for plane in np.arange(len(self))[first]]
        whole = np.stack(planes) if planes else np.empty((0, *self.shape[1:]), np.float32)
        return np.asarray(whole[(slice(None), *rest)])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        whole: npt.NDArray[Any] = self[:].astype(dtype or self.dtype, copy=False)
        return whole

    def rows(self, plane: int, start: int, stop: int) -> FloatArray:
        """Read rows of a plane: ``(stop - start, cols, dim)``."""
        rows, cols = (self._first + np.arange(at, end) * self._stride for at, end in ((start, stop), (0, self.shape[2])))
        out = np.empty((stop - start, self.shape[2], self.shape[3]), np.float32)
        at = 0
        for part in self.parts:
            grid, target = part.plane(plane), out[..., at : at + part.dim]
            if part.grid == self.shape[1:3] and part.stride == self._stride and part.first_centre == self._first:
                target[:] = grid[start:stop]
            else:
                _resample(grid, (rows - part.first_centre) / part.stride, (cols - part.first_centre) / part.stride, target)
            at += part.dim
        return out

    @property
    def here(self) -> frozenset[int]:
        """Planes that can be read without computing features."""
        return frozenset.intersection(*(frozenset(getattr(part.array, "here", range(len(self)))) for part in self.sources))

    def fill_steps(self, planes: Iterable[int]) -> Job[None]:
        """Compute features of some planes in the order given, where parts are on demand."""
        wanted, jobs = list(planes), [fill for part in self.sources if (fill := getattr(part.array, "fill_steps", None))]
        for number, fill in enumerate(jobs):
            yield from part_of(fill(wanted), start=100 * number, span=100, total=100 * len(jobs))


class _Unit:
    """Features of a network with every patch scaled to length 1, a plane at a time."""

    def __init__(self, part: FeatureMap) -> None:
        self.source, self.shape = part.array, part.array.shape

    def __getitem__(self, plane: int) -> FloatArray:
        grid = np.asarray(self.source[plane], np.float32)
        scaled: FloatArray = grid / np.maximum(np.linalg.norm(grid, axis=-1, keepdims=True), np.float32(1e-12))
        return scaled


def _is_network(part: FeatureMap) -> bool:
    kinds = {facts.name: facts.kind for facts in list_backbones()}
    return kinds.get(part.backbone, "filter-bank") != "filter-bank"


def _resample(grid: FloatArray, rows: npt.NDArray[Any], cols: npt.NDArray[Any], out: FloatArray) -> None:
    """Interpolate a grid at the crossings of rows and columns, given in its own indices; beyond the border as at it."""
    low, high, part = _between(cols, grid.shape[1])
    top, bottom, down = _between(rows, grid.shape[0])
    first, last = int(top.min()), int(bottom.max()) + 1
    band = grid[first:last]
    across = band[:, low] * (1 - part)[:, None] + band[:, high] * part[:, None]
    for number, (above, below, weight) in enumerate(zip(top - first, bottom - first, down, strict=True)):
        out[number] = across[above] * (1 - weight) + across[below] * weight


def _between(at: npt.NDArray[Any], size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32)


def _size(features: FeatureMap) -> str:
    return f"{features.image_shape[0]} x {features.image_shape[1]}"
