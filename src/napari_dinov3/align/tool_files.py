"""Alignments in the formats that other tools read: ITK ``.tfm`` and elastix ``TransformParameters``.

Both want ``(x, y)`` in world units and the same direction as ours (fixed to moving), so axes and spacing are converted. Origins
lie at the first pixel's centre and axes are not turned, as in an image that knows its spacing alone.

An elastic ``T(p) = A p + u(p)`` is exact in both: elastix adds the spline to its initial transform
(``HowToCombineTransforms "Add"``), and ITK chains them, where ``A p + u(p) = A (p + A^-1 u(p))``: the coefficients are turned by
the inverse of the linear part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.pair_alignment import PairAlignment
from napari_dinov3.align.stack_alignment import StackAlignment
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix

Tool = Literal["itk", "elastix"]
Spacing = tuple[float, float]
_Numbers = npt.NDArray[np.float64]


def itk_transform(
    matrix: npt.ArrayLike,
    *,
    shape: tuple[int, int] | None = None,
    field: SplineField | None = None,
    spacing: Spacing = (1.0, 1.0),
    moving_spacing: Spacing | None = None,
) -> str:
    """Write a transform as ITK's ``.tfm`` text.

    Parameters
    ----------
    matrix : (3, 3) array-like
        Fixed to moving, in pixels.
    shape : (2,) ints, optional
        Rows and columns of the fixed image, which an elastic displacement must cover.
    field : SplineField, optional
        Elastic displacement; the file then holds a composite of it and the linear part.
    spacing : (2,) floats
        World units a pixel along rows and columns, of the fixed image.
    moving_spacing : (2,) floats, optional
        Of the moving image; by default that of the fixed one.
    """
    linear, shift = _world_affine(np.asarray(matrix, np.float64), spacing, moving_spacing or spacing)
    affine = ("AffineTransform_double_2_2", [*linear.ravel(), *shift], [0.0, 0.0])
    if field is None:
        return _itk_text([affine])
    grid = _WorldGrid(field, shape, spacing, moving_spacing or spacing)
    moves = np.einsum("ij,j...->i...", np.linalg.inv(linear), grid.moves)
    place = [*grid.size, *grid.origin, *grid.spacing, 1.0, 0.0, 0.0, 1.0]
    spline = ("BSplineTransform_double_2_2", [*moves.ravel()], place)
    return _itk_text([("CompositeTransform_double_2_2", [], []), affine, spline])  # the last one is applied first


def elastix_parameters(
    matrix: npt.ArrayLike,
    shape: tuple[int, int],
    *,
    field: SplineField | None = None,
    spacing: Spacing = (1.0, 1.0),
    moving_spacing: Spacing | None = None,
    initial: str = "NoInitialTransform",
) -> tuple[str, ...]:
    """Write a transform as elastix parameter files, in the order in which transformix takes them.

    Parameters
    ----------
    matrix : (3, 3) array-like
        Fixed to moving, in pixels.
    shape : (2,) ints
        Rows and columns of the fixed image.
    field : SplineField, optional
        Elastic displacement; it makes a second file.
    spacing, moving_spacing : (2,) floats
        As in :func:`itk_transform`.
    initial : str
        Name of the file with the linear part, in the file with the elastic one.

    Returns
    -------
    texts : tuple of str
        One or two files.
    """
    linear, shift = _world_affine(np.asarray(matrix, np.float64), spacing, moving_spacing or spacing)
    numbers = [*linear.ravel(), *shift]
    texts = [_elastix_text("AffineTransform", numbers, ["(CenterOfRotationPoint 0 0)"], shape, spacing, "NoInitialTransform")]
    if field is not None:
        grid = _WorldGrid(field, shape, spacing, moving_spacing or spacing)
        lines = [
            f"(GridSize {grid.size[0]} {grid.size[1]})",
            "(GridIndex 0 0)",
            "(GridDirection 1 0 0 1)",
            "(BSplineTransformSplineOrder 3)",
            '(UseCyclicTransform "false")',
            f"(GridSpacing {_words(grid.spacing)})",
            f"(GridOrigin {_words(grid.origin)})",
        ]
        texts.append(_elastix_text("BSplineTransform", [*grid.moves.ravel()], lines, shape, spacing, initial))
    return tuple(texts)


def export_transforms(folder: str | Path, alignment: StackAlignment | PairAlignment, *, tool: Tool = "itk") -> list[Path]:
    """Write one transform a section (or pair) for another tool.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    alignment : StackAlignment or PairAlignment
    tool : {"itk", "elastix"}
        ``section_0000.tfm`` ..., or ``section_0000.TransformParameters.0.txt`` ...

    Returns
    -------
    paths : list of Path

    Raises
    ------
    InputError
        For another tool, or a pair that was refused.
    """
    if tool not in ("itk", "elastix"):
        raise InputError(f"tool={tool!r}", "'itk' or 'elastix'", "Choose one of the two")
    if isinstance(alignment, PairAlignment) and alignment.refused:
        raise InputError(alignment.reason, "a pair that matches", "Check 'refused' first")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    written = []
    for name, matrix, field, shape, spacings in _parts(alignment):
        how: dict[str, Any] = {"field": field, "spacing": spacings[0], "moving_spacing": spacings[1]}
        if tool == "itk":
            texts = {f"{name}.tfm": itk_transform(matrix, shape=shape, **how)}
        else:
            stem = f"{name}.TransformParameters"
            parts = elastix_parameters(matrix, shape, initial=f"{stem}.0.txt", **how)
            texts = {f"{stem}.{i}.txt": text for i, text in enumerate(parts)}
        for file, text in texts.items():
            written.append(place / file)
            written[-1].write_text(text, encoding="utf-8")
    return written


_Part = tuple[str, Matrix, SplineField | None, tuple[int, int], tuple[Spacing, Spacing]]


def _parts(alignment: StackAlignment | PairAlignment) -> Iterator[_Part]:
    """Give name, matrix, displacement, fixed shape and both spacings of every transform."""
    if isinstance(alignment, PairAlignment):
        spacings = alignment.fixed_spacing, alignment.moving_spacing
        yield "pair", alignment.matrix, alignment.field, alignment.fixed_shape, spacings
        return
    spacing = alignment.spacing[1], alignment.spacing[2]
    for z, matrix in enumerate(alignment.transforms):
        yield f"section_{z:04d}", matrix, alignment.field_of(z), alignment.shape, (spacing, spacing)


class _WorldGrid:
    """Control points of a displacement in ``(x, y)`` and world units.

    ``size``, ``origin`` and ``spacing`` are (2,), ``moves`` is (2, R, C). Other tools know no displacement beyond the cells of
    the grid; where ours ends within the image (its border's value goes on there), another ring of control points is added.
    """

    def __init__(self, field: SplineField, shape: tuple[int, int] | None, spacing: Spacing, moving_spacing: Spacing) -> None:
        coefficients, first = field.coefficients, field.origin - field.spacing
        ends = [field.origin + (count - 3) * field.spacing for count in coefficients.shape[1:]]
        if field.origin > 0 or (shape is not None and any(end < side - 1 for end, side in zip(ends, shape, strict=True))):
            coefficients, first = _with_ring(coefficients), first - field.spacing
        self.size = coefficients.shape[2], coefficients.shape[1]
        self.spacing = [field.spacing * step for step in spacing[::-1]]
        self.origin = [first * step for step in spacing[::-1]]
        self.moves = np.stack([coefficients[1] * moving_spacing[1], coefficients[0] * moving_spacing[0]])


def _with_ring(coefficients: _Numbers) -> _Numbers:
    """Continue control points by one on each side, along a straight line."""
    return np.pad(coefficients, ((0, 0), (1, 1), (1, 1)), mode="reflect", reflect_type="odd")


def _world_affine(matrix: Matrix, fixed: Spacing, moving: Spacing) -> tuple[_Numbers, _Numbers]:
    """``(row, col)`` in pixels to ``(x, y)`` in world units: ``M S L S F^-1``."""
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    to_world, from_world = np.diag(moving[::-1]), np.diag(1 / np.asarray(fixed[::-1], np.float64))
    return to_world @ swap @ matrix[:2, :2] @ swap @ from_world, to_world @ swap @ matrix[:2, 2]


def _words(numbers: npt.ArrayLike) -> str:
    return " ".join(f"{v:.17g}" for v in np.ravel(numbers))


def _itk_text(transforms: list[tuple[str, list[float], list[float]]]) -> str:
    lines = ["#Insight Transform File V1.0"]
    for number, (name, parameters, fixed) in enumerate(transforms):
        lines += [f"#Transform {number}", f"Transform: {name}"]
        if parameters:
            lines += [f"Parameters: {_words(parameters)}", f"FixedParameters: {_words(fixed)}"]
    return "\n".join(lines) + "\n"


def _elastix_text(
    kind: str, parameters: list[float], extra: list[str], shape: tuple[int, int], spacing: tuple[float, float], initial: str
) -> str:
    lines = [
        f'(Transform "{kind}")',
        f"(NumberOfParameters {len(parameters)})",
        f"(TransformParameters {_words(parameters)})",
        f'(InitialTransformParametersFileName "{initial}")',
        '(HowToCombineTransforms "Add")',
        "(FixedImageDimension 2)",
        "(MovingImageDimension 2)",
        '(FixedInternalImagePixelType "float")',
        '(MovingInternalImagePixelType "float")',
        f"(Size {shape[1]} {shape[0]})",
        "(Index 0 0)",
        f"(Spacing {_words(spacing[::-1])})",
        "(Origin 0 0)",
        "(Direction 1 0 0 1)",
        '(UseDirectionCosines "true")',
        *extra,
        '(ResampleInterpolator "FinalBSplineInterpolator")',
        "(FinalBSplineInterpolationOrder 3)",
        '(Resampler "DefaultResampler")',
        "(DefaultPixelValue 0)",
        '(ResultImageFormat "tif")',
        '(ResultImagePixelType "float")',
        '(CompressResultImage "false")',
    ]
    return "\n".join(lines) + "\n"
