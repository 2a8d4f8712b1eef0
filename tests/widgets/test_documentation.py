"""The link to the documentation leads somewhere, or is not shown."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from napari_dinov3.widgets import documentation, panel
from napari_dinov3.widgets.features import FeaturesPanel


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Message:
    """Stand-in for the package's metadata."""
    message = Message()
    monkeypatch.setattr(documentation, "metadata", lambda name: message)
    return message


def test_the_address_in_the_metadata_comes_first(described: Message) -> None:
    described["Project-URL"] = "Source, https://example.org/source"
    described["Project-URL"] = "Documentation, https://example.org/docs"
    assert documentation.documentation_url() == "https://example.org/docs"


def test_else_the_page_of_the_checkout_and_else_nothing(described: Message, tmp_path: Path) -> None:
    assert documentation.documentation_url(tmp_path) == ""
    page = tmp_path / "docs" / "napari.md"
    page.parent.mkdir()
    page.write_text("panels")
    assert documentation.documentation_url(tmp_path) == page.resolve().as_uri()


@pytest.mark.parametrize("url", ["https://example.org/docs", ""])
def test_the_panel_links_to_it(url: str, panel_of: Callable[[type], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "documentation_url", lambda: url)
    link = panel_of(FeaturesPanel).docs_link
    assert link.isHidden() == (not url)
    assert url in link.text()
    assert link.openExternalLinks()
