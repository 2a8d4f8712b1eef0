"""The link to the documentation leads somewhere, or is not shown."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from napari_dinov3.widgets import documentation, panel
from napari_dinov3.widgets.features.panel import FeaturesPanel


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
def test_the_panel_shows_a_button_where_there_is_something_to_open(
    url: str, panel_of: Callable[[type], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel, "documentation_url", lambda: url)
    assert panel_of(FeaturesPanel).docs_button.isHidden() == (not url)


@pytest.mark.parametrize("opens", [True, False])
def test_the_button_opens_it_or_says_where_it_is(
    opens: bool, panel_of: Callable[[type], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_url(url: Any) -> bool:
        opened.append(url.toString())
        return opens

    monkeypatch.setattr(panel, "documentation_url", lambda: "https://example.org/docs")
    monkeypatch.setattr(panel.QDesktopServices, "openUrl", open_url)
    features = panel_of(FeaturesPanel)
    features.docs_button.click()
    assert opened == ["https://example.org/docs"]
    assert ("https://example.org/docs" in features.status.text()) == (not opens)
