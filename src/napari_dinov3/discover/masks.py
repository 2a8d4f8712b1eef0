"""From an eigenvector to a mask and boxes: everything after the solve, quick enough to follow a slider.

Conventions. One plane at a time, on the patch grid ``(rows, cols)``; radii and areas are in patches. Neighbours are 4-connected.
Boxes are ``(row0, col0, row1, col1)``, the last row and column not included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import FloatArray
from napari_dinov3.errors import InputError

BoolArray = npt.NDArray[np.bool_]
Bipartition = Literal["mean", "median", "gap", "otsu"]
Side = Literal["seed", "border", "bright", "dark", "click"]
Component = Literal["seed", "largest", "all"]

_GAP_TAIL = 0.01
_BORDER_SHARE = 0.75  # as three of four corners


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How a mask is made from an eigenvector.

    Parameters
    ----------
    bipartition : {"mean", "median", "gap", "otsu"}
        Where the eigenvector is split: at its mean (the paper), its median, the middle of the largest gap between successive
        values that leaves 1 % on either side, or between the two classes of Otsu's method.
    side : {"seed", "border", "bright", "dark", "click"}
        Which part is foreground: the one with the entry of largest magnitude (the paper), the one that leaves three quarters of
        the border to the other (where neither does: the paper's), the one brighter or darker in the image, or the one under
        the click.
    component : {"seed", "largest", "all"}
        Which connected pieces of the foreground stay: the one that holds the seed (the paper), the largest, or all of them.
    opening, closing : float
        Radius in patches of a morphological opening (drops specks and thin bridges) and closing (bridges narrow gaps), in this
        order, before components are chosen; 0 does nothing.
    fill_holes : bool
        Whether background enclosed by the mask joins it.
    min_area : int
        Pieces of fewer patches are dropped.
    invert : bool
        Whether the other side is taken.
    refine : float
        Pixels by which outlines may move to the edges of the image (see :mod:`napari_dinov3.discover.refine`); 0 leaves them on
        the patch grid. Needs the image.
    click : (2,) floats, optional
        Pixel (row, col) that belongs to the object; needed by ``side="click"``, and the seed of ``component="seed"``.
    """

    bipartition: Bipartition = "mean"
    side: Side = "seed"
    component: Component = "seed"
    opening: float = 0.0
    closing: float = 0.0
    fill_holes: bool = False
    min_area: int = 0
    invert: bool = False
    refine: float = 0.0
    click: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("bipartition", Bipartition), ("side", Side), ("component", Component)):
            if getattr(self, name) not in get_args(allowed):
                raise InputError(f"{name}={getattr(self, name)!r}", f"one of {', '.join(get_args(allowed))}", "Choose another")
        for name, unit in (("opening", "patches"), ("closing", "patches"), ("min_area", "patches"), ("refine", "pixels")):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}={getattr(self, name)}", f"a number of {unit}, 0 or more", "Use 0 to switch it off")
        if self.side == "click" and self.click is None:
            raise InputError(
                "side='click' without a click",
                "the pixel that belongs to the object",
                "Pass click=(row, col), or choose another side",
            )


class Split(NamedTuple):
    """Value at which an eigenvector is split, and whether the part above it is foreground."""

    threshold: float
    above: bool


class PlaneMask(NamedTuple):
    """Mask of one plane on the patch grid.

    ``mask``: (rows, cols) bool. ``seed``: (row, col) of the patch that stands for the object. ``threshold``: value at which
    the eigenvector was split; foreground lies above it where ``above``.
    """

    mask: BoolArray
    seed: tuple[int, int]
    threshold: float
    above: bool


def plane_mask(
    vector: FloatArray,
    options: MaskOptions,
    *,
    valid: BoolArray | None = None,
    intensity: FloatArray | None = None,
    clicked: tuple[int, int] | None = None,
    split: Split | None = None,
) -> PlaneMask:
    """Make the mask of one plane.

    Parameters
    ----------
    vector : (rows, cols) float32
        Eigenvector of the cut.
    options : MaskOptions
        The rules.
    valid : (rows, cols) bool, optional
        Patches that took part in the cut; the others are never foreground.
    intensity : (rows, cols) float32, optional
        Mean intensity of each patch; needed by ``side="bright"`` and ``"dark"``.
    clicked : (2,) ints, optional
        Patch under the click; needed by ``side="click"``.
    split : Split, optional
        Decided before, for the whole stack; decided on this plane by default.

    Returns
    -------
    result : PlaneMask
        The mask is empty where the eigenvector is constant: nothing stands out.
    """
    valid = np.ones(vector.shape, bool) if valid is None else valid
    if split is None:
        split = decide_split(
            vector[None], options, valid=valid[None], clicked=clicked, intensity=None if intensity is None else intensity[None]
        )
    if split is None:
        return PlaneMask(np.zeros(vector.shape, bool), (0, 0), 0.0, True)
    high = (vector > split.threshold) & valid
    side = high if split.above else valid & ~high
    seed = clicked if clicked is not None and side[clicked] else _strongest(vector, side)
    return PlaneMask(_clean(side, seed, options) & valid, seed, *split)


