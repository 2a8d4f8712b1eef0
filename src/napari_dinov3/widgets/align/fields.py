"""What a user can choose of an alignment, and presets for usual cases."""

from __future__ import annotations

from typing import Any

from napari_dinov3.align.presets import PRESETS as _PRESETS
from napari_dinov3.align.presets import preset
from napari_dinov3.widgets.form import Choice

MODES = (("stack", "planes of a stack"), ("pair", "a pair of layers"))
MODELS = tuple((model, model) for model in ("translation", "rigid", "similarity", "affine", "elastic"))
FEATURES = "features"
PROPOSALS = ((FEATURES, "features"), (None, "pixels only"))
DRIFTS = (
    ("minimum", "least movement"),
    ("first", "first good plane"),
    ("trend", "keep slow trend"),
    ("median", "median of neighbours"),
    ("mean", "mean of all (movie)"),
)
STARTS = (
    ("search", "search"),
    ("place", "where they lie now"),
    ("landmarks", "landmarks"),
    ("only", "landmarks alone"),
)
PRESETS: dict[str, dict[str, Any]] = {
    name: preset(name) | ({} if preset(name)["backbone"] is None else {"backbone": FEATURES}) for name in _PRESETS
}
MODE = Choice("mode", "Align", "The planes of one layer to each other, or one layer to another.", "stack", MODES)
MODEL = Choice(
    "model",
    "Movement",
    "Translation shifts a plane, rigid also turns it, similarity also sizes it, affine also shears it, elastic also bends it.",
    "rigid",
    MODELS,
)
PROPOSED = Choice("backbone", "Proposed by", "What finds the rough position, which pixels then refine.", FEATURES, PROPOSALS)
FIELDS = (
    Choice(
        "preset",
        "Preset",
        "Settings for a usual case; every one can be changed afterwards.",
        "",
        (("", "own settings"), ("serial", "serial sections, EM"), ("histology", "histology slides"), ("movie", "calcium movie")),
    ),
    MODEL,
    PROPOSED,
    Choice(
        "drift",
        "Common frame",
        "Where planes are moved to: a slow trend leaves curved anatomy curved, median and mean align once more to a template.",
        "minimum",
        DRIFTS,
    ),
    Choice("channel", "Channel", "Which channel is compared; all others can be moved along.", None, ((None, "as the slider"),)),
)
START = Choice(
    "start",
    "Start from",
    "Where the first guess comes from; landmarks alone are for images that look nothing alike.",
    "search",
    STARTS,
)
