"""Group and compare what a feature map holds: foreground, clusters of patches, like planes, unlike backbones.

All cosines are taken as in :mod:`napari_dinov3.features.views`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone
from napari_dinov3.errors import FeatureMismatchError, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.views import cosine_to, gram_matrix, sample_patches, standardisation

FloatArray = npt.NDArray[np.float32]
Side = Literal["smaller", "larger", "positive", "negative"]
By = Literal["auto", "cls", "mean"]


def first_component(features: FeatureMap) -> FloatArray:
    """Project every patch on the first principal component of the stack.

    Returns
    -------
    score : (planes, rows, cols) float32
        Centred; the sign is the one that makes the largest loading positive.
    """
    mean, spread = standardisation(features)
    sample = (sample_patches(features) - mean) / spread
    if len(sample) < 2:
        raise InputError(f"A map of {len(sample)} whole patch", "at least two patches", "Use a larger image or a finer stride")
    centre = sample.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(sample.astype(np.float64), rowvar=False).reshape(features.dim, features.dim))
    axis = vectors[:, -1] * np.sign(vectors[np.abs(vectors[:, -1]).argmax(), -1])
    planes = [((features.plane(index) - mean) / spread - centre) @ axis.astype(np.float32) for index in range(len(features))]
    return np.asarray(np.stack(planes), np.float32)


def foreground(features: FeatureMap, *, side: Side = "smaller") -> npt.NDArray[np.bool_]:
    """Split a stack in two by the first principal component, as the well-known DINOv3 pictures do.

    Parameters
    ----------
    features : FeatureMap
        Of a stack; one threshold for all planes.
    side : {"smaller", "larger", "positive", "negative"}
        Which part is the foreground: the one with fewer or with more patches, or a sign of the component, whose meaning
        differs from image to image.

    Returns
    -------
    mask : (planes, rows, cols) bool

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979),
       doi:10.1109/TSMC.1979.4310076.
    """
    from skimage.filters import threshold_otsu

    score = first_component(features)
    if score.min() == score.max():
        return np.zeros(score.shape, bool)
    above: npt.NDArray[np.bool_] = score > threshold_otsu(score)
    fewer = above if above.sum() * 2 <= above.size else ~above
    return {"smaller": fewer, "larger": ~fewer, "positive": above, "negative": ~above}[side]


def cluster_patches(features: FeatureMap, *, clusters: int = 6, rng: int | np.random.Generator = 0) -> npt.NDArray[np.int32]:
    """Group the patches of a stack by k-means of their directions.

    Parameters
    ----------
    features : FeatureMap
        Of a stack.
    clusters : int
        How many groups, 2 or more.
    rng : int or Generator
        Of the starting centres.

    Returns
    -------
    labels : (planes, rows, cols) int32
        1 is the largest group; 0 marks patches that hold NaN.

    Notes
    -----
    Fitted on up to 50,000 patches; patches are scaled to length 1, so that groups are cones.
    """
    from sklearn.cluster import MiniBatchKMeans

    mean, spread = standardisation(features)
    sample = _unit((sample_patches(features) - mean) / spread)
    if not 2 <= clusters <= len(sample):
        raise InputError(f"clusters={clusters}", f"2 to {len(sample)}, the number of patches", "Choose another number of groups")
    seed = int(np.random.default_rng(rng).integers(1 << 31))
    model = MiniBatchKMeans(clusters, random_state=seed, n_init=5, batch_size=4096).fit(sample)
    labels = np.zeros((len(features), *features.grid), np.int32)
    for index in range(len(features)):
        patches = (features.plane(index).reshape(-1, features.dim) - mean) / spread
        whole = np.isfinite(patches).all(axis=1)
        flat = labels[index].reshape(-1)
        flat[whole] = model.predict(_unit(patches[whole])) + 1
    sizes = np.bincount(labels.reshape(-1), minlength=clusters + 1)[1:]
    rank = np.zeros(clusters + 1, np.int32)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, clusters + 1)
    return np.asarray(rank[labels], np.int32)


def plane_vectors(features: FeatureMap, *, by: By = "auto") -> FloatArray:
    """Describe each plane by one vector of length 1.

    Parameters
    ----------
    features : FeatureMap
        Of a stack.
    by : {"auto", "cls", "mean"}
        The CLS token, the mean of the patches, or the first that there is.

    Returns
    -------
    vectors : (planes, dim) float32
    """
    if by == "cls" and features.cls is None:
        raise InputError(f"by='cls' for features of {features.backbone}", "a backbone with a CLS token", "Use by='mean'")
    if features.cls is not None and by != "mean":
        return _unit(features.cls)
    mean, spread = standardisation(features)
    means = [np.nanmean(features.plane(index), axis=(0, 1)) for index in range(len(features))]
    return _unit((np.stack(means) - mean) / spread)


def nearest_planes(
    features: FeatureMap, plane: int, *, among: FeatureMap | None = None, count: int = 5, by: By = "auto"
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Find the planes most like one.

    Parameters
    ----------
    features : FeatureMap
        Where the plane is.
    plane : int
        Which one.
    among : FeatureMap, optional
        Another stack to search, made the same way; by default its own, without itself.
    count : int
        How many to give at most.
    by : str
        As in :func:`plane_vectors`.

    Returns
    -------
    planes, similarity : (count,) intp and float32
        Best first; cosine.
    """
    if not 0 <= plane < len(features):
        raise InputError(f"Plane {plane}", f"0..{len(features) - 1}", "Choose a plane of the stack")
    if among is not None:
        features.check_fits(among)
    similarity = plane_vectors(features if among is None else among, by=by) @ plane_vectors(features, by=by)[plane]
    if among is None:
        similarity[plane] = -np.inf
    order = np.argsort(-similarity, kind="stable")[: min(count, len(similarity) - (among is None))]
    return order, np.asarray(similarity[order], np.float32)


