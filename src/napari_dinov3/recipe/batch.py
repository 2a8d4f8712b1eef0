"""Apply a saved probe to many stacks: labels of each, one row of results a file, and a run that can be stopped and goes on.

One file is worked on at a time: opened lazily, embedded (a map over the memory budget goes to disk), labelled and written plane
by plane. The table is written whole after each file, so that it is true whenever the run ends. A file that fails gets a row that
says why, and the others go on. A file whose row says it is done, by the same probe and settings, from a source that has not
changed since, is skipped.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_dinov3.backbones.options import options_of
from napari_dinov3.backbones.registry import readiness
from napari_dinov3.errors import InputError
from napari_dinov3.features.extract import extract_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.neighbours import NEIGHBOURS
from napari_dinov3.image import Planes
from napari_dinov3.io import read, write_steps
from napari_dinov3.io.atomic import write_text
from napari_dinov3.io.labelled_images import list_images
from napari_dinov3.io.tables import to_csv
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.segment.probe import Probe

Ending = Literal[".ome.tif", ".zarr"]
TABLE = "results.csv"
_TICKS = 100
_FACTS = ("file", "status", "error", "planes", "rows", "cols", "area_unit", "seconds", "labels", "probabilities", "source", "key")


@dataclass(frozen=True, slots=True)
class _Options:
    """Of :func:`apply_probe_steps`."""

    probabilities: bool
    ending: Ending
    channel: int | None
    level: int
    memory_gb: float


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What came of a run.

    Parameters
    ----------
    rows : tuple of mappings
        One a file: as in the table.
    table : Path
        Where they are.
    skipped : int
        Files that were done before.
    """

    rows: tuple[Mapping[str, Any], ...] = field(repr=False)
    table: Path
    skipped: int

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """File and reason of each that failed."""
        return tuple((str(row["source"]), str(row["error"])) for row in self.rows if row["status"] == "failed")

    def short_rows(self) -> list[dict[str, Any]]:
        """List one row a file with what people look at: status, planes, part of each class, seconds, error."""
        shares = dict.fromkeys(name for row in self.rows for name in row if name.endswith("_percent"))
        columns = ("file", "status", "planes", *shares, "seconds", "error")
        return [{name: row.get(name, "") for name in columns} for row in self.rows]


def apply_probe(probe: str | Path, images: str | Path | Sequence[str | Path], folder: str | Path, **options: Any) -> BatchResult:
    """Apply a saved probe to many images; see :func:`apply_probe_steps`."""
    return collect(apply_probe_steps(probe, images, folder, **options))


def apply_probe_steps(
    probe: str | Path,
    images: str | Path | Sequence[str | Path],
    folder: str | Path,
    *,
    probabilities: bool = False,
    ending: Ending = ".ome.tif",
    channel: int | None = None,
    level: int = 0,
    memory_gb: float = 2.0,
) -> Job[BatchResult]:
    """Apply a saved probe to many images.

    Parameters
    ----------
    probe : path
        Written by :meth:`napari_dinov3.Probe.save`.
    images : path or sequence of paths
        A folder (all images below it), a file, or a list of either.
    folder : path
        Where labels and the table go; made if it is not there. A run that was stopped goes on in it.
    probabilities : bool
        Also write the probability of each class, float32, as channels.
    ending : {".ome.tif", ".zarr"}
        Format of what is written.
    channel : int, optional
        Which channel, where an image has several.
    level : int
        Pyramid level.
    memory_gb : float
        Memory the features of one stack may take; more goes to disk.

    Yields
    ------
    progress : Progress
        While each file is embedded, labelled and written.

    Returns
    -------
    result : BatchResult

    Raises
    ------
    InputError
        Before any work: if the probe cannot be read, its backbone is not ready, there is no image, or the folder holds a table
        that this did not write.
    """
    if ending not in (".ome.tif", ".zarr"):
        raise InputError(f"ending={ending!r}", "'.ome.tif' or '.zarr'", "Choose one of these")
    config = _Options(probabilities, ending, channel, level, memory_gb)
    probe_path = Path(probe).expanduser().absolute()
    learned = _ready_probe(probe_path)
    out = Path(folder).expanduser().absolute()
    files = _files(images, out)
    out.mkdir(parents=True, exist_ok=True)
    known = _read_table(out / TABLE)
    key = _key(probe_path, config)
    names = _names(files, known)
    rows: dict[str, dict[str, Any]] = {}
    skipped = 0
    for number, path in enumerate(files):
        earlier = known.get(str(path), {})
        if _is_done(earlier, path, key, out):
            rows[str(path)], skipped = dict(earlier), skipped + 1
            continue
        job = _one_steps(learned, path, out, names[path], config)
        start = number * _TICKS
        row = yield from part_of(_named(job, path, number, len(files)), start=start, span=_TICKS, total=len(files) * _TICKS)
        rows[str(path)] = {**row, "source": str(path), "key": f"{key} {_state(path)}"}
        _write_table(out / TABLE, {**known, **rows}, learned.classes_)
    _write_table(out / TABLE, {**known, **rows}, learned.classes_)
    yield Progress(1, 1, "Done")
    return BatchResult(tuple(rows.values()), out / TABLE, skipped)


