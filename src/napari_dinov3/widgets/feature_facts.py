"""What the panels say of backbones and of a run before it is made: plain text from plain facts, without Qt."""

from __future__ import annotations

import re
from pathlib import Path

from napari_dinov3.backbones.base import BackboneFacts
from napari_dinov3.backbones.dinov3_models import LICENCE_URL, spec_of
from napari_dinov3.backbones.registry import JOINT, backbone_facts, choose_backbone, readiness
from napari_dinov3.errors import InputError, MissingDependencyError
from napari_dinov3.features.estimate import RunEstimate, estimate_run
from napari_dinov3.image import Planes
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.status import error_text

_LINK = "#5a9bd5"  # legible on napari's dark and light themes alike
INSTALL = 'pip install "napari-dinov3[dinov3]"'


def label_of(name: str) -> str:
    """Give the name people read: ``DINOv3 ViT-S+/16`` rather than ``dinov3-vits16plus``."""
    facts = backbone_facts(name)
    if facts.kind != "dinov3":
        return name
    return spec_of(name).label + (", third stage" if name.endswith("-stage3") else "")


def entry_text(name: str) -> str:
    """Write a backbone's line in the list: size, width, where it is."""
    facts, state = backbone_facts(name), readiness(name)
    if facts.kind != "dinov3":
        return f"{name} ({facts.width} wide, no download)"
    absent = f"download {size_text(facts)}" if state.message.startswith("weights") else "needs torch"
    where = "here" if state.ready else absent
    return f"{label_of(name)} ({spec_of(name).millions:,.0f} M, {facts.width} wide, {where})"


def facts_text(config: ExtractConfig) -> str:
    """Say how large a backbone is, what it is good for, and where it is: the list shows of this what fits in the panel."""
    facts = backbone_facts(choose_backbone(config.backbone)[0])
    who = f"{label_of(facts.name)}: good for" if config.backbone == "auto" else "Good for"
    if facts.kind != "dinov3":
        return f"{who} {facts.good_for}."
    state = readiness(facts.name, weights=config.weights, source=config.source)
    where = f" Here: {state.message.partition(': ')[2]}." if state.ready else ""
    size = f"{spec_of(facts.name).millions:,.0f} M parameters, {facts.width} numbers a patch, DINOv3 License"
    return f"{who} {facts.good_for}. {size}.{where}"


def network_text(config: ExtractConfig) -> str:
    """Say whose features a panel without a chooser of its own takes, and where that is chosen."""
    name = choose_backbone(config.backbone)[0]
    weights = "" if config.weights is None else f", weights of {Path(config.weights).name}"
    return f"Of {label_of(name) if JOINT not in name else name}{weights}, as chosen in the Features panel."


def origin_text(config: ExtractConfig) -> str:
    """Say where a backbone comes from and under which licence."""
    facts = backbone_facts(choose_backbone(config.backbone)[0])
    return f"{facts.name}: {facts.source}; licence {facts.licence}."


def licence_html(name: str) -> str:
    """Say under which licence a download comes, with a link."""
    facts = backbone_facts(name)
    link = f'<a href="{LICENCE_URL}" style="color: {_LINK}">DINOv3 License</a>'
    place = re.sub(r"([/_.])", "\\1\u200b", facts.source.removeprefix("Hugging Face: "))  # may break there in a narrow panel
    return f"{size_text(facts)} from {place}, under the {link}: commercial use is allowed."


def size_text(facts: BackboneFacts) -> str:
    """Write the size of a download."""
    return f"{facts.download_mb / 1e3:.1f} GB" if facts.download_mb >= 1e3 else f"{facts.download_mb:.0f} MB"


def missing_text(config: ExtractConfig | str) -> str:
    """Say in three parts what the chosen backbone still needs; empty where it is ready."""
    config = ExtractConfig(backbone=config) if isinstance(config, str) else config
    name = choose_backbone(config.backbone)[0]
    facts = backbone_facts(name)
    state = readiness(name, weights=config.weights, source=config.source)
    if state.ready:
        return ""
    without = "or choose the filter-bank, which needs nothing"
    if "missing" in state.message:
        packages = state.message.partition(" missing")[0]
        problem = f"{label_of(name)} needs {packages}, which is not installed"
        expected = "PyTorch and transformers (torch takes up to 4 GB)"
        return error_text(MissingDependencyError(problem, expected, f"Run {INSTALL} and start napari again, {without}"))
    if config.weights is not None:
        problem = f"There is nothing at {config.weights}"
        return error_text(InputError(problem, f"the weights of {label_of(name)}", "Choose the file or folder in Network options"))
    return error_text(
        InputError(
            f"The weights of {label_of(name)} are not on this computer",
            f"a download of {size_text(facts)}, or a file or folder that you have",
            f"Press Download above, or choose the file under Network options in the Features panel, {without}",
        )
    )


def estimate_of(planes: Planes, config: ExtractConfig) -> RunEstimate:
    """Estimate a run of the chosen backbone."""
    return estimate_run(
        planes,
        choose_backbone(config.backbone)[0],
        stride=config.stride,
        options=config.network,
        rgb=planes.rgb or config.colours == "neighbours",
        tile_size=config.tile_size,
        memory_gb=config.memory_gb,
    )


def estimate_text(told: RunEstimate, planes: Planes, *, cached: bool) -> str:
    """Say how large a patch and the map are, and what time, memory and room the run takes."""
    rows, cols = told.grid
    count = f"{told.planes} planes of " if told.planes > 1 else ""
    size = bytes_text(told.planes * rows * cols * told.dim * (4 if told.in_memory else 2))
    place = "in memory" if told.in_memory else "on disk"
    parts = [f"Map: {count}{rows} x {cols} patches, {told.dim} numbers each; {size} {place}."]
    unit = planes.units[-1]
    if unit not in ("pixel", ""):
        parts.append(f"A patch covers {told.patch_pixels * planes.spacing[-1]:.3g} {unit} ({told.patch_pixels:g} px).")
    takes = f"about {time_text(told.seconds)}, " if told.seconds is not None else ""
    room = f", {bytes_text(told.stored_bytes)} in the feature cache" if cached else ""
    parts.append(f"Takes {takes}{bytes_text(told.memory_bytes)} of memory{room}.")
    return " ".join(parts)


def time_text(seconds: float) -> str:
    """Write a duration as one would say it."""
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bytes_text(nbytes: float) -> str:
    """Write a size in MB or GB."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{max(1, round(nbytes / 1e6))} MB"
