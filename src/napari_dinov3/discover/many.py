"""Many objects without labels: repeated cuts, and clusters of several eigenvectors.

Both give a label to each patch, consistent through a stack: the patches of all planes are solved in one graph
(``stack="joint"``), so that one object has one number in every plane.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import FloatArray
from napari_dinov3.discover.cut import CutOptions, NormalisedCut
from napari_dinov3.discover.masks import MaskOptions
from napari_dinov3.discover.solve import solve_steps
from napari_dinov3.discover.tokencut import make_masks
from napari_dinov3.errors import IllPosedWarning, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.upsample import upsample_nearest
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.wording import counted

Labels = npt.NDArray[np.int32]
_CUT_NAMES = frozenset(item.name for item in fields(CutOptions))
_MASK_NAMES = frozenset(item.name for item in fields(MaskOptions)) - {"refine"}
_SEPARATE = 0.05  # eigenvalue: the share of its links that a part loses when it is cut off
_SAMPLED_FOR_KMEANS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Labelled patches.

    Parameters
    ----------
    grid_labels : (planes, rows, cols) int32
        0 is no object (repeated cuts), or no finite feature (clusters).
    count : int
        Number of labels.
    cut : NormalisedCut
        The first solve; its eigenvectors can be shown as they are.
    """

    grid_labels: Labels = field(repr=False)
    count: int
    cut: NormalisedCut = field(repr=False)

    @property
    def labels(self) -> Labels:
        """(planes, H, W) int32, made anew at each call; :meth:`label` makes one plane."""
        return np.stack([self.label(plane) for plane in range(len(self.grid_labels))])

    @property
    def boxes(self) -> tuple[Labels, ...]:
        """One (n, 5) int32 array a plane: label, then row0, col0, row1, col1 in pixels around it, the last ones not included."""
        from scipy import ndimage

        made = []
        for plane in range(len(self.grid_labels)):
            found = enumerate(ndimage.find_objects(self.label(plane)), 1)
            rows = [(label, r.start, c.start, r.stop, c.stop) for label, (r, c) in ((n, at) for n, at in found if at is not None)]
            made.append(np.array(rows, np.int32).reshape(-1, 5))
        return tuple(made)

    def label(self, plane: int) -> Labels:
        """Make the (H, W) labels of one plane; each patch fills its square of pixels."""
        return upsample_nearest(
            self.grid_labels[plane], image_shape=self.cut.image_shape, stride=self.cut.stride, first_centre=self.cut.first_centre
        )


def maskcut(features: FeatureMap | npt.ArrayLike, **options: Any) -> Objects:
    """Find objects one after the other by repeated cuts; see :func:`maskcut_steps` for the options.

    Examples
    --------
    >>> import numpy as np
    >>> features = np.zeros((12, 12, 3), np.float32)
    >>> features[..., 0] = 1
    >>> features[1:5, 1:5], features[7:11, 6:10] = (0, 1, 0), (0, 0.1, 1)
    >>> maskcut(features, tau=0.5, rounds=2).count
    2
    """
    return collect(maskcut_steps(features, **options))


def maskcut_steps(
    features: FeatureMap | npt.ArrayLike, *, image: Any = None, rounds: int = 3, least_share: float = 0.01, **options: Any
) -> Job[Objects]:
    """Cut, take the object away, and cut what remains.

    Parameters
    ----------
    features : FeatureMap, or (planes, rows, cols, dim) or (rows, cols, dim) array-like
        Patch features.
    image : array-like or Planes, optional
        The image the features come from; needed by ``side="bright"`` and ``"dark"``.
    rounds : int
        Most objects.
    least_share : float
        A mask of a smaller part of the patches is dropped, 0..1.
    **options
        Of :func:`napari_dinov3.tokencut`, except `refine`; ``stack="joint"`` by default.

    Returns
    -------
    objects : Objects
        Labels 1, 2, ... in the order of finding. Fewer than `rounds` where what remains cannot be cut.

    Notes
    -----
    As in MaskCut, the patches of a found object are taken out of the graph. A later mask therefore never overlaps an earlier one.

    References
    ----------
    Wang et al., "Cut and learn for unsupervised object detection and instance segmentation", CVPR 2023, arXiv:2301.11320.
    """
    if rounds < 1:
        raise InputError(f"rounds={rounds}", "at least 1", "Use 3, as in the paper")
    _check_names(options, _CUT_NAMES | _MASK_NAMES)
    features = features if isinstance(features, FeatureMap) else FeatureMap.from_array(features)
    cut_options = CutOptions(**{"stack": "joint", **{k: v for k, v in options.items() if k in _CUT_NAMES}})
    mask_options = MaskOptions(**{k: v for k, v in options.items() if k in _MASK_NAMES})
    labels = np.zeros((len(features), *features.grid), np.int32)
    first = cut = yield from part_of(solve_steps(features, cut_options), start=0, span=1000, total=1000 * rounds)
    count = 0
    while count < rounds:
        mask = make_masks(cut, mask_options, image=image).grid_masks & _divides(cut)[:, None, None]
        if not mask.any() or mask.mean() < least_share:
            break
        count += 1
        labels[mask] = count
        if count < rounds:
            again = solve_steps(_without(features, labels > 0), cut_options)
            cut = yield from part_of(again, start=1000 * count, span=1000, total=1000 * rounds)
    yield Progress(1000 * rounds, 1000 * rounds, counted(count, "object"))
    if not count:
        warnings.warn(
            "No object was found: the cut is ill posed, or what it splits off is smaller than least_share.",
            IllPosedWarning,
            stacklevel=2,
        )
    return Objects(labels, count, first)


