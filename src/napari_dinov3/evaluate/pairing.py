"""Which reference label a predicted one stands for, where the two were numbered by different people."""

from __future__ import annotations

import numpy as np

from napari_dinov3.evaluate.metrics import Report


def pair_by_overlap(counts: Report) -> dict[int, int]:
    """Pair predicted with reference labels one to one, so that most pixels are shared.

    Parameters
    ----------
    counts : Report
        Of all pixels (``ignore_label=None``).

    Returns
    -------
    pairs : dict
        Reference label of each predicted one that got a partner.

    Notes
    -----
    A mask codes background as 0 and scribbles cannot. Where the reference has more labels than the prediction and the
    prediction has no 0, the 0 of the reference means "not labelled" and is nobody's partner. The pairs are the assignment with
    the largest total overlap.
    """
    from scipy.optimize import linear_sum_assignment

    values = np.array(counts.classes)
    ours, theirs = values[counts.counts.any(axis=0)], values[counts.counts.any(axis=1)]
    if 0 in theirs and 0 not in ours and len(theirs) > len(ours):
        theirs = theirs[theirs != 0]
    table = counts.counts[np.ix_(np.searchsorted(values, theirs), np.searchsorted(values, ours))]
    rows, cols = linear_sum_assignment(-table)
    return {int(ours[col]): int(theirs[row]) for row, col in zip(rows, cols, strict=True)}