def decide_split(
    vectors: FloatArray,
    options: MaskOptions,
    *,
    valid: BoolArray,
    intensity: FloatArray | None = None,
    clicked: tuple[int, int] | None = None,
) -> Split | None:
    """Decide where an eigenvector is split and which side is foreground, over one plane or a stack that shares it.

    Parameters
    ----------
    vectors : (planes, rows, cols) float32
        Eigenvector of the cut.
    options : MaskOptions
        The rules.
    valid, intensity : (planes, rows, cols) arrays
        As in :func:`plane_mask`.
    clicked : (2,) ints, optional
        Patch under the click; in a stack, the side it has in most planes counts.

    Returns
    -------
    split : Split or None
        None where the eigenvector is constant.
    """
    values = vectors[valid]
    if not values.size or values.min() == values.max():
        return None
    threshold = split_value(values, options.bipartition)
    high = (vectors > threshold) & valid
    above = _foreground_is_above(vectors, high, valid, options, intensity, clicked)
    return Split(threshold, above != options.invert)


def split_value(values: npt.NDArray[np.floating], rule: Bipartition) -> float:
    """Choose where a vector of values is split in two.

    Parameters
    ----------
    values : (n,) floats
        At least two different ones.
    rule : {"mean", "median", "gap", "otsu"}
        See :class:`MaskOptions`.

    Returns
    -------
    threshold : float
        The upper part is ``values > threshold``; neither part is empty, except at the median of values that are mostly equal.
    """
    if rule == "mean":
        return float(values.mean(dtype=np.float64))
    if rule == "median":
        return float(np.median(values))
    ordered = np.sort(values).astype(np.float64)
    if rule == "gap":
        tail = min(int(_GAP_TAIL * len(ordered)), (len(ordered) - 2) // 2)
        steps = np.diff(ordered)[tail : len(ordered) - 1 - tail]
        at = tail + int(steps.argmax())
        return float(ordered[at] + ordered[at + 1]) / 2
    # Otsu (1979), exactly, over all splits of the sorted values rather than over a histogram
    low = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)[:-1]
    difference = sums / low - (ordered.sum() - sums) / (len(ordered) - low)
    between = low * (len(ordered) - low) * difference**2
    between[np.diff(ordered) == 0] = -1
    at = int(between.argmax())
    return float(ordered[at] + ordered[at + 1]) / 2


