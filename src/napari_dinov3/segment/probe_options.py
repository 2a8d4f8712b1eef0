"""Options of a probe: how it learns, and how its scores become labels; checked once, as JSON there and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from napari_dinov3.backbones.device import check_choice
from napari_dinov3.errors import InputError
from napari_dinov3.segment.heads import ClassWeight, HeadName
from napari_dinov3.segment.operating_point import Prior

Strength: TypeAlias = float | Literal["cv"] | None
Loss: TypeAlias = Literal["cross-entropy", "dice"]
PerClass: TypeAlias = Mapping[int, float] | Iterable[tuple[int, float]]
"""Label values and a number for each: a mapping, or pairs as they stand in a recipe."""

DEFAULT_C = {"linear": 1.0, "kernel": 10.0}
MOST_MEDIAN = 51
_KINDS: dict[str, type[int] | type[float]] = {
    "C": float,
    "landmarks": int,
    "max_samples": int,
    "smooth_z": float,
    "refine": float,
    "median": int,
    "epochs": int,
    "rng": int,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """Options of :class:`~napari_dinov3.segment.probe.Probe`, which describes them; checked here."""

    head: HeadName = "kernel"
    C: Strength = None
    class_weight: ClassWeight = "balanced"
    prior: Prior = "estimated"
    thresholds: Mapping[int, float] | None = None
    landmarks: int = 200
    max_samples: int = 20_000
    smooth_z: float = 0.0
    refine: float = 0.0
    median: int = 0
    loss: Loss = "cross-entropy"
    epochs: int = 60
    device: str = "auto"
    rng: int | np.random.Generator = 0

    def __post_init__(self) -> None:
        _check_one_of("head", self.head, get_args(HeadName))
        _check_one_of("prior", self.prior, get_args(Prior))
        _check_one_of("loss", self.loss, get_args(Loss))
        check_choice(self.device, "auto")
        object.__setattr__(self, "C", DEFAULT_C.get(self.head, 1.0) if self.C is None else self.C)
        weight = self.class_weight
        if weight is not None and weight != "balanced":
            object.__setattr__(self, "class_weight", _per_class("class_weight", weight, "'balanced', None, or weights above 0"))
        if self.thresholds is not None:
            chosen = _per_class("thresholds", self.thresholds, "probabilities between 0 and 1, such as {2: 0.3}", most=1.0)
            object.__setattr__(self, "thresholds", chosen or None)
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not (name == "C" and value == "cv") and not isinstance(value, np.random.Generator):
                object.__setattr__(self, name, _number(name, value, kind))
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.C == "cv" and self.head not in DEFAULT_C:
            raise InputError(
                f"C='cv' for head={self.head!r}, which has no C",
                f"one of the heads {', '.join(map(repr, DEFAULT_C))}",
                "Leave C out, or choose one of these heads",
            )
        positive = isinstance(self.C, str) or (self.C is not None and self.C > 0 and np.isfinite(self.C))
        if not positive or self.landmarks < 1 or self.max_samples < 2 or self.epochs < 1:
            raise InputError(
                f"C={self.C}, landmarks={self.landmarks}, max_samples={self.max_samples}, epochs={self.epochs}",
                "C above 0, at least one landmark, two samples and one epoch",
                "Use the defaults",
            )
        if not (0 <= self.smooth_z <= 100 and 0 <= self.refine <= 1000):
            raise InputError(
                f"smooth_z={self.smooth_z}, refine={self.refine}",
                "a spread of 0 to 100 planes and a radius of 0 to 1000 pixels",
                "Use 0 to leave it out",
            )
        if self.median != 0 and not (self.median % 2 == 1 and 3 <= self.median <= MOST_MEDIAN):
            raise InputError(
                f"median={self.median}", f"0 (none), or an odd number of pixels from 3 to {MOST_MEDIAN}", "Choose for example 3"
            )

    def settings(self) -> dict[str, Any]:
        """List the options without the head: JSON-able; a Generator as `rng` becomes the seed 0."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "head"}
        listed = {name: dict(value) if isinstance(value, Mapping) else value for name, value in named.items()}
        listed["rng"] = self.rng if isinstance(self.rng, int) else 0
        return listed


def per_class_from_json(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn the keys of mappings, which are text in JSON, back into label values."""
    return {
        name: {int(key): float(number) for key, number in value.items()} if isinstance(value, dict) else value
        for name, value in settings.items()
    }


def _number(name: str, value: Any, kind: type[int] | type[float]) -> float:
    """Read a number, one of numpy too, as Python's own, which JSON knows."""
    fits = isinstance(value, Integral if kind is int else Real)
    if not fits or (name == "rng" and value < 0):
        expected = {"C": "a number above 0, or 'cv'", "rng": "a whole number from 0 on, or a numpy Generator"}
        raise InputError(
            f"{name}={value!r}", expected.get(name, "a whole number" if kind is int else "a number"), "Choose one of these"
        )
    return kind(value)


def _check_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name}={value!r}", " or ".join(map(repr, allowed)), "Choose one of these")


def _per_class(name: str, given: Any, expected: str, most: float = np.inf) -> dict[int, float]:
    """Read label values with a number for each, above 0 and below `most`."""
    try:
        pairs = list(given.items() if isinstance(given, Mapping) else given)
        chosen = {int(label): float(number) for label, number in pairs}
        fits = not isinstance(given, str) and len(chosen) == len(pairs) and all(0 < n < most for n in chosen.values())
        fits = fits and all(int(label) == label for label, _ in pairs)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(f"{name}={given!r}", f"{expected}, one for each label value", "Correct it, or leave it out")
    return chosen