def _ready_probe(path: Path) -> Probe:
    """Load a probe whose backbone can be used here."""
    probe = Probe.load(path)
    backbone = str(probe.fitted.signature["backbone"])
    state = readiness(backbone)
    if not state.ready:
        raise InputError(
            f"The probe needs the backbone {backbone!r}, which is not ready: {state.message}",
            "a probe whose backbone is here",
            "Install it, or use another probe",
        )
    return probe


def _files(images: str | Path | Sequence[str | Path], out: Path) -> list[Path]:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "a folder for the results", "Choose another place for them")
    given = [images] if isinstance(images, str | Path) else list(images)
    files: dict[Path, None] = {}
    for one in given:
        path = Path(one).expanduser().absolute()
        if path == out:
            raise InputError(
                f"The results would go into the folder of the images, {out}", "a folder of their own", f"Choose {out / 'labels'}"
            )
        if path.is_dir() and path.suffix.lower() != ".zarr":
            found = list_images(path)
            if path in out.parents:  # results are no input
                found = [each for each in found if out not in each.parents]
            files.update(dict.fromkeys(found))
        else:
            files[path] = None
    if not files:
        raise InputError("No image to work on", "a folder with images, or files", "Choose another folder")
    return list(files)


def _names(files: Sequence[Path], known: Mapping[str, Mapping[str, Any]]) -> dict[Path, str]:
    """Name the results of each file after it, with a digest of its place where that name is another file's.

    Files of earlier runs in this folder keep their names, whatever comes later.
    """
    own = {source: str(row["labels"]).rpartition("_labels")[0] for source, row in known.items() if row.get("labels")}
    taken = Counter(
        [_stem(path).casefold() for path in files if str(path) not in own] + [name.casefold() for name in own.values()]
    )
    names = {}
    for path in files:
        plain = own.get(str(path), _stem(path))
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]  # stays the same when other files come or go
        single = str(path) in own or taken[plain.casefold()] == 1
        names[path] = plain if single else f"{path.name.replace('.', '_')}-{digest}"
    return names


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".ome.tiff", ".ome.tif", ".nii.gz", ".ome.zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


def _named(job: Job[dict[str, Any]], path: Path, number: int, total: int) -> Job[dict[str, Any]]:
    """Say which file a progress event belongs to, and turn an error into a row."""
    begun = time.perf_counter()
    try:
        while True:
            event = next(job)
            yield Progress(event.done, event.total, f"{path.name} ({number + 1} of {total}): {event.message}")
    except StopIteration as stop:
        row: dict[str, Any] = stop.value
        return {**row, "seconds": round(time.perf_counter() - begun, 3)}
    except Exception as error:  # whatever is wrong with one file, the others are worked on
        text = str(error) or type(error).__name__
        text = text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
        return {
            "file": path.name, "status": "failed", "error": " ".join(text.split()),
            "seconds": round(time.perf_counter() - begun, 3),
        }  # fmt: skip
    finally:
        job.close()


def _one_steps(probe: Probe, path: Path, out: Path, name: str, config: _Options) -> Job[dict[str, Any]]:
    planes = read(path).planes(channel=config.channel, level=config.level)
    if not any(np.isfinite(planes.plane(index)).any() for index in range(len(planes))):  # nearly always the first plane says so
        raise InputError(f"{path.name} holds no finite pixel", "an image", "Check the file")
    extract = extract_steps(planes, memory_gb=config.memory_gb, **_extraction(probe.fitted.signature))
    features: FeatureMap = yield from part_of(extract, start=0, span=60, total=100)
    labels = out / f"{name}_labels{config.ending}"
    written = write_steps(
        labels, probe.predict(features, image=planes, lazy=True), like=planes, kind="labels", overwrite=True,
        provenance={"task": "apply", "source": path.name, "backbone": features.backbone, "revision": features.revision},
    )  # fmt: skip
    yield from part_of(written, start=60, span=20, total=100)
    soft = out / f"{name}_probabilities{config.ending}"
    if config.probabilities:
        yield from part_of(_probabilities_steps(probe, features, planes, soft), start=80, span=15, total=100)
    pixels = yield from part_of(_count_steps(labels, probe.classes_), start=95, span=5, total=100)
    count, rows, cols = planes.shape
    row: dict[str, Any] = {
        "file": path.name, "status": "done", "error": "", "planes": count, "rows": rows, "cols": cols,
        "labels": labels.name, "probabilities": soft.name if config.probabilities else "",
    }  # fmt: skip
    area, row["area_unit"] = _pixel_area(planes)
    for value, n in pixels.items():
        row[f"class_{value}_pixels"] = n
        row[f"class_{value}_percent"] = round(100 * n / (count * rows * cols), 4)
        row[f"class_{value}_area"] = float(f"{n * area:.8g}")
    return row


