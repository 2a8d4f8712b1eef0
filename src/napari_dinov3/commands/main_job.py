"""The main job from an image to features, colours, labels, masks and an aligned stack, with everything measured that can be.

Measurements are honest about what they compare with. On a made-up stack the truth is known; on a real image the probe is judged
on scribbles kept apart from its training, or, where none are given, against TokenCut (agreement, not accuracy). For the
alignment windows are cut out of the stack at known random positions, so that no border is invented.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.geometry import affine
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.progress import Job, part_of
from napari_dinov3.recipe import (
    AlignConfig,
    ApplyConfig,
    ExtractConfig,
    PcaConfig,
    ProbeConfig,
    ReadConfig,
    Recipe,
    SimilarityConfig,
    Step,
    TaskConfig,
    TokenCutConfig,
    WriteConfig,
    run_recipe_steps,
)

BACKGROUND, OBJECT = 1, 2
MAX_SHIFT = 12
_ROW_EVERY = 12
_BLOCK = 32
_FEWEST_PLANES = 4


@dataclass(frozen=True, slots=True, eq=False)
class DemoInput:
    """What the main job starts from.

    Parameters
    ----------
    image : Planes
        In memory.
    truth : (planes, H, W) bool, optional
        Known objects.
    scribbles : (planes, H, W) unsigned int, optional
        Painted by the user, 0 where nothing is.
    notes : tuple of str
        What was done to the image before: what was left out, which channel.
    """

    image: Planes
    truth: npt.NDArray[np.bool_] | None = None
    scribbles: npt.NDArray[Any] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table: what was measured, against what, and how long the step took."""

    step: str
    measured: str
    value: float
    seconds: float


@dataclass(slots=True, eq=False)
class DemoResult:
    """All results by name, the lines of the table, and the recipe that makes them again."""

    given: DemoInput
    backbone: str
    shifts: npt.NDArray[np.float64]
    steps: list[Step] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    measures: list[Measure] = field(default_factory=list)
    point: tuple[int, int, int] = (0, 0, 0)
    scribbles_from: str = ""


def main_job_steps(given: DemoInput, *, backbone: str = "auto", rng: int = 0) -> Job[DemoResult]:
    """Run the main job.

    Parameters
    ----------
    given : DemoInput
        The image, and what is known of it.
    backbone : str
        Registry name or ``"auto"``.
    rng : int
        Seed of the shifts.
    """
    done = DemoResult(given, backbone, np.zeros((0, 2)))
    done.results["image"] = given.image
    yield from part_of(_embed_steps(done), start=0, span=25, total=100)
    yield from part_of(_discover_steps(done), start=25, span=25, total=100)
    yield from part_of(_learn_steps(done), start=50, span=20, total=100)
    yield from part_of(_align_steps(done, np.random.default_rng(rng)), start=70, span=30, total=100)
    return done


def recipe_of(done: DemoResult, names: dict[str, str], outputs: dict[str, str]) -> Recipe:
    """Write down what was done, so that it can be replayed from the files of the result folder.

    Parameters
    ----------
    done : DemoResult
        Of :func:`main_job_steps`.
    names : dict
        File of each input by name: image, scribbles, shifted.
    outputs : dict
        File to write for each result by name.
    """
    reads = [Step(ReadConfig(path=path), output=name) for name, path in names.items()]
    writes = []
    for name, path in outputs.items():
        labels = name == "labels" or name.endswith(".masks")
        like = "shifted" if name == "aligned" else "image"
        writes.append(Step(WriteConfig(path=path, kind="labels" if labels else None), inputs=(name, like)))
    return Recipe((*reads, *done.steps, *writes))


def _do(done: DemoResult, config: TaskConfig, *inputs: str, output: str | None = None) -> Job[float]:
    """Run one step on the results so far, and remember it; returns its seconds."""
    step = Step(config, inputs or None, output)
    begun = time.perf_counter()
    done.results = yield from run_recipe_steps(Recipe((step,)), done.results)
    done.steps.append(step)
    return time.perf_counter() - begun


def _embed_steps(done: DemoResult) -> Job[None]:
    seconds = yield from part_of(_do(done, ExtractConfig(backbone=done.backbone)), start=0, span=90, total=100)
    features = done.results["features"]
    done.measures.append(
        Measure("features", f"numbers a patch ({features.backbone}, every {features.stride:g} pixels)", features.dim, seconds)
    )
    yield from part_of(_do(done, PcaConfig()), start=90, span=10, total=100)


