"""Where a network runs, how precisely, and how much fits: chosen by asking the machine, not the user.

bfloat16 is used where the processor multiplies it natively (its features agree with float32 to a cosine above 0.999), and
nowhere else: emulated, it is slower than float32. float16 is never used; DINOv3's activations overflow it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from napari_dinov3.errors import InputError

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
_FALLBACK_BYTES = 4e9  # where the system does not tell what is free


def check_choice(device: str, precision: str) -> tuple[str, str]:
    """Refuse names that no computer has, without loading torch to ask this one.

    Raises
    ------
    InputError
        For an unknown device or precision.
    """
    if device.partition(":")[0] not in get_args(Device):
        raise InputError(
            f"device={device!r}", f"one of {', '.join(get_args(Device))}, or a card such as 'cuda:1'", "Choose one of these"
        )
    if precision not in get_args(Precision):
        raise InputError(
            f"precision={precision!r}",
            f"one of {', '.join(get_args(Precision))}; float16 overflows in DINOv3",
            "Choose one of these",
        )
    return device, precision


def choose_device(device: str = "auto") -> str:
    """Resolve a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}
        ``"auto"``: CUDA, else Apple's MPS, else the processor.

    Raises
    ------
    InputError
        If the device is unknown or not there.
    """
    from napari_dinov3.backbones.triton_guard import keep_triton_out

    keep_triton_out()  # every use of torch begins with this function; its optimisers load Triton too
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if present[name])
    kind, _, index = device.partition(":")
    number_fits = not index or (kind == "cuda" and index.isdigit() and int(index) < torch.cuda.device_count())
    if kind not in get_args(Device) or not present.get(kind, False) or not number_fits:
        there = ", ".join(name for name, here in present.items() if here)
        raise InputError(
            f"device={device!r}", f"one that PyTorch sees on this computer: {there}", "Choose one of these, or device='auto'"
        )
    return device


def choose_precision(device: str, precision: str = "auto") -> Literal["float32", "bfloat16"]:
    """Resolve a precision on a device.

    Parameters
    ----------
    device : str
        From :func:`choose_device`.
    precision : {"auto", "float32", "bfloat16"}
        ``"auto"``: bfloat16 where it is native.
    """
    check_choice("auto", precision)
    if precision == "auto":
        return "bfloat16" if native_bfloat16(device) else "float32"
    return "float32" if precision == "float32" else "bfloat16"


def native_bfloat16(device: str) -> bool:
    """Ask whether a device multiplies bfloat16 in hardware."""
    import torch

    if device.startswith("cuda"):
        major, _ = torch.cuda.get_device_capability(device)
        return bool(major >= 8)  # Ampere; older cards emulate it
    if device == "cpu":
        return bool(_cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    return False


def has_tiles() -> bool:
    """Whether the processor multiplies bfloat16 in tile registers (AMX), which PyTorch's fused attention then uses."""
    return "amx_bf16" in _cpu_flags()


def _cpu_flags() -> set[str]:
    """Instruction sets of the processor, from PyTorch where it tells them, else from Linux."""
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        return {name.removeprefix("arm_") for name, here in ask().items() if here is True}
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return set()
    flags = [line.partition(":")[2].split() for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))]
    return set(flags[0]) if flags else set()


def free_bytes(device: str) -> float:
    """Ask how much memory a device has left, in bytes."""
    import torch

    if device.startswith("cuda"):
        # what PyTorch holds in reserve but does not use is free to us
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + reserve)
    if device == "mps":
        return float(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return _free_ram()


def _free_ram() -> float:
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _FALLBACK_BYTES


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a lack of memory from other errors, on every device."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def release(device: str) -> None:
    """Give cached memory of a device back after a failed attempt."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
