"""Alignments as files: our own JSON, which holds everything, and the formats other tools read.

JSON says its version and convention. ITK ``.tfm`` and elastix ``TransformParameters`` want ``(x, y)`` in world units and the
same direction as ours (fixed to moving), so only axes and spacing are converted. elastix adds an elastic displacement to its
initial transform (``HowToCombineTransforms "Add"``), which is exactly our ``A p + u(p)``.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.link_file import field_from_json, field_to_json, link_from_json, link_to_json
from napari_dinov3.align.pairwise import PairAlignment
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.stack import StackAlignment
from napari_dinov3.errors import FileFormatError
from napari_dinov3.geometry import Matrix

FORMAT, VERSION = "napari-dinov3 alignment", 1
CONVENTION = "matrix maps aligned (fixed) to raw (moving) pixels, acts on (row, col, 1), pixel centres at whole numbers"


def save_alignment(path: str | Path, alignment: StackAlignment | PairAlignment, *, provenance: Any = None) -> Path:
    """Write an alignment as JSON.

    Parameters
    ----------
    path : str or Path
        File to write.
    alignment : StackAlignment or PairAlignment
    provenance : JSON-able, optional
        Where it came from.

    Returns
    -------
    path : Path
    """
    target = Path(path)
    target.write_text(json.dumps(as_content(alignment, provenance=provenance), indent=1) + "\n", encoding="utf-8")
    return target


def as_content(alignment: StackAlignment | PairAlignment, *, provenance: Any = None) -> dict[str, Any]:
    """Give what :func:`save_alignment` writes: plain lists, numbers and texts."""
    kind = "stack" if isinstance(alignment, StackAlignment) else "pair"
    content = {"format": FORMAT, "version": VERSION, "convention": CONVENTION, "kind": kind, "provenance": provenance}
    body = _from_stack(alignment) if isinstance(alignment, StackAlignment) else _from_pair(alignment)
    return {**content, **body}


def load_alignment(path: str | Path) -> StackAlignment | PairAlignment:
    """Read what :func:`save_alignment` wrote.

    Raises
    ------
    FileFormatError
        If the file is something else, newer than this version, or damaged.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileFormatError(f"{path} is not JSON ({error})", "an alignment saved as JSON", "Choose another file") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileFormatError(f"{path} is not an alignment", f'a JSON file with "format": "{FORMAT}"', "Choose another file")
    if content.get("version") != VERSION:
        raise FileFormatError(
            f"{path} has version {content.get('version')}",
            f"version {VERSION}",
            "Update this program, or save the alignment again",
        )
    try:
        return _to_stack(content) if content["kind"] == "stack" else _to_pair(content)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path} is damaged ({error!r})", "every field of an alignment", "Save it again") from error


def itk_transform(matrix: npt.ArrayLike, *, spacing: tuple[float, float] = (1.0, 1.0)) -> str:
    """Write a linear transform as ITK's ``.tfm`` text.

    Parameters
    ----------
    matrix : (3, 3) array-like
        Fixed to moving, in pixels.
    spacing : (2,) floats
        World units a pixel along rows and columns, of both images; origins at the first pixel's centre.
    """
    numbers = " ".join(f"{v:.17g}" for v in _itk_parameters(np.asarray(matrix, np.float64), spacing))
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_2_2\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0\n"
    )


