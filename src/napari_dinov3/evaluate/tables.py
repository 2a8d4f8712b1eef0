"""Rows of results as text: NaN, a measure without cases, becomes an empty cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_dinov3.evaluate.metrics import format_table
from napari_dinov3.io.tables import to_csv


def rows_to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows with the same keys as comma-separated text with a header."""
    return to_csv([{key: None if value != value else value for key, value in row.items()} for row in rows])


def rows_to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows with the same keys as a Markdown table; floats to three digits."""
    if not rows:
        return ""
    heads = list(rows[0])
    return format_table(heads, [["" if row[head] != row[head] else row[head] for head in heads] for row in rows])
