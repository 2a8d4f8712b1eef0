"""One round of the live loop: features where they are needed, a probe from the scribbles, labels of the plane in view, the rest.

A round is one answer to the scribbles as they are now; the next stroke begins the next round, and the one before is given up.
What it computed stays: features lie in the map, and labelled planes on the canvas until better ones come. Only painted planes
are needed for training, and only the plane in view is waited for; the others follow from it outward. The plane in view may
change meanwhile: :attr:`Round.focus` is read before each plane.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from napari_dinov3._napari.jobs import FeatureRequest, map_steps
from napari_dinov3._napari.segment.prediction import LABELS_SHARE, LOOKED_AT, Canvas, PlaneStack, Prediction
from napari_dinov3._napari.segment.scribble_book import Painted, ScribbleBook
from napari_dinov3._napari.segment.soft_layers import report_steps
from napari_dinov3._napari.segment.training_examples import Example
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.on_demand import complete_steps, fill_steps
from napari_dinov3.features.store import fits_in_memory
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import ProbeConfig
from napari_dinov3.segment.probe import Probe

COARSE_STEP = 4
QUICK_S = 0.3  # a plane that takes longer is answered coarsely first
_MANY_PATCHES = 100_000  # of a plane whose time is not known yet


@dataclass(frozen=True, slots=True)
class PlaneReady(Progress):
    """Labels of a plane can be shown; unlike other progress this is never left out."""


@dataclass(frozen=True, slots=True)
class SoftReady(Progress):
    """Probabilities and uncertainty of the plane in view can be shown; never left out either."""


@dataclass(slots=True, eq=False)
class Round:
    """One answer to the scribbles.

    Parameters
    ----------
    request : FeatureRequest
        What it works on.
    prediction : Prediction
        Filled by the job.
    config : ProbeConfig
        How the probe is made.
    script : str
        The same as Python.
    scribbles : Planes, Painted or None
        What to learn from; None where the probe has learned already.
    examples : tuple of Example
        Other images to learn from as well.
    truth : Planes or None
        Reference labels.
    everything : bool
        Label all planes, or only those that are looked at.
    previous : Probe or None
        The last one, to start from.
    focus : int
        Plane in view; the main thread moves it.
    digest : tuple or None
        Of the scribbles, once they are read.
    names : mapping
        Names of classes.
    colormap : napari colormap or None
        Of the scribbles.
    painted_in : hashable
        Unique id of the scribbles layer.
    canvas : Canvas or None
        What the labels layer shows, once it shows something.
    soft : bool
        Probabilities or uncertainty are looked at: they are computed here, not by who draws them.
    """

    request: FeatureRequest
    prediction: Prediction
    config: ProbeConfig
    script: str = ""
    scribbles: Planes | Painted | None = None
    examples: tuple[Example, ...] = ()
    truth: Planes | None = None
    everything: bool = True
    previous: Probe | None = None
    focus: int = 0
    digest: tuple[Any, ...] | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    colormap: Any = None
    painted_in: Hashable = None
    canvas: Canvas | None = None
    soft: bool = False

    def __post_init__(self) -> None:
        self.focus = self.request.visible
        if isinstance(self.scribbles, Painted):
            self.digest = self.scribbles.digest

    @property
    def learns(self) -> bool:
        """Whether the probe is trained here; one from a file has learned already, and has names of its own."""
        return self.scribbles is not None or bool(self.examples)

    def name_classes(self) -> None:
        """Give the probe the names of its classes, for its file."""
        if self.learns:
            self.prediction.probe.class_names = dict(self.names)

    @property
    def answers(self) -> tuple[Hashable, ...]:
        """What two rounds share if the answer of one is that of the other, the scribbles apart."""
        examples = tuple(id(example) for example in self.examples)
        return self.request.place, tuple(sorted(self.config.options().items(), key=str)), examples


@lru_cache(maxsize=1)
def load_ahead() -> None:
    """Load in a thread, once, what the first training would load: it takes seconds, in which people have begun to paint."""
    threading.Thread(target=import_module, args=("sklearn.linear_model",), name="napari-dinov3 load", daemon=True).start()


def round_steps(session: Any, work: Round, pace: MutableMapping[Hashable, float]) -> Job[Prediction]:
    """Train and label.

    Parameters
    ----------
    session : Session
        Keeps the features.
    work : Round
        Its prediction is filled on the way, and may be shown meanwhile.
    pace : mapping
        Seconds a plane took in earlier rounds; updated.
    """
    features = yield from part_of(map_steps(session, work.request), start=0, span=2, total=100)
    prediction = work.prediction
    if work.learns:
        yield from part_of(_training_steps(work, features), start=2, span=48, total=100)
    else:
        features.check_fits(prediction.probe.fitted.signature, "The loaded probe and the features of this image")
    shape = (len(features), *features.image_shape)
    labels_bytes = float(np.prod(shape, dtype=np.float64)) * prediction.probe.fitted.dtype.itemsize
    large = labels_bytes > LABELS_SHARE * work.request.config.memory_gb * 1e9
    if large and work.everything:  # computed when looked at, also by whoever saves the layer
        features = yield from part_of(complete_steps(features, work.focus), start=50, span=50, total=100)
        session.keep(work.request.key, features)
        prediction.features, prediction.labels = (
            features,
            prediction.probe.predict(features, image=work.request.source.planes, lazy=True),
        )
        yield from soft_steps(work)
        return prediction
    prediction.labels = PlaneStack(shape, prediction.probe.fitted.dtype, limit=LOOKED_AT if large else None)
    prediction.features = features
    yield from label_steps(work, pace)
    return prediction


def label_steps(work: Round, pace: MutableMapping[Hashable, float]) -> Job[Prediction]:
    """Label the planes that are wanted and not done, the one in view first."""
    prediction, features, image = work.prediction, work.prediction.features, work.request.source.planes
    assert features is not None  # a round labels once it has trained
    count = len(features)
    while (plane := next_plane(work, count)) is not None:
        done = 50 + 50 * len(prediction.done) // count
        yield from part_of(fill_steps(features, (plane,)), start=done, span=0, total=100)
        name = (prediction.probe.head, features.grid, features.dim, len(prediction.probe.classes_))
        if plane == work.focus and coarse_first(pace.get(name), features.grid):
            prediction.labels.put(plane, prediction.probe.predict_plane(features, plane, image=image, step=COARSE_STEP))
            yield PlaneReady(done, 100, f"first answer for plane {plane + 1}; refining it")
        begin = time.perf_counter()
        prediction.labels.put(plane, prediction.probe.predict_plane(features, plane, image=image))
        pace[name] = time.perf_counter() - begin
        prediction.done.add(plane)
        prediction.done &= set(prediction.labels.planes())  # of a large stack only the last ones are kept
        done = 50 + 50 * len(prediction.done) // count
        yield PlaneReady(done, 100, f"labels of plane {plane + 1}: {len(prediction.done)} of {count}")
        if work.focus in prediction.done:
            yield from soft_steps(work, in_view=True)
    yield from soft_steps(work)
    if work.truth is not None and prediction.complete:
        prediction.report = yield from part_of(report_steps(prediction.labels, work.truth), start=99, span=1, total=100)
    return prediction


def soft_steps(work: Round, *, in_view: bool = False) -> Job[None]:
    """Compute probabilities and uncertainty where they are looked at, the plane in view first, then those around it.

    Parameters
    ----------
    work : Round
        Trained.
    in_view : bool
        Only the plane in view; by default as many are computed as are kept.
    """
    if not work.soft:
        return
    soft = work.prediction.soft_of(work.request.source.planes)
    done = 0
    while (plane := soft.wanted(work.focus, done)) is not None:
        if work.focus in soft and (in_view or not work.everything):
            return
        yield from part_of(fill_steps(soft.features, (plane,)), start=99, span=0, total=100)
        soft.plane(plane)
        done += 1
        kind = SoftReady if plane == work.focus else Progress
        yield kind(99, 100, f"probabilities of plane {plane + 1}")


def example_steps(session: Any, work: Round, layer: str, lines: tuple[str, ...]) -> Job[Example]:
    """Make one image of a training set of what a round would learn from: its painted planes, features and scribbles.

    Parameters
    ----------
    session : Session
        Keeps the features.
    work : Round
        With its scribbles; its probe is left alone.
    layer : str
        Name of the scribbles layer.
    lines : tuple of str
        The same as Python.

    Raises
    ------
    InputError
        If nothing is painted.
    """
    scribbles = work.scribbles
    assert isinstance(scribbles, Planes)  # the panel reads the layer
    painted = yield from part_of(ScribbleBook().read_steps(scribbles), start=0, span=10, total=100)
    if not painted.planes:
        raise InputError(f"Nothing is painted in {layer!r}", "a few strokes of at least one class", "Paint first, then add it")
    features = yield from part_of(map_steps(session, work.request), start=10, span=10, total=100)
    for example in work.examples:
        example.check_fits(features)
    yield from part_of(fill_steps(features, painted.planes), start=20, span=80, total=100)
    name = work.request.source.placement.name
    return Example(name, layer, features, dict(painted.planes), dict(painted.counts), lines)


def next_plane(work: Round, count: int) -> int | None:
    """Choose what to label next: the plane nearest to the one in view; None where nothing is wanted any more."""
    focus, done = work.focus, work.prediction.done
    if not work.everything:
        return focus if focus not in done else None
    left = (plane for plane in range(count) if plane not in done)
    return min(left, key=lambda plane: (abs(plane - focus), plane), default=None)


def coarse_first(seconds: float | None, grid: tuple[int, int]) -> bool:
    """Whether a plane is worth a coarse answer first.

    Parameters
    ----------
    seconds : float or None
        What such a plane took the last time.
    grid : (2,) ints
        Patches.
    """
    return grid[0] * grid[1] > _MANY_PATCHES if seconds is None else seconds > QUICK_S


def looks_only(request: FeatureRequest, grid_shape: tuple[int, int, int, int]) -> bool:
    """Whether planes are only computed where they are looked at: the data are lazy and large, or their labels are."""
    planes = request.source.planes
    labels = float(np.prod(planes.shape, dtype=np.float64))
    budget = request.config.memory_gb
    return labels > LABELS_SHARE * budget * 1e9 or (planes.lazy and not fits_in_memory(grid_shape, budget))


def _training_steps(work: Round, features: FeatureMap) -> Job[None]:
    """Compute the planes that are painted, and fit."""
    scribbles = work.scribbles
    if isinstance(scribbles, Planes):
        scribbles = yield from part_of(ScribbleBook().read_steps(scribbles), start=0, span=2, total=100)
        work.digest = scribbles.digest
    pairs: list[tuple[FeatureMap, Any]] = [(features, dict(scribbles.planes))] if scribbles is not None else []
    for example in work.examples:
        example.check_fits(features)
        pairs.append((example.features, dict(example.planes)))
    for number, (each, planes) in enumerate(pairs):
        wanted = sorted(planes, key=lambda plane: abs(plane - work.focus))
        span = 70 // len(pairs)
        yield from part_of(fill_steps(each, wanted), start=2 + number * span, span=span, total=100)
    yield Progress(72, 100, "training")
    maps: Any = pairs[0][0] if len(pairs) == 1 else [each for each, _ in pairs]
    painted: Any = pairs[0][1] if len(pairs) == 1 else [planes for _, planes in pairs]
    # quick heads begin anew: started from the last answer they end elsewhere within their tolerance, and where classes are hard
    # to tell apart that is a tenth of the pixels, so that undo would not undo and a script would not repeat what was seen
    previous = work.previous if work.config.head == "decoder" else None
    yield from part_of(work.prediction.probe.fit_steps(maps, painted, warm_start=previous), start=72, span=28, total=100)
