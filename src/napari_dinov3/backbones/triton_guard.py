"""Keep Triton out of a process in which loading it would end everything.

PyTorch for NVIDIA cards brings Triton, which transformers loads on the way although nothing here uses it. Triton carries an LLVM
of its own; where Mesa draws (software OpenGL on virtual and remote desktops, AMD and Intel graphics) another one is loaded
already, and the second crashes the process with napari in it. PyTorch and transformers do without Triton where it is not there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_MAPS = Path("/proc/self/maps")  # Linux, which alone has Triton


def keep_triton_out() -> bool:
    """Make ``import triton`` an ImportError where Mesa's LLVM is loaded and Triton is not; before transformers is imported.

    Returns
    -------
    kept_out : bool
        Whether it is kept out now; it stays so for the life of the process, since it would crash later just as well.
    """
    modules: dict[str, Any] = sys.modules
    if "triton" not in modules and _MAPS.is_file() and "/libLLVM" in _MAPS.read_text(errors="replace"):
        modules["triton"] = None
    return "triton" in modules and modules["triton"] is None
