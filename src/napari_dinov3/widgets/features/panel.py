"""Features: make the feature map of an image, and look at it in colours or as similarity to a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qtpy.QtWidgets import QPushButton

from napari_dinov3._napari import jobs, results, script
from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.features import views as feature_views
from napari_dinov3._napari.features.similarity import LOOK, Filling, SimilarityView
from napari_dinov3._napari.features.views import View
from napari_dinov3._napari.layers import Source
from napari_dinov3._napari.provenance import provenance
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import PcaConfig, SimilarityConfig
from napari_dinov3.widgets.click_picker import ClickPicker
from napari_dinov3.widgets.feature_facts import bytes_text
from napari_dinov3.widgets.feature_network import NetworkOptions
from napari_dinov3.widgets.features.cache import FeatureCache
from napari_dinov3.widgets.features.speed import SpeedMeter
from napari_dinov3.widgets.features.views import FeatureViews
from napari_dinov3.widgets.form import wrapped_label
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import field_row
from napari_dinov3.widgets.status import error_text
from napari_dinov3.wording import counted

PICK_OFF = "Similarity to a click"
PICK_ON = "Similarity: on, click in the image"
REGION_TIP = "Add a layer with the similarity of every patch to the painted region."


class FeaturesPanel(ImagePanel):
    """Extract features and look at them."""

    title = "Features"
    summary = "Turn an image into patch features once; every other panel uses them."
    run_text = "Extract features"
    help_text = (
        "1. Choose the image and a backbone. Smaller strides give finer maps.\n"
        "2. Extract: the map is kept for this viewer until the image changes.\n"
        "3. Principal components show what the features tell apart.\n"
        "4. Switch similarity on and click or drag in the image: bright patches look like that place, in every plane. "
        "Or paint a region in a Labels layer and compare with that."
    )

    def build_task(self) -> None:
        """Add the ways to look at the map."""
        name = type(self).__name__
        self.similarity = SimilarityView(self.viewer, self.session.owned(name, "similarity"))
        self.colours, self.alike = self.session.owned(name, "pca"), self.session.owned(name, "region")
        self.picker = ClickPicker(self.viewer, self.pick, self._on_pick_taken)
        self.pca_button = QPushButton("Principal component colours")
        self.pca_button.setToolTip("Add a layer that shows the three strongest components as red, green and blue.")
        self.pca_button.clicked.connect(self.show_pca)
        self.pick_button = QPushButton(PICK_OFF)
        self.pick_button.setCheckable(True)
        self.pick_button.setToolTip("While this is on, a click in the image shows how similar every patch is to that place.")
        self.pick_button.toggled.connect(self._on_pick_toggled)
        self.region = LayerChooser(
            self.viewer,
            ("Labels",),
            label="Painted region",
            optional="none",
            tooltip="Labels layer whose painted pixels are compared with every patch.",
        )
        self.region.valueChanged.connect(self.changed)
        self.other = LayerChooser(
            self.viewer,
            ("Image",),
            label="Other image",
            optional="none",
            tooltip="A click also shows what is alike in this other image, with the position taken out of the features.",
        )
        self.other.valueChanged.connect(self.changed)
        self.region_button = QPushButton("Similarity to the region")
        self.region_button.clicked.connect(self.show_region)
        self.section(
            "Look at the features",
            wrapped_label("Features that are not cached are extracted first."),
            self.pca_button,
            self.pick_button,
            field_row("Other image", self.other),
            field_row("Region", self.region),
            self.region_button,
        )
        self.on_close(self.region.dispose, self.other.dispose, self.picker.stop)
        self._build_more()

    def _build_more(self) -> None:
        """Add the further views, the options of a network and the cache."""
        self.views = FeatureViews()
        self.views.valueChanged.connect(self.changed)
        self.views.shown.connect(self.show_view)
        self.views.goTo.connect(self._on_go_to)
        self.section("More views", self.views)
        self.network = NetworkOptions(self.session)
        self.on_close(self.network.dispose)
        self.section("Network options", self.network)
        self.cache = FeatureCache()
        self.cache.clearRequested.connect(self.clear_cache)
        self.section("Feature cache", self.cache)
        self.meter = SpeedMeter(self.refresh, self)
        self.on_close(self.meter.runner.abandon)

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        layers = {"painted": self.region.value(), "other": self.other.value()}
        chosen = {name: None if layer is None else layer.unique_id for name, layer in layers.items()}
        return {**super().value(), **chosen, **self.views.value()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        super().setValue(value)
        for name, chooser in (("painted", self.region), ("other", self.other)):
            if name in value:
                chooser.setValue(value[name])
        self.views.setValue(value)

    def refresh(self, *_: Any) -> None:
        """Bring buttons in step, the task's own too."""
        super().refresh()
        ready = not self.runner.running and not self._problem()
        has_region = self.region.value() is not None
        self.pca_button.setEnabled(ready)
        self.pick_button.setEnabled(self.pick_button.isChecked() or not self._problem())
        self.region_button.setEnabled(ready and has_region)
        self.region_button.setToolTip(REGION_TIP if has_region else "Choose a Labels layer with a painted region first.")
        self.views.set_enabled(ready, self._problem() or "Wait until the present job is done.")
        self.meter.consider(self.session.features_config)

    def ready_text(self) -> str:
        """Say whether the features are cached."""
        return "These features are cached." if self.session.find(self.request().key) is not None else ""

    def make_job(self) -> Job[FeatureMap]:
        """Extract, or take from the cache; then prepare the plane in view for clicks."""
        request = self.request()

        def steps() -> Job[FeatureMap]:
            features = yield from part_of(jobs.features_steps(self.session, request), start=0, span=98, total=100)
            yield Progress(98, 100, "ready for clicks")
            self.similarity.prepare(features, request.visible)
            return features

        return steps()

    def show_result(self, result: FeatureMap) -> str:
        """Say what was made."""
        rows, cols = result.grid
        planes = f"{counted(len(result), 'plane')} of " if len(result) > 1 else ""
        self.cache.refresh()
        self.views.refresh_backbones()
        found = int(result.provenance.get("planes_from_cache", 0))
        count = "The plane" if len(result) == 1 else f"{'All planes' if found == len(result) else counted(found, 'plane')}"
        kept = f" {count} came from the cache on disk (clear it under Feature cache)." if found else ""
        return f"{result.backbone}: {planes}{rows} x {cols} patches, {result.dim} numbers each.{kept}"

    def script(self) -> str:
        """Write the extraction, and what was asked for of the chosen image: colours, a region's similarity, a place's."""
        kept = self.session.kept(type(self).__name__)
        asked = kept["asked"] if kept.get("image") == self.request().image else {}
        lines = self._colour_lines() if "pca" in asked else []
        if "region" in asked:
            lines += self._region_lines(asked["region"])
        if "similarity" in asked:
            lines += self._similarity_lines(asked["similarity"])
        for shown in asked.get("views", {}).values():
            lines += shown
        return self._script(lines)

    def show_view(self) -> None:
        """Show the chosen one of the further views."""
        request, chosen = self.request(), self.views.value()
        job: Job[View]
        if chosen["way"] == "foreground":
            job = feature_views.foreground_steps(self.session, request, chosen["side"])
        elif chosen["way"] == "groups":
            job = feature_views.group_steps(self.session, request, int(chosen["groups"]))
        elif chosen["way"] == "gram":
            job = feature_views.gram_steps(self.session, request)
        elif chosen["way"] == "difference":
            other = feature_views.other_request(request, self.session, self.viewer, self.image.value(), chosen["other_backbone"])
            job = feature_views.difference_steps(self.session, request, other)
        else:
            job = feature_views.nearest_steps(self.session, request, int(chosen["count"]))
        self.start(job, "Look at the features", lambda view: self._add_view(request, view))

    def clear_cache(self) -> None:
        """Delete the maps on disk; those in use would lose their planes, so the viewer lets go of its own first."""
        self.session.clear()
        self.start(_clear_steps(), "Clear the feature cache", self._show_cleared)

    def _show_cleared(self, freed: int) -> str:
        self.cache.refresh()
        return f"{bytes_text(freed)} are free again."

    def _add_view(self, request: jobs.FeatureRequest, view: View) -> str:
        lines = feature_views.view_lines(view)
        layer = feature_views.add_view(self.session, self.viewer, view, type(self).__name__, self._script(lines))
        self._asked(request).setdefault("views", {})[view.kind] = lines
        self.views.show_planes(view.planes)
        return view.message if layer is None else f"{layer.name!r}: {view.message}"

    def _on_go_to(self, plane: int) -> None:
        source = self.source()
        self.viewer.dims.set_point(*feature_views.point_of_plane(self.viewer, source, plane))

    def show_pca(self) -> None:
        """Add a layer with the principal components as colours."""
        request, code = self.request(), self._script(self._colour_lines())
        self._asked(request)["pca"] = True
        self.start(jobs.pca_steps(self.session, request), "Principal components", lambda r: self._add_pca(request, code, *r))

    def show_region(self) -> None:
        """Add a layer with the similarity to the painted region."""
        request = self.request()
        try:
            region = read_companion(self.region.value(), request.source)
        except InputError as error:
            self.say("error", error_text(error))
            return
        code = self._script(self._region_lines(region))
        self._asked(request)["region"] = region
        self.start(
            jobs.region_steps(self.session, request, region.planes),
            "Similarity to a region",
            lambda r: self._add_region(request, region, code, *r),
        )

    def pick(self, world: Any, rest: bool = True) -> None:
        """Show the similarity to the patch at a world position: the visible plane now, the others in the background.

        Parameters
        ----------
        world : floats
            Position in the viewer's world.
        rest : bool
            Whether to go on to the other planes.
        """
        try:
            request = self.request()
            features = self.session.find(request.key)
            if features is None:
                self._extract_first(rest)
                return
            at = self.similarity.pick(request, features, world, code=lambda config: self._script(self._similarity_lines(config)))
        except InputError as error:
            self.say("error", error_text(error))
            return
        self._asked(request)["similarity"] = at
        self.say("done", f"Similarity to row {at.row:.0f}, column {at.col:.0f} of plane {at.plane}: 1 is alike, 0 unrelated.")
        busy = self.runner.running and self._on_result != self._show_rest  # another job is not given up for the other planes
        if rest and self.other.value() is not None and not busy:
            self._show_across(request, at)
        elif rest and len(features) > 1 and not busy:
            self.start(self.similarity.rest_steps(request.visible), "Similarity", self._show_rest)

    def _show_across(self, request: jobs.FeatureRequest, at: SimilarityConfig) -> None:
        """Go on in the other planes, then in the other image."""
        config = replace(request.config, level=0, region=None)
        other = jobs.request_features(self.session, self.viewer, self.other.value(), config)
        filling = self.similarity.rest_steps(request.visible)
        job = feature_views.across_steps(self.session, request, other, at, before=filling)
        self.start(job, "Similarity in the other image", lambda view: self._add_view(request, view))

    def _extract_first(self, rest: bool) -> None:
        if rest and not self.runner.running:
            self.run()
        elif not self.runner.running:
            self.say("warning", "The features of this image and time point are not there yet: extracting them; click again then.")

    def _asked(self, request: jobs.FeatureRequest) -> dict[str, Any]:
        """Give the note of what was asked for of this image; another image begins anew."""
        kept = self.session.kept(type(self).__name__)
        if kept.get("image") != request.image:
            kept.clear()
            kept.update(layer_id=request.key.layer_id, image=request.image, asked={})
        asked: dict[str, Any] = kept["asked"]
        return asked

    def _script(self, lines: list[str]) -> str:
        return script.script_of([*self.extract_script(), *lines])

    def _patch_line(self, variable: str, name: str, **look: Any) -> str:
        source = self.source()
        stride = jobs.estimate_features(source.planes, self.session.features_config).stride
        return script.add_line(
            "image",
            variable,
            name=f"{source.placement.name} {name}",
            placement=source.placement,
            transform=source.placement.patch_transform(stride, (stride - 1) / 2),
            **look,
        )

    def _colour_lines(self) -> list[str]:
        return [PcaConfig().to_python(), self._patch_line("colours", "PCA", rgb=True)]

    def _similarity_lines(self, config: SimilarityConfig) -> list[str]:
        return [config.to_python(), self._patch_line("heat", "similarity", **LOOK)]

    def _region_lines(self, region: Source) -> list[str]:
        name = region.placement.name
        return [
            *script.layer_lines(region, variable="region"),
            "heat = features.similarity_to_region(region)",
            self._patch_line("heat", f"similar to {name}", **LOOK),
        ]

    def _add_pca(self, request: jobs.FeatureRequest, code: str, features: FeatureMap, colours: Any) -> str:
        placement = request.source.placement
        metadata = provenance(
            "pca", source=placement.name, settings=request.config.options(), script=code, features=features.provenance
        )
        layer = self.colours.show(
            placement.arrange(colours),
            belongs_to=request.place,
            metadata=metadata,
            add=lambda: results.add_patches(
                self.viewer, placement, features, colours, name=f"{placement.name} PCA", rgb=True, metadata=metadata
            ),
        )
        return f"{layer.name!r}: like colours are like features."

    def _add_region(self, request: jobs.FeatureRequest, region: Source, code: str, features: FeatureMap, heat: Any) -> str:
        placement, name = request.source.placement, region.placement.name
        metadata = provenance(
            "similarity",
            source=placement.name,
            settings=request.config.options(),
            script=code,
            features=features.provenance,
            region=name,
        )
        belongs_to = (request.place, region.placement.layer_id)
        layer = self.alike.show(
            placement.arrange(heat),
            belongs_to=belongs_to,
            metadata=metadata,
            add=lambda: results.add_patches(
                self.viewer, placement, features, heat, metadata=metadata, name=f"{placement.name} similar to {name}", **LOOK
            ),
        )
        return f"{layer.name!r}: 1 is alike, 0 unrelated."

    def _show_rest(self, filling: Filling) -> str:
        self.similarity.owned.refresh()
        place = f"row {filling.config.row:.0f}, column {filling.config.col:.0f}"
        return f"Similarity to {place} in {counted(len(filling.array), 'plane')}."

    def _on_progress(self, event: Progress) -> None:
        super()._on_progress(event)
        self.similarity.owned.refresh()

    def _on_pick_toggled(self, on: bool) -> None:
        self.pick_button.setText(PICK_ON if on else PICK_OFF)
        if not on:
            self.picker.stop()
            return
        self.picker.start()
        if not self.runner.running:
            self.run()  # cached features only prepare the plane in view

    def _on_pick_taken(self) -> None:
        self.pick_button.setChecked(False)


def _clear_steps() -> Job[int]:
    """Delete every map in the user's store."""
    from napari_dinov3.features.store import FeatureStore

    yield Progress(0, 1, "deleting the feature maps on disk")
    return FeatureStore().clear()
