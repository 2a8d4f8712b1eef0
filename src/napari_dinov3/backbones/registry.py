"""Names of backbones and the facts of each; building one is the only thing that loads its code."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_dinov3.backbones.base import Backbone, BackboneFacts
from napari_dinov3.backbones.dinov3_models import NEEDS, all_facts, spec_of
from napari_dinov3.backbones.options import check_offered, split_options, stride_of
from napari_dinov3.backbones.sources import Source, best_present, find_weights
from napari_dinov3.errors import InputError, MissingDependencyError

_PLACEHOLDER = "reference experiments and tests; carries no meaning beyond the pixels"


def _placeholder(name: str, width: int) -> BackboneFacts:
    """Describe a deterministic placeholder of the reference study."""
    return BackboneFacts(
        name=name,
        kind="random-projection",
        patch=16,
        stride=16,
        width=width,
        width_rgb=width,
        strides=(16,),
        licence="BSD-3-Clause (this package)",
        source="computed, no download",
        good_for=_PLACEHOLDER,
        factory="napari_dinov3.backbones.random_projection:RandomProjection",
    )


_FACTS = (
    BackboneFacts(
        name="filter-bank",
        kind="filter-bank",
        patch=2,
        stride=2,
        width=32,
        width_rgb=96,
        strides=(1, 2, 4, 8),
        licence="BSD-3-Clause (scikit-image)",
        source="computed, no download",
        good_for="offline default: membranes, cells, nuclei, tissue borders, textures; fine grids",
        factory="napari_dinov3.backbones.filter_bank:FilterBank",
    ),
    _placeholder("random-projection-cnx-tiny", 384),
    _placeholder("random-projection-vit-large", 1024),
    *all_facts(),
)
JOINT = "+"
_BY_NAME = {facts.name: facts for facts in _FACTS}


def list_backbones() -> tuple[BackboneFacts, ...]:
    """List every backbone this version knows, the recommended offline one first."""
    return _FACTS


def part_names(name: str) -> tuple[str, ...]:
    """Split a name that may be joint, such as ``"dinov3-vits16plus+filter-bank"``, into names of backbones.

    Raises
    ------
    InputError
        If a part is empty, ``"auto"``, or named twice.
    """
    names = tuple(part.strip() for part in name.split(JOINT))
    if len(names) > 1 and (not all(names) or len(set(names)) < len(names) or "auto" in names):
        raise InputError(
            f"Backbone {name!r}",
            "names of different backbones joined by '+', such as 'dinov3-vits16plus+filter-bank'",
            "Correct the name",
        )
    return names


def is_network(name: str) -> bool:
    """Tell whether a backbone, or a part of a joint one, is a network that takes long."""
    return any(backbone_facts(part).kind == "dinov3" for part in part_names(name))


def backbone_facts(name: str) -> BackboneFacts:
    """Look a backbone up; several joined by ``+`` are one of kind ``"joint"``, on the grid of the finest.

    Raises
    ------
    InputError
        If the name is unknown; the message lists the known ones.
    """
    if JOINT in name:
        return _joint_facts(tuple(backbone_facts(part) for part in part_names(name)))
    try:
        return _BY_NAME[name]
    except KeyError:
        raise InputError(
            f"Backbone {name!r} is not known", f"one of {', '.join(sorted(_BY_NAME))}, or 'auto'", "Choose one of these names"
        ) from None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a backbone can run here and now, and in a few words what there is or what to do."""

    ready: bool
    message: str


