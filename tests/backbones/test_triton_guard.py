"""Triton is kept out where it would crash napari, and nowhere else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from napari_dinov3.backbones import triton_guard

MESA = "7f00-7f01 r-xp 0 fd:00 1 /usr/lib/x86_64-linux-gnu/libLLVM-15.so.1\n"
NVIDIA = "7f00-7f01 r-xp 0 fd:00 1 /usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.0\n"


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the system says is loaded, in a process without Triton."""
    monkeypatch.setattr(triton_guard, "_MAPS", tmp_path / "maps")
    monkeypatch.setitem(sys.modules, "triton", sys)  # put back what was there
    del sys.modules["triton"]
    return tmp_path / "maps"


def test_it_is_kept_out_beside_the_llvm_of_mesa(loaded: Path) -> None:
    loaded.write_text(NVIDIA + MESA)
    assert triton_guard.keep_triton_out()
    assert importlib.util.find_spec("triton") is None
    with pytest.raises(ImportError):
        importlib.import_module("triton")
    assert triton_guard.keep_triton_out()


def test_it_may_come_where_there_is_no_other_llvm(loaded: Path) -> None:
    assert not triton_guard.keep_triton_out()  # another system
    loaded.write_text(NVIDIA)
    assert not triton_guard.keep_triton_out()
    assert "triton" not in sys.modules


def test_one_that_is_loaded_already_stays(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded.write_text(MESA)
    monkeypatch.setitem(sys.modules, "triton", sys)
    assert not triton_guard.keep_triton_out()
    assert sys.modules["triton"] is sys
