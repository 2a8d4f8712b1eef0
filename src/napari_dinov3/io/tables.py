"""Tables as CSV, JSON and Markdown.

A table is a list of rows (mappings with the same keys) or a mapping of columns of equal length.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_dinov3.errors import InputError
from napari_dinov3.io.atomic import check_target, write_text


class Measured(Protocol):
    """A table that knows its units and how it was made, such as that of objects."""

    provenance: Mapping[str, Any]

    def named(self) -> Mapping[str, Any]:
        """Give the columns with their units in the names."""


def write_table(path: Path, data: Any, *, provenance: Mapping[str, Any] | None = None, overwrite: bool = False) -> Path:
    """Write a table as ``.csv``, or anything JSON can hold as ``.json``.

    Parameters
    ----------
    path : Path
        Its ending decides.
    data : rows, columns, or a :class:`Measured`
        What.
    provenance : mapping, optional
        How it was made. Spreadsheets know no comments, so beside a CSV file it lies in a file of the same name plus ``.json``;
        a JSON file holds it beside the table.
    overwrite : bool
        Replace what is there.
    """
    if hasattr(data, "named"):
        provenance, data = provenance or data.provenance, data.named()
    if path.suffix.lower() != ".csv":
        return write_text(path, to_json({"provenance": provenance, "table": data} if provenance else data), overwrite=overwrite)
    beside = path.with_name(f"{path.name}.json")
    if provenance:
        check_target(beside, overwrite=overwrite)
    written = write_text(path, to_csv(data), overwrite=overwrite)
    if provenance:
        write_text(beside, to_json(provenance), overwrite=overwrite)
    return written


def to_csv(table: Any) -> str:
    """Write a table as comma-separated values with a header line.

    A cell that a spreadsheet would take for a formula is written with a leading apostrophe.
    """
    rows = as_rows(table)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def to_json(data: Any) -> str:
    """Write JSON; numpy values become plain ones, numbers that are not finite become null."""
    return json.dumps(_jsonable(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(table: Any) -> str:
    """Write a table as Markdown, numbers with four significant digits."""
    rows = as_rows(table)
    if not rows:
        return ""
    heads = list(rows[0])
    cells = [[_short(row[head]) for head in heads] for row in rows]
    widths = [max(3, len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(heads)]
    lines = [heads, ["-" * w for w in widths], *cells]
    return "".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |\n" for line in lines)


def as_rows(table: Any) -> list[dict[str, Any]]:
    """See a table as a list of rows.

    Raises
    ------
    InputError
        If it is neither rows nor columns, or they do not match.
    """
    if isinstance(table, Mapping):
        columns = {str(k): list(v) for k, v in table.items() if isinstance(v, Iterable) and not isinstance(v, str)}
        if len(columns) == len(table) and len({len(c) for c in columns.values()}) <= 1:
            return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    elif isinstance(table, Sequence) and all(isinstance(row, Mapping) for row in table):
        rows = [{str(k): v for k, v in row.items()} for row in table]
        if all(row.keys() == rows[0].keys() for row in rows):
            return rows
    raise InputError(
        f"A table of type {type(table).__name__} that is neither rows nor columns",
        "a list of mappings with the same keys, or a mapping of columns of equal length",
        "Bring it to one of these forms, or write .json",
    )


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value


def _short(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
