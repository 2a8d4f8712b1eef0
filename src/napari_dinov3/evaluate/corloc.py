"""How well found objects agree with known ones: CorLoc, mask IoU, precision and recall of boxes and masks, flicker.

Conventions. Boxes are ``(row0, col0, row1, col1)`` in pixels, the last row and column not included.

References
----------
Deselaers, Alexe and Ferrari, "Localizing objects while learning their appearance", ECCV 2010 (CorLoc).
Everingham et al., "The Pascal visual object classes challenge", IJCV 88 (2010), doi:10.1007/s11263-009-0275-4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError, InputError

Boxes = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer]
MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class DiscoveryScore:
    """Agreement of found with known objects over a set of planes.

    Parameters
    ----------
    planes : int
        Planes with at least one known object; only these count.
    corloc : float
        Part of the planes whose first (largest) box has an IoU of at least 0.5 with any known box, 0..1.
    mean_box_iou : float
        Mean over planes of the best IoU of the first box with a known one.
    mean_mask_iou : float
        Mean over planes of the IoU of the whole mask with all known objects; NaN where no masks are known.
    precision, recall : float
        Of all boxes: a found and a known box match one to one where their IoU is at least 0.5.
    mask_precision, mask_recall : float
        Of all objects by their masks, matched likewise; the pieces of a bool mask count as its objects. NaN where no labels are
        known.
    """

    planes: int
    corloc: float
    mean_box_iou: float
    mean_mask_iou: float
    precision: float
    recall: float
    mask_precision: float
    mask_recall: float


@dataclass(frozen=True, slots=True)
class Truth:
    """Known objects of one plane.

    Parameters
    ----------
    boxes : (m, 4) int32
        One box an object.
    mask : (H, W) bool, optional
        All objects together.
    labels : (H, W) int, optional
        Each object with a number of its own, 1..m.
    """

    boxes: Boxes
    mask: BoolArray | None = None
    labels: Labels | None = None

    @classmethod
    def from_labels(cls, labels: npt.ArrayLike) -> Truth:
        """Take objects from a labels image (0 is background), or the pieces of a bool mask."""
        from scipy import ndimage

        array = np.asarray(labels)
        if array.ndim != 2:
            raise InputError(f"Reference labels have shape {array.shape}", "one plane, (rows, cols)", "Pass labels[plane]")
        if array.dtype == bool:
            numbered = ndimage.label(array)[0]
        else:
            # labels may be sparse and huge (atlas ids), so they are renumbered from 1
            ids, numbered = np.unique(array, return_inverse=True)
            numbered = numbered.reshape(array.shape) + (0 if 0 in ids else 1)
        found = [place for place in ndimage.find_objects(numbered) if place is not None]
        boxes = [[rows.start, cols.start, rows.stop, cols.stop] for rows, cols in found]
        return cls(np.array(boxes, np.int32).reshape(-1, 4), array != 0, numbered)


def box_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Measure the overlap of all pairs of boxes.

    Parameters
    ----------
    a, b : (n, 4), (m, 4) array-like
        Boxes.

    Returns
    -------
    iou : (n, m) float64
        Intersection over union, 0..1.
    """
    first, second = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (a, b))
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    stop = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(stop - start, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1] - shared
    iou: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def mask_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Measure the overlap of two masks of the same shape; 1 where both are empty."""
    first, second = np.asarray(a, bool), np.asarray(b, bool)
    if first.shape != second.shape:
        raise InputError(f"Masks have shapes {first.shape} and {second.shape}", "the same shape", "Compare masks of one image")
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def plane_consistency(found: npt.ArrayLike, known: npt.ArrayLike) -> float:
    """Measure how little a labelled stack flickers.

    Parameters
    ----------
    found, known : (planes, rows, cols) array-like
        Labels or masks: found ones, and the true ones on the same grid.

    Returns
    -------
    consistency : float
        Of all places whose true label is the same in two neighbouring planes, the part whose found label is too, 0..1. It says
        nothing on whether that label is right. 1 where there is no such place.
    """
    mine, true = np.asarray(found), np.asarray(known)
    if mine.shape != true.shape or mine.ndim != 3:
        raise InputError(
            f"Labels have shapes {mine.shape} and {true.shape}",
            "the same (planes, rows, cols)",
            "Bring both to one grid, for example found.labels and the reference at full size",
        )
    steady = true[1:] == true[:-1]
    return float((mine[1:] == mine[:-1])[steady].mean()) if steady.any() else 1.0


def score_discovery(
    boxes: Sequence[npt.NDArray[np.integer]], truths: Sequence[Truth], *, masks: Sequence[BoolArray | Labels] | None = None
) -> DiscoveryScore:
    """Score found boxes, and masks, against known objects.

    Parameters
    ----------
    boxes : sequence of (n, 4) int
        Found boxes of each plane, the main one first, as ``TokenCut.boxes``.
    truths : sequence of Truth
        Known objects of each plane; planes without any are left out.
    masks : sequence of (H, W) bool or int, optional
        Found mask, or labels, of each plane.

    Returns
    -------
    score : DiscoveryScore
    """
    if len(boxes) != len(truths) or (masks is not None and len(masks) != len(truths)):
        raise InputError(
            f"{len(boxes)} planes of boxes for {len(truths)} references",
            "the same number of each",
            "Pass boxes, masks and references of the same planes",
        )
    best, overlaps, hits, found, known = [], [], 0, 0, 0
    drawn = np.zeros(3, int)
    for index, truth in enumerate(truths):
        if not len(truth.boxes):
            continue
        iou = box_iou(boxes[index], truth.boxes)
        best.append(float(iou[0].max()) if len(iou) else 0.0)
        hits, found, known = hits + _matches(iou), found + iou.shape[0], known + iou.shape[1]
        if masks is not None and truth.mask is not None:
            overlaps.append(mask_iou(masks[index], truth.mask))
        if masks is not None and truth.labels is not None:
            drawn += _object_counts(masks[index], truth.labels)
    if not best:
        raise InputError("No plane has a known object", "at least one", "Check the reference labels or annotation files")
    return DiscoveryScore(
        len(best),
        float(np.mean(np.array(best) >= MATCH_IOU)),
        float(np.mean(best)),
        float(np.mean(overlaps)) if overlaps else float("nan"),
        hits / found if found else 0.0,
        hits / known,
        float(drawn[0] / drawn[1]) if drawn[1] else (0.0 if drawn[2] else float("nan")),
        float(drawn[0] / drawn[2]) if drawn[2] else float("nan"),
    )


def _object_counts(found: BoolArray | Labels, known: Labels) -> npt.NDArray[np.int_]:
    """Count matched, found and known objects of a plane by their masks."""
    from scipy import ndimage

    mine = ndimage.label(found)[0] if found.dtype == bool else np.unique(found, return_inverse=True)[1].reshape(found.shape)
    if found.dtype != bool and (found != 0).all():
        mine = mine + 1
    if mine.shape != known.shape:
        raise InputError(f"Masks have shapes {mine.shape} and {known.shape}", "the same shape", "Compare masks of one image")
    width = int(known.max()) + 1
    table = np.bincount((mine.astype(np.int64) * width + known).ravel(), minlength=(int(mine.max()) + 1) * width)
    table = table.reshape(-1, width)
    areas_found, areas_known = table.sum(axis=1, keepdims=True), table.sum(axis=0)
    iou = (table / np.maximum(1, areas_found + areas_known - table))[1:, 1:]
    return np.array([_matches(iou), np.count_nonzero(areas_found[1:]), np.count_nonzero(areas_known[1:])])


def _matches(iou: npt.NDArray[np.float64]) -> int:
    """Count boxes matched one to one, the closest pairs first."""
    count = 0
    left = iou.copy()
    while left.size and left.max() >= MATCH_IOU:
        row, col = np.unravel_index(int(left.argmax()), left.shape)
        left[row], left[:, col] = 0, 0
        count += 1
    return count


def read_voc_boxes(path: str | Path, *, difficult: Literal["keep", "drop"] = "keep") -> dict[str, Boxes]:
    """Read the boxes of Pascal VOC annotation files.

    Parameters
    ----------
    path : str or Path
        One XML file, or a folder of them (VOC's ``Annotations``).
    difficult : {"keep", "drop"}
        Whether objects marked difficult count.

    Returns
    -------
    boxes : dict of image name (without its ending) to (m, 4) int32

    Raises
    ------
    FileFormatError
        If there is no XML file, or one is not a VOC annotation.

    Notes
    -----
    VOC counts pixels from 1 and includes the last one, so ``xmin = 1, xmax = 10`` becomes columns 0 to 10, 10 excluded.
    """
    path = Path(path)
    files = sorted(path.glob("*.xml")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise FileFormatError(f"{path} holds no annotation", "a Pascal VOC .xml file or a folder of them", "Check the path")
    return {file.stem: _read_voc_file(file, difficult == "drop") for file in files}


def _read_voc_file(file: Path, drop_difficult: bool) -> Boxes:
    try:
        boxes = []
        for item in ElementTree.parse(file).getroot().iter("object"):
            if drop_difficult and (item.findtext("difficult") or "0").strip() == "1":
                continue
            box = item.find("bndbox")
            values = {} if box is None else {child.tag: float(child.text or "nan") for child in box}
            row0, col0, row1, col1 = (round(values[name]) for name in ("ymin", "xmin", "ymax", "xmax"))
            boxes.append([row0 - 1, col0 - 1, row1, col1])
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise FileFormatError(
            f"{file.name} is not a Pascal VOC annotation ({error})",
            "objects with a bndbox of xmin, ymin, xmax, ymax",
            "Repair or remove the file",
        ) from error
    return np.array(boxes, np.int32).reshape(-1, 4)
