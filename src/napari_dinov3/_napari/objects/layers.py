"""Objects and their classes as layers, and the same as Python."""

from __future__ import annotations

from typing import Any

from napari_dinov3._napari import results, script
from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Placement, Source
from napari_dinov3._napari.objects.tasks import ObjectWork, facts_of
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.provenance import provenance, provenance_of
from napari_dinov3.objects.instances import Instances
from napari_dinov3.recipe import ClassifyObjectsConfig, MeasureConfig, ObjectsConfig

NOT_CLASSES = ("scribbles", "objects", "classify_objects")
"""Tasks whose labels are no classes of pixels."""


def holds_probability(layer: Any) -> bool:
    """Whether a layer holds decimals, and so a probability rather than labels."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return getattr(getattr(data, "dtype", None), "kind", "") == "f"


def holds_classes(layer: Any) -> bool:
    """Whether a layer holds labels that objects are made of: not scribbles, nor what was made of objects."""
    return type(unwrap(layer)).__name__ == "Labels" and provenance_of(layer).get("task") not in NOT_CLASSES


def show_objects(viewer: Any, owned: OwnedLayer, source: Source, made: Instances, config: ObjectsConfig, code: str) -> Any:
    """Show objects as a labels layer, in place of those of the same source that were shown before."""
    placement = source.placement
    metadata = provenance("objects", source=placement.name, settings=config.options(), script=code, count=made.count)

    def add() -> Any:
        name = f"{placement.name} objects"
        return results.add_pixels(viewer, placement, made.labels, kind="labels", name=name, metadata=metadata, opacity=0.6)

    return owned.show(placement.arrange(made.labels), belongs_to=_place(placement), metadata=metadata, add=add)


def show_classes(viewer: Any, owned: OwnedLayer, source: Source, work: ObjectWork, pixels: Any, code: str) -> Any:
    """Show every object in the colour of its class."""
    placement = source.placement
    facts = facts_of(work)
    metadata = provenance("classify_objects", source=placement.name, settings=facts, script=code)

    def add() -> Any:
        name = f"{placement.name} classes"
        return results.add_pixels(viewer, placement, pixels, kind="labels", name=name, metadata=metadata, opacity=0.9)

    layer = owned.show(placement.arrange(pixels), belongs_to=_place(placement), metadata=metadata, add=add)
    values = [] if work.classes is None else list(work.classes.values)
    layer.features = {"index": values, "class": [work.names.get(value, f"class {value}") for value in values]}
    return layer


def make_lines(source: Source, config: ObjectsConfig, image: Source | None) -> list[str]:
    """Write making and measuring objects; the image is in ``image`` already, where there is one."""
    placement = source.placement
    lines = [*script.layer_lines(source, variable="labels"), config.to_python(_placed("labels", source))]
    soft = source.planes.dtype.kind == "f"
    how = MeasureConfig(intensity=image is not None, probability=soft, axes=None if image is None else script.axes_of(image))
    lines += [how.to_python("objects", *(() if image is None else ("image",)), *(("labels",) if soft else ()))]
    add = script.add_line(
        "labels", "objects.labels", name=f"{placement.name} objects", placement=placement, transform=placement.pixel_transform()
    )
    return [*lines, f"layer = {add}", 'layer.features = {"index": table.labels, **table.named()}']


def class_lines(source: Source, work: ObjectWork, head: Any) -> list[str]:
    """Write classifying objects; the features are in ``features`` already."""
    placement = source.placement
    config = ClassifyObjectsConfig(
        examples=() if work.loaded is not None else tuple(sorted(work.examples.items())),
        classifier=work.path if work.loaded is not None else None,
        head=head,
        names=tuple(sorted(work.names.items())),
    )
    objects = _placed("objects", source)
    return [
        *script.layer_lines(source, variable="objects"),
        config.to_python("features", objects),
        f"classes = nd.paint_classes(object_classes, {objects})",
        script.add_line(
            "labels", "classes", name=f"{placement.name} classes", placement=placement, transform=placement.pixel_transform()
        ),
    ]


def _placed(name: str, source: Source) -> str:
    """Write an array as planes in their place, so that sizes are in the units of the image."""
    planes = source.planes
    words = [name, f"axes={planes.axes!r}", f"spacing={tuple(round(step, 10) for step in planes.spacing)!r}"]
    return f"nd.as_planes({', '.join([*words, f'units={tuple(map(str, planes.units))!r}'])})"


def _place(placement: Placement) -> tuple[Any, ...]:
    transform = placement.pixel_transform()
    return (placement.layer_id, placement.fixed, *(str(value) for name, value in transform.items() if name != "units"))
