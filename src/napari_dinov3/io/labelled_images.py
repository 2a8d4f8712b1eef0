"""Lists of images with a class each: folders named after classes, or a table of labels.

Folders: ``root/CLASS/.../image``. What lies between, such as a subject's folder, is the image's group: images of one group are
alike and are never split between training and test. Table: a CSV file with the columns ``file`` and ``label``, and perhaps
``plane`` (of a stack) and ``group``; paths count from the table's folder. Nothing is opened here: a file that cannot be read is
found when it is needed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.io import hdf5, nifti, nrrd, slices
from napari_dinov3.io.slices import natural_key

EXTENSIONS = (*slices.EXTENSIONS, ".npy", ".npz", *nifti.EXTENSIONS, *nrrd.EXTENSIONS, *hdf5.EXTENSIONS)
_MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image, or one plane of one, and its class.

    Parameters
    ----------
    path : Path
        Of the file (or OME-Zarr folder).
    label : str
        Class; empty where it is not known.
    plane : int or None
        One plane; None for all of them.
    group : str
        What it must stay together with; its path where nothing else is known.
    """

    path: Path
    label: str
    plane: int | None = None
    group: str = ""

    @property
    def name(self) -> str:
        """File name, and the plane where one is meant."""
        return self.path.name if self.plane is None else f"{self.path.name} [{self.plane}]"


def list_images(folder: str | Path) -> list[Path]:
    """List the images below a folder in natural order, hidden ones left out; an OME-Zarr folder is one image.

    Raises
    ------
    InputError
        If the folder is not there or holds none.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise InputError(f"There is no folder {root}", "a folder of images", "Check the path")
    found = sorted(_walk(root), key=lambda path: natural_key(path.relative_to(root).as_posix()))
    if not found:
        raise InputError(f"{root} holds no images", f"files ending in {', '.join(EXTENSIONS)} or .zarr", "Choose another folder")
    return found


def read_image_set(path: str | Path) -> tuple[LabelledImage, ...]:
    """Read a set of labelled images: a folder with a folder for each class, or a table (``.csv``, ``.tsv``).

    Raises
    ------
    InputError
        If there are fewer than two classes, or the table lacks a column or holds a wrong row; the message names it.
    """
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise InputError(f"There is nothing at {place}", "a folder of classes, or a table of labels (.csv)", "Check the path")
    images = tuple(_class_folders(place) if place.is_dir() else _table(place))
    classes = sorted({image.label for image in images})
    if len(classes) < 2:
        raise InputError(
            f"{place.name} holds one class only: {', '.join(classes) or 'none'}",
            "two classes or more",
            "Make a folder for each class" if place.is_dir() else "Label images of another class",
        )
    return images


def _walk(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and entry.suffix.lower() != ".zarr":
            yield from _walk(entry)
        elif entry.suffix.lower() == ".zarr" or (entry.is_file() and entry.name.lower().endswith(EXTENSIONS)):
            yield entry


def _class_folders(root: Path) -> Iterator[LabelledImage]:
    folders = sorted(
        (entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")), key=lambda p: p.name
    )
    if not folders:
        raise InputError(
            f"{root} holds no folders",
            "a folder for each class, with its images",
            "Choose the folder above, or a table of labels",
        )
    for folder in folders:
        for path in sorted(_walk(folder), key=lambda path: natural_key(path.relative_to(root).as_posix())):
            between = path.parent.relative_to(folder).as_posix()  # without the class: one subject may be in two of them
            yield LabelledImage(path, folder.name, group=str(path) if between == "." else between)


def _table(path: Path) -> Iterator[LabelledImage]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path.name} cannot be read: {error}", "a table as text (.csv)", "Save it as CSV UTF-8") from error
    head = text.split("\n", 1)[0]
    rows = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=head.count))
    columns = [name.strip().lower() for name in rows.fieldnames or []]
    missing = [name for name in ("file", "label") if name not in columns]
    if missing:
        raise InputError(
            f"{path.name} has the columns {', '.join(columns) or 'none'}; {' and '.join(missing)} is missing",
            "the columns file and label, and perhaps plane and group",
            "Add the column, or rename one",
        )
    rows.fieldnames = columns
    for number, row in enumerate(rows, start=2):
        if number > _MOST_ROWS:
            raise InputError(f"{path.name} has more than {_MOST_ROWS:,} rows", "a table of images", "Split it")
        yield _row(
            path, number, {key: (value or "").strip() for key, value in row.items() if isinstance(value, str | None) and key}
        )


def _row(table: Path, number: int, row: dict[str, str]) -> LabelledImage:
    if not row["file"] or not row["label"]:
        raise InputError(
            f"{table.name}, line {number}: file {row['file']!r}, label {row['label']!r}",
            "both filled in",
            "Complete or remove this line",
        )
    plane = row.get("plane", "")
    if plane and not plane.isdecimal():
        raise InputError(
            f"{table.name}, line {number}: plane {plane!r}", "a whole number counted from 0, or nothing", "Correct this line"
        )
    path = (table.parent / Path(row["file"]).expanduser()).absolute()
    return LabelledImage(path, row["label"], int(plane) if plane else None, row.get("group") or str(path))
