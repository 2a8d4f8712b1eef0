"""Ways to look at a feature map: principal-component colours, similarity, Gram matrix.

Similarity is the cosine between patch features. Features of the filter bank have all kinds of sizes, so they are
standardised over the stack first (zero mean, unit variance a number); features of networks and of the placeholders are
compared as they are.
"""

from __future__ import annotations

from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap

FloatArray = npt.NDArray[np.float32]
Foreground = Literal["none", "smaller", "larger", "positive", "negative"]

MAX_SAMPLED_PATCHES = 50_000
MAX_GRAM_PATCHES = 16_384

_STANDARDISATIONS: WeakKeyDictionary[FeatureMap, tuple[FloatArray, FloatArray]] = WeakKeyDictionary()


def sample_patches(
    features: FeatureMap, count: int = MAX_SAMPLED_PATCHES, *, mask: npt.NDArray[np.bool_] | None = None
) -> FloatArray:
    """Take evenly spread patches of the whole stack, for statistics.

    Parameters
    ----------
    features : FeatureMap
        Of any size; at most 32 planes are read.
    count : int
        About how many patches to take.
    mask : (planes, rows, cols) bool, optional
        Take these alone.

    Returns
    -------
    patches : (n, dim) float32
        Without the patches that hold NaN.
    """
    chosen = np.unique(np.linspace(0, len(features) - 1, min(len(features), 32)).round().astype(int))
    share = max(1, count // len(chosen))
    parts = []
    for index in chosen:
        patches = features.plane(int(index)).reshape(-1, features.dim)
        patches = patches if mask is None else patches[mask[index].reshape(-1)]
        step = max(1, len(patches) // share)
        parts.append(patches[_spread(len(patches), step)])
    sample: FloatArray = np.concatenate(parts)
    return sample[np.isfinite(sample).all(axis=1)]


def _spread(count: int, step: int) -> npt.NDArray[np.intp]:
    """Every `step`-th index, shifted from row to row of 1,009 so that the sample does not stand in columns."""
    index = np.arange(0, count, step)
    spread: npt.NDArray[np.intp] = np.minimum(index + (index // 1009) % step, count - 1)
    return spread


def standardisation(features: FeatureMap) -> tuple[FloatArray, FloatArray]:
    """Find the mean and spread by which features are made comparable before a cosine.

    Returns
    -------
    mean, spread : (dim,) float32
        Zeros and ones for backbones whose features are comparable as they are. Kept with the map: a click must not read the
        stack again.
    """
    if features not in _STANDARDISATIONS:
        _STANDARDISATIONS[features] = _measure_standardisation(features)
    return _STANDARDISATIONS[features]


def _measure_standardisation(features: FeatureMap) -> tuple[FloatArray, FloatArray]:
    sample = sample_patches(features) if features.backbone == "filter-bank" else np.empty((0, features.dim), np.float32)
    if not len(sample):
        return np.zeros(features.dim, np.float32), np.ones(features.dim, np.float32)
    spread = sample.std(axis=0, dtype=np.float64)
    return sample.mean(axis=0, dtype=np.float64).astype(np.float32), np.where(spread > 1e-8, spread, 1).astype(np.float32)


def pca_colours(
    features: FeatureMap, *, components: tuple[int, int, int] = (0, 1, 2), foreground: Foreground = "none"
) -> FloatArray:
    """Colour every patch by three principal components, with one basis for all planes.

    Parameters
    ----------
    features : FeatureMap
        Of a whole stack.
    components : (3,) ints
        Which components become red, green and blue, 0 the strongest.
    foreground : {"none", "smaller", "larger", "positive", "negative"}
        Show only this side of the thresholded first component, in colours of its own components, the rest black; see
        :func:`~napari_dinov3.features.grouping.foreground`.

    Returns
    -------
    colours : (planes, rows, cols, 3) float32 in 0..1
        The 1st to 99th percentile of each component over the stack fills the range; missing components (fewer than three
        numbers a patch) are 0.5. The sign of a component is fixed by its largest loading.
    """
    out = np.full((*features.array.shape[:3], 3), 0.5, np.float32)
    mask = None
    if foreground != "none":
        from napari_dinov3.features import grouping

        mask = grouping.foreground(features, side=foreground)
        out[~mask] = 0
    sample = sample_patches(features, mask=mask)
    if len(sample) < 2:
        return out
    mean = sample.mean(axis=0, dtype=np.float64)
    spread = sample.std(axis=0, dtype=np.float64)
    scale = 1 / np.where(spread > 1e-8, spread, 1) if features.backbone == "filter-bank" else np.ones_like(spread)
    centred = (sample - mean) * scale
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    order = [len(values) - 1 - c for c in components if 0 <= c < len(values) and values[len(values) - 1 - c] > 1e-10]
    if not order:
        return out
    basis = vectors[:, order]
    basis *= np.where(basis[np.abs(basis).argmax(axis=0), range(len(order))] < 0, -1, 1)
    low, high = np.percentile(centred @ basis, (1, 99), axis=0)
    matrix = (basis * scale[:, None] / np.maximum(high - low, 1e-12)).astype(np.float32)
    offset = (low / np.maximum(high - low, 1e-12) + mean @ matrix).astype(np.float32)
    for index in range(len(features)):
        colours = np.clip(features.plane(index) @ matrix - offset, 0, 1)
        out[index, ..., : len(order)] = colours if mask is None else np.where(mask[index, ..., None], colours, 0)
    return out


def similarity_to_point(
    features: FeatureMap, plane: int, row: float, col: float, *, planes: range | list[int] | None = None
) -> FloatArray:
    """Compare every patch with the one under a pixel.

    Parameters
    ----------
    features : FeatureMap
        Of a stack.
    plane, row, col : int, float, float
        The pixel, in image coordinates.
    planes : range or list of int, optional
        Only these planes (a viewer needs the visible one first); all by default.

    Returns
    -------
    similarity : (planes, rows, cols) float32 in -1..1
        Cosine; one map a plane.
    """
    _check_plane(features, plane)
    at_row, at_col = features.patch_at(row, col)
    mean, spread = standardisation(features)
    return cosine_to(features, (features.plane(plane)[at_row, at_col] - mean) / spread, planes=planes, whitening=(mean, spread))


def similarity_to_region(
    features: FeatureMap, mask: npt.ArrayLike, *, plane: int | None = None, planes: range | list[int] | None = None
) -> FloatArray:
    """Compare every patch with the mean direction of a painted region.

    Parameters
    ----------
    features : FeatureMap
        Of a stack.
    mask : (planes, H, W) or (H, W) bool
        Painted pixels; a single plane's mask needs `plane` where the stack has several.
    plane, planes
        Plane of a 2D mask; planes to compare (all by default).

    Returns
    -------
    similarity : (planes, rows, cols) float32 in -1..1
        Cosine with the mean of the region's unit vectors.
    """
    painted = np.asarray(mask) != 0
    if painted.ndim == 2:
        if plane is None and len(features) > 1:
            raise InputError(
                "A 2D region for a stack", f"a mask of all {len(features)} planes, or the plane it belongs to", "Pass plane="
            )
        painted, first = painted[None], plane or 0
    else:
        first = 0
    if painted.shape[1:] != features.image_shape or first + len(painted) > len(features):
        raise InputError(
            f"The region has shape {painted.shape}",
            f"{(len(features), *features.image_shape)}, as the image",
            "Paint on a labels layer of the image's own shape",
        )
    if not painted.any():
        raise InputError("The region is empty", "at least one painted pixel", "Paint a region first")
    mean, spread = standardisation(features)
    total = np.zeros(features.dim, np.float64)
    for index in np.flatnonzero(painted.any(axis=(1, 2))):
        where = np.unique(features.patches_at(np.argwhere(painted[index])), axis=0)
        chosen = (features.plane(first + int(index))[where[:, 0], where[:, 1]] - mean) / spread
        total += _unit(chosen).sum(axis=0)
    return cosine_to(features, total.astype(np.float32), planes=planes, whitening=(mean, spread))


def cosine_to(
    features: FeatureMap,
    vector: FloatArray,
    *,
    planes: range | list[int] | None = None,
    whitening: tuple[FloatArray, FloatArray] | None = None,
) -> FloatArray:
    """Cosine of every patch with one vector.

    Parameters
    ----------
    features : FeatureMap
        Of a stack.
    vector : (dim,) float32
        In standardised coordinates where `whitening` is given.
    planes : range or list of int, optional
        Planes to compare; all by default.
    whitening : (mean, spread), optional
        As :func:`standardisation` gives them.

    Returns
    -------
    cosine : (planes, rows, cols) float32
        0 where a patch or the vector has no length.
    """
    mean, spread = whitening if whitening is not None else standardisation(features)
    direction = vector / max(float(np.linalg.norm(vector)), 1e-12)
    chosen = range(len(features)) if planes is None else planes
    out = np.empty((len(chosen), *features.grid), np.float32)
    plain = not mean.any() and bool((spread == 1).all())
    for at, index in enumerate(chosen):
        patches = features.plane(index)
        patches = patches if plain else (patches - mean) / spread
        length = np.sqrt(np.einsum("rcd,rcd->rc", patches, patches))
        out[at] = patches @ direction / np.maximum(length, 1e-12)
    return out


def gram_matrix(features: FeatureMap, plane: int = 0, *, max_patches: int = MAX_GRAM_PATCHES) -> FloatArray:
    """Cosine of all pairs of patches of one plane.

    Parameters
    ----------
    features : FeatureMap
        Of a stack.
    plane : int
        Which plane.
    max_patches : int
        Refuse a larger plane (the matrix has its square).

    Returns
    -------
    gram : (rows * cols, rows * cols) float32
        Patches in row-major order; rows of patches without length are 0.
    """
    _check_plane(features, plane)
    rows, cols = features.grid
    if rows * cols > max_patches:
        raise InputError(
            f"The Gram matrix of {rows} x {cols} patches would hold {(rows * cols) ** 2 * 4 / 1e9:.1f} GB",
            f"at most {max_patches} patches",
            "Use a larger stride, a crop, or raise max_patches",
        )
    mean, spread = standardisation(features)
    unit = _unit((features.plane(plane).reshape(rows * cols, -1) - mean) / spread)
    gram: FloatArray = unit @ unit.T
    return gram


def _unit(vectors: FloatArray) -> FloatArray:
    unit: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return unit


def _check_plane(features: FeatureMap, plane: int) -> None:
    if not 0 <= plane < len(features):
        raise InputError(f"Plane {plane}", f"0..{len(features) - 1}", "Choose a plane of the stack")