def readiness(name: str, *, weights: str | Path | None = None, source: Source = "auto") -> Readiness:
    """Tell whether a backbone is ready, without loading it.

    Parameters
    ----------
    name : str
        Registry name.
    weights, source
        As in :class:`~napari_dinov3.backbones.options.BackboneOptions`.
    """
    facts = backbone_facts(name)
    if facts.kind == "joint":
        states = [readiness(part, weights=weights, source=source) for part in part_names(name)]
        lacking = [f"{part}: {state.message}" for part, state in zip(part_names(name), states, strict=True) if not state.ready]
        return Readiness(not lacking, "; ".join(lacking) or "ready")
    missing = _missing(facts.needs)
    if missing:
        return Readiness(False, f'{", ".join(missing)} missing: pip install "napari-dinov3[dinov3]"')
    if facts.kind != "dinov3":
        return Readiness(True, "ready")
    if weights is not None:
        path = Path(weights).expanduser()
        return Readiness(path.exists(), f"ready: weights in {path}" if path.exists() else f"there is nothing at {path}")
    found = find_weights(spec_of(name), source=source)
    if found is None:
        return Readiness(False, f"weights to download: {facts.download_mb:,.0f} MB")
    return Readiness(True, f"ready: weights in {found.path}")


def choose_backbone(name: str = "auto") -> tuple[str, str]:
    """Resolve ``"auto"`` to the best backbone present: a DINOv3 whose weights are on this computer, else the filter bank.

    Nothing is ever downloaded, and torch is only looked for, not loaded.

    Returns
    -------
    name, reason : str
        The choice, and one sentence that says why.
    """
    if name != "auto":
        return backbone_facts(name).name, "chosen by name"
    present = best_present()
    if present is None:
        return "filter-bank", "auto: the best backbone present on this computer (no network weights are installed)"
    network, found = present
    missing = _missing(NEEDS)
    if missing:
        return "filter-bank", f"auto: weights of {network} are here, but {', '.join(missing)} is not installed"
    return network, f"auto: the best backbone present on this computer (weights in {found.path})"


def _joint_facts(parts: tuple[BackboneFacts, ...]) -> BackboneFacts:
    finest = min(parts, key=lambda facts: facts.stride)
    return BackboneFacts(
        name=JOINT.join(facts.name for facts in parts),
        kind="joint",
        patch=finest.patch,
        stride=finest.stride,
        width=sum(facts.width for facts in parts),
        width_rgb=sum(facts.width_rgb for facts in parts),
        strides=finest.strides,
        licence="; ".join(dict.fromkeys(facts.licence for facts in parts)),
        source="; ".join(dict.fromkeys(facts.source for facts in parts)),
        good_for="; ".join(facts.good_for for facts in parts),
        factory="",
        needs=tuple(dict.fromkeys(need for facts in parts for need in facts.needs)),
        download_mb=sum(facts.download_mb for facts in parts),
    )


def _missing(modules: tuple[str, ...]) -> list[str]:
    return [module for module in modules if importlib.util.find_spec(module) is None]


def load_backbone(name: str, *, stride: int | None = None, **options: Any) -> Backbone:
    """Build a backbone.

    Parameters
    ----------
    name : str
        Registry name or ``"auto"``.
    stride : int, optional
        Pixels between patch centres, out of the backbone's own list; its default otherwise.
    **options
        Of :class:`~napari_dinov3.backbones.options.BackboneOptions`, and passed to the backbone's class.

    Raises
    ------
    InputError
        For an unknown name, or a stride or options that are not on offer.
    MissingDependencyError
        If an optional package is missing.
    """
    facts = backbone_facts(choose_backbone(name)[0])
    if facts.kind == "joint":
        raise InputError(
            f"Backbone {name!r} is several",
            "one backbone to build; extract() takes several and joins their maps",
            "Build each part, and join their maps with napari_dinov3.features.combine.combine()",
        )
    chosen, _ = split_options(options)
    check_offered(facts, chosen)
    stride = stride_of(facts, stride, chosen)
    missing = _missing(facts.needs)
    if missing:
        raise MissingDependencyError(
            f"Backbone {facts.name!r} needs {', '.join(missing)}",
            "these packages installed",
            'Run: pip install "napari-dinov3[dinov3]"',
        )
    module, _, attribute = facts.factory.partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    built: Backbone = factory(facts, stride=stride, **options)
    return built
