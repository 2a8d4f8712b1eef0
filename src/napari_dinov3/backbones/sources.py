"""Find a network's weights on this computer; never reach for the network.

Order, where the user does not choose one source: a file or folder of the user's own (pointed at; in the folders of
``NAPARI_DINOV3_WEIGHTS``; Meta's files in PyTorch's hub cache), the local Hugging Face cache, what was downloaded from the
ungated mirror, what was downloaded from Meta's gated repositories. Neither torch nor huggingface_hub is needed to look.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from napari_dinov3.backbones.dinov3_models import LICENCE, SPECS, ModelSpec
from napari_dinov3.errors import InputError

Source = Literal["auto", "folder", "cache", "mirror", "meta"]
Repository = Literal["mirror", "meta"]
WEIGHTS_VARIABLE = "NAPARI_DINOV3_WEIGHTS"
CACHE_VARIABLE = "NAPARI_DINOV3_CACHE"

# What "auto" takes when several are there: good features within a minute on a laptop first, the giants last.
_PREFERENCE = (
    "dinov3-vits16plus",
    "dinov3-vits16",
    "dinov3-vitb16",
    "dinov3-vitl16",
    "dinov3-convnext-tiny",
    "dinov3-convnext-small",
    "dinov3-convnext-base",
    "dinov3-convnext-large",
    "dinov3-vitl16-sat",
    "dinov3-vith16plus",
    "dinov3-vit7b16",
    "dinov3-vit7b16-sat",
)


@dataclass(frozen=True, slots=True)
class Found:
    """Weights on this computer: the file or folder, and which of the places it was in."""

    path: Path
    source: Source


def cache_folder() -> Path:
    """Folder for what this package keeps between runs: ``NAPARI_DINOV3_CACHE``, else the system's place for caches."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "napari-dinov3" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "napari-dinov3"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "napari-dinov3"


def download_folder(spec: ModelSpec, repository: Repository = "mirror") -> Path:
    """Folder that this package downloads a network to; each repository has its own, since their formats differ."""
    return cache_folder() / "weights" / (spec.name if repository == "mirror" else f"{spec.name}-{repository}")


def find_weights(spec: ModelSpec, *, source: Source = "auto") -> Found | None:
    """Look for the weights of a network.

    Parameters
    ----------
    spec : ModelSpec
        The network.
    source : str
        One place alone, or ``"auto"`` for all of them in order.

    Returns
    -------
    found : Found or None
        The first complete set of files; their content is checked only when they are loaded.
    """
    places: tuple[tuple[Source, Callable[[], Path | None]], ...] = (
        ("folder", lambda: _in_user_folders(spec) or _in_torch_hub(spec)),
        ("cache", lambda: _in_hugging_face_cache(spec, (spec.mirror, spec.meta_repo))),
        ("mirror", lambda: _downloaded(spec, "mirror")),
        ("meta", lambda: _downloaded(spec, "meta")),
    )
    for name, look in places:
        if source in ("auto", name) and (path := look()) is not None:
            return Found(path, name)
    # a repository that was asked for by name may also lie in the Hugging Face cache
    if source in ("mirror", "meta"):
        path = _in_hugging_face_cache(spec, (spec.mirror if source == "mirror" else spec.meta_repo,))
        return None if path is None else Found(path, source)
    return None


def require_weights(spec: ModelSpec, weights: str | Path | None = None, *, source: Source = "auto") -> Path:
    """Find the weights or say how to get them.

    Parameters
    ----------
    spec : ModelSpec
        The network.
    weights : path, optional
        A file or folder to use instead of looking.
    source : str
        As in :func:`find_weights`.

    Raises
    ------
    InputError
        If there are none.
    """
    if source not in get_args(Source):
        raise InputError(f"source={source!r}", f"one of {', '.join(get_args(Source))}", "Choose one of these")
    if weights is not None:
        return Path(weights).expanduser()
    found = find_weights(spec, source=source)
    if found is None:
        where = "" if source == "auto" else f" (source={source!r})"
        chosen = f" --source {source}" if source in ("mirror", "meta") else ""
        raise InputError(
            f"The weights of {spec.label} are not on this computer{where}",
            f"a file or folder given as weights=..., a folder named in {WEIGHTS_VARIABLE}, or a download of "
            f"{spec.megabytes:,.0f} MB under the {LICENCE}",
            f"Run: napari-dinov3 download {spec.name}{chosen}; without a network choose backbone='filter-bank'",
        )
    return found.path


def best_present() -> tuple[str, Found] | None:
    """Name the network that ``"auto"`` takes, or None when the weights of none are here."""
    by_name = {spec.name: spec for spec in SPECS}
    for name in _PREFERENCE:
        if (found := find_weights(by_name[name])) is not None:
            return name, found
    return None


def _is_complete(folder: Path) -> bool:
    """Whether a folder has weights: one file, or all shards of an index."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        import json

        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError):
            return False
        return all((folder / shard).is_file() for shard in shards)
    return (folder / "model.safetensors").is_file()


def _in_user_folders(spec: ModelSpec) -> Path | None:
    folders = [Path(part).expanduser() for part in os.environ.get(WEIGHTS_VARIABLE, "").split(os.pathsep) if part]
    names = (
        spec.meta_file,
        f"{spec.name}.pth",
        f"{spec.name}.safetensors",
        spec.name,
        spec.mirror.partition("/")[2],
        spec.meta_repo.partition("/")[2],
    )
    for folder in folders:
        for name in names:
            path = folder / name
            if path.is_file() or (path.is_dir() and _is_complete(path)):
                return path
    return None


def _downloaded(spec: ModelSpec, repository: Repository) -> Path | None:
    folder = download_folder(spec, repository)
    return folder if _is_complete(folder) else None


def _in_hugging_face_cache(spec: ModelSpec, repositories: tuple[str, ...]) -> Path | None:
    """Look in ``models--owner--name/snapshots``, the documented layout of the cache; the main revision first."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    for repository in repositories:
        folder = hub / f"models--{repository.replace('/', '--')}"
        snapshots = sorted(folder.glob("snapshots/*"), key=lambda path: path.stat().st_mtime, reverse=True)
        main = folder / "refs" / "main"
        if main.is_file():
            current = folder / "snapshots" / main.read_text().strip()
            snapshots = [current, *(path for path in snapshots if path != current)]
        for snapshot in snapshots:
            if _is_complete(snapshot):
                return snapshot
            if (snapshot / spec.meta_file).is_file():
                return snapshot / spec.meta_file
    return None


def _in_torch_hub(spec: ModelSpec) -> Path | None:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    path = Path(home).expanduser() / "hub" / "checkpoints" / spec.meta_file
    return path if path.is_file() else None
