"""Probes: learn classes from scribbles on a feature map, and label whole stacks with them.

Scores are computed on the patch grid and interpolated bilinearly to pixels; labels and probabilities are read from the
interpolated scores. For the linear head this equals a 1x1 convolution of the interpolated features, exactly.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import numpy as np

from napari_dinov3.errors import FallbackWarning, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.segment.fitted_probe import FittedProbe, Labels
from napari_dinov3.segment.heads import ClassWeight, FloatArray, HeadName
from napari_dinov3.segment.operating_point import Prior, prior_offset
from napari_dinov3.segment.scribbles import Scribbles, pair_up
from napari_dinov3.segment.training import TrainingSet, class_shares, fit_head, gather_steps
from napari_dinov3.segment.upsample import upsample

DEFAULT_C = {"linear": 1.0, "kernel": 10.0}


class Probe:
    """Learn classes from scribbles and label every pixel of every plane.

    Parameters
    ----------
    head : {"kernel", "linear", "boosting", "forest", "prototypes"}
        Classifier of patch features. ``"kernel"`` (Gaussian kernel on landmarks) suits few features on a fine grid, such as
        the filter bank; ``"linear"`` (logistic regression) suits learned features; ``"prototypes"`` one click a class.
    C : float, optional
        Inverse strength of the L2 penalty; larger fits the scribbles more closely. By default 1 for the linear head and 10
        for the kernel head; the others have none.
    class_weight : {"balanced"}, mapping or None
        Weight of the samples of each class: ``"balanced"`` gives every class the same total, whatever was painted more.
    prior : {"estimated", "scribbles"}
        How common each class is: weighed on the unlabelled rest of the painted planes, so that a rare class painted as much as
        the others is not found everywhere (see :mod:`~napari_dinov3.segment.operating_point`), or as painted and weighted.
    landmarks : int
        Landmarks of the kernel head: more follow finer differences and cost time in proportion.
    max_samples : int
        Most labelled pixels used for training, shared out evenly between the classes.
    rng : int or numpy Generator
        Which pixels and landmarks are drawn where there are too many.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> image = np.zeros((64, 64)); image[:, 32:] = 1
    >>> scribbles = np.zeros((64, 64), int); scribbles[8, 4:20] = 1; scribbles[8, 44:60] = 2
    >>> features = nd.extract(image, backbone="filter-bank")
    >>> nd.Probe(head="kernel").fit(features, scribbles).predict(features)[0, 50, [5, 60]]
    array([1, 2], dtype=uint8)
    """

    def __init__(
        self,
        *,
        head: HeadName = "kernel",
        C: float | None = None,
        class_weight: ClassWeight = "balanced",
        prior: Prior = "estimated",
        landmarks: int = 200,
        max_samples: int = 20_000,
        rng: int | np.random.Generator = 0,
    ) -> None:
        if class_weight is not None and class_weight != "balanced" and not isinstance(class_weight, Mapping):
            raise InputError(
                f"class_weight={class_weight!r}",
                "'balanced', None, or a mapping from label value to weight",
                "Choose one of these",
            )
        if head not in ("linear", "kernel", "boosting", "forest", "prototypes"):
            raise InputError(
                f"head={head!r}", "'linear', 'kernel', 'boosting', 'forest' or 'prototypes'", "Choose one of these heads"
            )
        if prior not in ("estimated", "scribbles"):
            raise InputError(f"prior={prior!r}", "'estimated' or 'scribbles'", "Choose one of these")
        C = DEFAULT_C.get(head, 1.0) if C is None else C
        if not C > 0 or landmarks < 1 or max_samples < 2:
            raise InputError(
                f"C={C}, landmarks={landmarks}, max_samples={max_samples}",
                "C above 0, at least one landmark and two samples",
                "Use the defaults",
            )
        self.head, self.C, self.class_weight, self.prior = head, C, class_weight, prior
        self.landmarks, self.max_samples, self.rng = landmarks, max_samples, rng
        self._fitted: FittedProbe | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Options it was made with, without the head: JSON-able; a Generator as `rng` becomes the seed 0."""
        weight = dict(self.class_weight) if isinstance(self.class_weight, Mapping) else self.class_weight
        return {
            "C": self.C,
            "class_weight": weight,
            "prior": self.prior,
            "landmarks": self.landmarks,
            "max_samples": self.max_samples,
            "rng": self.rng if isinstance(self.rng, int) else 0,
        }

    @property
    def fitted(self) -> FittedProbe:
        """What was learned.

        Raises
        ------
        InputError
            Before :meth:`fit`.
        """
        if self._fitted is None:
            raise InputError("This probe has learned nothing yet", "a fitted probe", "Call fit(features, scribbles) first")
        return self._fitted

    @property
    def classes_(self) -> tuple[int, ...]:
        """Label values of the classes, in the order of probabilities."""
        return self.fitted.classes

    def fit(self, features: FeatureMap | Sequence[FeatureMap], scribbles: Scribbles) -> Probe:
        """Learn from labelled pixels.

        Parameters
        ----------
        features : FeatureMap or list of FeatureMap
            One map, or several that were made the same way.
        scribbles : array-like or mapping, or a list of them
            ``(planes, H, W)`` labels image (``(H, W)`` for a single plane; numpy, dask or zarr) with 0 where nothing is
            labelled; or a mapping ``{plane: (H, W)}``; or a dense boolean mask, whose classes are 0 and 1.

        Returns
        -------
        probe : Probe
            Itself.

        Raises
        ------
        InputError
            If nothing is labelled, the scribbles do not fit the image, or labelled features are not finite.

        Warns
        -----
        FallbackWarning
            If only one class is labelled: everything will be that class.
        """
        return collect(self.fit_steps(features, scribbles))

    def fit_steps(self, features: FeatureMap | Sequence[FeatureMap], scribbles: Scribbles) -> Job[Probe]:
        """Learn step by step; see :meth:`fit`."""
        return (yield from self._fit_steps(features, scribbles, on_patches=False))

    def fit_patches(self, features: FeatureMap | Sequence[FeatureMap], labels: Scribbles) -> Probe:
        """Learn from labels of patches instead of pixels: as :meth:`fit`, with ``(planes, rows, cols)`` on the patch grid."""
        return collect(self._fit_steps(features, labels, on_patches=True))

    def _fit_steps(self, features: FeatureMap | Sequence[FeatureMap], scribbles: Scribbles, *, on_patches: bool) -> Job[Probe]:
        pairs = pair_up(features, scribbles)
        rng = np.random.default_rng(self.rng)
        gather = gather_steps(pairs, max_samples=self.max_samples, rng=rng, on_patches=on_patches)
        samples: TrainingSet = yield from part_of(gather, start=0, span=70, total=100)
        yield Progress(70, 100, f"Learning {len(samples.classes)} classes from {len(samples.codes)} samples")
        if len(samples.classes) == 1:
            warnings.warn(
                f"Only class {samples.classes[0]} is labelled, so every pixel will be class {samples.classes[0]}. "
                "Paint a second class to tell it apart from.",
                FallbackWarning,
                stacklevel=2,
            )
        mean, scale = samples.centre_and_scale()
        standardised = samples.standardised(mean, scale)
        head = fit_head(self.head, standardised, C=self.C, class_weight=self.class_weight, landmarks=self.landmarks, rng=rng)
        offset = np.zeros(1, np.float32)
        if head is not None and self.prior == "estimated":
            yield Progress(90, 100, "Weighing how common each class is")
            painted = class_shares(samples.codes, samples.classes, self.class_weight)
            offset = prior_offset(head.scores(standardised.surround), painted)
        self._fitted = FittedProbe(samples.classes, mean, scale, head, offset, pairs[0][0].signature)
        return self

    def predict(self, features: FeatureMap, *, lazy: bool = False) -> Any:
        """Label every pixel of every plane.

        Parameters
        ----------
        features : FeatureMap
            Made as the one the probe was trained on; of the same image or another.
        lazy : bool
            Return a dask array that computes a plane when it is looked at.

        Returns
        -------
        labels : (planes, H, W)
            Label values as painted, in the smallest unsigned integer type that holds them.

        Raises
        ------
        FeatureMismatchError
            If the features were made differently.
        """
        return self._lazy(features, self.predict_plane, self.fitted.dtype) if lazy else collect(self.predict_steps(features))

    def predict_steps(self, features: FeatureMap) -> Job[Labels]:
        """Label plane by plane; see :meth:`predict`."""
        labels = np.empty((len(features), *features.image_shape), self.fitted.dtype)
        for plane in range(len(features)):
            yield Progress(plane, len(features), f"Labelling plane {plane}")
            labels[plane] = self.predict_plane(features, plane)
        return labels

    def predict_plane(self, features: FeatureMap, plane: int, *, step: int = 1) -> Labels:
        """Label one plane.

        Parameters
        ----------
        features : FeatureMap
            As in :meth:`predict`.
        plane : int
            Index of the plane.
        step : int
            Score every `step`-th patch only: a coarser answer in a fraction of the time.

        Returns
        -------
        labels : (H, W)
            As in :meth:`predict`.
        """
        fitted = self.fitted
        return fitted.values(self._pixel_scores(fitted, features, plane, step))

    def predict_patches(self, features: FeatureMap) -> Labels:
        """Label patches instead of pixels: ``(planes, rows, cols)``."""
        fitted = self.fitted
        features.check_fits(fitted.signature, "The probe and these features")
        return np.stack([fitted.values(fitted.scores(_finite(features.plane(i), i))) for i in range(len(features))])

    def predict_proba(self, features: FeatureMap, *, lazy: bool = False) -> Any:
        """Give the probability of every class at every pixel.

        Parameters
        ----------
        features, lazy
            As in :meth:`predict`.

        Returns
        -------
        probabilities : (planes, classes, H, W) float32
            In the order of `classes_`, summing to 1 over the classes.
        """
        if lazy:
            return self._lazy(features, self.predict_proba_plane, np.dtype(np.float32), (len(self.classes_),))
        return np.stack([self.predict_proba_plane(features, plane) for plane in range(len(features))])

    def predict_proba_plane(self, features: FeatureMap, plane: int, *, step: int = 1) -> FloatArray:
        """Give the probabilities of one plane: ``(classes, H, W)`` float32; see :meth:`predict_proba`."""
        fitted = self.fitted
        probabilities = fitted.probabilities(self._pixel_scores(fitted, features, plane, step))
        return np.ascontiguousarray(np.moveaxis(probabilities, -1, 0))

    def uncertainty(self, features: FeatureMap, *, lazy: bool = False) -> Any:
        """Say where the probe is unsure, and so where painting helps most.

        Returns
        -------
        uncertainty : (planes, H, W) float32
            0 where the best class is certain, 1 where the two best are equally likely: one minus their difference.
        """
        if lazy:
            return self._lazy(features, self.uncertainty_plane, np.dtype(np.float32))
        return np.stack([self.uncertainty_plane(features, plane) for plane in range(len(features))])

    def uncertainty_plane(self, features: FeatureMap, plane: int, *, step: int = 1) -> FloatArray:
        """Give the uncertainty of one plane: ``(H, W)`` float32; see :meth:`uncertainty`."""
        probabilities = self.predict_proba_plane(features, plane, step=step)
        if len(probabilities) == 1:
            return np.zeros(features.image_shape, np.float32)
        best = np.partition(probabilities, len(probabilities) - 2, axis=0)[-2:]
        unsure: FloatArray = 1 - (best[1] - best[0])
        return unsure

    def restored(self, fitted: FittedProbe) -> Probe:
        """Take over what another probe has learned, and return itself."""
        self._fitted = fitted
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the probe to a file of plain arrays; see :func:`napari_dinov3.segment.probe_file.save_probe`."""
        from napari_dinov3.segment.probe_file import save_probe

        return save_probe(self, Path(path), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a probe from a file; see :func:`napari_dinov3.segment.probe_file.load_probe`."""
        from napari_dinov3.segment.probe_file import load_probe

        probe = load_probe(Path(path))
        if not isinstance(probe, cls):
            raise InputError(f"{path} holds a probe with the head {probe.head!r}", f"a {cls.__name__}", "Use nd.Probe.load(path)")
        return probe

    def _pixel_scores(self, fitted: FittedProbe, features: FeatureMap, plane: int, step: int) -> FloatArray:
        features.check_fits(fitted.signature, "The probe and these features")
        if not 0 <= plane < len(features):
            raise InputError(f"Plane {plane}", f"one of the planes 0..{len(features) - 1}", "Choose a plane of the stack")
        grid = _finite(features.plane(plane)[::step, ::step], plane)
        return upsample(
            fitted.scores(grid),
            image_shape=features.image_shape,
            stride=features.stride * step,
            first_centre=features.first_centre,
        )

    def _lazy(self, features: FeatureMap, compute: Any, dtype: np.dtype[Any], extra: tuple[int, ...] = ()) -> Any:
        import dask.array

        features.check_fits(self.fitted.signature, "The probe and these features")

        def one_plane(block_info: Any = None) -> Any:
            return compute(features, block_info[None]["chunk-location"][0])[None]

        whole = [(size,) for size in (*extra, *features.image_shape)]
        # a name of its own, since dask would otherwise read the whole feature map to make one
        return dask.array.map_blocks(
            one_plane,
            chunks=((1,) * len(features), *whole),
            dtype=dtype,
            name=f"probe-{uuid4().hex}",
            meta=np.empty((0,) * (len(whole) + 1), dtype),
        )


def _finite(features: FloatArray, plane: int) -> FloatArray:
    # a sum is finite where all are, costs a third of asking each, and only overflow beyond any feature could deceive it
    if not np.isfinite(features.sum()) and not np.isfinite(features).all():
        raise InputError(
            f"Features of plane {plane} hold NaN or infinite values", "finite features", "Extract the features again"
        )
    return features
