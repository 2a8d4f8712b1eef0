"""TokenCut: find what stands out in an image, without labels.

Patches are linked where their features are alike, the graph is cut in two (:mod:`napari_dinov3.discover.solve`), and the part
that stands out becomes a mask (:mod:`napari_dinov3.discover.masks`). The eigenvectors are kept, so that
:meth:`TokenCut.with_masks` makes other masks from the same cut at once.

References
----------
Wang et al., "Self-supervised transformers for unsupervised object discovery using normalized cut", CVPR 2022,
arXiv:2202.11539.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import FloatArray
from napari_dinov3.discover.clarity import warn_if_ill_posed
from napari_dinov3.discover.cut import CutOptions, NormalisedCut, SolvedPlanes
from napari_dinov3.discover.mask_scribbles import mask_to_scribbles
from napari_dinov3.discover.masks import (
    BoolArray,
    MaskOptions,
    Split,
    boxes_of,
    decide_split,
    is_surrounded,
    patch_means,
    plane_mask,
)
from napari_dinov3.discover.refine import RADIUS, refine_mask
from napari_dinov3.discover.solve import solve_steps
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.upsample import upsample_nearest
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.progress import Job, collect

_CUT_NAMES = frozenset(item.name for item in fields(CutOptions))
_MASK_NAMES = frozenset(item.name for item in fields(MaskOptions))

ONE_CLICK = MaskOptions(bipartition="otsu", side="border", component="all", refine=RADIUS)
"""Mask options that stand for those not given where tau is chosen automatically."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenCut:
    """Masks of what stands out, and the cut they were made from.

    Parameters
    ----------
    cut : NormalisedCut
        Eigenvectors and eigenvalues of all planes.
    options : MaskOptions
        How the masks were made.
    grid_masks : (planes, rows, cols) bool
        Masks on the patch grid.
    seeds : (planes, 2) int
        Patch (row, col) that stands for the object of each plane.
    thresholds : (planes,) float64
        Value at which each eigenvector was split.
    boxes : tuple of (n, 4) int32, one a plane
        Box ``row0, col0, row1, col1`` in pixels around each piece of the mask, the largest first; last row and column excluded.
    image : Planes, optional
        The image, where one was given.
    refined : tuple of uint8 arrays, optional
        Refined masks of all planes, one bit a pixel, as they were drawn for the boxes.
    """

    cut: NormalisedCut = field(repr=False)
    options: MaskOptions
    grid_masks: BoolArray = field(repr=False)
    seeds: npt.NDArray[np.intp] = field(repr=False)
    thresholds: npt.NDArray[np.float64] = field(repr=False)
    boxes: tuple[npt.NDArray[np.int32], ...] = field(repr=False)
    image: Planes | None = field(default=None, repr=False)
    refined: tuple[npt.NDArray[np.uint8], ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.grid_masks)

    @property
    def eigenvectors(self) -> FloatArray:
        """(planes, rows, cols, k) float32: generalised eigenvectors, the second smallest eigenvalue first."""
        return self.cut.eigenvectors

    @property
    def eigenvalues(self) -> npt.NDArray[np.float64]:
        """(planes, k): generalised eigenvalues; NaN where there is none."""
        return self.cut.eigenvalues

    @property
    def well_posed(self) -> BoolArray:
        """(planes,): whether the data decide the cut; where not, the mask is arbitrary."""
        return self.cut.well_posed

    @property
    def clear(self) -> BoolArray:
        """(planes,): whether the cut is well posed and something stands out; noise, however well posed, is not clear."""
        return self.cut.clear

    @property
    def surrounded(self) -> BoolArray:
        """(planes,): whether one side leaves the border to the other; where not, which of them is the object is a guess."""
        each = zip(self.eigenvectors[..., 0], self.thresholds, self.cut.valid, strict=True)
        return np.array([is_surrounded(vector, at, valid=valid) for vector, at, valid in each], bool)

    @property
    def tau(self) -> npt.NDArray[np.float64]:
        """(planes,): threshold used on the cosine."""
        return self.cut.tau

    @property
    def masks(self) -> BoolArray:
        """(planes, H, W) bool: the masks at full size, made anew at each call; :meth:`mask` makes one."""
        return np.stack([self.mask(index) for index in range(len(self))])

    def mask(self, plane: int) -> BoolArray:
        """Make the (H, W) mask of one plane; each patch fills its square of pixels, unless the outline is refined."""
        if self.refined is not None:
            height, width = self.cut.image_shape
            drawn = np.unpackbits(self.refined[plane], count=height * width)
            return drawn.reshape(height, width).view(bool)
        return _full_size(self.grid_masks[plane], plane, self.cut, self.options, self.image)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """(planes, H, W) int32: the pieces of the masks numbered from 1, made anew at each call.

        Pieces of neighbouring planes that overlap are one object and have one number.
        """
        from scipy import ndimage

        labels: npt.NDArray[np.int32] = ndimage.label(self.masks, output=np.int32)[0]
        return labels

    def scribbles(self, *, margin: float | None = None) -> npt.NDArray[np.uint8]:
        """Make scribbles of the masks, for a probe to start from.

        Parameters
        ----------
        margin : float, optional
            Pixels along outlines that are left unlabelled; one stride by default. It shrinks where a piece is thin.

        Returns
        -------
        scribbles : (planes, H, W) uint8
            1 background, 2 foreground, 0 unlabelled; nothing is labelled where a plane's mask is empty.
        """
        margin = self.cut.stride if margin is None else margin
        return np.stack([mask_to_scribbles(self.mask(index), margin=margin) for index in range(len(self))])

    def with_masks(self, *, image: Any = None, **options: Any) -> TokenCut:
        """Make other masks from the same cut.

        Parameters
        ----------
        image : array-like or Planes, optional
            The image, where it was not given before; needed by ``side="bright"``, ``"dark"`` and by `refine`.
        **options
            Of :class:`~napari_dinov3.discover.masks.MaskOptions`; those not named stay as they are.

        Returns
        -------
        cut : TokenCut
        """
        _check_names(options, _MASK_NAMES)
        return make_masks(self.cut, replace(self.options, **options), image=self.image if image is None else image)