def spectral_clusters(features: FeatureMap | npt.ArrayLike, **options: Any) -> Objects:
    """Divide all patches into clusters; see :func:`spectral_clusters_steps` for the options."""
    return collect(spectral_clusters_steps(features, **options))


def spectral_clusters_steps(
    features: FeatureMap | npt.ArrayLike,
    *,
    clusters: int | Literal["auto"] = "auto",
    most: int = 10,
    rng: int = 0,
    **options: Any,
) -> Job[Objects]:
    """Divide all patches into clusters of like eigenvectors.

    Parameters
    ----------
    features : FeatureMap, or (planes, rows, cols, dim) or (rows, cols, dim) array-like
        Patch features.
    clusters : int or "auto"
        How many; ``"auto"`` takes the number before the widest gap between successive eigenvalues.
    most : int
        Most clusters ``"auto"`` may take.
    rng : int
        Seed of k-means.
    **options
        Of :class:`~napari_dinov3.discover.cut.CutOptions`, except `vectors`; ``stack="joint"`` by default.

    Returns
    -------
    objects : Objects
        Labels 1..k, the cluster with the most patches first; 0 where features are not finite.

    References
    ----------
    Melas-Kyriazi et al., "Deep spectral methods", CVPR 2022, arXiv:2205.07839. von Luxburg, "A tutorial on spectral
    clustering", Statistics and Computing 17 (2007), doi:10.1007/s11222-007-9033-z (eigengap).
    """
    if clusters != "auto" and (isinstance(clusters, bool) or not isinstance(clusters, int | np.integer) or clusters < 2):
        raise InputError(f"clusters={clusters!r}", "2 or more, or 'auto'", "Use 'auto'")
    _check_names(options, _CUT_NAMES - {"vectors"})
    features = features if isinstance(features, FeatureMap) else FeatureMap.from_array(features)
    wanted = most if clusters == "auto" else int(clusters) - 1
    cut_options = CutOptions(**{"stack": "joint", **options, "vectors": wanted})
    cut = yield from part_of(solve_steps(features, cut_options), start=0, span=900, total=1000)
    if cut.options.stack != "joint" and len(cut) > 1:
        raise InputError(
            f"stack={cut.options.stack!r} for clusters of a stack",
            "stack='joint', one set of eigenvectors for all planes",
            "Leave stack out, or pass one plane at a time",
        )
    count = eigengap(cut.eigenvalues[0]) if clusters == "auto" else int(clusters)
    yield Progress(900, 1000, f"{count} clusters")
    labels = np.zeros(cut.valid.shape, np.int32)
    points = cut.eigenvectors[cut.valid][:, : count - 1]
    if len(points):
        labels[cut.valid] = _kmeans(points, count, rng)
    yield Progress(1000, 1000, f"{int(labels.max())} clusters")
    return Objects(labels, int(labels.max()), cut)


def eigengap(values: npt.NDArray[np.float64]) -> int:
    """Count clusters by the widest gap between eigenvalues.

    Parameters
    ----------
    values : (k,) float64
        Eigenvalues after the trivial one, ascending; NaN at the end is ignored.

    Returns
    -------
    clusters : int
        At least 2: the number of eigenvalues, the trivial one included, before the widest gap.
    """
    known = values[np.isfinite(values)]
    return 2 if len(known) < 2 else 2 + int(np.diff(known).argmax())


def _kmeans(points: FloatArray, count: int, rng: int) -> Labels:
    """Label points 1..k, the largest cluster first."""
    from sklearn.cluster import KMeans

    sample = points[:: -(-len(points) // _SAMPLED_FOR_KMEANS)]
    count = min(count, len(np.unique(sample, axis=0)))
    model = KMeans(count, n_init=10, random_state=rng).fit(sample.astype(np.float64))
    found = model.predict(points.astype(np.float64))
    order = np.argsort(-np.bincount(found, minlength=count), kind="stable")
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(1, count + 1)
    labels: Labels = rank[found]
    return labels


def _divides(cut: NormalisedCut) -> npt.NDArray[np.bool_]:
    """Tell the planes that fall apart.

    A second eigenvalue near 0 that is not alone means several separate parts: which one is cut off first is arbitrary, but each
    is an object.
    """
    divides: npt.NDArray[np.bool_] = cut.well_posed | (cut.eigenvalues[:, 0] < _SEPARATE)
    return divides


def _without(features: FeatureMap, taken: npt.NDArray[np.bool_]) -> FeatureMap:
    """Take patches out of a map: their features become NaN."""
    return replace(features, array=_Without(features.array, taken))


class _Without:
    """An array read plane by plane, in which some patches are NaN; nothing is copied before it is read."""

    def __init__(self, array: Any, taken: npt.NDArray[np.bool_]) -> None:
        self._array, self._taken = array, taken
        self.shape = array.shape

    def __getitem__(self, index: int) -> FloatArray:
        plane = np.array(self._array[index], dtype=np.float32)
        plane[self._taken[index]] = np.nan
        return plane


def _check_names(options: dict[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(set(options) - known)
    if unknown:
        raise InputError(f"Unknown option {', '.join(unknown)}", f"one of {', '.join(sorted(known))}", "Check the spelling")