def similarity_across(
    features: FeatureMap,
    other: FeatureMap,
    *,
    plane: int = 0,
    row: float = 0,
    col: float = 0,
    model: Backbone | Literal["find", "none"] = "find",
) -> FloatArray:
    """Compare the patch under a pixel with every patch of another image.

    Parameters
    ----------
    features : FeatureMap
        Where the pixel is.
    other : FeatureMap
        The other image, made the same way.
    model : Backbone, "find" or "none"
        What made both, to take the position out of a transformer's features first, since patches of unrelated images match at
        equal coordinates (:mod:`napari_dinov3.features.positional`). By default it is loaded by its name; ``"none"`` compares
        the features as they are.
    plane, row, col : int, float, float
        The pixel, in coordinates of the first image.

    Returns
    -------
    similarity : (planes, rows, cols) float32 in -1..1
        On the grid of `other`, both standardised as the first.
    """
    from napari_dinov3.features.positional import for_matching, model_of

    features.check_fits(other)
    network = model_of(features) if model == "find" else None if isinstance(model, str) else model
    if network is not None:
        features, other = for_matching(features, network), for_matching(other, network)
    mean, spread = standardisation(features)
    at_row, at_col = features.patch_at(row, col)
    return cosine_to(other, (features.plane(plane)[at_row, at_col] - mean) / spread, whitening=(mean, spread))


def gram_distance(features: FeatureMap, other: FeatureMap, *, plane: int = 0) -> float:
    """Tell how differently two backbones see the relations between the patches of one image.

    Parameters
    ----------
    features, other : FeatureMap
        Of the same image by different backbones; on one grid, or one grid a whole multiple finer than the other: then its
        directions are averaged over the coarser patches.
    plane : int
        Which plane.

    Returns
    -------
    distance : float
        Root mean square difference of their cosines over all pairs of patches, 0..2.
    """
    heat, _ = gram_difference(features, other, plane=plane)
    return float(np.sqrt(np.mean(np.square(heat), dtype=np.float64)))


def gram_difference(features: FeatureMap, other: FeatureMap, *, plane: int = 0) -> tuple[FloatArray, FeatureMap]:
    """Tell at which patches two backbones see different relations to all others.

    Parameters
    ----------
    features, other, plane
        As in :func:`gram_distance`, which is the root mean square of the result.

    Returns
    -------
    difference : (1, rows, cols) float32
        Root mean square difference of each patch's cosines, on the coarser grid.
    coarser : FeatureMap
        The map on that grid.
    """
    ratio = max(features.stride, other.stride) / min(features.stride, other.stride)
    if features.image_shape != other.image_shape or ratio % 1:
        raise FeatureMismatchError(
            f"Images of {features.image_shape} and {other.image_shape} pixels, strides {features.stride:g} and {other.stride:g}",
            "the same image, and strides of which one divides the other",
            "Extract both from one image, with one stride",
        )
    grid = min(features.grid, other.grid)
    first, second = _coarser(features, grid, plane), _coarser(other, grid, plane)
    difference = gram_matrix(first) - gram_matrix(second)
    heat = np.sqrt(np.mean(np.square(difference), axis=1, dtype=np.float64)).reshape(1, *grid)
    return heat.astype(np.float32), features if features.grid == grid else other


def _coarser(features: FeatureMap, grid: tuple[int, int], plane: int) -> FeatureMap:
    """Average the directions of one plane's patches over the patches of a coarser grid."""
    mean, spread = standardisation(features)
    step = -(-features.grid[0] // grid[0])
    unit = _unit((features.plane(plane) - mean) / spread)
    if step > 1:
        padding = [(0, size * step - have) for size, have in zip(grid, features.grid, strict=True)]
        padded = np.pad(unit, [*padding, (0, 0)], mode="symmetric")
        unit = padded.reshape(grid[0], step, grid[1], step, -1).mean(axis=(1, 3))
    return FeatureMap.from_array(unit, stride=features.stride * step)


def _unit(vectors: npt.NDArray[np.floating]) -> FloatArray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
