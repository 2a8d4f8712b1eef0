"""The folder a demo leaves: OME-TIFF images, tables, the recipe as JSON and as a script, and a list of layers for the window.

Results of patches (colours, similarity) keep their own, coarser spacing and lie where they belong over the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.commands.main_job import OBJECT, DemoResult, recipe_of
from napari_dinov3.commands.placing import on_patches
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.io import write, write_steps
from napari_dinov3.io.atomic import write_text
from napari_dinov3.io.image_file import Kind
from napari_dinov3.io.tables import to_markdown
from napari_dinov3.progress import Job, part_of
from napari_dinov3.recipe import save_recipe, to_python

LAYERS = "layers.json"


def write_demo_steps(folder: Path, done: DemoResult) -> Job[list[str]]:
    """Write all files of a demo; returns their names."""
    results, image = done.results, done.given.image
    features = results["features"]
    colours = np.rint(results["colours"] * 255).astype(np.uint8)
    images: dict[str, tuple[Any, Kind, Any]] = {
        "image": (image.data, "image", image),
        "colours": (on_patches(features, colours), "image", None),
        "similarity": (on_patches(features, results["heat"]), "image", None),
        "scribbles": (results["scribbles"], "labels", image),
        "probe_labels": (results["labels"], "labels", image),
        "tokencut_masks": (results["cut"].masks.astype(np.uint8), "labels", image),
        "shifted": (results["shifted"].data, "image", results["shifted"]),
        "aligned": (results["aligned"], "image", results["shifted"]),
        **{f"{name}_mean": (mean, "image", None) for name, mean in _means(done).items()},
    }
    if done.given.truth is not None:
        images["known_mask"] = (done.given.truth.astype(np.uint8), "labels", image)
    names = []
    for number, (name, (data, kind, like)) in enumerate(images.items()):
        job = write_steps(
            folder / f"{name}.ome.tif",
            data,
            like=like,
            kind=kind,
            name=name,
            overwrite=True,
            provenance=dict(features.provenance),
        )
        path = yield from part_of(job, start=number, span=1, total=len(images))
        names.append(path.name)
    names += _write_texts(folder, done)
    write(folder / LAYERS, _layers(done), overwrite=True)
    return [*names, LAYERS]


def _write_texts(folder: Path, done: DemoResult) -> list[str]:
    rows = [{"step": m.step, "measured": m.measured, "value": m.value, "seconds": round(m.seconds, 3)} for m in done.measures]
    facts = {
        "image": done.given.image.name,
        "notes": list(done.given.notes),
        "scribbles": done.scribbles_from,
        "similarity_to": dict(zip(("plane", "row", "col"), done.point, strict=True)),
        "shifts": done.shifts,
        "measures": rows,
    }
    write(folder / "results.json", facts, overwrite=True)
    write(folder / "results.csv", rows, overwrite=True)
    write_text(folder / "results.md", to_markdown(rows), overwrite=True)
    transforms = [
        {"plane": z, "rows": t[0, 2], "cols": t[1, 2], "known_rows": s[0], "known_cols": s[1]}
        for z, (t, s) in enumerate(zip(done.results["alignment"].transforms, done.shifts, strict=True))
    ]
    write(folder / "transforms.csv", transforms, overwrite=True)
    inputs = {"image": "image.ome.tif", "scribbles": "scribbles.ome.tif", "shifted": "shifted.ome.tif"}
    outputs = {
        "labels": "again_probe_labels.ome.tif",
        "cut.masks": "again_tokencut_masks.ome.tif",
        "aligned": "again_aligned.ome.tif",
    }
    recipe = recipe_of(done, inputs, outputs)
    save_recipe(folder / "recipe.json", recipe, overwrite=True)
    write_text(folder / "recipe.py", to_python(recipe), overwrite=True)
    return ["results.json", "results.csv", "results.md", "transforms.csv", "recipe.json", "recipe.py"]


def _means(done: DemoResult) -> dict[str, Planes]:
    """Average the planes before and after alignment: sharp where they agree.

    A pixel counts the planes that reach it, and is NaN (black in colour) where that is less than half of them.
    """
    shifted, alignment = done.results["shifted"], done.results["alignment"]
    reached = np.asarray(alignment.apply(np.ones(shifted.shape, np.float32), order=0, fill=0)) > 0
    before = np.stack([shifted.plane(z) for z in range(len(shifted))])
    planes = {"shifted": (before, np.ones_like(reached)), "aligned": (np.asarray(done.results["aligned"]), reached)}
    return {name: _mean(stack, where, shifted) for name, (stack, where) in planes.items()}


def _mean(stack: npt.NDArray[Any], where: npt.NDArray[np.bool_], like: Planes) -> Planes:
    count = where.sum(axis=0)
    weights = where[..., None] if like.rgb else where
    total = (stack.astype(np.float32) * weights).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / (count[..., None] if like.rgb else count)
    mean[2 * count < len(where)] = np.nan
    data = np.rint(np.nan_to_num(mean)).astype(stack.dtype) if like.rgb else mean
    return as_planes(
        data, axes="yx" + "s" * like.rgb, spacing=like.spacing, units=like.units, world_from_pixel=like.world_from_pixel
    )


def _range(mean: Planes) -> dict[str, Any]:
    """Give pictures before and after alignment one display range; colours have none."""
    values = np.asarray(mean.data, np.float64)
    values = values[np.isfinite(values)]
    if mean.rgb or not values.size:
        return {}
    low, high = np.percentile(values, (0.5, 99.5))
    return {"contrast_limits": [float(low), float(high)]} if high > low else {}


def _layers(done: DemoResult) -> list[dict[str, Any]]:
    """List the layers in the order of the tiles in the window."""
    limits = _range(_means(done)["aligned"])
    layers: list[dict[str, Any]] = [
        {"file": "image", "name": "Image"},
        {"file": "colours", "name": "PCA colours"},
        {"file": "similarity", "name": "Similarity to one patch", "colormap": "inferno", "point": list(done.point)},
        {"file": "tokencut_masks", "name": "TokenCut mask", "first_colour": OBJECT},
        {"file": "scribbles", "name": "Scribbles"},
        {"file": "probe_labels", "name": "Linear probe"},
        {"file": "shifted_mean", "name": "Shifted: mean of planes", **limits},
        {"file": "aligned_mean", "name": "Aligned: mean of planes", **limits},
    ]
    if not done.given.image.is_2d:  # copies of a single image would only give it a slider
        layers += [{"file": name, "name": f"{name.capitalize()} stack", "visible": False} for name in ("shifted", "aligned")]
    if done.given.truth is not None:
        layers.append({"file": "known_mask", "name": "Known mask", "first_colour": OBJECT, "visible": False})
    return layers
