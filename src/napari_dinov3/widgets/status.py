"""What a panel has to say: ready, working, done, cancelled, or an error in three parts. Always in words, never colour alone."""

from __future__ import annotations

from html import escape
from typing import Literal

from napari_dinov3.errors import InputError
from napari_dinov3.progress import Progress

State = Literal["ready", "blocked", "running", "done", "cancelled", "error", "warning"]

_HEADINGS: dict[State, str] = {
    "ready": "Ready.",
    "blocked": "Cannot run yet:",
    "running": "Working:",
    "done": "✓ Done.",
    "cancelled": "■ Cancelled.",
    "error": "✕ Error:",
    "warning": "⚠ Note:",
}


def status_html(state: State, message: str = "") -> str:
    """Write a status line as rich text: a bold word that names the state, then the message."""
    return f"<b>{_HEADINGS[state]}</b> {escape(message).replace(chr(10), '<br>')}".strip()


def error_text(error: Exception) -> str:
    """Write an error for people, one part a line: what was wrong, what was expected, what to do."""
    if isinstance(error, InputError):
        return f"{_stop(error.problem)}\nExpected: {_stop(error.expected)}\nWhat to do: {_stop(error.action)}"
    detail = str(error) or type(error).__name__
    return (
        f"{type(error).__name__}: {_stop(detail)}\nExpected: the task to run to its end.\n"
        "What to do: check the input image and settings; the full traceback is in the terminal that napari was started from."
    )


def progress_text(event: Progress) -> str:
    """Write a progress event: what is being done, and how far."""
    return event.message or f"step {event.done} of {event.total}"


def _stop(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
