"""Read weights from disk, whichever of the three formats they are in, and fill a network with them, strictly.

A transformers folder (``config.json`` and safetensors, also in shards), a Meta ``.pth`` state dict and a timm
``model.safetensors`` are told apart by the names of their tensors, not by the name of the file. Pickles are read with
``weights_only=True``: no code in a file is ever run. Every tensor must be there, in its shape, and none may be left over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinov3.backbones.dinov3_models import ModelSpec
from napari_dinov3.backbones.keymaps import Layout, Mapped, recognise, strip_prefix, to_transformers
from napari_dinov3.backbones.sources import cache_folder
from napari_dinov3.errors import FileFormatError, InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_CHUNK = 1 << 22
_SAMPLED = 4096  # numbers of each tensor that enter the fingerprint
_SHOWN = 5  # tensors named in a message
_DOWNLOAD_AGAIN = "Delete the file and get it again, or choose another one"
_NOTES = "weights.json"
_MASK_TOKEN = "embeddings.mask_token"  # used in training alone; timm leaves it out


@dataclass(frozen=True, slots=True)
class Identity:
    """What weights are, known without reading them twice.

    Parameters
    ----------
    layout : {"transformers", "meta", "timm"}
        Which format they came in.
    sha256 : str
        Of the file; of a folder's weight files one after the other.
    fingerprint : str
        12 hexadecimal digits of the weights themselves: the same whichever format they came in.
    """

    layout: Layout
    sha256: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights as read, under transformers' names.

    Parameters
    ----------
    path : Path
        File or folder.
    identity : Identity
        Format and hashes.
    mapped : Mapped
        The tensors.
    """

    path: Path
    identity: Identity
    mapped: Mapped = field(repr=False)


def weight_files(path: Path) -> tuple[Path, ...]:
    """List the files that hold the tensors of a checkpoint file or folder.

    Raises
    ------
    FileFormatError
        If there is nothing at `path`, or a folder has no weights or lacks one of its shards.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise FileFormatError(f"There is nothing at {path}", "a weights file or a folder with one", "Check the path")
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in shards if not (path / name).is_file()]
        if missing:
            raise FileFormatError(
                f"{path} lacks {', '.join(missing)}", f"all {len(shards)} files that its index lists", _DOWNLOAD_AGAIN
            )
        return tuple(path / name for name in shards)
    single = path / "model.safetensors"
    if single.is_file():
        return (single,)
    others = sorted([*path.glob("*.safetensors"), *path.glob("*.pth")])
    if len(others) != 1:
        found = ", ".join(file.name for file in others) or "no weights"
        raise FileFormatError(
            f"{path} holds {found}", "one model.safetensors or one .pth file", "Give the path of the file itself"
        )
    return (others[0],)


def sha256_of(files: tuple[Path, ...]) -> str:
    """Hash files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_CHUNK):
                digest.update(block)
    return digest.hexdigest()


def read_checkpoint(path: str | Path, spec: ModelSpec) -> Checkpoint:
    """Read a checkpoint of a known network.

    Parameters
    ----------
    path : path
        File or folder.
    spec : ModelSpec
        The network it should be.

    Raises
    ------
    FileFormatError
        If it cannot be read, is damaged, or is no DINOv3 network of this family.
    """
    path = Path(path).expanduser()
    files = weight_files(path)
    sha256 = sha256_of(files)
    _check_meta_tag(files, sha256)
    state: dict[str, Tensor] = {}
    for file in files:
        state.update(_read_file(file))
    state = strip_prefix(state)
    found = recognise(state)
    if found is None or found[1] != spec.family:
        what = "no DINOv3 network" if found is None else f"a {found[1]} network"
        raise FileFormatError(
            f"{path} holds {what} (first tensors: {_listed(sorted(state))})",
            f"the weights of {spec.label}",
            "Choose the file of this model, or the model of this file",
        )
    mapped = to_transformers(state, *found)
    identity = Identity(found[0], sha256, fingerprint(mapped.tensors))
    _remember(files, identity)
    return Checkpoint(path, identity, mapped)


def identify(path: str | Path, spec: ModelSpec) -> Identity:
    """Tell what the weights at a path are, from what was noted when they were last read if they have not changed since.

    So a stored feature map is found again without loading torch.
    """
    files = weight_files(Path(path).expanduser())
    noted = _noted().get(_stamp(files))
    if isinstance(noted, list) and len(noted) == 3:
        return Identity(*noted)
    return read_checkpoint(path, spec).identity


def find_noted(fingerprint: str) -> Path | None:
    """Find weights by what they are, wherever they were last read from; None where they are gone or have changed since.

    Parameters
    ----------
    fingerprint : str
        Of an :class:`Identity`.
    """
    for stamp, noted in reversed(_noted().items()):
        if not isinstance(noted, list) or noted[-1:] != [fingerprint]:
            continue
        files = tuple(Path(part.rsplit(":", 2)[0]) for part in stamp.split("|"))
        if all(file.is_file() for file in files) and _stamp(files) == stamp:
            return files[0] if len(files) == 1 else files[0].parent
    return None


def _stamp(files: tuple[Path, ...]) -> str:
    """Place, size and time of change of each file."""
    stats = [(str(file.resolve()), file.stat()) for file in files]
    return "|".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats)