def _extraction(signature: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that make features as those a probe was trained on."""
    backbone, revision = str(signature["backbone"]), str(signature["revision"])
    how = {"backbone": backbone, "stride": int(signature["stride"]), **options_of(backbone, revision).given()}
    return {**how, "colours": "neighbours"} if NEIGHBOURS in revision else how


def _probabilities_steps(probe: Probe, features: FeatureMap, planes: Planes, path: Path) -> Job[Path]:
    soft = probe.predict_proba(features, image=planes, lazy=True)
    stack = planes.axes[0] if not planes.is_2d else ""
    data, axes = (soft[0], "cyx") if planes.is_2d else (soft, f"{stack}cyx")
    names = tuple(f"class {value}" for value in probe.classes_)
    return (yield from write_steps(path, data, axes=axes, channel_names=names, overwrite=True, **_place(planes)))


def _place(planes: Planes) -> dict[str, Any]:
    spacing, units = (planes.spacing[1:], planes.units[1:]) if planes.is_2d else (planes.spacing, planes.units)
    return {"spacing": spacing, "units": units}


def _count_steps(path: Path, classes: Sequence[int]) -> Job[dict[int, int]]:
    """Count the pixels of each class in what was written, which shows that it can be read back."""
    written = read(path, kind="labels").planes()
    counts = dict.fromkeys(classes, 0)
    for index in range(len(written)):
        yield Progress(index, len(written), f"measuring plane {index + 1} of {len(written)}")
        values, numbers = np.unique(written.plane(index), return_counts=True)
        for value, n in zip(values.tolist(), numbers.tolist(), strict=True):
            counts[int(value)] += int(n)
    return counts


def _pixel_area(planes: Planes) -> tuple[float, str]:
    """Area of one pixel, and its unit; areas of all planes are added up."""
    _, row, col = planes.spacing
    units = planes.units[1:]
    return row * col, f"{units[0]}²" if units[0] == units[1] else f"{units[0]}·{units[1]}"


def _key(probe: Path, config: _Options) -> str:
    """Identify what decides the results beside the image."""
    how = json.dumps(
        {"probabilities": config.probabilities, "ending": config.ending, "channel": config.channel, "level": config.level}
    )
    return hashlib.sha256(probe.read_bytes() + how.encode()).hexdigest()[:16]


def _state(path: Path) -> str:
    """Tell one state of a source from another; of a folder, by its newest file."""
    try:
        stats = [one.stat() for one in (path.rglob("*") if path.is_dir() else [path])]
        return f"{sum(one.st_size for one in stats)} {max(one.st_mtime_ns for one in stats)}"
    except (OSError, ValueError):
        return "missing"


def _is_done(row: Mapping[str, Any], path: Path, key: str, out: Path) -> bool:
    if row.get("status") != "done" or row.get("key") != f"{key} {_state(path)}":
        return False
    return all((out / str(row[name])).exists() for name in ("labels", "probabilities") if row.get(name))


def _read_table(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"source", "key", "status"} <= set(rows.fieldnames or ()):
            raise InputError(
                f"{path} is not the table of a batch", "a new folder, or that of an earlier batch", "Choose another output folder"
            )
        return {row["source"]: row for row in rows}


def _write_table(path: Path, rows: Mapping[str, Mapping[str, Any]], classes: Sequence[int]) -> None:
    measures = [f"class_{value}_{what}" for value in classes for what in ("pixels", "percent", "area")]
    more = dict.fromkeys(name for row in rows.values() for name in row if name not in _FACTS and name not in measures)
    columns = [*_FACTS[:8], *measures, *more, *_FACTS[8:]]
    write_text(path, to_csv([{name: row.get(name, "") for name in columns} for row in rows.values()]), overwrite=True)
