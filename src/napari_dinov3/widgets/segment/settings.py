"""The settings of a probe as they are offered: the few that are always seen, and the others under More."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_dinov3.recipe import ProbeConfig
from napari_dinov3.widgets.form import Choice, Flag, Number

HEADS = (
    ("kernel", "kernel"),
    ("linear", "linear"),
    ("boosting", "boosted trees"),
    ("forest", "random forest"),
    ("prototypes", "prototypes"),
    ("decoder", "decoder (torch)"),
)
FIELDS = (
    Choice(
        "head",
        "Head",
        "Kernel suits the filter bank, linear learned features, prototypes one click a class; the decoder learns shapes.",
        "kernel",
        HEADS,
    ),
    Flag("probability", "Probability layers", "Also add one layer a class with its probability, computed when looked at.", False),
    Flag("uncertainty", "Uncertainty layer", "Also add a layer that is bright where more scribbles help most.", False),
)
MORE_FIELDS = (
    Flag("choose_C", "Choose C by cross-validation", "Hold out whole strokes in turn to find how closely to follow them.", False),
    Number("C", "C (0: default)", "Inverse strength of the penalty: larger follows the scribbles more closely.", 0, 0, 1e6, 1, 2),
    Choice(
        "class_weight",
        "Class weights",
        "Whether each class counts the same in training, or each painted pixel.",
        "balanced",
        (("balanced", "each class"), (None, "each pixel")),
    ),
    Choice(
        "prior",
        "How common",
        "Whether the share of each class is estimated from the painted planes, or taken as painted.",
        "estimated",
        (("estimated", "estimated"), ("scribbles", "as painted")),
    ),
    Number("landmarks", "Landmarks", "Of the kernel head: more follow finer differences and take longer.", 200, 1, 5000, 50, 0),
    Number("refine", "Edges (px)", "Radius of a guided filter that pulls classes to image edges; 0 is off.", 0, 0, 64, 1, 1),
    Number("smooth_z", "Smooth (planes)", "Standard deviation of smoothing scores along the stack; 0 is off.", 0, 0, 10, 0.5, 1),
    Number("median", "Majority (px)", "Side of the square in which the most frequent class wins, odd; 0 is off.", 0, 0, 31, 1, 0),
    Choice(
        "loss",
        "Decoder loss",
        "What the decoder makes small: Dice suits classes of very different size.",
        "cross-entropy",
        (("cross-entropy", "cross-entropy"), ("dice", "Dice")),
    ),
    Number(
        "epochs",
        "Decoder epochs",
        "Most rounds of training; it stops when held-out strokes gain nothing.",
        60,
        1,
        1000,
        10,
        0,
    ),
)


def probe_config(value: Mapping[str, Any]) -> ProbeConfig:
    """Make the config of a probe from the values of the fields; the side of the majority square is made odd."""
    names = ("head", "class_weight", "prior", "landmarks", "loss", "epochs")
    options: dict[str, Any] = {name: value[name] for name in names}
    median = int(value["median"])
    strength: Any = "cv" if value["choose_C"] else float(value["C"]) or None
    numbers: dict[str, Any] = {"refine": float(value["refine"]), "smooth_z": float(value["smooth_z"])}
    return ProbeConfig(**options, **numbers, C=strength, median=median + (median > 0 and median % 2 == 0))