def boxes_of(mask: BoolArray, *, stride: float, first_centre: float, image_shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Draw a box around each piece of a mask.

    Parameters
    ----------
    mask : (rows, cols) bool
        On the patch grid.
    stride, first_centre, image_shape
        Where the patches lie, as in :class:`~napari_dinov3.features.feature_map.FeatureMap`.

    Returns
    -------
    boxes : (n, 4) int32
        ``row0, col0, row1, col1`` in pixels, the last ones not included; the largest piece first.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if not count:
        return np.zeros((0, 4), np.int32)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    found = ndimage.find_objects(labels)
    grid = np.array(
        [[found[i][0].start, found[i][1].start, found[i][0].stop, found[i][1].stop] for i in np.argsort(-areas, kind="stable")]
    )
    edges = np.ceil(first_centre + (grid - 0.5) * stride).astype(np.int32)
    # the outermost patches answer for the pixels beyond them
    edges[:, :2][grid[:, :2] == 0] = 0
    for axis, side in ((2, 0), (3, 1)):
        edges[grid[:, axis] == mask.shape[side], axis] = image_shape[side]
    return np.clip(edges, 0, np.tile(image_shape, 2)).astype(np.int32)


def patch_means(plane: npt.NDArray[np.generic], *, grid: tuple[int, int], stride: float, first_centre: float) -> FloatArray:
    """Average an image plane over its patches.

    Parameters
    ----------
    plane : (H, W) or (H, W, channels) array
        Intensities; channels are averaged, NaN counts as 0.
    grid : (2,) ints
        Rows and columns of the patch grid.
    stride, first_centre : float
        Where the patches lie.

    Returns
    -------
    means : (rows, cols) float32
    """
    values = np.nan_to_num(np.asarray(plane, dtype=np.float32))
    values = values.mean(axis=2) if values.ndim == 3 else values
    for axis in (0, 1):
        length = values.shape[axis]
        edges = np.ceil(first_centre + (np.arange(grid[axis] + 1) - 0.5) * stride).astype(int)
        starts = np.clip(edges[:-1], 0, length - 1)
        ends = np.clip(edges[1:], starts + 1, length)
        total = np.concatenate([np.zeros_like(values.take([0], axis), np.float64), np.cumsum(values, axis, np.float64)], axis)
        counts = (ends - starts).reshape([-1 if a == axis else 1 for a in (0, 1)])
        values = ((total.take(ends, axis) - total.take(starts, axis)) / counts).astype(np.float32)
    return values


def _foreground_is_above(
    vectors: FloatArray,
    high: BoolArray,
    valid: BoolArray,
    options: MaskOptions,
    intensity: FloatArray | None,
    clicked: tuple[int, int] | None,
) -> bool:
    if options.side == "click" and clicked is not None:
        under = (slice(None), *clicked)
        return int(np.count_nonzero(high[under])) > int(np.count_nonzero(valid[under] & ~high[under]))
    low = valid & ~high
    if options.side in ("bright", "dark") and intensity is not None and high.any() and low.any():
        return bool(intensity[high].mean() > intensity[low].mean()) == (options.side == "bright")
    above, below = _on_border(high), _on_border(low)
    if options.side == "border" and max(above, below) >= _BORDER_SHARE * (above + below):
        return above < below
    return bool(high.flat[int(np.where(valid, np.abs(vectors), -1).argmax())])


def is_surrounded(vector: FloatArray, threshold: float, *, valid: BoolArray) -> bool:
    """Tell whether one side of a cut leaves three quarters of the border of the plane to the other.

    Parameters
    ----------
    vector : (rows, cols) float32
        Eigenvector of the cut.
    threshold : float
        Where it is split.
    valid : (rows, cols) bool
        Patches that took part in the cut.

    Returns
    -------
    surrounded : bool
        False too where there is only one side.
    """
    high = (vector > threshold) & valid
    low = valid & ~high
    if not high.any() or not low.any():
        return False
    above, below = _on_border(high[None]), _on_border(low[None])
    return max(above, below) >= _BORDER_SHARE * (above + below)


def _on_border(side: BoolArray) -> int:
    """Count the patches of a stack of masks on the borders of its planes."""
    return int(np.count_nonzero(side)) - int(np.count_nonzero(side[:, 1:-1, 1:-1]))


def _strongest(vector: FloatArray, among: BoolArray) -> tuple[int, int]:
    row, col = np.unravel_index(int(np.where(among, np.abs(vector), -1).argmax()), vector.shape)
    return int(row), int(col)


def _clean(side: BoolArray, seed: tuple[int, int], options: MaskOptions) -> BoolArray:
    from scipy import ndimage

    mask = side
    # beyond the plane lies more of the same (1 in erosions): a mask that touches the border is not eaten from there
    if options.opening:
        ball = _ball(options.opening)
        mask = ndimage.binary_dilation(ndimage.binary_erosion(mask, ball, border_value=1), ball)
    if options.closing:
        ball = _ball(options.closing)
        mask = ndimage.binary_erosion(ndimage.binary_dilation(mask, ball), ball, border_value=1)
    mask = _components(mask, seed, options)
    return ndimage.binary_fill_holes(mask) if options.fill_holes else mask


def _components(mask: BoolArray, seed: tuple[int, int], options: MaskOptions) -> BoolArray:
    from scipy import ndimage

    if options.component == "all" and options.min_area <= 1:
        return mask
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    kept = areas >= max(1, options.min_area)
    if options.component != "all":
        # an opening may have dropped the seed itself; the largest piece then stands in for it
        one = labels[seed] if options.component == "seed" and labels[seed] else int(areas.argmax())
        kept &= np.arange(count + 1) == one
    chosen: BoolArray = kept[labels]
    return chosen


def _ball(radius: float) -> BoolArray:
    reach = int(np.floor(radius))
    row, col = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc: BoolArray = row**2 + col**2 <= radius**2
    return disc
