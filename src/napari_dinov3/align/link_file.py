"""Links kept in a file while a stack is matched, so that a run that was cancelled, or crashed, goes on where it was.

One line of JSON a link; the first line says of which stack. A file of another stack, or of other settings, is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.links import Link
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.errors import FileFormatError

FORMAT = "napari-dinov3 links"


def field_to_json(field: SplineField | None) -> dict[str, Any] | None:
    """Write a displacement as plain JSON values."""
    if field is None:
        return None
    return {"coefficients": field.coefficients.tolist(), "spacing": field.spacing, "origin": field.origin}


def field_from_json(content: dict[str, Any] | None) -> SplineField | None:
    """Read what :func:`field_to_json` wrote."""
    if content is None:
        return None
    return SplineField(np.array(content["coefficients"], np.float64), content["spacing"], content["origin"])


def link_to_json(link: Link) -> dict[str, Any]:
    """Write a link as plain JSON values."""
    return {
        "first": link.first,
        "second": link.second,
        "matrix": link.matrix.tolist(),
        "match": dataclasses.asdict(link.match),
        "field": field_to_json(link.field),
    }


def link_from_json(content: dict[str, Any]) -> Link:
    """Read what :func:`link_to_json` wrote."""
    return Link(
        int(content["first"]),
        int(content["second"]),
        np.array(content["matrix"], np.float64).reshape(3, 3),
        MatchQuality(**content["match"]),
        field=field_from_json(content.get("field")),
    )


class LinkFile(MutableMapping[tuple[int, int], Link]):
    """Links by ``(first, second)``, each written to a file at once.

    Parameters
    ----------
    path : str or Path
        ``.jsonl`` file; made if it is not there, continued if it is.
    about : mapping
        What the links depend on (shape of the stack, model ...); must be the same when the file is continued.

    Raises
    ------
    FileFormatError
        If the file is something else, or of another stack.
    """

    def __init__(self, path: str | Path, about: dict[str, Any]) -> None:
        self.path = Path(path)
        self._links: dict[tuple[int, int], Link] = {}
        first = json.dumps({"format": FORMAT, "about": about}, sort_keys=True)
        if self.path.exists() and self.path.stat().st_size:
            self._continue(first)
        else:
            self.path.write_text(first + "\n", encoding="utf-8")

    def _continue(self, expected: str) -> None:
        text = self.path.read_text(encoding="utf-8")
        lines = text.split("\n")
        if lines[0] != expected:
            raise FileFormatError(
                f"{self.path} does not hold links of this stack and these settings",
                "the file of the run that is to be resumed",
                "Choose another file, or delete it to begin again",
            )
        whole = [line for line in lines[1:-1] if line]  # what follows the last line end was cut off by a crash
        for line in whole:
            link = link_from_json(json.loads(line))
            self._links[link.first, link.second] = link
        if lines[-1]:
            self.path.write_text("\n".join([expected, *whole]) + "\n", encoding="utf-8")

    def __getitem__(self, key: tuple[int, int]) -> Link:
        return self._links[key]

    def __setitem__(self, key: tuple[int, int], link: Link) -> None:
        self._links[key] = link
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(link_to_json(link)) + "\n")

    def __delitem__(self, key: tuple[int, int]) -> None:
        raise TypeError("links are only added; begin a new file to match again")

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)