def tokencut(
    features: FeatureMap | npt.ArrayLike, *, image: Any = None, resume: SolvedPlanes | None = None, **options: Any
) -> TokenCut:
    """Find what stands out in every plane.

    Parameters
    ----------
    features : FeatureMap, or (planes, rows, cols, dim) or (rows, cols, dim) array-like
        Patch features.
    image : array-like or Planes, optional
        The image the features come from; lets outlines follow its edges (`refine`), and ``side="bright"`` or ``"dark"`` decide.
    resume : SolvedPlanes, optional
        Keeps the planes that are finished when the job is cancelled; given again with the same feature map and options, the job
        goes on where it was.
    **options
        Of :class:`~napari_dinov3.discover.cut.CutOptions` (``tau``, ``scaling``, ``weighting``, ...) and
        :class:`~napari_dinov3.discover.masks.MaskOptions` (``bipartition``, ``side``, ``component``, ``opening``, ...).

    Returns
    -------
    cut : TokenCut
        ``.masks`` (planes, H, W) bool, ``.eigenvectors`` (planes, rows, cols, k), ``.boxes``, ``.well_posed``.

    Notes
    -----
    With a number for tau the defaults are the paper's: bipartition at the mean, the seed's side, the seed's component. With
    ``tau="auto"`` (the default) they are :data:`ONE_CLICK`, chosen on images of cells, stained nuclei, MRI and brain sections:
    Otsu's split, the side off the border, all components, and outlines refined where the image is given.

    Warns
    -----
    IllPosedWarning
        Where the second and third eigenvalue coincide: the cut, and the mask, are then arbitrary. Where nothing is linked, or
        everything is, the mask is empty.

    Raises
    ------
    InputError
        For an unknown option, a value out of range, or features of another shape.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> features = np.zeros((8, 8, 2), np.float32)
    >>> features[..., 0] = 1
    >>> features[2:5, 3:6] = (0, 1)
    >>> nd.tokencut(features, tau=0.5).boxes[0].tolist()
    [[32, 48, 80, 96]]
    """
    return collect(tokencut_steps(features, image=image, resume=resume, **options))


def tokencut_steps(
    features: FeatureMap | npt.ArrayLike, *, image: Any = None, resume: SolvedPlanes | None = None, **options: Any
) -> Job[TokenCut]:
    """Run :func:`tokencut` as a job that reports its progress; same parameters."""
    _check_names(options, _CUT_NAMES | _MASK_NAMES)
    cut_options = CutOptions(**{name: value for name, value in options.items() if name in _CUT_NAMES})
    base = replace(ONE_CLICK, refine=0.0 if image is None else ONE_CLICK.refine) if cut_options.tau == "auto" else MaskOptions()
    mask_options = replace(base, **{name: value for name, value in options.items() if name in _MASK_NAMES})
    if not isinstance(features, FeatureMap):
        features = FeatureMap.from_array(features)
    planes = _planes_for(image, mask_options, features.image_shape, len(features))
    cut = yield from solve_steps(features, cut_options, resume=resume)
    warn_if_ill_posed(cut)
    return make_masks(cut, mask_options, image=planes)


