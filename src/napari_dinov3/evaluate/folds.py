"""What is held out together: planes of a stack in blocks, images by their group. Never pixels, whose neighbours give them away.

Neighbouring planes of a stack show nearly the same picture, so planes are held out in blocks of neighbours. Images of one
subject, folder or file are held out together, and classes are spread over the folds as evenly as their groups allow.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError

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
