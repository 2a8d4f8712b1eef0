"""A real stack moved by known rigid transforms: is what alignment finds moved by as much?

One command, on a folder of single-plane images::

    python benchmarks/bench_real_stack.py FOLDER --planes 81

A published stack is not aligned, so each pose is compared with the pose found for the unmoved stack: the disagreement, on a
24-px grid and up to one rigid move of the whole, is all that the known transforms did not explain. For neighbours of the
unmoved stack it prints equivariance, ``|M T(a, b) - T(a, M b)|``, and loop closure, ``|T(b, c) T(a, b) - T(a, c)|``, together:
each alone can be cheated.

With ``--bend 4`` every plane is also bent by a smooth field of its own (Gaussian of 40 px, 4 px at most). Elastic and affine
alignment of the bent stack are each compared with the elastic one of the plain stack, in tissue, up to one map of the whole
(the median over planes at each point: how a stack as a whole is bent, no comparison of its planes can tell).
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.io import imread

import napari_dinov3 as nd
from napari_dinov3.align.stack_alignment import StackAlignment, pulled_back
from napari_dinov3.align.transforms import fit_matrix, point_grid, rotation_matrix, translation_matrix
from napari_dinov3.geometry import transform_points


def known_moves(count: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw aligned-to-moved rigid transforms: up to 8 degrees and 12 px."""
    centre = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    return np.stack(
        [translation_matrix(*rng.uniform(-12, 12, 2)) @ rotation_matrix(rng.uniform(-8, 8), centre) for _ in range(count)]
    )


def lengths(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(transform_points(a, points) - transform_points(b, points), axis=1)


def bent(images: np.ndarray, moves: np.ndarray, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Move and bend each plane; ``places[z][:, r, c]`` says where pixel (r, c) of the bent plane lies in the plain one."""
    grid = np.indices(images.shape[1:]).astype(float)
    planes, places = [], []
    for image, back in zip(images, np.linalg.inv(moves), strict=True):
        field = np.stack([ndimage.gaussian_filter(rng.normal(size=image.shape), 40, mode="reflect") for _ in range(2)])
        field *= amount / np.linalg.norm(field, axis=0).max()
        place = transform_points(back, grid.reshape(2, -1).T).T.reshape(grid.shape) + field
        planes.append(ndimage.map_coordinates(image, place, order=5, cval=float(np.median(images[:, 0]))))
        places.append(place)
    return np.stack(planes), np.stack(places)


def traced(path: StackAlignment, section: int, points: np.ndarray) -> np.ndarray:
    """Take points of the aligned frame to a section."""
    there, field = transform_points(path.transforms[section], points), path.field_of(section)
    return there if field is None else there + field.at(points)


def bent_errors(images: np.ndarray, places: np.ndarray, plain: StackAlignment, path: StackAlignment) -> np.ndarray:
    """Distances between where both alignments look in the plain planes, in tissue, up to one map of the whole."""
    points = point_grid(images.shape[1:], 12)
    found, tissue = [], []
    for z, place in enumerate(places):
        there = traced(path, z, points).T
        raw = np.stack([ndimage.map_coordinates(part, there, order=3, mode="nearest") for part in place], axis=1)
        found.append(pulled_back(raw, plain.transforms[z], plain.field_of(z)))
        inside = np.all((there.T > 8) & (np.array(images.shape[1:]) - 9 > there.T), axis=1)
        bright = ndimage.gaussian_filter(images[z], 4) > threshold_otsu(images[z])
        tissue.append(inside & ndimage.map_coordinates(bright, raw.T, order=0).astype(bool))
    seen = np.where(np.stack(tissue)[..., None], np.stack(found), np.nan)
    enough = np.count_nonzero(np.stack(tissue), axis=0) > len(images) / 2
    seen = seen[:, enough]
    lengths_seen = np.linalg.norm(seen - np.nanmedian(seen, axis=0), axis=-1)
    return lengths_seen[np.isfinite(lengths_seen)]


def report_bent(images: np.ndarray, moves: np.ndarray, amount: float, backbone: str | None) -> None:
    planes, places = bent(images, moves, amount, np.random.default_rng(1))
    plain = nd.align_stack(images, model="elastic", backbone=backbone)
    print(f"{len(images)} planes, each bent by up to {amount:g} px: error against the plain stack's elastic alignment, in tissue")
    for model in ("affine", "elastic"):
        start = time.perf_counter()
        path = nd.align_stack(planes, model=model, backbone=backbone)
        seconds = time.perf_counter() - start
        errors = bent_errors(images, places, plain, path)
        median, high = np.quantile(errors, (0.5, 0.9))
        fields = [path.field_of(z) for z in range(len(path))]
        areas = [f.smallest_jacobian(m, path.shape) for f, m in zip(fields, path.transforms, strict=True) if f is not None]
        smallest = f", smallest area change {min(areas):.2f}" if areas else ""
        print(f"{model}: median {median:.3f} px, 90th percentile {high:.3f} px{smallest}, bad {path.bad}, {seconds:.0f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--planes", type=int, default=81)
    parser.add_argument("--backbone", default="pixels")
    parser.add_argument("--bend", type=float, default=0.0, help="pixels; 0 for rigid moves alone")
    options = parser.parse_args()
    paths = sorted(p for p in options.folder.iterdir() if p.suffix in (".tif", ".tiff", ".png"))[: options.planes]
    images = np.stack([imread(p) for p in paths]).astype(np.float32)
    shape = images.shape[1:]
    points = point_grid(shape, 24)
    moves = known_moves(len(images), shape, np.random.default_rng(0))
    if options.bend:
        report_bent(images, moves, options.bend, None if options.backbone == "pixels" else options.backbone)
        return
    background = float(np.median(images[:, 0]))
    moved = np.stack(
        [
            ndimage.affine_transform(i, b[:2, :2], b[:2, 2], order=5, cval=background)
            for i, b in zip(images, np.linalg.inv(moves), strict=True)
        ]
    )
    backbone = None if options.backbone == "pixels" else options.backbone
    plain, path = (nd.align_stack(stack, model="rigid", backbone=backbone) for stack in (images, moved))
    raw = np.linalg.inv(moves) @ path.transforms  # aligned frame to the unmoved plane
    targets = np.concatenate([transform_points(t, points) for t in np.linalg.inv(raw) @ plain.transforms])
    common = fit_matrix(np.tile(points, (len(raw), 1)), targets, model="rigid")
    errors = np.array([lengths(t @ common, p, points).mean() for t, p in zip(raw, plain.transforms, strict=True)])
    print(f"{len(images)} planes: bad {plain.bad} unmoved, {path.bad} moved")
    print(f"error against the unmoved stack's own alignment: median {np.median(errors):.3f} px, worst {errors.max():.3f} px")
    there = {(k.first, k.second): k.matrix for k in plain.links if k.accepted}
    again = {(k.first, k.second): k.matrix for k in path.links if k.accepted}
    pairs = [k for k in there if k in again and k[1] - k[0] == 1]
    equivariance = [lengths(moves[b] @ there[a, b] @ np.linalg.inv(moves[a]), again[a, b], points).mean() for a, b in pairs]
    loops = [
        lengths(there[b, c] @ there[a, b], there[a, c], points).mean()
        for a, b in there
        for c in (b + 1,)
        if (b, c) in there and (a, c) in there and b - a == 1
    ]
    for name, values in (("equivariance", equivariance), ("loop closure", loops)):
        print(f"{name} of neighbours: median {np.median(values):.3f} px, 90th percentile {np.quantile(values, 0.9):.3f} px")


if __name__ == "__main__":
    main()
