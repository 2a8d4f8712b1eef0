"""Images of a training set that come from files: an image and its scribbles, neither of which needs a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_dinov3._napari.jobs import extraction_options
from napari_dinov3._napari.segment.scribble_book import ScribbleBook
from napari_dinov3._napari.segment.training_examples import Example
from napari_dinov3.errors import InputError
from napari_dinov3.features.on_demand import fill_steps, on_demand_steps
from napari_dinov3.io import read
from napari_dinov3.progress import Job, part_of
from napari_dinov3.recipe import ExtractConfig


def file_example_steps(image: Path, scribbles: Path, config: ExtractConfig, others: Sequence[Example]) -> Job[Example]:
    """Make one image of a training set of two files; only painted planes are embedded.

    Parameters
    ----------
    image, scribbles : Path
        Any files that can be read; 0 in the scribbles is unlabelled.
    config : ExtractConfig
        How the features of the image in view are made, so that these fit.
    others : sequence of Example
        The training set so far.

    Raises
    ------
    InputError
        If the scribbles have another shape than the image, or nothing is painted.
    FeatureMismatchError
        If the features do not fit those of the training set.
    """
    planes, labels = read(image).planes(), read(scribbles, kind="labels").planes()
    if labels.shape != planes.shape:
        raise InputError(
            f"The scribbles {scribbles.name!r} have shape {labels.shape}",
            f"{planes.shape}, as {image.name!r}",
            "Choose the scribbles of this image",
        )
    painted = yield from part_of(ScribbleBook().read_steps(labels), start=0, span=10, total=100)
    if not painted.planes:
        raise InputError(f"Nothing is painted in {scribbles.name!r}", "labels above 0", "Choose another file")
    config = replace(config, level=0, region=None, folder=None, axes=None)
    job = on_demand_steps(planes, **extraction_options(config), cache=config.cache)
    features = yield from part_of(job, start=10, span=10, total=100)
    for other in others:
        other.check_fits(features)
    yield from part_of(fill_steps(features, painted.planes), start=20, span=80, total=100)
    lines = (
        f"image = nd.read({str(image)!r})",
        config.to_python("image"),
        f"scribbles = nd.read({str(scribbles)!r}, kind='labels').planes().data",
    )
    return Example(image.name, scribbles.name, features, dict(painted.planes), dict(painted.counts), lines)
