"""What commands write to a terminal: a progress bar on standard error, tables and lines on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from napari_dinov3.progress import Job, Progress, collect

T = TypeVar("T")
_TICKS = 1000


def run_job(job: Job[T], *, title: str = "") -> T:
    """Run a job to its end under a progress bar.

    Parameters
    ----------
    job : generator
        Any ``*_steps`` function, already called.
    title : str
        Stands before the bar.
    """
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed}<{remaining} {postfix}"
    with tqdm(total=_TICKS, desc=title, bar_format=layout, file=sys.stderr, dynamic_ncols=True, leave=False, disable=None) as bar:

        def show(event: Progress) -> None:
            bar.set_postfix_str(event.message, refresh=False)
            bar.update(round(event.fraction * _TICKS) - bar.n)

        return collect(job, show)


def say(text: str = "") -> None:
    """Write a line of a result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line about the work, not of the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay rows out in columns.

    Parameters
    ----------
    rows : sequence of dict
        With the same keys, which are the headings; numbers stand right, texts left.
    """
    if not rows:
        return ""
    heads = list(rows[0])
    numeric = {h for h in heads if all(isinstance(row[h], int | float) for row in rows)}
    cells = [[_text(row[h]) for h in heads] for row in rows]
    widths = [max(len(h), *(len(line[i]) for line in cells)) for i, h in enumerate(heads)]
    lines = [heads, ["-" * w for w in widths], *cells]

    def aligned(text: str, width: int, head: str) -> str:
        return text.rjust(width) if head in numeric else text.ljust(width)

    return "\n".join("  ".join(aligned(c, w, h) for c, w, h in zip(line, widths, heads, strict=True)).rstrip() for line in lines)


def size_text(count: float) -> str:
    """Say a number of bytes in words, decimal."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
