"""Further ways to look at a feature map, as jobs and as layers: groups, relations of patches, like planes, another image.

Each ``*_steps`` function gives a :class:`View`: what to show, and the Python line that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from napari_dinov3._napari import jobs
from napari_dinov3._napari.features.similarity import LOOK
from napari_dinov3._napari.jobs import FeatureRequest, features_steps
from napari_dinov3._napari.layers import Source
from napari_dinov3._napari.provenance import provenance
from napari_dinov3._napari.results import add_patches
from napari_dinov3._napari.script import add_line, axes_of, layer_lines
from napari_dinov3._napari.session import Session
from napari_dinov3.features import grouping
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import PcaConfig, SimilarityConfig

Kind = Literal["foreground", "groups", "gram", "difference", "nearest", "across"]

_DIFFERENCE_LOOK = {"colormap": "magma", "opacity": 0.6}
_NAMES = {"foreground": "foreground PCA", "gram": "Gram matrix", "across": "alike"} | {
    kind: kind for kind in ("groups", "difference")
}
_GAP = 0.05  # of the image's height, between it and its Gram matrix


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Something to look at.

    Parameters
    ----------
    kind : str
        Which of the ways.
    features : FeatureMap
        On whose grid the data are.
    data : array
        ``(planes, rows, cols[, 3])``, or the matrix ``(patches, patches)`` of ``"gram"``; empty for ``"nearest"``.
    request : FeatureRequest
        Of the image it is shown on.
    variable : str
        Name of the data in the script.
    lines : tuple of str
        Python that makes the data out of ``features`` (and ``image``).
    message : str
        What to say.
    planes : tuple of int
        Of ``"nearest"``: best first.
    """

    kind: Kind
    features: FeatureMap
    data: Any
    request: FeatureRequest
    variable: str
    lines: tuple[str, ...]
    message: str
    planes: tuple[int, ...] = ()


def foreground_steps(session: Session, request: FeatureRequest, side: grouping.Side) -> Job[View]:
    """Colour the foreground by components of its own."""
    features = yield from _features(session, request, "colours of the foreground")
    config = PcaConfig(foreground=side)
    colours = features.pca(**config.options())
    share = float(np.any(colours, axis=-1).mean())
    return View("foreground", features, colours, request, "colours", (config.to_python(),), f"{share:.0%} of the patches.")


def group_steps(session: Session, request: FeatureRequest, count: int) -> Job[View]:
    """Group the patches by k-means."""
    features = yield from _features(session, request, "groups of patches")
    labels = features.clusters(count)
    return View(
        "groups", features, labels, request, "groups", (f"groups = features.clusters({count})",), "Group 1 is the largest."
    )


def gram_steps(session: Session, request: FeatureRequest) -> Job[View]:
    """Compare all pairs of patches of the visible plane."""
    features = yield from _features(session, request, "Gram matrix")
    plane = request.visible
    line = f"gram = features.gram(plane={plane})"
    message = f"Cosine of all pairs of patches of plane {plane}, row after row of the image."
    return View("gram", features, features.gram(plane), request, "gram", (line,), message)


def difference_steps(session: Session, request: FeatureRequest, other: FeatureRequest) -> Job[View]:
    """Tell where two backbones see different relations between the patches of the visible plane."""
    features = yield from part_of(features_steps(session, request), start=0, span=40, total=100)
    second = yield from part_of(features_steps(session, other), start=40, span=40, total=100)
    yield Progress(80, 100, "Gram distance")
    plane = request.visible
    distance = features.gram_distance(second, plane=plane)
    heat, grid = grouping.gram_difference(features, second, plane=plane)
    whole = np.zeros((len(features), *heat.shape[1:]), np.float32)
    whole[plane] = heat[0]
    lines = (
        _extraction(other, "image", "other"),
        f"print(features.gram_distance(other, plane={plane}))",
        "import numpy as np",
        "from napari_dinov3.features.grouping import gram_difference",
        f"heat, grid = gram_difference(features, other, plane={plane})",
        "difference = np.zeros((len(features), *heat.shape[1:]), np.float32)",
        f"difference[{plane}] = heat[0]",
    )
    pair = f"{features.backbone} and {second.backbone}"
    message = f"Gram distance of {pair} on plane {plane}: {distance:.3f}; 0 is the same, 2 opposite. Bright where they differ."
    return View("difference", grid, whole, request, "difference", lines, message)


def nearest_steps(session: Session, request: FeatureRequest, count: int) -> Job[View]:
    """Find the planes most like the visible one."""
    features = yield from _features(session, request, "planes like this one")
    planes, similarity = features.nearest_planes(request.visible, count=count)
    found = ", ".join(f"{plane} ({value:.3f})" for plane, value in zip(planes, similarity, strict=True))
    by = "CLS tokens" if features.cls is not None else "mean patches"
    line = f"planes, similarity = features.nearest_planes({request.visible}, count={count})"
    message = f"Most like plane {request.visible}, by the cosine of {by}: {found}." if len(planes) else "There is no other plane."
    return View("nearest", features, np.empty(0), request, "", (line,), message, tuple(int(plane) for plane in planes))


