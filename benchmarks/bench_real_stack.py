"""A real stack moved by known rigid transforms: is what alignment finds moved by as much?

One command, on a folder of single-plane images::

    python benchmarks/bench_real_stack.py FOLDER --planes 81

A published stack is not aligned, so each pose is compared with the pose found for the unmoved stack: the disagreement, on a
24-px grid and up to one rigid move of the whole, is all that the known transforms did not explain. For neighbours of the
unmoved stack it prints equivariance, ``|M T(a, b) - T(a, M b)|``, and loop closure, ``|T(b, c) T(a, b) - T(a, c)|``, together:
each alone can be cheated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.io import imread

import napari_dinov3 as nd
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--planes", type=int, default=81)
    parser.add_argument("--backbone", default="pixels")
    options = parser.parse_args()
    paths = sorted(p for p in options.folder.iterdir() if p.suffix in (".tif", ".tiff", ".png"))[: options.planes]
    images = np.stack([imread(p) for p in paths]).astype(np.float32)
    shape = images.shape[1:]
    points = point_grid(shape, 24)
    moves = known_moves(len(images), shape, np.random.default_rng(0))
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
