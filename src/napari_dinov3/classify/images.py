"""Whole images and planes: one vector each, and a multinomial logistic regression on them.

The vector is the CLS token where the backbone has one, with the mean of the patches beside it; else mean and standard deviation
of the patches. What a classifier has learned are plain arrays, see :mod:`~napari_dinov3.classify.image_file`.

References
----------
.. [1] M. Oquab et al., "DINOv2: learning robust visual features without supervision", TMLR 2024, arXiv:2304.07193 (linear
   evaluation on the CLS token and the mean patch).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FallbackWarning, FeatureMismatchError, InputError
from napari_dinov3.features.feature_map import FeatureMap

FloatArray = npt.NDArray[np.float32]
Pooling = Literal["auto", "cls", "cls+mean", "mean", "mean+std"]
Scaling = Literal["standardize", "none"]
_FLAT = 1e-6


def resolve_pooling(pooling: Pooling, *, has_cls: bool) -> Pooling:
    """Turn ``"auto"`` into what a backbone allows, and refuse a CLS token that is not there."""
    if pooling not in get_args(Pooling):
        raise InputError(f"pooling={pooling!r}", f"one of {', '.join(get_args(Pooling))}", "Choose one of these")
    if pooling == "auto":
        return "cls+mean" if has_cls else "mean+std"
    if "cls" in pooling and not has_cls:
        raise InputError(
            f"pooling={pooling!r} with a backbone that has no CLS token", "'mean' or 'mean+std'", "Leave pooling at 'auto'"
        )
    return pooling


def pool_planes(features: FeatureMap, *, pooling: Pooling = "auto") -> FloatArray:
    """Give one vector a plane.

    Parameters
    ----------
    features : FeatureMap
        Read one plane at a time.
    pooling : {"auto", "cls", "cls+mean", "mean", "mean+std"}
        What is put side by side: the CLS token, the mean and the standard deviation of the patches.

    Returns
    -------
    vectors : (planes, n) float32
    """
    chosen = resolve_pooling(pooling, has_cls=features.cls is not None)
    return np.stack([_pooled(features, plane, chosen) for plane in range(len(features))])


def _pooled(features: FeatureMap, plane: int, pooling: Pooling) -> FloatArray:
    parts: list[Any] = []
    if "cls" in pooling and features.cls is not None:
        parts.append(features.cls[plane])
    if pooling != "cls":
        patches = features.plane(plane).reshape(-1, features.dim)
        parts.append(patches.mean(axis=0, dtype=np.float64))
        if "std" in pooling:
            parts.append(patches.std(axis=0, dtype=np.float64))
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class FittedImages:
    """What a classifier has learned: arrays, and what they fit.

    Parameters
    ----------
    classes : tuple of str
        In the order of the probabilities.
    mean, scale : (n,) float32
        Vectors are standardised as ``(vector - mean) / scale``.
    weights, bias : (n, classes) and (classes,) float32
        Scores are ``standardised @ weights + bias``.
    made_by : mapping
        How the vectors were made: backbone, revision, stride, pooling, size, colour.
    """

    classes: tuple[str, ...]
    mean: FloatArray = field(repr=False)
    scale: FloatArray = field(repr=False)
    weights: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)
    made_by: Mapping[str, Any] = field(default_factory=dict)


class ImageClassifier:
    """Multinomial logistic regression on one vector an image.

    Parameters
    ----------
    C : float
        Inverse strength of the L2 penalty.
    class_weight : {"balanced"} or None
        Give every class the same total weight, or every image.
    scaling : {"standardize", "none"}
        Bring every number of the vectors to mean 0 and spread 1 first; ``"none"`` suits a CLS token alone.
    max_iter : int
        Most L-BFGS iterations.

    Examples
    --------
    >>> import numpy as np
    >>> vectors = np.array([[0.0, 0], [0.1, 0], [1, 1], [0.9, 1]])
    >>> ImageClassifier().fit(vectors, ["a", "a", "b", "b"]).predict(np.array([[1.0, 0.9]]))
    ['b']
    """

    def __init__(
        self,
        *,
        C: float = 1.0,
        class_weight: Literal["balanced"] | None = None,
        scaling: Scaling = "standardize",
        max_iter: int = 1000,
    ) -> None:
        if not 0 < C < np.inf or max_iter < 1 or class_weight not in (None, "balanced") or scaling not in get_args(Scaling):
            raise InputError(
                f"C={C}, max_iter={max_iter}, class_weight={class_weight!r}, scaling={scaling!r}",
                "C above 0, at least one iteration, class_weight None or 'balanced', scaling 'standardize' or 'none'",
                "Use the defaults",
            )
        self.C, self.class_weight, self.scaling, self.max_iter = C, class_weight, scaling, max_iter
        self._fitted: FittedImages | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Options it was made with; JSON-able."""
        return {"C": self.C, "class_weight": self.class_weight, "scaling": self.scaling, "max_iter": self.max_iter}

    @property
    def fitted(self) -> FittedImages:
        """What was learned; refused before :meth:`fit`."""
        if self._fitted is None:
            raise InputError("This classifier has learned nothing yet", "a fitted one", "Call fit(vectors, labels) first")
        return self._fitted

    @property
    def classes_(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.fitted.classes

    def fit(self, vectors: npt.ArrayLike, labels: Sequence[str], *, made_by: Mapping[str, Any] | None = None) -> ImageClassifier:
        """Learn from images with known classes.

        Parameters
        ----------
        vectors : (images, n) floats
            One vector an image, see :func:`pool_planes`.
        labels : sequence of str
            Class of each.
        made_by : mapping, optional
            How the vectors were made; :meth:`predict` of vectors made otherwise is refused.

        Returns
        -------
        classifier : ImageClassifier
            Itself.

        Raises
        ------
        InputError
            If the numbers do not match, are not finite, or there is one class only.

        Warns
        -----
        FallbackWarning
            If the optimum was not reached within `max_iter`.
        """
        table = _finite_table(vectors)
        names = [str(label) for label in labels]
        if len(names) != len(table):
            raise InputError(f"{len(table)} vectors and {len(names)} labels", "one label a vector", "Give as many of both")
        classes, codes = np.unique(names, return_inverse=True)
        if len(classes) < 2:
            raise InputError(
                f"One class only: {', '.join(classes) or 'none'}", "two classes or more", "Add images of another class"
            )
        mean, scale = np.zeros(table.shape[1], np.float32), np.ones(table.shape[1], np.float32)
        if self.scaling == "standardize":
            mean, scale = table.mean(axis=0), np.maximum(table.std(axis=0), _FLAT)
            scale[table.std(axis=0) <= _FLAT] = 1.0  # constant here: dividing by nothing would make noise of rounding
        weights, bias = self._solve((table - mean) / scale, codes)
        self._fitted = FittedImages(tuple(map(str, classes)), mean, scale, weights, bias, dict(made_by or {}))
        return self

    def _solve(self, table: FloatArray, codes: npt.NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.C, class_weight=self.class_weight, max_iter=self.max_iter)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(table.astype(np.float64), codes)
        if any(issubclass(one.category, ConvergenceWarning) for one in caught):
            warnings.warn(
                f"The classifier stopped after {self.max_iter} steps, before its best. Raise max_iter, or lower C.",
                FallbackWarning,
                stacklevel=3,
            )
        weights, bias = model.coef_.T, model.intercept_
        if weights.shape[1] == 1:  # two classes: scikit-learn keeps one column
            weights, bias = np.hstack([0 * weights, weights]), np.concatenate([0 * bias, bias])
        return weights.astype(np.float32), bias.astype(np.float32)

    def predict_proba(self, vectors: npt.ArrayLike, *, made_by: Mapping[str, Any] | None = None) -> npt.NDArray[np.float64]:
        """Give the probability of each class.

        Parameters
        ----------
        vectors : (images, n) floats
            Made as those it learned from.
        made_by : mapping, optional
            How; compared with what it learned from.

        Returns
        -------
        probabilities : (images, classes) float64
            Summing to 1.

        Raises
        ------
        FeatureMismatchError
            If the vectors were made otherwise.
        """
        fitted = self.fitted
        table = _finite_table(vectors)
        different = [
            f"{key} {value!r} and {(made_by or {}).get(key)!r}"
            for key, value in fitted.made_by.items()
            if made_by is not None and value != made_by.get(key)
        ]
        if table.shape[1] != len(fitted.mean):
            different.append(f"{len(fitted.mean)} and {table.shape[1]} numbers an image")
        if different:
            raise FeatureMismatchError(
                f"The classifier and these images do not fit together: {'; '.join(different)}",
                "vectors made as those it learned from",
                "Embed the images with the same backbone and settings, or train again",
            )
        scores = ((table - fitted.mean) / fitted.scale).astype(np.float64) @ fitted.weights + fitted.bias
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: npt.NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, vectors: npt.ArrayLike, *, made_by: Mapping[str, Any] | None = None) -> list[str]:
        """Give the likeliest class of each image."""
        return [self.classes_[at] for at in self.predict_proba(vectors, made_by=made_by).argmax(axis=1)]

    def restored(self, fitted: FittedImages) -> ImageClassifier:
        """Take over what another classifier has learned, and return itself."""
        self._fitted = fitted
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write it to a file of plain arrays; see :func:`napari_dinov3.classify.image_file.save_classifier`."""
        from napari_dinov3.classify.image_file import save_classifier

        return save_classifier(self, Path(path), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> ImageClassifier:
        """Read one from a file; see :func:`napari_dinov3.classify.image_file.load_classifier`."""
        from napari_dinov3.classify.image_file import load_classifier

        return load_classifier(Path(path))


def _finite_table(vectors: npt.ArrayLike) -> FloatArray:
    table = np.asarray(vectors, dtype=np.float32)
    if table.ndim != 2 or not table.size:
        raise InputError(f"Vectors of shape {table.shape}", "(images, numbers), at least one of each", "Reshape them")
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if bad.size:
        raise InputError(
            f"{bad.size} of {len(table)} vectors hold NaN or infinite numbers, the first at {bad[0]}",
            "finite numbers",
            "Leave these images out, or look at their pixels",
        )
    return table
