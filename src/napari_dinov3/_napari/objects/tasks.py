"""Objects in a viewer: made, measured, classified from examples, and written into the features of their layer.

What took time or clicks is kept for each instance layer in the session (:class:`ObjectWork`), so that it outlives the panel and
goes with the layer.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.compat import camera_of, unwrap
from napari_dinov3._napari.jobs import FeatureRequest, features_steps
from napari_dinov3._napari.layers import Placement, Source, corner_worlds, pixel_at
from napari_dinov3._napari.session import Session
from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes
from napari_dinov3.objects.classifier import ObjectClasses, ObjectClassifier, paint_classes
from napari_dinov3.objects.instances import Instances, objects_from_labels_steps
from napari_dinov3.objects.pooling import PooledObjects, pool_objects_steps
from napari_dinov3.objects.table import ObjectTable, measure_objects_steps
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import ObjectsConfig
from napari_dinov3.wording import counted

EAGER_PIXELS = 1 << 22  # class labels of larger stacks are made where they are looked at, so that a click is answered at once
QUICK_NUMBERS = 1 << 22  # features of all objects; a few milliseconds to classify
FIRST = ("label", "object_class", "object_class_name", "object_class_probability", "area", "volume", "plane", "pixels")
"""Columns that stand first in the panel's table."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class ObjectWork:
    """What is known of the objects of one layer.

    Parameters
    ----------
    table : ObjectTable or None
        Measures, of the labels as they were at `measured_at`.
    pooled : PooledObjects or None
        Features, made for `pooled_for`.
    examples : dict of int to int
        Class by object number, as clicked.
    history : list of (int, int or None)
        Object, and its class before the click.
    names : dict of int to str
        Of classes.
    classes : ObjectClasses or None
        Last answer.
    taught : ObjectClassifier or None
        What gave it.
    loaded : ObjectClassifier or None
        From a file, used instead of examples; `path` says which.
    written : set of str
        Columns that were written into the layer's features, and may be replaced.
    edits : int
        Strokes in the layer.
    """

    table: ObjectTable | None = None
    measured_at: Hashable = None
    pooled: PooledObjects | None = None
    pooled_for: Hashable = None
    examples: dict[int, int] = field(default_factory=dict)
    history: list[tuple[int, int | None]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    classes: ObjectClasses | None = None
    taught: ObjectClassifier | None = None
    loaded: ObjectClassifier | None = None
    path: str = ""
    written: set[str] = field(default_factory=set)
    edits: int = 0

    def teach(self, label: int, value: int) -> None:
        """Make an object an example of a class."""
        self.history.append((label, self.examples.get(label)))
        self.examples[label] = value

    def undo(self) -> int | None:
        """Take the last example back; gives the object, or None where there is nothing to undo."""
        if not self.history:
            return None
        label, before = self.history.pop()
        if before is None:
            self.examples.pop(label, None)
        else:
            self.examples[label] = before
        return label

    def forget(self) -> None:
        """Take all examples back."""
        self.examples.clear()
        self.history.clear()

    def call(self, value: int, name: str) -> None:
        """Name a class; an empty name takes it away."""
        if name:
            self.names[value] = name
        else:
            self.names.pop(value, None)

    def load(self, classifier: ObjectClassifier, path: str) -> None:
        """Classify by a file from now on, with its names."""
        self.loaded, self.path, self.names = classifier, path, dict(classifier.names)

    def take(self, answer: Answer) -> None:
        """Keep what a classification found."""
        self.pooled, self.pooled_for = answer.pooled, answer.pooled_for
        self.table, self.measured_at = answer.table, answer.measured_at
        self.taught, self.classes = answer.taught, answer.classes

    def summary(self) -> str:
        """Say for each class how many examples it has, and how many objects."""
        counts = {} if self.classes is None else dict(zip(*_counts(self.classes.classes), strict=True))
        lines = []
        for value in sorted({*self.examples.values(), *self.names, *(() if self.classes is None else self.classes.values)}):
            given = sum(1 for each in self.examples.values() if each == value)
            found = f", {counted(counts.get(value, 0), 'object')}" if self.classes is not None else ""
            name = f" {self.names[value]}" if value in self.names else ""
            lines.append(f"Class {value}{name}: {counted(given, 'example')}{found}")
        if counts.get(0):
            lines.append(f"Without a class, since their features are not finite: {counted(counts[0], 'object')}")
        return "\n".join(lines)

    def _on_paint(self, event: Any = None) -> None:
        self.edits += 1


def work_of(session: Session, layer: Any) -> ObjectWork:
    """Give what is kept of the objects of a layer; it goes when the layer is removed."""
    kept = session.kept(f"objects of {layer.unique_id}")
    if "work" not in kept:
        work = ObjectWork()
        kept.update(work=work, layer_id=layer.unique_id)
        unwrap(layer).events.paint.connect(work._on_paint)
    found: ObjectWork = kept["work"]
    return found


def state_of(session: Session, layer: Any, source: Source) -> Hashable:
    """Tell one state of the labels of a layer from another: data, strokes, and where the sliders read it."""
    return layer.unique_id, session.version(layer), work_of(session, layer).edits, source.placement.fixed, source.planes.shape


def measure_steps(source: Source, image: Planes | None) -> Job[ObjectTable]:
    """Measure the objects of a layer."""
    return measure_objects_steps(source.planes, image)


def full_table(work: ObjectWork) -> ObjectTable:
    """Give the measures, with the classes where they are of the same objects."""
    assert work.table is not None  # callers ask first
    fits = work.classes is not None and np.array_equal(work.table.labels, work.classes.labels)
    return work.table.joined(work.classes.table) if work.classes is not None and fits else work.table


def make_steps(source: Source, image: Planes | None, config: ObjectsConfig) -> Job[tuple[Instances, ObjectTable]]:
    """Make objects of a layer and measure them in an image."""
    made = objects_from_labels_steps(source.planes, **{k: v for k, v in config.options().items() if k not in _READING})
    objects = yield from part_of(made, start=0, span=70, total=100)
    probability = source.planes if source.planes.dtype.kind == "f" else None
    measuring = measure_objects_steps(objects, image, probability=probability)
    return objects, (yield from part_of(measuring, start=70, span=30, total=100))


_READING = ("axes", "rgb", "channel", "level")  # of an array; a layer knows its planes


def pooled_steps(session: Session, request: FeatureRequest, source: Source) -> Job[PooledObjects]:
    """Pool the features of the objects of a layer."""
    features = yield from part_of(features_steps(session, request), start=0, span=70, total=100)
    return (yield from part_of(pool_objects_steps(features, source.planes), start=70, span=30, total=100))


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a classification gives back: the pooled features go into the cache, the rest is shown."""

    pooled: PooledObjects
    pooled_for: Hashable
    table: ObjectTable
    measured_at: Hashable
    taught: ObjectClassifier
    classes: ObjectClasses
    pixels: Any


def classify_steps(
    session: Session,
    request: FeatureRequest,
    source: Source,
    work: ObjectWork,
    *,
    state: Hashable,
    head: Any = "auto",
) -> Job[Answer]:
    """Classify the objects of a layer from the examples, or by the loaded classifier.

    The features are pooled where they are not there yet: that takes a while, and only the first time.
    """
    examples, names, loaded = dict(work.examples), dict(work.names), work.loaded
    wanted = (request.key, state)
    pooled = work.pooled
    if pooled is None or work.pooled_for != wanted:
        pooled = yield from part_of(pooled_steps(session, request, source), start=0, span=80, total=100)
        import sklearn.linear_model  # noqa: F401  # takes seconds on a busy computer, and a later click would wait for it
    table = work.table
    if table is None or work.measured_at != state:
        measuring = measure_objects_steps(source.planes, request.source.planes)
        table = yield from part_of(measuring, start=80, span=10, total=100)
    yield Progress(90, 100, f"classifying {counted(len(pooled), 'object')}")
    known = {label: value for label, value in examples.items() if pooled.rows_of(label) >= 0}
    taught = loaded or ObjectClassifier(head=head, names=names).fit(pooled, known)
    classes = taught.predict(pooled).with_examples(known)
    yield Progress(95, 100, "classes")
    return Answer(pooled, wanted, table, state, taught, classes, class_pixels(classes, source.planes))


def is_quick(work: ObjectWork, request: FeatureRequest, state: Hashable) -> bool:
    """Whether an answer takes no longer than it takes to start a worker: features and measures are there, and not many."""
    known = work.pooled is not None and work.pooled_for == (request.key, state) and work.measured_at == state
    return known and work.pooled is not None and work.pooled.features.size <= QUICK_NUMBERS


def class_pixels(classes: ObjectClasses, planes: Planes) -> Any:
    """Give the labels image of classes: numpy where it is small, else dask, a plane made where it is looked at."""
    if int(np.prod(planes.shape)) <= EAGER_PIXELS:
        return paint_classes(classes, planes)
    import dask.array

    lazy = planes.data if hasattr(planes.data, "dask") else dask.array.from_array(planes.data, chunks=(1, *planes.shape[1:]))
    kind = classes.lookup().dtype
    return lazy.map_blocks(classes.paint, dtype=kind, meta=np.empty((0, 0, 0), kind))


def object_at(source: Source, world: Any) -> int:
    """Find the object at a world position: its number, 0 for background.

    Raises
    ------
    InputError
        If the position lies outside the layer.
    """
    at = [round(value) for value in pixel_at(source, world)]
    if any(not 0 <= index < length for index, length in zip(at[1:], source.planes.shape[1:], strict=True)):
        raise InputError(
            f"Row {at[1]}, column {at[2]} lies outside {source.placement.name!r}", "a place inside it", "Click on an object"
        )
    plane = int(np.clip(at[0], 0, len(source.planes) - 1))
    return int(np.asarray(source.planes.data[plane, at[1], at[2]]))


def write_columns(layer: Any, table: ObjectTable, written: set[str]) -> None:
    """Add columns to the features of a labels layer, keeping those that are there.

    Parameters
    ----------
    layer : napari Labels
        Whose objects they are.
    table : ObjectTable
        With a row for each object.
    written : set of str
        Columns that may be replaced; those of the table are added to it. A column of the user's that has the name of one of ours
        stays, and ours gets another name.
    """
    columns = {name: values for name, values in table.named().items() if name != "label"}
    theirs = layer.features.drop(columns=[name for name in layer.features.columns if name in written])
    named = {(f"{name} [1]" if name in theirs.columns else name): values for name, values in columns.items()}
    written.update(named)
    if not len(theirs.columns):
        written.add("index")
        layer.features = {"index": table.labels, **named}
        return
    if "index" not in theirs.columns:  # row i is of label i
        theirs = theirs.assign(index=np.arange(len(theirs)))
    rows = theirs.set_index("index")
    every = np.union1d(rows.index.to_numpy(), table.labels) if rows.index.is_unique else None
    if every is None:
        raise InputError(
            f"The features of {layer.name!r} hold several rows of one label",
            "one row a label",
            "Remove the rows that are double, or save the table as a file instead",
        )
    added = type(theirs)(named, index=table.labels)
    layer.features = rows.reindex(every).join(added.reindex(every)).rename_axis("index").reset_index()


def show_columns(work: ObjectWork) -> dict[str, npt.NDArray[Any]]:
    """Arrange the columns of the table for reading: what is asked for most comes first."""
    return {} if work.table is None else dict(sorted(full_table(work).named().items(), key=lambda item: _rank(item[0])))


def _rank(name: str) -> int:
    bare = name.partition(" (")[0]
    return FIRST.index(bare) if bare in FIRST else len(FIRST)


def row_order(values: npt.NDArray[Any], *, falling: bool) -> npt.NDArray[np.intp]:
    """Sort the rows of a table by a column; equal values keep their order, NaN comes last."""
    keys = values.astype(str) if values.dtype == object else values
    missing = np.isnan(keys) if keys.dtype.kind == "f" else np.zeros(len(keys), bool)
    order = np.argsort(keys, kind="stable")
    order = order[~missing[order]]
    order = order[::-1] if falling else order
    return np.concatenate([order, np.flatnonzero(missing)])


def jump_to(viewer: Any, layer: Any, placement: Placement, table: ObjectTable, label: int) -> None:
    """Bring an object into view and select it in its layer."""
    row = int(np.searchsorted(table.labels, label))
    centre = [float(table[f"centre_{name}"][row]) for name in ("row", "col")]
    plane = float(table["plane"][row])
    world = corner_worlds(placement, np.array([[plane, *centre]]))[0]
    dims = unwrap(viewer).dims
    offset = dims.ndim - len(world)
    for axis, value in enumerate(world):
        if axis + offset not in dims.displayed:
            dims.set_point(axis + offset, value)
    shown = [float(world[axis - offset]) for axis in dims.displayed if axis - offset >= 0]
    camera = camera_of(unwrap(viewer))
    camera.center = (*camera.center[: 3 - len(shown)], *shown)[-3:]
    unwrap(viewer).layers.selection.active = unwrap(layer)
    layer.selected_label = label


def facts_of(work: ObjectWork) -> dict[str, Any]:
    """List what a class layer remembers: examples, names, and the classifier's file where one was used."""
    facts: Mapping[str, Any] = {
        "examples": {} if work.loaded is not None else work.examples,
        "names": work.names,
        "classifier": work.path if work.loaded is not None else "",
    }
    return dict(facts)


def _counts(classes: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
    values, counts = np.unique(classes, return_counts=True)
    return values.tolist(), counts.tolist()