def elastix_parameters(
    matrix: npt.ArrayLike,
    shape: tuple[int, int],
    *,
    field: SplineField | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
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
    spacing : (2,) floats
        World units a pixel along rows and columns, of both images.
    initial : str
        Name of the file with the linear part, in the file with the elastic one.

    Returns
    -------
    texts : tuple of str
        One or two files.
    """
    linear = _itk_parameters(np.asarray(matrix, np.float64), spacing)
    texts = [_elastix_text("AffineTransform", linear, ["(CenterOfRotationPoint 0 0)"], shape, spacing, "NoInitialTransform")]
    if field is not None:
        _, rows, cols = field.coefficients.shape
        first = [(field.origin - field.spacing) * s for s in (spacing[1], spacing[0])]
        grid = [
            f"(GridSize {cols} {rows})",
            "(GridIndex 0 0)",
            "(GridDirection 1 0 0 1)",
            "(BSplineTransformSplineOrder 3)",
            '(UseCyclicTransform "false")',
            f"(GridSpacing {field.spacing * spacing[1]:.17g} {field.spacing * spacing[0]:.17g})",
            f"(GridOrigin {first[0]:.17g} {first[1]:.17g})",
        ]
        moves = [*(field.coefficients[1].ravel() * spacing[1]), *(field.coefficients[0].ravel() * spacing[0])]
        texts.append(_elastix_text("BSplineTransform", moves, grid, shape, spacing, initial))
    return tuple(texts)


def export_transforms(folder: str | Path, alignment: StackAlignment | PairAlignment, *, tool: str = "itk") -> list[Path]:
    """Write one file a section (or pair) for another tool.

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
    """
    if tool not in ("itk", "elastix"):
        raise FileFormatError(f"tool={tool!r}", "'itk' or 'elastix'", "Choose one of the two")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    sections: list[tuple[str, Matrix, SplineField | None]]
    if isinstance(alignment, StackAlignment):
        sections = [(f"section_{z:04d}", matrix, alignment.field_of(z)) for z, matrix in enumerate(alignment.transforms)]
        shape, spacing = alignment.shape, alignment.spacing[1:]
    else:
        sections = [("pair", alignment.matrix, alignment.field)]
        shape, spacing = alignment.fixed_shape, (1.0, 1.0)
    written = []
    for name, matrix, field in sections:
        if tool == "itk" and field is not None:
            raise FileFormatError("An elastic alignment", "a linear one for .tfm", "Export it for elastix instead")
        stem = f"{name}.TransformParameters"
        texts = (
            (itk_transform(matrix, spacing=spacing),)
            if tool == "itk"
            else elastix_parameters(matrix, shape, field=field, spacing=spacing, initial=f"{stem}.0.txt")
        )
        for i, text in enumerate(texts):
            written.append(place / (f"{name}.tfm" if tool == "itk" else f"{stem}.{i}.txt"))
            written[-1].write_text(text, encoding="utf-8")
    return written


def _itk_parameters(matrix: Matrix, spacing: tuple[float, float]) -> list[float]:
    """Row, col in pixels to x, y in world units: ``D S L S D^-1``."""
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    world = np.diag([spacing[1], spacing[0]])
    linear = world @ swap @ matrix[:2, :2] @ swap @ np.linalg.inv(world)
    return [*(float(v) for v in linear.ravel()), *(float(v) for v in world @ swap @ matrix[:2, 2])]


def _elastix_text(
    kind: str, parameters: list[float], extra: list[str], shape: tuple[int, int], spacing: tuple[float, float], initial: str
) -> str:
    lines = [
        f'(Transform "{kind}")',
        f"(NumberOfParameters {len(parameters)})",
        f"(TransformParameters {' '.join(f'{v:.17g}' for v in parameters)})",
        f'(InitialTransformParametersFileName "{initial}")',
        '(HowToCombineTransforms "Add")',
        "(FixedImageDimension 2)",
        "(MovingImageDimension 2)",
        '(FixedInternalImagePixelType "float")',
        '(MovingInternalImagePixelType "float")',
        f"(Size {shape[1]} {shape[0]})",
        "(Index 0 0)",
        f"(Spacing {spacing[1]:.17g} {spacing[0]:.17g})",
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


def _from_stack(path: StackAlignment) -> dict[str, Any]:
    sections = [
        {
            "index": z,
            "status": "bad" if z in path.bad else "good",
            "matrix": path.transforms[z].tolist(),
            "quality": float(path.quality[z]),
            "residual": None if np.isnan(path.residuals[z]) else float(path.residuals[z]),
            "field": field_to_json(path.field_of(z)),
        }
        for z in range(len(path))
    ]
    return {
        "model": path.model,
        "shape": list(path.shape),
        "spacing": list(path.spacing),
        "units": list(path.units),
        "sections": sections,
        "links": [link_to_json(link) for link in path.links],
    }


def _to_stack(content: dict[str, Any]) -> StackAlignment:
    sections = sorted(content["sections"], key=lambda s: int(s["index"]))
    return StackAlignment(
        transforms=np.array([s["matrix"] for s in sections], np.float64).reshape(-1, 3, 3),
        quality=np.array([s["quality"] for s in sections], np.float64),
        residuals=np.array([np.nan if s["residual"] is None else s["residual"] for s in sections], np.float64),
        bad=tuple(int(s["index"]) for s in sections if s["status"] == "bad"),
        links=tuple(link_from_json(k) for k in content["links"]),
        fields=tuple(field_from_json(s.get("field")) for s in sections),
        model=content["model"],
        shape=tuple(content["shape"]),
        spacing=tuple(content["spacing"]),
        units=tuple(content["units"]),
    )


def _from_pair(pair: PairAlignment) -> dict[str, Any]:
    return {
        "model": pair.model,
        "matrix": pair.matrix.tolist(),
        "field": field_to_json(pair.field),
        "fixed_shape": list(pair.fixed_shape),
        "moving_shape": list(pair.moving_shape),
        "match": dataclasses.asdict(pair.match),
        "reason": pair.reason,
        "backbone": pair.backbone,
    }


def _to_pair(content: dict[str, Any]) -> PairAlignment:
    return PairAlignment(
        matrix=np.array(content["matrix"], np.float64).reshape(3, 3),
        field=field_from_json(content["field"]),
        model=content["model"],
        fixed_shape=tuple(content["fixed_shape"]),
        moving_shape=tuple(content["moving_shape"]),
        match=MatchQuality(**content["match"]),
        reason=content["reason"],
        backbone=content["backbone"],
    )
