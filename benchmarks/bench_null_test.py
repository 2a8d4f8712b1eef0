"""Unrelated images must be refused, turned ones too: how many are accepted all the same?

One command, on a folder of images no two of which show the same thing::

    python benchmarks/bench_null_test.py FOLDER --pairs 250

Pairs are drawn at random; the moving image of every other pair is turned by any angle first, with nothing beyond its border.
Prints every pair accepted, and how the scores of all are spread.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from skimage.io import imread

import napari_dinov3 as nd
from napari_dinov3.align.quality import ACCEPTED_LEAD, ACCEPTED_Z
from napari_dinov3.align.transforms import rotation_matrix
from napari_dinov3.align.warp import warp

SUFFIXES = (".png", ".jpg", ".tif", ".tiff")


def turned(image: np.ndarray, angle: float) -> np.ndarray:
    """Turn about the centre; black where the image ends."""
    centre = ((image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2)
    return warp(image, rotation_matrix(angle, centre))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=250)
    parser.add_argument("--models", nargs="+", default=["rigid"])
    parser.add_argument("--backbone", default="pixels")
    options = parser.parse_args()
    backbone = None if options.backbone == "pixels" else options.backbone
    images = {p.stem: imread(p).astype(np.float32) for p in sorted(options.folder.iterdir()) if p.suffix in SUFFIXES}
    rng = np.random.default_rng(0)
    every = list(combinations(images, 2))
    chosen = [every[i] for i in rng.permutation(len(every))[: options.pairs]]
    angles = np.where(np.arange(len(chosen)) % 2, rng.uniform(0, 360, len(chosen)), 0.0)
    for model in options.models:
        scores = []
        for (a, b), angle in zip(chosen, angles, strict=True):
            pair = nd.align_pair(images[a], turned(images[b], angle), model=model, backbone=backbone)
            scores.append((pair.match.z, pair.match.lead))
            if not pair.refused:
                print(
                    f"  accepted: {a} and {b} turned by {angle:.0f}: z {pair.match.z:.1f}, lead {pair.match.lead:.2f}", flush=True
                )
        z, lead = np.array(scores).T
        wrong = int(((z >= ACCEPTED_Z) & (lead >= ACCEPTED_LEAD)).sum())
        print(f"{model}: {wrong} of {len(z)} unrelated pairs accepted ({len(images)} images, half of the pairs turned)")
        print(
            f"  z: 90 % {np.quantile(z, 0.9):.1f}, 99 % {np.quantile(z, 0.99):.1f}, highest {z.max():.1f} ({ACCEPTED_Z:g} needed)"
        )
        print(f"  lead: 90 % {np.quantile(lead, 0.9):.2f}, 99 % {np.quantile(lead, 0.99):.2f}, highest {lead.max():.2f}")


if __name__ == "__main__":
    main()
