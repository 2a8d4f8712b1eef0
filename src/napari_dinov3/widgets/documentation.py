"""Where the documentation of the panels is: at the address the package names, or in the checkout it runs from."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

PAGE = Path("docs") / "napari.md"


def documentation_url(root: Path | None = None) -> str:
    """Find the documentation.

    Parameters
    ----------
    root : Path, optional
        Of a checkout; by default the one this file lies in, if it lies in one.

    Returns
    -------
    url : str
        Of a web page, or of a file; empty where neither is known.
    """
    named = _named_url()
    if named:
        return named
    page = (Path(__file__).parents[3] if root is None else root) / PAGE
    return page.resolve().as_uri() if page.is_file() else ""


def _named_url() -> str:
    try:
        entries = metadata("napari-dinov3").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    urls = dict(str(entry).split(", ", 1) for entry in entries if ", " in str(entry))
    return urls.get("Documentation", "")