def across_steps(
    session: Session, request: FeatureRequest, other: FeatureRequest, at: SimilarityConfig, *, before: Job[Any]
) -> Job[View]:
    """Compare the patch that was clicked with those of another image, the position taken out of both.

    `before` is what else the click began: the other planes of its own image.
    """
    yield from before
    features = yield from part_of(features_steps(session, request), start=0, span=40, total=100)
    second = yield from part_of(features_steps(session, other), start=40, span=40, total=100)
    yield Progress(80, 100, "similarity in the other image")
    heat = features.similarity_across(second, **at.options(), model=_model(request, features))
    options = ", ".join(f"{name}={value!r}" for name, value in at.options().items())
    if request.config.network.given():  # by its name alone another would be loaded
        chosen = {"stride": request.config.stride, **request.config.network.given()}
        words = "".join(f", {name}={value!r}" for name, value in chosen.items() if value is not None)
        options += f", model=nd.load_backbone({features.backbone!r}{words})"
    lines = (
        *layer_lines(other.source, variable="other_image"),
        _extraction(other, "other_image", "other"),
        f"heat = features.similarity_across(other, {options})",
    )
    message = f"Similarity to row {at.row:.0f}, column {at.col:.0f} of plane {at.plane}: at most {float(heat.max()):.2f} there."
    return View("across", second, heat, other, "heat", lines, message)


def add_view(session: Session, viewer: Any, view: View, owner: str, script: str) -> Any:
    """Show a view in a layer that the next one of its kind replaces; None where there is nothing to show."""
    if view.kind == "nearest":
        return None
    placement, owned = view.request.source.placement, session.owned(owner, view.kind)
    metadata = provenance(
        view.kind,
        source=placement.name,
        settings=view.request.config.options(),
        script=script,
        features=view.features.provenance,
    )
    name = f"{placement.name} {_NAMES[view.kind]}"
    belongs_to = (view.request.place, view.kind, view.features.grid)
    if view.kind == "gram":
        options = _beside(view)
        return owned.show(
            view.data,
            belongs_to=belongs_to,
            metadata=metadata,
            add=lambda: viewer.add_image(view.data, name=name, metadata=metadata, **options),
        )
    look: dict[str, Any] = {"foreground": {"rgb": True}, "across": LOOK, "difference": _DIFFERENCE_LOOK}.get(view.kind, {})
    kind: Literal["image", "labels"] = "labels" if view.kind == "groups" else "image"
    return owned.show(
        placement.arrange(view.data),
        belongs_to=belongs_to,
        metadata=metadata,
        add=lambda: add_patches(viewer, placement, view.features, view.data, kind=kind, name=name, metadata=metadata, **look),
    )


def view_lines(view: View) -> list[str]:
    """Write what makes a view and adds it."""
    if view.kind == "nearest":
        return list(view.lines)
    placement = view.request.source.placement
    if view.kind == "gram":
        options = ", ".join(f"{name}={value!r}" for name, value in _beside(view).items())
        return [*view.lines, f"viewer.add_image(gram, name={placement.name + ' Gram matrix'!r}, {options})"]
    look: dict[str, Any] = {"foreground": {"rgb": True}, "across": LOOK, "difference": _DIFFERENCE_LOOK}.get(view.kind, {})
    stride, first = view.features.stride, view.features.first_centre
    line = add_line(
        "labels" if view.kind == "groups" else "image",
        view.variable,
        name=f"{placement.name} {_NAMES[view.kind]}",
        placement=placement,
        transform=placement.patch_transform(stride, first),
        **look,
    )
    return [*view.lines, line]


def point_of_plane(viewer: Any, source: Source, plane: int) -> tuple[int, float]:
    """Give the axis of the viewer along which the planes lie, and where on it a plane is."""
    axis = (source.placement.stack or 0) + viewer.dims.ndim - source.placement.ndim
    world = np.asarray(source.planes.world_from_pixel, np.float64) @ (plane, 0.0, 0.0, 1.0)
    return axis, float(world[0])


def _features(session: Session, request: FeatureRequest, title: str) -> Job[FeatureMap]:
    features = yield from part_of(features_steps(session, request), start=0, span=80, total=100)
    yield Progress(80, 100, title)
    return features


def _extraction(request: FeatureRequest, image: str, output: str) -> str:
    """Write how features are made of the array that the script reads from the layer."""
    config = replace(request.config, axes=axes_of(request.source), level=0, region=None)
    return config.to_python(image, output=output)


def _model(request: FeatureRequest, features: FeatureMap) -> Any:
    """Load what made the features as the panel chose it; other than by name alone, weights of any place are found so."""
    from napari_dinov3.backbones.registry import load_backbone

    config = request.config
    return load_backbone(features.backbone, stride=config.stride, **config.network.given())


def _beside(view: View) -> dict[str, Any]:
    """Place a matrix to the right of its image, as high as it."""
    placement = view.request.source.placement
    _, rows, cols = view.request.source.planes.shape
    row, col = (float(value) for value in placement.scale[-2:])
    origin = [float(value) for value in placement.translate[-2:]]
    size = row * rows / max(1, len(view.data))
    return {
        "scale": (size, size),
        "translate": (origin[0], origin[1] + col * cols + _GAP * row * rows),
        "units": tuple(str(unit) for unit in placement.units[-2:]),
        "colormap": "viridis",
        "contrast_limits": (round(float(view.data.min()), 3) - 1e-3, 1.0),
    }


def other_request(request: FeatureRequest, session: Session, viewer: Any, layer: Any, backbone: str) -> FeatureRequest:
    """Ask for features of the same image by another backbone, on its own grid and with its own defaults."""
    from napari_dinov3.backbones.options import BackboneOptions

    plain = {name: getattr(BackboneOptions(), name) for name in ("scale", "layers", "shifts", "flips", "weights", "source")}
    config = replace(request.config, backbone=backbone, stride=None, **plain, device="auto", precision="auto")
    return jobs.request_features(session, viewer, layer, config)
