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
)
FIELDS = (
    Choice(
        "head",
        "Head",
        "Kernel suits the filter bank, linear suits learned features, prototypes one click a class.",
        "kernel",
        HEADS,
    ),
    Flag("probability", "Probability layers", "Also add one layer a class with its probability, computed when looked at.", False),
    Flag("uncertainty", "Uncertainty layer", "Also add a layer that is bright where more scribbles help most.", False),
)
MORE_FIELDS = (
    Number(
        "C", "C (0 = default)", "Inverse strength of the penalty: larger follows the scribbles more closely.", 0, 0, 1e6, 1, 2
    ),
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
)


def probe_config(value: Mapping[str, Any]) -> ProbeConfig:
    """Make the config of a probe from the values of the fields."""
    options = {name: value[name] for name in ("head", "class_weight", "prior", "landmarks")}
    return ProbeConfig(**options, C=float(value["C"]) or None)
