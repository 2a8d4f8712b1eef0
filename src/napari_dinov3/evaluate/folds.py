"""What is held out together: planes of a stack in blocks, images by their group, parts of a single plane with a gap around.

Never single pixels, whose neighbours give them away.

Neighbouring planes of a stack show nearly the same picture, so planes are held out in blocks of neighbours. Images of one
subject, folder or file are held out together, and classes are spread over the folds as evenly as their groups allow.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError

Mask = npt.NDArray[np.bool_]
Folds = list[npt.NDArray[np.intp]]
"""Indices of what each fold holds out; every index is in one fold."""


def block_folds(count: int, folds: int) -> Folds:
    """Split a row of things into blocks of neighbours of almost equal size.

    Parameters
    ----------
    count : int
        How many there are.
    folds : int
        Most blocks; fewer where there are fewer things.

    Raises
    ------
    InputError
        For fewer than two things or folds.
    """
    if folds < 2:
        raise InputError(f"{folds} fold", "two folds or more", "Choose for example 5")
    if count < 2:
        raise InputError(f"{count} to be divided", "two or more", "Label more")
    return [np.asarray(block) for block in np.array_split(np.arange(count), min(folds, count))]


def spatial_folds(rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp], folds: int, *, gap: float) -> list[tuple[Mask, Mask]]:
    """Cut labelled pixels of one plane into rectangles with about as many each, and leave a gap around what is held out.

    Parameters
    ----------
    rows, cols : (n,) int
        Of the pixels.
    folds : int
        Rectangles.
    gap : float
        Pixels nearer than this to the bounding box of a held-out rectangle are not trained on in its turn.

    Returns
    -------
    folds : list of (held, kept)
        (n,) bool each: pixels to test on and pixels to train on.

    Notes
    -----
    Each cut goes across the longer side of what it cuts, as in a k-d tree.
    """
    if folds < 2:
        raise InputError(f"{folds} fold", "two folds or more", "Choose for example 5")
    pixels = np.stack([rows, cols], axis=1)
    turns = []
    for part in _cut(np.arange(len(pixels)), pixels, folds):
        held = np.zeros(len(pixels), bool)
        held[part] = True
        low, high = pixels[part].min(axis=0), pixels[part].max(axis=0)
        away = np.maximum(np.maximum(low - pixels, pixels - high), 0).max(axis=1)
        turns.append((held, away >= max(gap, 1)))
    return turns


def _cut(part: npt.NDArray[np.intp], pixels: npt.NDArray[np.intp], count: int) -> list[npt.NDArray[np.intp]]:
    if count == 1 or len(part) < 2:
        return [part] if len(part) else []
    axis = int(np.argmax(np.ptp(pixels[part], axis=0)))
    along = pixels[part, axis]
    first = along < np.partition(along, len(part) * (count // 2) // count)[len(part) * (count // 2) // count]
    return [*_cut(part[first], pixels, count // 2), *_cut(part[~first], pixels, count - count // 2)]


def grouped_folds(labels: Sequence[Hashable], groups: Sequence[Hashable], folds: int, *, rng: int = 0) -> Folds:
    """Spread classes over folds, every group whole in one fold.

    Parameters
    ----------
    labels : sequence
        Class of each image.
    groups : sequence
        What each image must stay together with.
    folds : int
        Most folds; fewer where the rarest class has fewer groups.
    rng : int
        Order in which groups are dealt.

    Returns
    -------
    folds : list of arrays
        Indices held out together.

    Raises
    ------
    InputError
        If there is one class only, or a class has one group only: it could be trained on or tested on, not both.
    """
    if folds < 2:
        raise InputError(f"{folds} fold", "two folds or more", "Choose for example 5")
    known = {label: {group for one, group in zip(labels, groups, strict=True) if one == label} for label in dict.fromkeys(labels)}
    if len(known) < 2:
        raise InputError(f"One class only: {next(iter(known), 'none')}", "two classes or more", "Add images of another class")
    single = [str(label) for label, mine in known.items() if len(mine) < 2]
    if single:
        raise InputError(
            f"A single image (or group) of {', '.join(single)}",
            "two images or more of each class, from different groups, to train on one and test on the other",
            "Add images of this class, leave it out, or give its images different groups",
        )
    from sklearn.model_selection import StratifiedGroupKFold

    codes = np.unique([str(label) for label in labels], return_inverse=True)[1]
    names = np.unique([str(group) for group in groups], return_inverse=True)[1]
    split = StratifiedGroupKFold(min(folds, *(len(mine) for mine in known.values())), shuffle=True, random_state=rng)
    return [held for _, held in split.split(codes, codes, names)]
