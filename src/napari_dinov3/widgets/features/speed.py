"""Measure once, in the background, how quick a network is on this computer, so that a time can be told before Run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject

from napari_dinov3.backbones.registry import backbone_facts, choose_backbone, readiness
from napari_dinov3.backbones.throughput import recall, throughput_key
from napari_dinov3.features.estimate import measure_speed_steps
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.runner import JobRunner

LARGEST_MB = 1500.0  # weights up to here are loaded for it unasked


class SpeedMeter(QObject):
    """Measure a network that is ready and has not been measured.

    Parameters
    ----------
    measured : callable
        Called when there is a new speed.
    """

    def __init__(self, measured: Callable[[], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.runner = JobRunner(self)
        self._measured = measured
        self._tried: set[str] = set()
        self.runner.finished.connect(self._on_finished)

    def consider(self, config: ExtractConfig) -> None:
        """Begin to measure, unless it is known, or cannot or should not be done unasked."""
        facts = backbone_facts(choose_backbone(config.backbone)[0])
        key = throughput_key(facts, config.network)
        if facts.kind != "dinov3" or facts.download_mb > LARGEST_MB or self.runner.running or key in self._tried:
            return
        ready = readiness(facts.name, weights=config.weights, source=config.source).ready
        if not ready or recall(key) is not None:
            return
        self._tried.add(key)
        self.runner.run(measure_speed_steps(facts.name, options=config.network), "Measuring the network")

    def _on_finished(self, outcome: Any) -> None:
        self._measured()
