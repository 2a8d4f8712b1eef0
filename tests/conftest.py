"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
