"""How well whole images are classified: cross-validated by group, with everything one wants to see of it.

References
----------
.. [1] K. Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010, doi:10.1109/ICPR.2010.764.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.classify.images import ImageClassifier
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.folds import grouped_folds
from napari_dinov3.evaluate.metrics import Report
from napari_dinov3.evaluate.tables import rows_to_csv, rows_to_markdown
from napari_dinov3.progress import Job, Progress, collect
from napari_dinov3.wording import counted


@dataclass(frozen=True, slots=True, eq=False)
class ImageClassification:
    """Classes of images by a classifier that did not see them.

    Parameters
    ----------
    classes : tuple of str
        In the order of the columns of `probabilities`.
    truth : (images,) int
        Index into `classes`.
    probabilities : (images, classes) float64
        Of the classifier that had not seen the image.
    fold : (images,) int
        In which turn it was held out.
    names : tuple of str
        Of the images.
    """

    classes: tuple[str, ...]
    truth: npt.NDArray[np.intp] = field(repr=False)
    probabilities: npt.NDArray[np.float64] = field(repr=False)
    fold: npt.NDArray[np.intp] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        """(images,) index of the likeliest class."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(classes, classes) images by true class (row) and predicted class (column)."""
        return self.report.counts

    @property
    def report(self) -> Report:
        """Counts as those of labels: accuracy, precision, recall, F1 of each class."""
        count = len(self.classes)
        pairs = np.bincount(self.truth * count + self.predicted, minlength=count**2)
        return Report(tuple(range(count)), pairs.reshape(count, count).astype(np.int64), dict(enumerate(self.classes)))

    def top(self, k: int) -> float:
        """Part of the images whose true class is among the `k` likeliest; ties count against it."""
        if k < 1:
            raise InputError(f"top-{k}", "1 or more", "Choose 1 or 5")
        own = self.probabilities[np.arange(len(self.truth)), self.truth]
        rank = (self.probabilities >= own[:, None]).sum(axis=1)
        return float(np.mean(rank <= k))

    def fold_accuracies(self) -> npt.NDArray[np.float64]:
        """(folds,) accuracy of each turn."""
        right = self.predicted == self.truth
        return np.array([right[self.fold == number].mean() for number in np.unique(self.fold)])

    def worst(self, count: int = 10) -> list[tuple[str, float, str]]:
        """List the classes with the lowest recall.

        Returns
        -------
        worst : list of (class, recall, taken for)
            The last is the class it is most often taken for, empty where it never is.
        """
        recall = self.report.recall
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        rows = []
        for at in np.argsort(recall, kind="stable")[:count]:
            other = int(wrong[at].argmax())
            rows.append((self.classes[at], float(recall[at]), self.classes[other] if wrong[at, other] else ""))
        return rows

    def worst_text(self, count: int = 3) -> str:
        """Name the worst classes in a line; empty where no image was mistaken."""
        rows = [(name, recall, other) for name, recall, other in self.worst(count) if recall < 1]
        texts = [f"{name} (recall {recall:.3f}, most often taken for {other})" for name, recall, other in rows]
        return f"Worst: {', '.join(texts)}." if texts else ""

    def mistakes(self) -> npt.NDArray[np.intp]:
        """Give the images whose class is wrong, the surest mistakes first."""
        wrong = np.flatnonzero(self.predicted != self.truth)
        chances = self.probabilities.max(axis=1)
        return wrong[np.argsort(-chances[wrong], kind="stable")]

    def as_rows(self) -> list[dict[str, Any]]:
        """List one row a class, then the macro average, and that weighted by images."""
        report = self.report
        columns = ("precision", "recall", "f1")
        rows: list[dict[str, Any]] = [
            {"class": name, "images": int(report.support[at]), **{c: float(getattr(report, c)[at]) for c in columns}}
            for at, name in enumerate(self.classes)
        ]
        total = len(self.truth)
        macro = {c: getattr(report, f"macro_{c}") for c in columns}
        rows.append({"class": "macro average", "images": total, **macro})
        rows.append({"class": "weighted average", "images": total, **{c: report.weighted(getattr(report, c)) for c in columns}})
        return rows

    def prediction_rows(self) -> list[dict[str, Any]]:
        """List one row an image: its name, class, prediction and probabilities."""
        return [
            {
                "image": name, "class": self.classes[true], "predicted": self.classes[found], "right": bool(true == found),
                "fold": int(fold) + 1, **{f"p_{c}": float(p) for c, p in zip(self.classes, chances, strict=True)},
            }
            for name, true, found, fold, chances in zip(
                self.names, self.truth, self.predicted, self.fold, self.probabilities, strict=True
            )
        ]  # fmt: skip

    def confusion_rows(self) -> list[dict[str, Any]]:
        """List one row a true class, with the images of each predicted class."""
        return [
            {"true \\ predicted": name, **{other: int(n) for other, n in zip(self.classes, counts, strict=True)}}
            for name, counts in zip(self.classes, self.confusion, strict=True)
        ]

    def to_csv(self) -> str:
        """Write the rows of the classes as comma-separated text."""
        return rows_to_csv(self.as_rows())

    def summary(self) -> str:
        """Say the figures of the whole."""
        each = self.fold_accuracies()
        five = f"top-5 {self.top(5):.4f}, " if len(self.classes) > 5 else ""
        return (
            f"Top-1 {self.top(1):.4f}, {five}balanced accuracy {self.report.balanced_accuracy:.4f}, macro F1 "
            f"{self.report.macro_f1:.4f}; {counted(len(self.truth), 'image')} of {len(self.classes)} classes, "
            f"{counted(len(each), 'fold')}, accuracy a fold {each.mean():.4f} ± {each.std():.4f}."
        )

    def to_markdown(self) -> str:
        """Write the table of the classes, the worst of them and the confusion matrix."""
        worst = [{"worst classes": name, "recall": recall, "taken for": other} for name, recall, other in self.worst()]
        return "\n\n".join(
            (rows_to_markdown(self.as_rows()), self.summary(), rows_to_markdown(worst), rows_to_markdown(self.confusion_rows()))
        )


