"""Classify objects by their pooled patch features, from a few examples of each class.

An example is an object whose class is known. Every other object gets a class and its probability: with one example a class from
the nearest prototype, with more from a logistic regression.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FallbackWarning, FeatureMismatchError, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.learn.array_file import FileKind, floats, read_arrays, write_arrays
from napari_dinov3.learn.heads import LinearHead, probabilities_of
from napari_dinov3.learn.prototypes import PrototypeHead
from napari_dinov3.objects.pooling import PooledObjects, Standard, pool_objects_steps
from napari_dinov3.objects.table import ObjectTable, label_planes
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.wording import counted

ObjectHead: TypeAlias = Literal["auto", "logistic", "prototypes"]
FloatArray = npt.NDArray[np.float32]
CLASSIFIER = FileKind("napari-dinov3 object classifier", 1, "object classifier", "ObjectClassifier.save()")
FEW = 2  # examples of the rarest class from which logistic regression takes over
_SHARPNESS = np.float32(10)  # as PrototypeHead has it: what differences of cosines are worth as log-odds


@dataclass(frozen=True, slots=True, eq=False)
class ObjectClasses:
    """Class of every object.

    Parameters
    ----------
    labels : (n,) int64
        Number of each object.
    classes : (n,) int64
        Its class; 0 where its features are not finite.
    probability : (n,) float32
        Of that class, by the classifier; NaN where there is none.
    probabilities : (n, k) float32
        Of each class, in the order of `values`.
    values : tuple of int
        Classes, rising.
    names : mapping of int to str
        Of the classes that have one.
    """

    labels: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    probability: FloatArray = field(repr=False)
    probabilities: FloatArray = field(repr=False)
    values: tuple[int, ...]
    names: Mapping[int, str]

    def with_examples(self, examples: Mapping[int, int]) -> ObjectClasses:
        """Give the examples the class they were given by hand; the probability stays what the classifier says of it."""
        classes, probability = self.classes.copy(), self.probability.copy()
        rows = np.searchsorted(self.labels, list(examples))
        for row, (label, value) in zip(rows.tolist(), examples.items(), strict=True):
            if row < len(self.labels) and self.labels[row] == label and value in self.values:
                classes[row] = value
                probability[row] = self.probabilities[row, self.values.index(value)]
        return replace(self, classes=classes, probability=probability)

    def paint(self, objects: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
        """Replace the number of each object by its class: labels of any shape to classes of that shape."""
        table = self.lookup()
        painted: npt.NDArray[np.integer[Any]] = table[np.minimum(objects, len(table) - 1)]
        return painted

    def lookup(self) -> npt.NDArray[np.integer[Any]]:
        """Give the class by object number, ``(largest number + 2,)``; the last entry, 0, is for numbers beyond."""
        kind = np.min_scalar_type(max((*self.values, 1)))
        table = np.zeros(int(self.labels[-1]) + 2 if len(self.labels) else 1, kind)
        table[self.labels] = self.classes
        return table

    @property
    def table(self) -> ObjectTable:
        """Columns: label, class, its name where there is any, its probability."""
        columns: dict[str, npt.NDArray[Any]] = {"label": self.labels, "object_class": self.classes}
        if self.names:
            names = {value: self.names.get(value, "") for value in (0, *self.values)}
            columns["object_class_name"] = np.array([names[value] for value in self.classes.tolist()], dtype=object)
        columns["object_class_probability"] = self.probability
        return ObjectTable(columns, {}, {"classes": list(self.values)})


class ObjectClassifier:
    """Learn classes of objects from examples.

    Parameters
    ----------
    head : {"auto", "logistic", "prototypes"}
        Logistic regression, or the nearest class mean by cosine; ``"auto"`` takes prototypes while a class has one example only.
    C : float
        Inverse strength of the L2 penalty of the logistic regression, for features of unit spread divided by the root of
        their number; larger follows the examples more closely. 10 measured best from two examples a class on.
    names : mapping of int to str, optional
        Names of classes, for tables.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> image, labels = np.zeros((64, 64)), np.zeros((64, 64), int)
    >>> for number, (row, col) in enumerate(((8, 8), (8, 40), (40, 8), (40, 40)), start=1):
    ...     labels[row : row + 12, col : col + 12] = number
    ...     image[row : row + 12, col : col + 12] = number % 2
    >>> pooled = nd.pool_objects(nd.extract(image, backbone="filter-bank"), labels)
    >>> nd.ObjectClassifier().fit(pooled, {1: 1, 2: 2}).predict(pooled).classes.tolist()
    [1, 2, 1, 2]
    """

    def __init__(self, *, head: ObjectHead = "auto", C: float = 10.0, names: Mapping[int, str] | None = None) -> None:
        if head not in ("auto", "logistic", "prototypes"):
            raise InputError(f"head={head!r}", "'auto', 'logistic' or 'prototypes'", "Choose one of these")
        if not C > 0:
            raise InputError(f"C={C}", "a number above 0", "Use 10")
        self.head, self.C, self.names = head, float(C), dict(names or {})
        self._fitted: _Fitted | None = None

    @property
    def classes_(self) -> tuple[int, ...]:
        """Classes that were learned, rising."""
        return self.fitted.values

    @property
    def fitted(self) -> _Fitted:
        """What was learned."""
        if self._fitted is None:
            raise InputError("The classifier has learned nothing", "a call of fit() first", "Give it examples of each class")
        return self._fitted

    def fit(self, pooled: PooledObjects, examples: Mapping[int, int]) -> ObjectClassifier:
        """Learn from examples.

        Parameters
        ----------
        pooled : PooledObjects
            All objects of an image; its features are standardised over all of them.
        examples : mapping of int to int
            Class (1 or more) by number of the object.

        Warns
        -----
        FallbackWarning
            If there is one class only: every object will be of it.
        """
        labels, given = np.array([*examples], np.int64), np.array([*examples.values()], np.int64)
        rows = _check_examples(pooled, labels, given)
        values = tuple(int(value) for value in np.unique(given))
        codes = np.searchsorted(values, given)
        samples = pooled.standard.apply(pooled.features[rows])
        counts = np.bincount(codes)
        weight = (1 / counts)[codes] * len(codes) / len(counts)
        head: LinearHead | PrototypeHead | None = None
        if len(values) == 1:
            warnings.warn(
                f"Only class {values[0]} has an example, so every object will be of class {values[0]}. "
                "Give an example of a second class.",
                FallbackWarning,
                stacklevel=2,
            )
        elif self.head == "prototypes" or (self.head == "auto" and counts.min() < FEW):
            head = PrototypeHead.fit(samples, codes.astype(np.intp), weight)
        else:
            shrink = np.float32(1 / np.sqrt(samples.shape[1]))
            linear = LinearHead.fit(samples * shrink, codes.astype(np.intp), weight=weight, strength=self.C)
            head = LinearHead(linear.weights * shrink, linear.bias)
        self._fitted = _Fitted(values, pooled.standard, head, dict(pooled.signature))
        return self

    def predict(self, pooled: PooledObjects) -> ObjectClasses:
        """Classify every object.

        Raises
        ------
        FeatureMismatchError
            If the features of the objects were made in another way than those learned from.
        """
        fitted = self.fitted
        fitted.check_fits(pooled)
        probabilities = fitted.probabilities(pooled)
        known = np.isfinite(probabilities).all(axis=1)
        best = np.nan_to_num(probabilities).argmax(axis=1)
        classes = np.where(known, np.array(fitted.values)[best], 0)
        top = probabilities[np.arange(len(best)), best]
        return ObjectClasses(pooled.labels, classes.astype(np.int64), top, probabilities, fitted.values, self.names)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the classifier to a file of plain arrays (``.npz``), never a pickle."""
        fitted = self.fitted
        kind = "prototypes" if isinstance(fitted.head, PrototypeHead) else "logistic" if fitted.head is not None else "single"
        header = {
            "kind": kind,
            "head": self.head,
            "C": self.C,
            "names": {str(value): name for value, name in self.names.items()},
            "values": list(fitted.values),
            "signature": fitted.signature,
        }
        arrays: dict[str, Any] = {"mean": fitted.standard.mean, "spread": fitted.standard.spread}
        if fitted.head is not None:
            arrays |= {f"head.{name}": array for name, array in fitted.head.arrays().items()}
        return write_arrays(Path(path), CLASSIFIER, header, arrays, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> ObjectClassifier:
        """Read a classifier from a file.

        Raises
        ------
        FileFormatError
            If it is none, or its content does not fit together.
        """
        path = Path(path)
        header, arrays = read_arrays(path, CLASSIFIER)
        try:
            names = {int(value): str(name) for value, name in header["names"].items()}
            made = cls(head=header["head"], C=float(header["C"]), names=names)
            made._fitted = _Fitted.read(header, arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CLASSIFIER.unusable(path, f"its content does not fit together ({error})") from error
        return made


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """What was learned: classes, standardisation, head (None for a single class), and of which features."""

    values: tuple[int, ...]
    standard: Standard
    head: LinearHead | PrototypeHead | None
    signature: dict[str, Any]

    def check_fits(self, pooled: PooledObjects) -> None:
        """Refuse objects whose features were made in another way."""
        theirs, ours = pooled.signature, self.signature
        names = [name for name in ours if ours[name] != theirs.get(name)]
        if names:
            different = "; ".join(f"{name} {ours[name]!r} and {theirs.get(name)!r}" for name in names)
            raise FeatureMismatchError(
                f"The classifier and the features of these objects do not fit together: {different}",
                "the same backbone, revision, stride and width",
                "Extract the features as for the image the classifier was taught on, or teach it on this one",
            )

    def probabilities(self, pooled: PooledObjects) -> FloatArray:
        """Give ``(n, classes)``; the standardisation goes into the weights, so that the features are read once."""
        if self.head is None:
            return np.where(pooled.usable[:, None], np.float32(1), np.float32(np.nan))
        mean, spread = self.standard.mean, self.standard.spread
        prototypes = isinstance(self.head, PrototypeHead)
        weights = self.head.prototypes.T if isinstance(self.head, PrototypeHead) else self.head.weights
        weights = weights / spread[:, None]
        scores: FloatArray = pooled.features @ weights - mean @ weights
        if prototypes:
            lengths = pooled.lengths if pooled.standard is self.standard else self.standard.lengths(pooled.features)
            scores *= _SHARPNESS / np.maximum(lengths, np.float32(1e-12))[:, None]
        elif isinstance(self.head, LinearHead):
            scores += self.head.bias
        return probabilities_of(scores)

    @classmethod
    def read(cls, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> _Fitted:
        """Rebuild from a file, raising ValueError where parts do not fit."""
        values = tuple(int(value) for value in header["values"])
        mean, spread = floats(arrays["mean"], 1), floats(arrays["spread"], 1)
        head: LinearHead | PrototypeHead | None = None
        if header["kind"] == "prototypes":
            head = PrototypeHead(floats(arrays["head.prototypes"], 2))
            shape = head.prototypes.shape
            fits = shape == (len(values), len(mean))
        elif header["kind"] == "logistic":
            head = LinearHead(floats(arrays["head.weights"], 2), floats(arrays["head.bias"], 1))
            columns = len(values) if len(values) > 2 else 1
            fits = head.weights.shape == (len(mean), columns) and head.bias.shape == (columns,)
        else:
            fits = header["kind"] == "single"
        ordered = list(values) == sorted(set(values)) and bool(values) and values[0] >= 1 and (len(values) == 1) == (head is None)
        if not (fits and ordered and mean.shape == spread.shape and bool((spread > 0).all())):
            raise ValueError("classes, weights and standardisation of different sizes")
        if len(mean) != 3 * int(header["signature"]["dim"]):
            raise ValueError("weights of another width than its features")
        return cls(values, Standard(mean, spread), head, dict(header["signature"]))


def classify_objects(features: FeatureMap, objects: Any, **options: Any) -> ObjectClasses:
    """Pool, learn and classify in one call; see :func:`classify_objects_steps`."""
    return collect(classify_objects_steps(features, objects, **options))


def classify_objects_steps(
    features: FeatureMap,
    objects: Any,
    *,
    examples: Mapping[int, int] | tuple[tuple[int, int], ...] = (),
    classifier: ObjectClassifier | str | Path | None = None,
    head: ObjectHead = "auto",
    C: float = 10.0,
    names: tuple[tuple[int, str], ...] = (),
) -> Job[ObjectClasses]:
    """Classify the objects of an image.

    Parameters
    ----------
    features : FeatureMap
        Of the image.
    objects : Instances, Planes, opened file or array-like
        As in :func:`~napari_dinov3.objects.pooling.pool_objects_steps`.
    examples : mapping, or pairs, of object number to class
        What to learn from; these keep their class.
    classifier : ObjectClassifier or path, optional
        A taught one, instead of examples.
    head, C
        As in :class:`ObjectClassifier`.
    names : pairs of class and name
        Names of classes.

    Returns
    -------
    classes : ObjectClasses
    """
    given = dict(examples)
    if bool(given) == (classifier is not None):
        raise InputError(
            "Both examples and a classifier" if given else "Neither examples nor a classifier",
            "one of the two",
            "Give examples={object number: class, ...}, or a classifier from a file",
        )
    taught = ObjectClassifier.load(classifier) if isinstance(classifier, str | Path) else classifier
    pooled = yield from part_of(pool_objects_steps(features, objects), start=0, span=90, total=100)
    yield Progress(90, 100, f"classifying {counted(len(pooled), 'object')}")
    if taught is None:
        taught = ObjectClassifier(head=head, C=C, names=dict(names)).fit(pooled, given)
    return taught.predict(pooled).with_examples(given)


def paint_classes_steps(classes: ObjectClasses, objects: Any) -> Job[npt.NDArray[np.integer[Any]]]:
    """Make a labels image of classes: every object in the number of its class, ``(planes, H, W)``, plane by plane."""
    labels = label_planes(objects)
    painted = np.zeros(labels.shape, classes.lookup().dtype)
    for index in range(len(labels)):
        yield Progress(index, len(labels), f"classes of plane {index + 1} of {len(labels)}")
        painted[index] = classes.paint(labels.plane(index))
    return painted


def paint_classes(classes: ObjectClasses, objects: Any) -> npt.NDArray[np.integer[Any]]:
    """Make a labels image of classes; see :func:`paint_classes_steps`."""
    return collect(paint_classes_steps(classes, objects))


def _check_examples(pooled: PooledObjects, labels: npt.NDArray[np.int64], given: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    if not len(labels):
        raise InputError("No object has a class yet", "at least one example", "Click an object of each class")
    if given.min() < 1:
        raise InputError(f"Class {given.min()}", "1 or more", "Number the classes from 1")
    rows = pooled.rows_of(labels)
    for why, bad in (("is not among the objects", rows < 0), ("has no finite features", ~pooled.usable[rows] & (rows >= 0))):
        if bad.any():
            raise InputError(
                f"Example {labels[bad][0]} {why}" + (f" (and {np.count_nonzero(bad) - 1} more)" if bad.sum() > 1 else ""),
                "examples out of the objects, with features",
                "Take these examples away, or choose the layer they belong to",
            )
    return rows
