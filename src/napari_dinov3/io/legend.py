"""Names and colours of label ids, such as the regions of a brain atlas.

Three forms are read: the Allen Institute's structure graph (JSON, nested ``children``), its structure table (CSV), and
BrainGlobe's ``structures.json`` and ``structures.csv``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_dinov3.errors import FileFormatError
from napari_dinov3.io.text import read_json, read_rows

Colour = tuple[int, int, int]
_COLOURS = ("color_hex_triplet", "colour", "color", "rgb_triplet", "rgb")


@dataclass(frozen=True, slots=True)
class LabelName:
    """What an id stands for.

    Parameters
    ----------
    name : str
        Such as ``"Primary motor area"``.
    acronym : str
        Such as ``"MOp"``; empty where there is none.
    colour : (3,) ints, optional
        Red, green and blue, 0..255.
    parent : int, optional
        Id of the region it is a part of.
    """

    name: str
    acronym: str = ""
    colour: Colour | None = None
    parent: int | None = None


Legend = Mapping[int, LabelName]


def read_legend(path: Path) -> Legend:
    """Read names and colours of ids.

    Parameters
    ----------
    path : Path
        ``.json`` or ``.csv``.

    Raises
    ------
    FileFormatError
        If it is something else, or names no id.
    """
    rows = read_rows(path) if path.suffix.lower() == ".csv" else list(_nodes(read_json(path)))
    legend = {}
    for row in rows:
        number = _whole(row.get("id"))
        name = row.get("name") or row.get("safe_name") or row.get("acronym")
        if number is not None and name:
            legend[number] = LabelName(str(name), str(row.get("acronym") or ""), _colour(row), _parent(row))
    if not legend:
        raise FileFormatError(
            f"{path.name} names no ids", "a table or tree of structures with id, name and colour", "Choose another file"
        )
    return legend


def find_legend(folder: Path) -> Path | None:
    """Find the one file of a folder that is named as ontologies are."""
    pattern = re.compile(r"(structure|ontolog|1\.json$|query\.csv$)", re.IGNORECASE)
    try:
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".json", ".csv") and pattern.search(p.name))
    except OSError:
        return None
    return next((p for p in found if p.suffix.lower() == ".json"), found[0] if found else None)


def _nodes(content: Any) -> Iterator[Mapping[str, Any]]:
    """Walk a tree of any depth without recursion."""
    pending = [content.get("msg", content) if isinstance(content, dict) else content]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        elif isinstance(item, dict):
            yield item
            children = item.get("children")
            pending.extend([children] if isinstance(children, list) else [])


def _whole(value: Any) -> int | None:
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if 0 <= number < 2**64 else None


def _colour(row: Mapping[str, Any]) -> Colour | None:
    value = next((row[name] for name in _COLOURS if row.get(name)), None)
    if value is None and all(name in row for name in ("red", "green", "blue")):
        value = [row["red"], row["green"], row["blue"]]
    if isinstance(value, str) and re.fullmatch(r"#?[0-9A-Fa-f]{6}", value.strip()):
        digits = value.strip().lstrip("#")
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, list) and len(value) == 3:
        parts = [_whole(part) for part in value]
        red, green, blue = parts
        if red is not None and green is not None and blue is not None and max(red, green, blue) <= 255:
            return red, green, blue
    return None


def _parent(row: Mapping[str, Any]) -> int | None:
    stated = _whole(row.get("parent_structure_id"))
    if stated is not None:
        return stated
    path = row.get("structure_id_path")
    parts = path if isinstance(path, list) else [part for part in str(path or "").split("/") if part]
    return _whole(parts[-2]) if len(parts) > 1 else None