def cross_validate_images(vectors: npt.ArrayLike, labels: Sequence[str], **options: Any) -> ImageClassification:
    """Classify images by classifiers that have not seen them.

    Parameters
    ----------
    vectors : (images, n) floats
        One vector an image, see :func:`napari_dinov3.classify.images.pool_planes`.
    labels : sequence of str
        Class of each.
    **options
        Of :func:`cross_validate_images_steps`.
    """
    return collect(cross_validate_images_steps(vectors, labels, **options))


def cross_validate_images_steps(
    vectors: npt.ArrayLike,
    labels: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    names: Sequence[str] | None = None,
    classifier: ImageClassifier | None = None,
    folds: int = 5,
    rng: int = 0,
) -> Job[ImageClassification]:
    """Cross-validate step by step; see :func:`cross_validate_images`.

    Parameters
    ----------
    vectors, labels
        As in :func:`cross_validate_images`.
    groups : sequence, optional
        What each image stays together with (subject, folder, file, block of planes); each on its own by default.
    names : sequence of str, optional
        Of the images.
    classifier : ImageClassifier, optional
        Whose options are used; it is not changed.
    folds : int
        Fewer where the rarest class has fewer groups.
    rng : int
        Order in which groups are dealt to folds.

    Raises
    ------
    InputError
        If there is one class only, or a class with a single group; the message names it.
    """
    table = np.asarray(vectors, dtype=np.float32)
    like = classifier or ImageClassifier()
    known = [str(label) for label in labels]
    if len(known) != len(table):
        raise InputError(f"{len(table)} vectors and {len(known)} labels", "one label a vector", "Give as many of both")
    blocks = grouped_folds(known, list(groups) if groups is not None else list(range(len(known))), folds, rng=rng)
    classes, truth = np.unique(known, return_inverse=True)
    probabilities = np.zeros((len(known), len(classes)))
    fold = np.zeros(len(known), np.intp)
    for number, held in enumerate(blocks):
        yield Progress(number, len(blocks), f"fold {number + 1} of {len(blocks)}")
        kept = np.setdiff1d(np.arange(len(known)), held)
        one = ImageClassifier(**like.settings).fit(table[kept], [known[at] for at in kept])
        columns = np.searchsorted(classes, one.classes_)
        probabilities[np.ix_(held, columns)] = one.predict_proba(table[held])
        fold[held] = number
    given = tuple(names) if names is not None else tuple(str(at) for at in range(len(known)))
    return ImageClassification(tuple(map(str, classes)), truth, probabilities, fold, given)
