"""A task panel that works on an image layer: the chooser, what it holds, its level and region, and how features are made."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QSpinBox

from napari_dinov3._napari import jobs, script
from napari_dinov3._napari.compat import world_point
from napari_dinov3._napari.layers import Source, describe_layer, read_layer
from napari_dinov3._napari.regions import pixel_size
from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes
from napari_dinov3.widgets.feature_chooser import FeatureChooser
from napari_dinov3.widgets.feature_facts import label_of, missing_text
from napari_dinov3.widgets.form import Form, Number, wrapped_label
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import TaskPanel
from napari_dinov3.widgets.region_chooser import RegionChooser

NO_IMAGE = "there is no image layer; open a file, or make one with the New data panel."


class ImagePanel(TaskPanel):
    """Base of the panels that read an image layer."""

    uses_features: ClassVar[bool] = True

    def build(self) -> None:
        """Add the image and feature sections, then the task's own."""
        self.image = LayerChooser(
            self.viewer, ("Image",), label="Image", tooltip="Image layer the task reads; it is never changed."
        )
        self.image_facts = wrapped_label(name="image_facts")
        self.level = Form((Number("level", "Pyramid level", "0 is the finest level of a multiscale image.", 0, 0, 99, 1, 0),))
        self.part = RegionChooser(self.viewer)
        self.section("Image", self.image, self.image_facts, self.level, self.part)
        self.image.valueChanged.connect(self.changed)
        self.level.valueChanged.connect(self.changed)
        self.part.valueChanged.connect(self.changed)
        self.on_close(self.image.dispose)
        self.on_close(self.part.dispose)
        if self.uses_features:
            self.features = FeatureChooser(self.session)
            self.section("Features", self.features)
            self.features.valueChanged.connect(self.changed)
            self.features.downloadRequested.connect(self.download)
            self.on_close(self.features.dispose)
        self.build_task()

    def build_task(self) -> None:
        """Add the task's own sections."""
        raise NotImplementedError

    def value(self) -> dict[str, Any]:
        """Read every setting: the layer ids of image and region, the pyramid level, and the task's own."""
        layer = self.image.value()
        return {"image": None if layer is None else layer.unique_id, **self.level.value(), "region": self.part.value()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings; the image by layer, name or layer id."""
        if value.get("image") is not None:
            self.image.setValue(value["image"])
            self._fit_level()
        self.level.setValue(value)
        if "region" in value:
            self.part.setValue(value["region"])

    def problem(self) -> str:
        """Ask for an image."""
        layer = self.image.value()
        if layer is None:
            return NO_IMAGE
        self.source()
        return missing_text(self.session.features_config) if self.uses_features else ""

    def refresh(self, *_: Any) -> None:
        """Bring facts, estimate, buttons and status in step."""
        layer = self.image.value()
        self._fit_level()
        self.image_facts.setText("" if layer is None else describe_layer(layer))
        self._show_part()
        if self.uses_features:
            self.features.show_estimate(self._readable_planes())
        super().refresh()

    def slider_state(self) -> Hashable:
        """Give where the axes beyond planes, rows and columns are read."""
        return None if self.image.value() is None else self.source().placement.fixed

    def download(self, backbone: str) -> None:
        """Download the weights of a backbone."""
        from napari_dinov3.backbones.download import download_steps

        def show(path: Any) -> str:
            self.features.refresh()
            self.refresh()
            return f"The weights of {label_of(backbone)} are in {path}."

        chosen = self.session.features_config.source
        source: Any = chosen if chosen in ("mirror", "meta") else "auto"
        self.start(download_steps(backbone, source=source), f"Downloading {label_of(backbone)}", show)

    def source(self) -> Source:
        """Read the chosen layer as planes, lazily."""
        layer = self.image.value()
        return read_layer(layer, point=world_point(self.viewer), level=self._level(), region=self.part.region(layer))

    def request(self) -> jobs.FeatureRequest:
        """Ask for the features of the chosen layer under the present settings."""
        layer = self.image.value()
        config = replace(self.session.features_config, level=self._level(), region=self.part.region(layer))
        return jobs.request_features(self.session, self.viewer, layer, config)

    def extract_script(self) -> list[str]:
        """Write how the features are made."""
        source = self.source()
        config = replace(self.session.features_config, axes=script.axes_of(source), level=0, region=None)
        return [*self.image_script(), config.to_python("image")]

    def image_script(self) -> list[str]:
        """Write how the image is read."""
        layer = self.image.value()
        return script.layer_lines(self.source(), level=self._level(), multiscale=bool(layer.multiscale))

    def _readable_planes(self) -> Planes | None:
        """Give the planes, or None where there is no image or it cannot be read; :meth:`problem` says why."""
        try:
            return None if self.image.value() is None else self.source().planes
        except InputError:
            return None

    def _show_part(self) -> None:
        """Say how large the planes are that will be read, where they are not the image's finest ones, and their pixels."""
        planes = self._readable_planes()
        coarser, part = self._level() > 0, self.part.value() is not None
        text = ""
        if planes is not None and (coarser or part or not self.level.isHidden()):
            text = f"{planes.shape[1]} x {planes.shape[2]} pixels of {pixel_size(planes)}"
            text += f" at level {self._level()}" if not self.level.isHidden() else ""
        self.part.show_size(text)

    def _fit_level(self) -> None:
        """Offer the levels that the chosen layer has."""
        layer = self.image.value()
        multiscale = layer is not None and bool(layer.multiscale)
        self.level.setHidden(not multiscale)
        if multiscale:
            editor = self.level.editor("level")
            assert isinstance(editor, QSpinBox)
            with QSignalBlocker(editor):
                editor.setMaximum(len(layer.data) - 1)

    def _level(self) -> int:
        layer = self.image.value()
        return min(int(self.level.value()["level"]), len(layer.data) - 1) if layer is not None and layer.multiscale else 0
