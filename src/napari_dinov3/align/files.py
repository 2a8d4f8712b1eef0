"""Alignments as files: our own JSON, which says its version and convention and holds everything.

For the formats that other tools read see :mod:`napari_dinov3.align.tool_files`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.link_file import field_from_json, field_to_json, link_from_json, link_to_json
from napari_dinov3.align.pairwise import PairAlignment
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.stack import StackAlignment
from napari_dinov3.align.tool_files import export_transforms as export_transforms
from napari_dinov3.errors import FileFormatError

FORMAT, VERSION = "napari-dinov3 alignment", 1
CONVENTION = "matrix maps aligned (fixed) to raw (moving) pixels, acts on (row, col, 1), pixel centres at whole numbers"
_SINGULAR = 1e-12


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
    part = target.with_name(f"{target.name}.part")  # a save that fails leaves what was there
    part.write_text(json.dumps(as_content(alignment, provenance=provenance), indent=1) + "\n", encoding="utf-8")
    part.replace(target)
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
    content = _content(path)
    if content.get("version") != VERSION:
        raise FileFormatError(
            f"{path} has version {content.get('version')}",
            f"version {VERSION}",
            "Update this program, or save the alignment again",
        )
    try:
        return _READERS[content["kind"]](content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path} is damaged ({error!r})", "every field of an alignment", "Save it again") from error


def load_provenance(path: str | Path) -> Any:
    """Read where an alignment came from, as it was given to :func:`save_alignment`.

    Raises
    ------
    FileFormatError
        If the file is something else.
    """
    return _content(path).get("provenance")


def _content(path: str | Path) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read ({error})", "an alignment saved as JSON", "Choose another file") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileFormatError(f"{path} is not JSON ({error})", "an alignment saved as JSON", "Choose another file") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileFormatError(f"{path} is not an alignment", f'a JSON file with "format": "{FORMAT}"', "Choose another file")
    return content


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
    if not sections or [int(s["index"]) for s in sections] != list(range(len(sections))):
        raise ValueError("sections must be numbered 0, 1, 2 ..., each once")
    return StackAlignment(
        transforms=_matrices([s["matrix"] for s in sections]),
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
        "fixed_spacing": list(pair.fixed_spacing),
        "moving_spacing": list(pair.moving_spacing),
        "units": list(pair.units),
        "match": dataclasses.asdict(pair.match),
        "reason": pair.reason,
        "backbone": pair.backbone,
    }


def _to_pair(content: dict[str, Any]) -> PairAlignment:
    return PairAlignment(
        matrix=_matrices([content["matrix"]])[0],
        field=field_from_json(content["field"]),
        model=content["model"],
        fixed_shape=tuple(content["fixed_shape"]),
        moving_shape=tuple(content["moving_shape"]),
        match=MatchQuality(**content["match"]),
        reason=content["reason"],
        backbone=content["backbone"],
        fixed_spacing=tuple(content["fixed_spacing"]),
        moving_spacing=tuple(content["moving_spacing"]),
        units=tuple(content["units"]),
    )


_READERS: dict[str, Callable[[dict[str, Any]], StackAlignment | PairAlignment]] = {"stack": _to_stack, "pair": _to_pair}


def _matrices(numbers: Any) -> npt.NDArray[np.float64]:
    """(N, 3, 3) out of nested lists, refusing what cannot be a pose."""
    matrices = np.array(numbers, np.float64).reshape(-1, 3, 3)
    if not np.isfinite(matrices).all() or (np.abs(np.linalg.det(matrices)) < _SINGULAR).any():
        raise ValueError("a matrix is not finite, or flattens the image")
    return matrices
