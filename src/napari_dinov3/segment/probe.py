"""Probes: learn classes from scribbles on a feature map, and label whole stacks with them.

How scores become labels is in :mod:`napari_dinov3.segment.labelling`, how a head is fitted in
:mod:`napari_dinov3.segment.fitting` and :mod:`napari_dinov3.segment.decoder`.
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
from napari_dinov3.segment.fitting import class_shares, fit_head_steps
from napari_dinov3.segment.heads import ClassWeight, FloatArray, Head, HeadName
from napari_dinov3.segment.labelling import Labeller, finite
from napari_dinov3.segment.operating_point import Prior, decision_offset, prior_offset
from napari_dinov3.segment.probe_options import Loss, PerClass, ProbeOptions, Strength
from napari_dinov3.segment.scribbles import Scribbles, pair_up
from napari_dinov3.segment.training import TrainingSet, gather_steps
from napari_dinov3.wording import counted


class Probe:
    """Learn classes from scribbles and label every pixel of every plane.

    Parameters
    ----------
    head : {"kernel", "linear", "boosting", "forest", "prototypes", "decoder"}
        Classifier of patch features. ``"kernel"`` (rational quadratic kernel on landmarks) suits few features on a fine grid,
        such as the filter bank; ``"linear"`` (logistic regression) suits learned features; ``"prototypes"`` one click a class;
        ``"decoder"`` (a small convolutional network; needs torch) looks at the neighbours of a patch too.
    C : float or "cv", optional
        Inverse strength of the L2 penalty; larger fits the scribbles more closely. ``"cv"`` chooses it by cross-validation:
        whole strokes are held out, not pixels. By default 1 for the linear head and 10 for the kernel head; the others have
        none.
    class_weight : {"balanced"}, mapping or None
        Weight of the samples of each class: ``"balanced"`` gives every class the same total, whatever was painted more.
    prior : {"estimated", "scribbles"}
        How common each class is: weighed on the unlabelled rest of the painted planes, so that a rare class painted as much as
        the others is not found everywhere (see :mod:`~napari_dinov3.segment.operating_point`), or as painted and weighted.
    thresholds : mapping from label value to probability, optional
        Probability a class needs, where it is not one half: 0.3 finds more of it, 0.7 less. Moves labels, not probabilities.
    landmarks : int
        Landmarks of the kernel head: more follow finer differences and cost time in proportion.
    max_samples : int
        Most labelled pixels used for training, shared out evenly between the classes.
    smooth_z : float
        Standard deviation, in planes, of the Gaussian that averages scores along the stack; 0 leaves each plane to itself.
    refine : float
        Radius in pixels of a guided filter that pulls the classes to the edges of the image; 0 leaves them as they are.
        Predicting then needs the image.
    median : int
        Side in pixels of the square in which the most frequent class wins, odd; 0 leaves the labels as they are.
    loss : {"cross-entropy", "dice"}
        Of the decoder: what is made small. Dice suits classes of very different size.
    epochs : int
        Most rounds of training of the decoder; it stops earlier when held-out strokes are no longer labelled better.
    device : {"auto", "cpu", "cuda", "mps"}
        Where the decoder is trained and applied.
    rng : int or numpy Generator
        Which pixels, landmarks and folds are drawn.

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
        C: Strength = None,
        class_weight: ClassWeight | PerClass = "balanced",
        prior: Prior = "estimated",
        thresholds: PerClass | None = None,
        landmarks: int = 200,
        max_samples: int = 20_000,
        smooth_z: float = 0.0,
        refine: float = 0.0,
        median: int = 0,
        loss: Loss = "cross-entropy",
        epochs: int = 60,
        device: str = "auto",
        rng: int | np.random.Generator = 0,
    ) -> None:
        given: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        self.options = ProbeOptions(**given)
        self._fitted: FittedProbe | None = None
        self.class_names: dict[int, str] = {}
        """What people call the classes, by value; goes into the file of the probe."""

    @property
    def head(self) -> HeadName:
        """Name of the classifier."""
        return self.options.head

    @property
    def settings(self) -> dict[str, Any]:
        """Options it was made with, without the head: JSON-able; a Generator as `rng` becomes the seed 0."""
        return self.options.settings()

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

    @property
    def report(self) -> Mapping[str, Any]:
        """What was found while learning: ``C`` and its losses on held-out strokes, or the loss and mIoU of each epoch."""
        return self.fitted.report

    def fit(self, features: FeatureMap | Sequence[FeatureMap], scribbles: Scribbles, *, warm_start: Probe | None = None) -> Probe:
        """Learn from labelled pixels.

        Parameters
        ----------
        features : FeatureMap or list of FeatureMap
            One map, or several that were made the same way.
        scribbles : array-like or mapping, or a list of them
            ``(planes, H, W)`` labels image (``(H, W)`` for a single plane; numpy, dask or zarr) with 0 where nothing is
            labelled; or a mapping ``{plane: (H, W)}``; or a dense boolean mask, whose classes are 0 and 1.
        warm_start : Probe, optional
            An earlier probe of the same head, classes and features: the search starts from what it learned. The answer is the
            same, to the tolerance of the search; it is there sooner. A probe that does not fit is left aside.

        Returns
        -------
        probe : Probe
            Itself.

        Raises
        ------
        InputError
            If nothing is labelled, the scribbles do not fit the image, or labelled features are not finite.
        MissingDependencyError
            If the decoder is chosen and torch is not installed.

        Warns
        -----
        FallbackWarning
            If only one class is labelled: everything will be that class. If C is to be cross-validated, and a class is
            painted in one place only.
        """
        return collect(self.fit_steps(features, scribbles, warm_start=warm_start))

    def fit_steps(
        self, features: FeatureMap | Sequence[FeatureMap], scribbles: Scribbles, *, warm_start: Probe | None = None
    ) -> Job[Probe]:
        """Learn step by step; see :meth:`fit`. The decoder yields an :class:`~napari_dinov3.segment.decoder.EpochProgress`."""
        return (yield from self._fit_steps(features, scribbles, on_patches=False, warm_start=warm_start))

    def fit_patches(self, features: FeatureMap | Sequence[FeatureMap], labels: Scribbles) -> Probe:
        """Learn from labels of patches instead of pixels: as :meth:`fit`, with ``(planes, rows, cols)`` on the patch grid."""
        return collect(self._fit_steps(features, labels, on_patches=True))

    def _fit_steps(
        self,
        features: FeatureMap | Sequence[FeatureMap],
        scribbles: Scribbles,
        *,
        on_patches: bool,
        warm_start: Probe | None = None,
    ) -> Job[Probe]:
        options = self.options
        if options.head == "decoder":
            from napari_dinov3.segment.decoder import need_torch

            need_torch()
        pairs = pair_up(features, scribbles)
        first, rng = pairs[0][0], np.random.default_rng(options.rng)
        gather = gather_steps(pairs, max_samples=options.max_samples, rng=rng, on_patches=on_patches)
        gathered = 20 if options.head == "decoder" or options.C == "cv" else 70
        samples: TrainingSet = yield from part_of(gather, start=0, span=gathered, total=100)
        learned = counted(len(samples.classes), "class")
        yield Progress(gathered, 100, f"Learning {learned} from {counted(len(samples.codes), 'sample')}")
        if len(samples.classes) == 1:
            warnings.warn(
                f"Only class {samples.classes[0]} is labelled, so every pixel will be class {samples.classes[0]}. "
                "Paint a second class to tell it apart from.",
                FallbackWarning,
                stacklevel=2,
            )
        mean, scale = samples.centre_and_scale()
        standardised = samples.standardised(mean, scale)
        head: Head | None
        if options.head == "decoder" and len(samples.classes) > 1:
            from napari_dinov3.segment.decoder import fit_decoder_steps

            maps = [one for one, _ in pairs]
            job = fit_decoder_steps(options, maps, samples, scaling=(mean, scale), on_patches=on_patches, rng=rng)
            head, report, around = yield from part_of(job, start=gathered, span=95 - gathered, total=100)
        else:
            start = warm_start._start_for(options.head, samples.classes, first) if warm_start is not None else None
            fit = fit_head_steps(options, standardised, scaling=(mean, scale), stride=first.stride, rng=rng, start=start)
            head, report = yield from part_of(fit, start=gathered, span=90 - gathered, total=100)
            around = None
        offset, decision = np.zeros(1, np.float32), np.zeros(1, np.float32)
        if head is not None:
            decision = decision_offset(samples.classes, options.thresholds)
            if options.prior == "estimated":
                yield Progress(95, 100, "Weighing how common each class is")
                painted = class_shares(samples.codes, samples.classes, options.class_weight)
                offset = prior_offset(head.scores(standardised.surround) if around is None else around, painted)
        self._fitted = FittedProbe(samples.classes, mean, scale, head, offset, first.signature, decision, report)
        return self

    def _start_for(self, head: HeadName, classes: tuple[int, ...], features: FeatureMap) -> FittedProbe | None:
        """Give what was learned, where a probe of this head, these classes and these features can start from it."""
        known = self._fitted
        fits = known is not None and self.head == head and known.classes == classes
        return known if fits and known is not None and dict(known.signature) == features.signature else None

    def predict(self, features: FeatureMap, *, image: Any = None, lazy: bool = False) -> Any:
        """Label every pixel of every plane.

        Parameters
        ----------
        features : FeatureMap
            Made as the one the probe was trained on; of the same image or another.
        image : array-like or Planes, optional
            The image the features were made from; needed where `refine` is above 0.
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
        if lazy:
            return _lazy(features, self._labeller(features, image).labels, self.fitted.dtype)
        return collect(self.predict_steps(features, image=image))

    def predict_steps(self, features: FeatureMap, *, image: Any = None) -> Job[Labels]:
        """Label plane by plane; see :meth:`predict`."""
        labeller = self._labeller(features, image)
        labels = np.empty((len(features), *features.image_shape), self.fitted.dtype)
        for plane in range(len(features)):
            yield Progress(plane, len(features), f"Labelling plane {plane}")
            labels[plane] = labeller.labels(plane)
        return labels

    def predict_plane(self, features: FeatureMap, plane: int, *, image: Any = None, step: int = 1) -> Labels:
        """Label one plane.

        Parameters
        ----------
        features, image
            As in :meth:`predict`.
        plane : int
            Index of the plane.
        step : int
            Score every `step`-th patch only: a coarser answer in a fraction of the time, without smoothing and refinement.

        Returns
        -------
        labels : (H, W)
            As in :meth:`predict`.
        """
        return self._labeller(features, image, step).labels(plane, step=step)

    def predict_patches(self, features: FeatureMap) -> Labels:
        """Label patches instead of pixels: ``(planes, rows, cols)``."""
        fitted = self.fitted
        features.check_fits(fitted.signature, "The probe and these features")
        return np.stack([fitted.values(fitted.scores(finite(features.plane(i), i))) for i in range(len(features))])

    def predict_proba(self, features: FeatureMap, *, image: Any = None, lazy: bool = False) -> Any:
        """Give the probability of every class at every pixel.

        Parameters
        ----------
        features, image, lazy
            As in :meth:`predict`.

        Returns
        -------
        probabilities : (planes, classes, H, W) float32
            In the order of `classes_`, summing to 1 over the classes.
        """
        labeller = self._labeller(features, image)
        if lazy:
            return _lazy(features, labeller.probabilities, np.dtype(np.float32), (len(self.classes_),))
        return np.stack([labeller.probabilities(plane) for plane in range(len(features))])

    def predict_proba_plane(self, features: FeatureMap, plane: int, *, image: Any = None, step: int = 1) -> FloatArray:
        """Give the probabilities of one plane: ``(classes, H, W)`` float32; see :meth:`predict_proba`."""
        return self._labeller(features, image, step).probabilities(plane, step=step)

    def uncertainty(self, features: FeatureMap, *, image: Any = None, lazy: bool = False) -> Any:
        """Say where the probe is unsure, and so where painting helps most.

        Returns
        -------
        uncertainty : (planes, H, W) float32
            0 where the best class is certain, 1 where the two best are equally likely: one minus their difference.
        """
        labeller = self._labeller(features, image)
        if lazy:
            return _lazy(features, lambda plane: uncertain(labeller.probabilities(plane)), np.dtype(np.float32))
        return np.stack([uncertain(labeller.probabilities(plane)) for plane in range(len(features))])

    def uncertainty_plane(self, features: FeatureMap, plane: int, *, image: Any = None, step: int = 1) -> FloatArray:
        """Give the uncertainty of one plane: ``(H, W)`` float32; see :meth:`uncertainty`."""
        return uncertain(self.predict_proba_plane(features, plane, image=image, step=step))

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

    def _labeller(self, features: FeatureMap, image: Any, step: int = 1) -> Labeller:
        return Labeller(self.fitted, features, self.options, image, coarse=step > 1)


def uncertain(probabilities: FloatArray) -> FloatArray:
    """Give one minus the difference of the two best probabilities: ``(classes, H, W)`` to ``(H, W)``."""
    if len(probabilities) == 1:
        return np.zeros(probabilities.shape[1:], np.float32)
    best = np.partition(probabilities, len(probabilities) - 2, axis=0)[-2:]
    unsure: FloatArray = 1 - (best[1] - best[0])
    return unsure


def _lazy(features: FeatureMap, compute: Any, dtype: np.dtype[Any], extra: tuple[int, ...] = ()) -> Any:
    import dask.array

    def one_plane(block_info: Any = None) -> Any:
        return compute(block_info[None]["chunk-location"][0])[None]

    whole = [(size,) for size in (*extra, *features.image_shape)]
    # a name of its own, since dask would otherwise read the whole feature map to make one
    return dask.array.map_blocks(
        one_plane,
        chunks=((1,) * len(features), *whole),
        dtype=dtype,
        name=f"probe-{uuid4().hex}",
        meta=np.empty((0,) * (len(whole) + 1), dtype),
    )