def _noted() -> dict[str, Any]:
    path = cache_folder() / _NOTES
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _remember(files: tuple[Path, ...], identity: Identity) -> None:
    """Note an identity for :func:`identify`; a cache that cannot be written costs time, no more."""
    path = cache_folder() / _NOTES
    notes = _noted()
    notes[_stamp(files)] = [identity.layout, identity.sha256, identity.fingerprint]
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(notes, indent=1), encoding="utf-8")
        os.replace(fresh, path)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Identify weights by names, shapes and up to 4096 evenly spaced float32 numbers of each tensor.

    Biases that are zero throughout count as absent, so that the three formats of one network agree.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        flat = tensors[name].detach().reshape(-1)
        values = flat[:: max(1, flat.numel() // _SAMPLED)].float()
        if name == _MASK_TOKEN or (name.endswith(".bias") and not bool(values.any())):
            continue
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(values.contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()[:12]


def fill(network: nn.Module, checkpoint: Checkpoint, spec: ModelSpec, *, linear_dtype: torch.dtype | None = None) -> None:
    """Put a checkpoint's tensors in a network, strictly.

    Parameters
    ----------
    network : DINOv3ViTModel or DINOv3ConvNextModel
        On any device, the meta device too: parameters are replaced, not copied into.
    checkpoint, spec
        The weights, and the network they should be of.
    linear_dtype : torch.dtype, optional
        Of the weights of matrix products (bfloat16 halves the memory and spares a cast a pass); all else is float32.

    Raises
    ------
    FileFormatError
        Naming the tensors that are missing, left over or of the wrong shape.
    """
    import torch

    wanted = {name.removeprefix("model."): (name, tensor) for name, tensor in network.state_dict().items()}
    tensors, source = dict(checkpoint.mapped.tensors), checkpoint.mapped.source
    for name, (_, tensor) in wanted.items():
        if name not in tensors and (name == _MASK_TOKEN or _is_zero_bias(name, checkpoint.identity.layout)):
            tensors[name] = torch.zeros(tensor.shape)
    missing = sorted(set(wanted) - set(tensors))
    extra = sorted([*checkpoint.mapped.unknown, *{source[name] for name in set(tensors) - set(wanted)}])
    wrong = [
        f"{source[name]} {tuple(tensors[name].shape)} instead of {tuple(wanted[name][1].shape)}"
        for name in sorted(set(wanted) & set(tensors))
        if tensors[name].shape != wanted[name][1].shape
    ]
    faults = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("not part of it", extra), ("wrong shape", wrong))
        if names
    ]
    if faults:
        what = f"{checkpoint.path} ({checkpoint.identity.layout} layout)"
        raise FileFormatError(
            f"{what} does not fit {spec.label}; {'; '.join(faults)}",
            "every tensor of the network, in its shape, and none beside them",
            "Choose the file of this model, or the model of this file",
        )
    linear = {name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    full = {}
    for name, tensor in tensors.items():
        inside = wanted[name][0]
        dtype = linear_dtype if linear_dtype is not None and inside.rpartition(".")[0] in linear else torch.float32
        full[inside] = tensor.to(dtype)
    network.load_state_dict(full, strict=True, assign=True)


def _is_zero_bias(name: str, layout: Layout) -> bool:
    """Whether a file may leave this tensor out: timm drops query and value biases where all are zero."""
    return layout == "timm" and re.fullmatch(r"layer\.\d+\.attention\.[qv]_proj\.bias", name) is not None


def _read_file(file: Path) -> dict[str, Tensor]:
    """Read one file's tensors without running any code in it."""
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    import torch

    try:
        loaded: Any = _torch_load(file)
    except Exception as error:  # torch raises pickle, zip, runtime, end-of-file and value errors for damaged files
        if isinstance(error, MemoryError | PermissionError):
            raise
        raise FileFormatError(
            f"{file} cannot be read as PyTorch weights: {_why_unreadable(file)}",
            "an undamaged state dict of tensors alone",
            _DOWNLOAD_AGAIN,
        ) from error
    for key in ("teacher", "model", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise FileFormatError(
            f"{file} holds a {type(loaded).__name__} with other things than tensors",
            "a state dict",
            "Save the network's state_dict(), or choose another file",
        )
    return loaded


def _why_unreadable(file: Path) -> str:
    """Say in a few words what is wrong; torch's own answer advises to run the code that may be in the file."""
    import zipfile

    with file.open("rb") as stream:
        begins_as_zip = stream.read(2) == b"PK"
    if begins_as_zip and not zipfile.is_zipfile(file):
        return f"it is truncated or damaged (its index, at the end of {file.stat().st_size / 1e6:,.1f} MB, is not there)"
    return "it is damaged, or holds other things than tensors, which are not loaded because they may run code"


def _torch_load(file: Path) -> Any:
    import zipfile

    import torch

    # memory-mapping, so that a network larger than memory in float32 can be read, works for the zip format alone
    return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(
            f"{file.name} is a safetensors file", "the package safetensors installed", 'Run: pip install "napari-dinov3[dinov3]"'
        ) from error
    try:
        tensors: dict[str, Tensor] = load_file(file, device="cpu")
    except SafetensorError as error:
        raise FileFormatError(
            f"{file} is damaged or truncated ({_first_line(error)})", "a complete safetensors file", _DOWNLOAD_AGAIN
        ) from error
    return tensors


def _check_meta_tag(files: tuple[Path, ...], sha256: str) -> None:
    """Compare with the first eight digits of the hash that Meta puts in its file names."""
    tagged = re.fullmatch(r"dinov3_\w+-([0-9a-f]{8})\.pth", files[0].name)
    if tagged and len(files) == 1 and not sha256.startswith(tagged[1]):
        raise FileFormatError(
            f"{files[0]} has SHA-256 {sha256[:8]}..., so it is damaged or changed",
            f"{tagged[1]}..., as its name says",
            f"{_DOWNLOAD_AGAIN}; a file changed on purpose needs a name without those digits",
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
