"""What the Segment panel does, as Python for the napari console: one image or several, a probe from scribbles or from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from napari_dinov3._napari import script
from napari_dinov3._napari.layers import Source
from napari_dinov3._napari.segment import soft_layers as segmentation
from napari_dinov3._napari.segment.classes import default_name
from napari_dinov3._napari.segment.training_examples import Example, training_lines
from napari_dinov3.recipe import ProbeConfig


def example_lines(extract: Sequence[str], scribbles: Source) -> tuple[str, ...]:
    """Write how ``features`` and ``scribbles`` of an image of the training set are made."""
    return (*extract, *script.layer_lines(scribbles, variable="scribbles"))


def segment_script(
    source: Source,
    extract: Sequence[str],
    *,
    scribbles: Source | None,
    examples: Sequence[Example],
    config: ProbeConfig,
    path: str | None,
    names: Mapping[int, str],
    probability: bool,
    uncertainty: bool,
) -> str:
    """Write training and labelling.

    Parameters
    ----------
    source : Source
        The image.
    extract : sequence of str
        Lines that make its ``features``.
    scribbles : Source or None
        Its scribbles.
    examples : sequence of Example
        Other images that train the probe.
    config : ProbeConfig
        Of the probe; of a loaded one, how it refines.
    path : str or None
        File of a probe that is used instead.
    names : mapping
        Names of classes.
    probability, uncertainty : bool
        Layers that are added as well.
    """
    lines: list[str] = []
    if path is None and examples:
        lines += training_lines(examples)
    lines += extract
    if path is not None:
        lines.append(f"probe = nd.Probe.load({path!r})")
    else:
        if scribbles is not None:
            lines += script.layer_lines(scribbles, variable="scribbles")
        lines.append(f"probe = {_fitted(config, bool(examples), scribbles is not None)}")
    arguments = replace(config, axes=script.axes_of(source)).predict_arguments()
    lines.append(f"labels = probe.predict({arguments})")
    table = {}
    if names:
        table["features"] = {"index": [0, *names], "name": ["not labelled", *(names[v] or default_name(v) for v in names)]}
    lines.append(
        script.add_line(
            "labels",
            "labels",
            name=f"{source.placement.name} labels",
            placement=source.placement,
            transform=source.placement.pixel_transform(),
            **table,
        )
    )
    lines += segmentation.soft_script(source.placement, arguments, probability=probability, uncertainty=uncertainty)
    return script.script_of(lines)


def _fitted(config: ProbeConfig, several: bool, own: bool) -> str:
    features = ("[*maps, features]" if own else "maps") if several else "features"
    scribbles = ("[*painted, scribbles]" if own else "painted") if several else "scribbles"
    return config.fit_expression(features, scribbles)