def _discover_steps(done: DemoResult) -> Job[None]:
    # cut each for itself, planes of one tissue can disagree on which side is the object
    config = TokenCutConfig(stack="planes" if done.given.image.is_2d else "joint")
    seconds = yield from part_of(_do(done, config), start=0, span=90, total=100)
    cut = done.results["cut"]
    masks = cut.masks
    truth = done.given.truth
    if truth is not None:
        done.measures.append(Measure("TokenCut", "IoU with the known mask, without labels", iou(masks, truth), seconds))
    else:
        share = float(cut.clear.mean())
        done.measures.append(Measure("TokenCut", "part of planes where the cut is clear", share, seconds))
    fullest = int(masks.sum(axis=(1, 2)).argmax()) if masks.any() else len(masks) // 2
    done.point = _point_inside(masks if masks.any() else None, cut, fullest)
    plane, row, col = done.point
    config_here = SimilarityConfig(plane=plane, row=float(row), col=float(col))
    seconds = yield from part_of(_do(done, config_here), start=90, span=10, total=100)
    if truth is not None:
        heat = done.results["heat"]
        value = _separation(heat, truth, done.results["features"])
        done.measures.append(Measure("similarity", "chance that an object patch is closer than another (AUC)", value, seconds))


def _learn_steps(done: DemoResult) -> Job[None]:
    given, masks = done.given, done.results["cut"].masks
    reference = given.truth if given.truth is not None else masks
    if given.scribbles is not None:
        done.results["scribbles"], done.scribbles_from = given.scribbles, "your scribbles"
    else:
        done.results["scribbles"] = scribble_rows(reference, done.point[0])
        done.scribbles_from = "rows of the known mask" if given.truth is not None else "rows of the TokenCut mask"
    for head in ("kernel", "linear"):  # the linear probe comes last: its labels are the ones kept
        if given.scribbles is not None:
            value, seconds = yield from _held_out(done, head)
            text = "F1 on painted blocks kept apart from training, mean of classes"
        else:
            seconds = yield from _do(done, ProbeConfig(head=head))
            labels = done.results["labels"]
            unseen = [z for z in range(len(labels)) if not done.results["scribbles"][z].any()] or [*range(len(labels))]
            value = f1(labels[unseen] == OBJECT, reference[unseen])
            against = "the known mask" if given.truth is not None else "TokenCut (agreement, not accuracy)"
            where = "planes not trained on" if len(unseen) < len(labels) else "the rows between those trained on"
            text = f"F1 against {against}, {where}"
        done.measures.append(Measure(f"{head} probe", text, value, seconds))
        if head == "kernel" and given.scribbles is None:
            done.steps.pop()
    if given.scribbles is not None:
        yield from _do(done, ProbeConfig(head="linear"))


def _held_out(done: DemoResult, head: Any) -> Job[tuple[float, float]]:
    """Train on every second block of the scribbles and measure on the others, so that the figure is not the training's."""
    scribbles = done.results["scribbles"]
    rows, cols = np.indices(scribbles.shape[1:]) // _BLOCK
    planes = np.arange(len(scribbles))[:, None, None]
    odd = (rows + cols + planes) % 2 == 1
    begun = time.perf_counter()
    trained, kept = np.where(odd, 0, scribbles), np.where(odd, scribbles, 0)
    if len(np.unique(trained)) < 3 or not kept.any():
        return float("nan"), 0.0
    labels = yield from ProbeConfig(head=head).steps(done.results["features"], trained)
    values = [f1((labels == v)[kept > 0], (kept == v)[kept > 0]) for v in np.unique(kept[kept > 0])]
    return float(np.mean(values)), time.perf_counter() - begun


def _align_steps(done: DemoResult, rng: np.random.Generator) -> Job[None]:
    shifted, shifts = shift_planes(done.given.image, rng)
    done.shifts, done.results["shifted"] = shifts, shifted
    copies = _copied(len(done.given.image))
    before = misplacement(np.zeros_like(shifts), shifts)
    done.measures.append(Measure("shifted stack", f"mean distance of planes{copies} from their true place, pixels", before, 0.0))
    config = AlignConfig(model="translation", backbone=None)
    seconds = yield from part_of(_do(done, config, "shifted"), start=0, span=40, total=100)
    found = done.results["alignment"].transforms[:, :2, 2]
    text = "the same after alignment (translation, by pixels alone)"
    if done.given.truth is None and not copies:
        still, _ = shift_planes(done.given.image, rng, most=0)  # what lies slanted in the tissue moves from plane to plane
        alone = yield from part_of(config.steps(still), start=40, span=45, total=100)
        found, text = found - alone.transforms[:, :2, 2], f"{text}, against the stack aligned unshifted"
    after = misplacement(found, shifts)
    done.measures.append(Measure("aligned stack", text, after, seconds))
    yield from part_of(_do(done, ApplyConfig(order=1), "alignment", "shifted"), start=85, span=15, total=100)