def make_masks(cut: NormalisedCut, options: MaskOptions | None = None, *, image: Any = None) -> TokenCut:
    """Make masks from a solved cut.

    Parameters
    ----------
    cut : NormalisedCut
        From :func:`~napari_dinov3.discover.solve.solve_steps`.
    options : MaskOptions, optional
        The paper's by default.
    image : array-like or Planes, optional
        Needed by ``side="bright"``, ``"dark"`` and by `refine`.

    Returns
    -------
    result : TokenCut
    """
    options = MaskOptions() if options is None else options
    image = _planes_for(image, options, cut.image_shape, len(cut))
    where = {"stride": cut.stride, "first_centre": cut.first_centre}
    grid = (cut.valid.shape[1], cut.valid.shape[2])
    clicked = None if options.click is None else _patch_under(options.click, cut)
    brightness: list[FloatArray | None] = [None] * len(cut)
    if image is not None and options.side in ("bright", "dark"):
        brightness = [patch_means(image.plane(index), grid=grid, **where) for index in range(len(cut))]
    splits = _splits(cut, options, brightness, clicked)
    made = [
        plane_mask(
            cut.eigenvectors[index, ..., 0],
            options,
            valid=cut.valid[index],
            intensity=brightness[index],
            clicked=clicked,
            split=splits[index],
        )
        for index in range(len(cut))
    ]
    refined = None
    if options.refine:
        full = (_full_size(one.mask, index, cut, options, image) for index, one in enumerate(made))
        boxes, refined = _boxes_and_bits(full, cut.image_shape)
    else:
        boxes = tuple(boxes_of(one.mask, image_shape=cut.image_shape, **where) for one in made)
    return TokenCut(
        cut,
        options,
        np.stack([one.mask for one in made]),
        np.array([one.seed for one in made], np.intp),
        np.array([one.threshold for one in made]),
        boxes,
        image,
        refined,
    )


def _boxes_and_bits(
    masks: Iterable[BoolArray], shape: tuple[int, int]
) -> tuple[tuple[npt.NDArray[np.int32], ...], tuple[npt.NDArray[np.uint8], ...]]:
    """Draw boxes around the pieces of each mask, and pack the masks; they come one at a time."""
    boxes, bits = [], []
    for mask in masks:
        boxes.append(boxes_of(mask, stride=1, first_centre=0, image_shape=shape))
        bits.append(np.packbits(mask))
    return tuple(boxes), tuple(bits)


def _splits(
    cut: NormalisedCut, options: MaskOptions, brightness: list[FloatArray | None], clicked: tuple[int, int] | None
) -> list[Split | None]:
    """Decide the splits that planes share: all of it in a joint graph, the side of the object where planes were matched."""
    if cut.options.stack == "planes" or len(cut) == 1:
        return [None] * len(cut)
    vector = cut.eigenvectors[..., 0]
    if cut.options.stack == "joint":
        known = [one for one in brightness if one is not None]
        intensity = np.stack(known) if known else None
        return [decide_split(vector, options, valid=cut.valid, clicked=clicked, intensity=intensity)] * len(cut)
    splits = []
    for index, bright in enumerate(brightness):
        where = slice(index, index + 1)
        intensity = None if bright is None else bright[None]
        splits.append(decide_split(vector[where], options, valid=cut.valid[where], clicked=clicked, intensity=intensity))
    votes = [1 if split.above else -1 for split, sure in zip(splits, cut.well_posed, strict=True) if split is not None and sure]
    votes = votes or [1 if split.above else -1 for split in splits if split is not None]
    above = sum(votes) > 0
    return [None if split is None else split._replace(above=above) for split in splits]


def option_values(result: TokenCut) -> dict[str, Any]:
    """List every option of a result by name, for provenance and recipes."""
    return {**asdict(result.cut.options), **asdict(result.options)}


def _planes_for(image: Any, options: MaskOptions, shape: tuple[int, int], count: int) -> Planes | None:
    if image is None:
        if options.side in ("bright", "dark"):
            raise InputError(
                f"side={options.side!r} without an image",
                "the image whose brightness decides",
                "Pass image=..., or choose side='seed' or 'border'",
            )
        if options.refine:
            raise InputError(
                f"refine={options.refine:g} without an image",
                "the image whose edges the outlines follow",
                "Pass image=..., or refine=0",
            )
        return None
    planes = as_planes(image)
    if planes.shape != (count, *shape):
        raise InputError(
            f"The image has planes, rows, cols {planes.shape}",
            f"{(count, *shape)}, as the features",
            "Pass the image the features were extracted from",
        )
    return planes


def _full_size(mask: BoolArray, plane: int, cut: NormalisedCut, options: MaskOptions, image: Planes | None) -> BoolArray:
    full = upsample_nearest(mask, image_shape=cut.image_shape, stride=cut.stride, first_centre=cut.first_centre)
    return full if image is None or not options.refine else refine_mask(full, image.plane(plane), radius=options.refine)


def _patch_under(click: tuple[float, float], cut: NormalisedCut) -> tuple[int, int]:
    height, width = cut.image_shape
    row, col = click
    if not (-0.5 <= row <= height - 0.5 and -0.5 <= col <= width - 0.5):
        raise InputError(
            f"click={click}", f"a pixel of the image, rows 0..{height - 1}, cols 0..{width - 1}", "Click inside the image"
        )
    at = np.clip(np.rint((np.array(click) - cut.first_centre) / cut.stride), 0, np.array(cut.valid.shape[1:]) - 1)
    return int(at[0]), int(at[1])


def _check_names(options: dict[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(set(options) - known)
    if unknown:
        raise InputError(f"Unknown option {', '.join(unknown)}", f"one of {', '.join(sorted(known))}", "Check the spelling")
