"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# set by scripts/virtual_screen.py: "none" where there is neither a screen nor Xvfb, "no-qt" where Qt or napari cannot load either
_SCREEN = os.environ.get("NAPARI_DINOV3_SCREEN", "")
_NEEDS_VIEWER = {"make_napari_viewer", "make_napari_viewer_proxy"}
_NEEDS_QT = _NEEDS_VIEWER | {"qapp", "qtbot", "qtmodeltester"}

collect_ignore = ["_napari", "widgets"] if _SCREEN == "no-qt" else []

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Find a folder of real images beside the checkout, or skip."""

    def find(folder: str) -> Path:
        path = _SHARED / folder
        if not path.exists():
            pytest.skip(f"real images are not here: shared/data/{folder}")
        return path

    return find


@pytest.fixture(autouse=True)
def own_caches(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep tests out of the user's caches: none sees weights that happen to be on the computer, nor writes beside them."""
    folder = tmp_path_factory.getbasetemp() / "caches"
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(folder / "own"))
    monkeypatch.delenv("NAPARI_DINOV3_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a screen where there is none, so that everything else can still be checked."""
    lacking = {"none": _NEEDS_VIEWER, "no-qt": _NEEDS_QT}.get(_SCREEN, set())
    skip = pytest.mark.skip(reason="there is no screen here, not even a virtual one")
    for item in items:
        if lacking.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(skip)
