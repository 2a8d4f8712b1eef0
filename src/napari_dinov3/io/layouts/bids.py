"""A session of one person in BIDS or as OASIS-3 delivers it: T1w, T2w, FLAIR and others together in one world.

Every NIfTI file carries its own place in the scanner's world in millimetres, so the images lie over each other as they were
taken. Masks and segmentations of the session open as labels.

References
----------
Gorgolewski et al. 2016, Scientific Data, doi:10.1038/sdata.2016.44; LaMontagne et al. 2019, medRxiv,
doi:10.1101/2019.12.13.19014902.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from napari_dinov3.errors import InputError
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts.layout import Layout

_ANATOMY = ("T1w", "T2w", "FLAIR", "T2star", "PDw", "T1map", "T2map", "SWI", "angio", "inplaneT2")
_IDS = ("dseg", "mask", "aseg")
_NAME = re.compile(rf"(?P<who>sub-[^_]+(?:_ses-[^_]+)?)_(?:.+_)?(?P<what>{'|'.join((*_ANATOMY, *_IDS))})\.nii(?:\.gz)?")
_DEPTH, _MOST_ENTRIES = 4, 5_000


def _sessions(folder: Path) -> dict[str, list[Path]]:
    """Images by person and session, within a few folders below."""
    found: dict[str, list[Path]] = {}
    if not folder.is_dir() or folder.suffix == ".zarr":
        return found
    seen = 0
    for where, folders, files in os.walk(folder):
        depth = len(Path(where).relative_to(folder).parts)
        folders[:] = [] if depth >= _DEPTH else sorted(name for name in folders if not name.startswith((".", "derivatives")))
        seen += len(files) + len(folders)
        if seen > _MOST_ENTRIES:
            break
        for name in sorted(files):
            match = _NAME.fullmatch(name)
            if match:
                found.setdefault(match["who"], []).append(Path(where) / name)
    return found


def _read(folder: Path) -> tuple[ImageFile, ...]:
    from napari_dinov3.io.nifti import read_nifti

    sessions = _sessions(folder)
    if len(sessions) > 1:
        listed = ", ".join(sorted(sessions)[:8])
        raise InputError(
            f"{folder.name} holds {len(sessions)} sessions ({listed}{' ...' if len(sessions) > 8 else ''})",
            "one session of one person: their worlds have nothing to do with each other",
            "Open the folder of one session",
        )
    paths = sorted(next(iter(sessions.values())), key=_rank)
    return tuple(_named(read_nifti(path)) for path in paths)


def _rank(path: Path) -> tuple[int, str]:
    what = _what(path)
    return (_ANATOMY.index(what) if what in _ANATOMY else len(_ANATOMY)), path.name


def _what(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    return match["what"] if match else ""


def _named(image: ImageFile) -> ImageFile:
    labels = _what(image.path) in _IDS and image.dtype.kind in "iu"
    return replace(image, kind="labels") if labels else image


LAYOUT = Layout("BIDS session", lambda path: bool(_sessions(path)), _read)
