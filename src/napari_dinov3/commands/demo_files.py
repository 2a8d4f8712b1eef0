"""The folder a demo leaves: OME-TIFF images, tables, the recipe as JSON and as a script, and a list of layers for the window.

Results of patches (colours, similarity) keep their own, coarser spacing and lie where they belong over the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_dinov3.commands.main_job import OBJECT, DemoResult, recipe_of
from napari_dinov3.commands.placing import on_patches
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
    }
    if done.given.truth is not None:
        images["known_mask"] = (done.given.truth.astype(np.uint8), "labels", image)
    names = []
    for number, (name, (data, kind, like)) in enumerate(images.items()):
        job = write_steps(folder / f"{name}.ome.tif", data, like=like, kind=kind, name=name, overwrite=True,
                          provenance=dict(features.provenance))
        path = yield from part_of(job, start=number, span=1, total=len(images))
        names.append(path.name)
    names += _write_texts(folder, done)
    write(folder / LAYERS, _layers(done), overwrite=True)
    return [*names, LAYERS]


def _write_texts(folder: Path, done: DemoResult) -> list[str]:
    rows = [{"step": m.step, "measured": m.measured, "value": m.value, "seconds": round(m.seconds, 3)} for m in done.measures]
    facts = {"image": done.given.image.name, "notes": list(done.given.notes), "scribbles": done.scribbles_from,
             "similarity_to": dict(zip(("plane", "row", "col"), done.point, strict=True)), "shifts": done.shifts,
             "measures": rows}
    write(folder / "results.json", facts, overwrite=True)
    write(folder / "results.csv", rows, overwrite=True)
    write_text(folder / "results.md", to_markdown(rows), overwrite=True)
    transforms = [{"plane": z, "rows": t[0, 2], "cols": t[1, 2], "known_rows": s[0], "known_cols": s[1]}
                  for z, (t, s) in enumerate(zip(done.results["alignment"].transforms, done.shifts, strict=True))]
    write(folder / "transforms.csv", transforms, overwrite=True)
    inputs = {"image": "image.ome.tif", "scribbles": "scribbles.ome.tif", "shifted": "shifted.ome.tif"}
    outputs = {"labels": "again_probe_labels.ome.tif", "cut.masks": "again_tokencut_masks.ome.tif",
               "aligned": "again_aligned.ome.tif"}
    recipe = recipe_of(done, inputs, outputs)
    save_recipe(folder / "recipe.json", recipe, overwrite=True)
    write_text(folder / "recipe.py", to_python(recipe), overwrite=True)
    return ["results.json", "results.csv", "results.md", "transforms.csv", "recipe.json", "recipe.py"]


def _layers(done: DemoResult) -> list[dict[str, Any]]:
    """List the layers in the order of the tiles in the window."""
    layers: list[dict[str, Any]] = [
        {"file": "image", "name": "Image"},
        {"file": "colours", "name": "PCA colours"},
        {"file": "similarity", "name": "Similarity to one patch", "colormap": "inferno", "point": list(done.point)},
        {"file": "tokencut_masks", "name": "TokenCut mask", "first_colour": OBJECT},
        {"file": "scribbles", "name": "Scribbles"},
        {"file": "probe_labels", "name": "Linear probe"},
        {"file": "shifted", "name": "Shifted: mean of planes", "mean": True},
        {"file": "aligned", "name": "Aligned: mean of planes", "mean": True},
        {"file": "shifted", "name": "Shifted stack", "visible": False},
        {"file": "aligned", "name": "Aligned stack", "visible": False},
    ]
    if done.given.truth is not None:
        layers.append({"file": "known_mask", "name": "Known mask", "first_colour": OBJECT, "visible": False})
    return layers
