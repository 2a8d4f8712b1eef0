"""Text and JSON files of others: read whole, but never more than a sane amount."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from napari_dinov3.errors import FileFormatError

_MOST_BYTES = 256 << 20


def read_text(path: Path, *, most: int = _MOST_BYTES) -> str:
    """Read a UTF-8 text file.

    Raises
    ------
    FileFormatError
        If it is larger than `most` bytes, cannot be read, or is no text.
    """
    try:
        size = path.stat().st_size
        if size > most:
            raise FileFormatError(f"{path.name} has {size:,} bytes", f"a text of at most {most:,}", "Check what file it is")
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path.name} cannot be read as text: {error}", "a text file", "Copy it again") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    FileFormatError
        If it is too large or no JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path.name} cannot be read as JSON: {error}", "a whole JSON file", "Copy it again") from error


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header line.

    Raises
    ------
    FileFormatError
        If it is too large or no table.
    """
    try:
        return [{str(k): str(v) for k, v in row.items() if k is not None} for row in csv.DictReader(read_text(path).splitlines())]
    except csv.Error as error:
        raise FileFormatError(f"{path.name} cannot be read as a table: {error}", "a CSV file", "Save it again") from error
