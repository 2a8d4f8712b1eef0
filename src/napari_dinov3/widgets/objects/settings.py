"""The settings of the Objects panel, and how they become a recipe's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_dinov3._napari.objects.layers import holds_classes, holds_probability
from napari_dinov3.recipe import ObjectsConfig
from napari_dinov3.widgets.form import Choice, Field, Flag, Number

MAKE_FIELDS: tuple[Field, ...] = (
    Choice(
        "method",
        "Part by",
        "Connected pixels of a class are one object, or a watershed parts those that touch.",
        "components",
        (("components", "connection"), ("watershed", "watershed")),
    ),
    Choice(
        "across",
        "Objects lie",
        "Objects end with their plane, or go on through the planes of a stack.",
        "planes",
        (("planes", "in one plane"), ("stack", "across planes")),
    ),
    Number("threshold", "Probability from", "Probability from which a pixel belongs to an object.", 0.5, 0.01, 1, 0.05, 2),
    Choice(
        "landscape",
        "Watershed of",
        "What the watershed floods: the distance to the outline, or the probability itself.",
        "distance",
        (("distance", "distance"), ("probability", "probability")),
    ),
    Choice(
        "seeds",
        "Seeds",
        "One object for each summit that is high enough, or for each highest place within a distance.",
        "h-maxima",
        (("h-maxima", "by height"), ("peaks", "by distance")),
    ),
    Number(
        "depth", "Height (px)", "How far a summit rises over the saddle to a higher one; more parts fewer.", 1, 0.05, 100, 0.5, 2
    ),
    Number(
        "probability_depth",
        "Height (0..1)",
        "How far the probability rises over the saddle to a higher summit.",
        0.1,
        0.01,
        1,
        0.05,
        2,
    ),
    Number("min_distance", "Distance (px)", "Least distance between two seeds; about the radius of an object.", 5, 1, 1000, 1, 0),
    Choice(
        "size_unit",
        "Sizes in",
        "Unit of the sizes below: pixels, or the area (volume) in the image's own units.",
        "pixel",
        (("pixel", "pixels"), ("world", "image units")),
    ),
    Number("min_size", "Smallest", "Smaller objects are dropped.", 20, 0, 1e9, 10, 1),
    Number("max_size", "Largest (0: any)", "Larger objects are dropped; 0 keeps all.", 0, 0, 1e9, 100, 1),
    Number("fill_holes", "Fill holes up to", "Background enclosed by an object joins it, up to this size.", 0, 0, 1e9, 10, 1),
    Flag("corners", "Corners connect", "Pixels that touch only at a corner are connected.", False),
    Choice(
        "clear_border",
        "On the border",
        "Whether objects that the border of the image cuts off are kept.",
        "none",
        (("none", "keep"), ("sides", "drop at sides"), ("all", "drop, also first and last plane")),
    ),
)
HEADS = (("auto", "automatic"), ("logistic", "logistic regression"), ("prototypes", "nearest example"))
TEACH_FIELDS: tuple[Field, ...] = (
    Number("teach_class", "Class", "Class that the next clicked objects are examples of.", 1, 1, 99, 1, 0),
    Choice("object_head", "Learn by", "Automatic takes the nearest example while a class has a single one.", "auto", HEADS),
)


def objects_config(value: Mapping[str, Any]) -> ObjectsConfig:
    """Turn the form's values into a config; settings that do not count stay at their defaults."""
    chosen: dict[str, Any] = {
        "method": value["method"],
        "across": value["across"],
        "threshold": value["threshold"],
        "connectivity": "corners" if value["corners"] else "faces",
        "size_unit": value["size_unit"],
        "min_size": value["min_size"],
        "max_size": value["max_size"] or None,
        "fill_holes": value["fill_holes"],
        "clear_border": value["clear_border"],
    }
    if value["method"] == "watershed":
        chosen |= {"landscape": value["landscape"], "seeds": value["seeds"]}
        if value["seeds"] == "peaks":
            chosen["min_distance"] = value["min_distance"]
        else:
            chosen["depth"] = value["depth"] if value["landscape"] == "distance" else value["probability_depth"]
    return ObjectsConfig(**chosen)


def shown_fields(value: Mapping[str, Any], *, probability: bool) -> dict[str, bool]:
    """Say which fields count for the present ones."""
    watershed = value["method"] == "watershed"
    heights = watershed and value["seeds"] == "h-maxima"
    floods_probability = probability and value["landscape"] == "probability"
    return {
        "threshold": probability,
        "landscape": watershed and probability,
        "seeds": watershed,
        "depth": heights and not floods_probability,
        "probability_depth": heights and floods_probability,
        "min_distance": watershed and value["seeds"] == "peaks",
    }


def can_be_parted(layer: Any) -> bool:
    """Offer labels and probabilities as what objects are made of: not scribbles, pictures, or classes of objects."""
    if holds_probability(layer):
        return not getattr(layer, "rgb", False)
    return holds_classes(layer)
