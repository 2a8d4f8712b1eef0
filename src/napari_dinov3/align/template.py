"""Align every section to a template made of its neighbours, for what changes slowly along the stack.

For a time series the template is the mean of all aligned frames; for serial sections it is the median of the aligned
neighbours, which no single damaged section can spoil. It is a second pass: the first one makes the template sharp.

References
----------
.. [1] E. A. Pnevmatikakis, A. Giovannucci, "NoRMCorre: an online algorithm for piecewise rigid motion correction of calcium
   imaging data", J. Neurosci. Methods 291 (2017), doi:10.1016/j.jneumeth.2017.07.031.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from napari_dinov3.align.channels import FloatArray
from napari_dinov3.align.coarse import thumbnail_factor
from napari_dinov3.align.pairwise import fit_sections
from napari_dinov3.align.refine import pull_grey
from napari_dinov3.align.section import STACK_SIDE, Section, prepare_section
from napari_dinov3.align.stack_alignment import StackAlignment
from napari_dinov3.align.transforms import LinearModel, scaled
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress

Template = Literal["mean", "median"]
NEIGHBOURS = 3


def align_to_template_steps(planes: Planes, path: StackAlignment, *, template: Template) -> Job[StackAlignment]:
    """Improve an alignment by a template.

    Parameters
    ----------
    planes : Planes
        The stack.
    path : StackAlignment
        Its alignment so far.
    template : {"mean", "median"}
        Mean of all good sections, or median of the good ones within 3 sections of each.

    Returns
    -------
    path : StackAlignment
        Sections that do not match the template keep their pose.
    """
    linear: LinearModel = "affine" if path.model == "elastic" else path.model
    factor = thumbnail_factor(planes.shape[1:], side=STACK_SIDE)
    good = [z for z in range(len(planes)) if z not in path.bad]
    transforms, total = path.transforms.copy(), 2 * len(good)
    mean: FloatArray | None = None
    if template == "mean":
        total_sum, seen = np.zeros(1), np.zeros(1)
        for done, z in enumerate(good):
            yield Progress(done, total, f"Adding section {z + 1} to the template")
            image = _aligned(planes, path, z, factor)
            total_sum, seen = total_sum + np.nan_to_num(image), seen + np.isfinite(image)
        mean = np.where(seen > 0, total_sum / np.maximum(seen, 1), np.nan).astype(np.float32)
    held: dict[int, FloatArray] = {}
    for done, z in enumerate(good):
        yield Progress(len(good) + done, total, f"Section {z + 1} against the template")
        target = mean
        if target is None:
            near = [k for k in good if abs(k - z) <= NEIGHBOURS and k != z]
            held = {k: held[k] if k in held else _aligned(planes, path, k, factor) for k in near}
            if not near:
                continue
            target = _median(list(held.values()))
        section = prepare_section(planes.plane(z), factor=factor, backbone=None)
        fit = fit_sections(Section(target, factor, path.shape), section, model=linear, hint=path.transforms[z])
        if fit.match.accepted:
            transforms[z] = fit.matrix
    return dataclasses.replace(path, transforms=transforms)


def _aligned(planes: Planes, path: StackAlignment, z: int, factor: int) -> FloatArray:
    section = prepare_section(planes.plane(z), factor=factor, backbone=None)
    shape = (section.image.shape[0], section.image.shape[1])
    return pull_grey(section.image, scaled(path.transforms[z], 1 / factor), shape=shape)


def _median(images: list[FloatArray]) -> FloatArray:
    """Median over what is known; NaN where nothing is."""
    stack = np.stack(images)
    known = np.isfinite(stack)
    filled = np.sort(np.where(known, stack, np.inf), axis=0)
    count = known.sum(axis=0)
    middle = np.take_along_axis(filled, np.maximum((count - 1) // 2, 0)[None], axis=0)[0]
    upper = np.take_along_axis(filled, np.minimum(count // 2, len(images) - 1)[None], axis=0)[0]
    return np.where(count > 0, 0.5 * (middle + np.where(np.isfinite(upper), upper, middle)), np.nan).astype(np.float32)
