"""Make the picture of turned sections for the documentation: ``python scripts/picture_sections.py FOLDER``.

FOLDER holds photographs of consecutive sections, bright background, such as the coronal mouse series (GLTa) of DeepSlice. Ten of
them are taken, the background is removed, each is turned by up to 30 degrees and moved at random, and the stack is aligned. The
picture shows the ten before and after, and the mean of all; the turns found are printed beside those drawn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

import napari_dinov3 as nd
from napari_dinov3.align.transforms import rotation_degrees, rotation_matrix, translation_matrix
from napari_dinov3.align.warp import warp

COUNT, TURN, SHIFT, REDUCE = 10, 30.0, 12.0, 4
SHOWN = 150  # columns of a section in the picture
_BLANK = 0.12  # of the brightness of the background, by which tissue is darker

Stack = npt.NDArray[np.float32]


def read_sections(folder: Path, first: int) -> Stack:
    """Read ten sections as darkness, background 0: (10, rows, cols)."""
    paths = sorted(folder.glob("*.png"))[first : first + COUNT]
    if len(paths) < COUNT:
        raise SystemExit(f"{folder} holds {len(paths)} images from number {first} on; {COUNT} are needed")
    return np.stack([without_background(nd.read(path).planes().plane(0)) for path in paths])


def without_background(image: npt.NDArray[np.uint8]) -> Stack:
    grey = image[..., :3].mean(axis=-1, dtype=np.float32)
    rows, cols = (n // REDUCE for n in grey.shape)
    grey = grey[: rows * REDUCE, : cols * REDUCE].reshape(rows, REDUCE, cols, REDUCE).mean(axis=(1, 3))
    background = float(np.percentile(grey, 95))
    tissue = ndimage.binary_opening(ndimage.gaussian_filter(grey, 2) < (1 - _BLANK) * background, iterations=2)
    parts, count = ndimage.label(tissue)
    sizes = ndimage.sum_labels(tissue, parts, range(1, count + 1))
    keep = ndimage.binary_fill_holes(np.isin(parts, 1 + np.flatnonzero(sizes > 0.05 * sizes.max())))
    return np.where(keep, np.clip(background - grey, 0, None), 0).astype(np.float32)


def turned(sections: Stack, rng: np.random.Generator) -> tuple[Stack, npt.NDArray[np.float64]]:
    """Turn and move every section; give the angles too."""
    centre = ((sections.shape[1] - 1) / 2, (sections.shape[2] - 1) / 2)
    angles = rng.uniform(-TURN, TURN, len(sections))
    shifts = rng.uniform(-SHIFT, SHIFT, (len(sections), 2))
    ways = [rotation_matrix(-a, centre) @ translation_matrix(*s) for a, s in zip(angles, shifts, strict=True)]
    return np.stack([warp(image, way) for image, way in zip(sections, ways, strict=True)]), angles


def montage(stacks: list[Stack]) -> npt.NDArray[np.uint8]:
    """Two rows a stack: its ten sections, then the mean of all."""
    rows = []
    for stack in stacks:
        zoom = SHOWN / stack.shape[2]
        tiles = [np.pad(ndimage.zoom(image, zoom, order=1), 2) for image in (*stack, stack.mean(axis=0))]
        tiles.append(np.zeros_like(tiles[0]))
        rows += [np.concatenate(tiles[:6], axis=1), np.concatenate(tiles[6:], axis=1)]
        rows.append(np.full((6, rows[-1].shape[1]), rows[-1].max(), np.float32))
    picture = np.concatenate(rows[:-1])
    return np.clip(picture * (255 / np.percentile(picture, 99.8)), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0, help="number of the first section in the folder")
    parser.add_argument("--model", default="rigid", choices=("rigid", "affine", "elastic"))
    parser.add_argument("--backbone", default="auto", help="none for pixels alone")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "images" / "sections.png")
    chosen = parser.parse_args()
    backbone = None if chosen.backbone == "none" else chosen.backbone
    sections = read_sections(chosen.folder, chosen.first)
    moved, angles = turned(sections, np.random.default_rng(0))
    path = nd.align_stack(moved, model=chosen.model, backbone=backbone)
    own = nd.align_stack(sections, model=chosen.model, backbone=backbone)
    found = np.array(
        [rotation_degrees(now @ np.linalg.inv(was)) for now, was in zip(path.transforms, own.transforms, strict=True)]
    )
    off = (found - angles + 180) % 360 - 180
    off -= np.median(
        off[[z for z in range(COUNT) if z not in path.bad]]
    )  # which way the whole stack is turned is not decided by it
    well = [z for z in range(COUNT) if z not in path.bad]
    print("drawn, degrees:", np.round(angles, 1).tolist())
    print("left, degrees, against the unturned stack's own alignment:", np.round(off, 2).tolist())
    print(f"bad: {path.bad}, and of the unturned stack {own.bad}")
    print(f"of the {len(well)} good ones: median {np.median(np.abs(off[well])):.2f}, worst {np.abs(off[well]).max():.2f} degrees")
    print(nd.write(chosen.out, montage([moved, path.apply(moved)]), overwrite=True))


if __name__ == "__main__":
    main()