def _copied(planes: int) -> str:
    """Say which planes of the stack to align are the same picture: such a stack is easier than a real one."""
    if planes >= _FEWEST_PLANES:
        return ""
    return f" ({_FEWEST_PLANES} copies of one plane)" if planes == 1 else f" ({_FEWEST_PLANES} copies of {planes} planes)"


def scribble_rows(mask: npt.NDArray[np.bool_], plane: int) -> npt.NDArray[np.uint8]:
    """Paint every 12th row of two planes: 1 outside the mask, 2 inside.

    Parameters
    ----------
    mask : (planes, H, W) bool
        Where the objects are. Objects smaller than the gaps are met in some rows only, as by a hurried person.
    plane : int
        One of the planes; the other is half the stack away.
    """
    out = np.zeros(mask.shape, np.uint8)
    rows = slice(_ROW_EVERY // 2, None, _ROW_EVERY)
    for painted in {plane, (plane + len(mask) // 2) % len(mask)}:
        out[painted, rows] = np.where(mask[painted, rows], OBJECT, BACKGROUND)
    return out


def shift_planes(image: Planes, rng: np.random.Generator, *, most: int = MAX_SHIFT) -> tuple[Planes, npt.NDArray[np.float64]]:
    """Cut a window out of every plane, each at another known place; a short stack is repeated to four planes.

    Parameters
    ----------
    image : Planes
        The stack.
    rng : Generator
        Draws the places.
    most : int
        Largest shift in pixels; 0 leaves all where they are, in windows of the same size.

    Returns
    -------
    shifted : Planes
        Smaller than the image by twice the largest shift on each side.
    shifts : (planes, 2) float64
        Displacement of the content of each plane, (row, col) pixels.
    """
    count, height, width = image.shape
    margin = min(MAX_SHIFT, max(1, min(height, width) // 10))
    chosen = [*range(count)] if count >= _FEWEST_PLANES else [z % count for z in range(_FEWEST_PLANES)]
    most = min(most, margin)
    shifts = rng.integers(-most, most + 1, (len(chosen), 2))
    planes = [
        image.plane(z)[margin - dy : height - margin - dy, margin - dx : width - margin - dx]
        for z, (dy, dx) in zip(chosen, shifts.tolist(), strict=True)
    ]
    stack = "z" if image.is_2d else image.axes[0]
    moved = as_planes(
        np.stack(planes),
        axes=f"{stack}yx" + "s" * image.rgb,
        spacing=image.spacing,
        units=image.units,
        world_from_pixel=image.world_from_pixel @ affine((1, 1, 1), (0, margin, margin)),
        name=f"{image.name} shifted",
    )
    return moved, shifts.astype(np.float64)


def misplacement(found: npt.NDArray[np.float64], shifts: npt.NDArray[np.float64]) -> float:
    """Mean distance in pixels between found and known displacements, a common one of the whole stack apart."""
    error = found - shifts
    error = error - error.mean(axis=0)
    return float(np.hypot(error[:, 0], error[:, 1]).mean())


def iou(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of two masks."""
    both = np.logical_or(found, truth).sum()
    return float(np.logical_and(found, truth).sum() / both) if both else 1.0


def f1(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """F1 (Dice) of two masks."""
    total = found.sum() + truth.sum()
    return float(2 * np.logical_and(found, truth).sum() / total) if total else 1.0


def _point_inside(masks: npt.NDArray[np.bool_] | None, cut: Any, plane: int) -> tuple[int, int, int]:
    """Choose the pixel deepest inside the largest mask of a plane, or its seed where the mask is empty."""
    if masks is None or not masks[plane].any():
        row, col = np.asarray(cut.seeds[plane]) * cut.cut.stride + cut.cut.first_centre
        return plane, round(float(row)), round(float(col))
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(masks[plane], 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return plane, int(row), int(col)


def _separation(heat: npt.NDArray[Any], truth: npt.NDArray[np.bool_], features: Any) -> float:
    """Area under the ROC curve of the similarity, on the patch grid."""
    from sklearn.metrics import roc_auc_score

    rows, cols = (
        np.clip(np.rint(np.arange(n) * features.stride + features.first_centre).astype(int), 0, size - 1)
        for n, size in zip(features.grid, features.image_shape, strict=True)
    )
    known = truth[:, rows][:, :, cols]
    if known.all() or not known.any():
        raise InputError("The known mask is empty or full", "both objects and surround", "Use another sample")
    return float(roc_auc_score(known.ravel(), heat.ravel()))
