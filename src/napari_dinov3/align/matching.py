"""Compare the sections of a stack with their neighbours, several links at a time.

A link over more than one section starts from the links it spans, so links come in waves: those of one wave need nothing of each
other. What is found does not depend on how many are computed at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TypeAlias

import numpy as np

from napari_dinov3.align.coarse import thumbnail_factor
from napari_dinov3.align.links import DEFAULT_REACH, Link, planned_links
from napari_dinov3.align.pairwise import Fit, deformed, fit_sections
from napari_dinov3.align.section import STACK_SIDE, Section, prepare_section
from napari_dinov3.align.transforms import Model, linear_part
from napari_dinov3.backbones.base import Backbone
from napari_dinov3.cores import threads
from napari_dinov3.geometry import Matrix
from napari_dinov3.image import Planes
from napari_dinov3.parallel import one_library_thread
from napari_dinov3.progress import Job, Progress

Pair: TypeAlias = tuple[int, int]
_MOST_AT_ONCE = 8  # sections of one wave are held in memory together


def match_steps(
    planes: Planes,
    *,
    model: Model,
    backbone: str | Backbone | None = "auto",
    reach: Iterable[int] = DEFAULT_REACH,
    rotation: float | None = None,
    known: MutableMapping[Pair, Link] | None = None,
) -> Job[tuple[Link, ...]]:
    """Compare every section with its neighbours.

    Parameters
    ----------
    planes : Planes
        The stack. Held at a time are as many sections as the longest reach, and for each thread as many as there are distances.
    model, backbone, reach, rotation
        As in :func:`~napari_dinov3.align.stack.align_stack_steps`.
    known : mutable mapping, optional
        As there.

    Yields
    ------
    Progress
        One event a section, and one a link. Closed early, it keeps in `known` what was under way.

    Returns
    -------
    links : tuple of Link
        Refused ones too.
    """
    if isinstance(backbone, str):
        from napari_dinov3.backbones.registry import load_backbone

        backbone = load_backbone(backbone)
    wanted = planned_links(len(planes), reach)
    known = {} if known is None else known
    workers = min(threads(), _MOST_AT_ONCE)
    prepare = partial(prepare_section, factor=thumbnail_factor(planes.shape[1:], side=STACK_SIDE), backbone=backbone)
    held: dict[int, Section] = {}
    done = sum(pair in known for pair in wanted)
    with one_library_thread(), ThreadPoolExecutor(workers, "links") as pool:
        for wave in waves([pair for pair in wanted if pair not in known], workers):
            needed = {z for pair in wave for z in pair}
            for old in held.keys() - set(range(min(needed), len(planes))):
                del held[old]
            for z in sorted(needed - held.keys()):
                yield Progress(done, len(wanted), f"Section {z + 1} of {len(planes)}")
                held[z] = prepare(planes.plane(z))
            running = {pool.submit(_compared, held[a], held[b], model, rotation, expected(known, a, b)): (a, b) for a, b in wave}
            try:
                while running:
                    a, b = next(iter(running.values()))
                    yield Progress(done, len(wanted), f"Sections {a} and {b}: link {done + 1} of {len(wanted)}")
                    done += _keep(running, wait(running, return_when=FIRST_COMPLETED).done, known)
            finally:
                for comparison in running:
                    comparison.cancel()
                _keep(running, {c for c in wait(running).done if not c.cancelled() and c.exception() is None}, known)
    yield Progress(len(wanted), len(wanted), "Solving for all poses")
    return tuple(known[pair] for pair in wanted)


def waves(pairs: Sequence[Pair], together: int) -> Iterator[list[Pair]]:
    """Order links so that each comes after those between the sections it spans.

    Parameters
    ----------
    pairs : sequence of (first, second)
    together : int
        Sections whose links to one distance make up a wave.

    Yields
    ------
    wave : list of (first, second)
        May be computed in any order, or at once.
    """
    rank = {distance: i for i, distance in enumerate(sorted({b - a for a, b in pairs}))}
    found: dict[int, list[Pair]] = {}
    for a, b in pairs:
        found.setdefault(b // together + rank[b - a], []).append((a, b))
    for number in sorted(found):
        yield found[number]


def expected(found: Mapping[Pair, Link], first: int, second: int) -> Matrix | None:
    """Chain accepted links to guess a longer one.

    Neighbours are looked for without a guess: from the unmoved pose a wrong one a few pixels off may look good enough, and the
    links across it, which agree less the farther apart the sections are, would not outvote it.
    """
    for between in range(second - 1, first, -1):
        one, two = found.get((first, between)), found.get((between, second))
        if one is not None and two is not None and one.accepted and two.accepted:
            return np.asarray(two.matrix @ one.matrix)
    return None


def _compared(first: Section, second: Section, model: Model, rotation: float | None, hint: Matrix | None) -> Fit:
    bends = model == "elastic"
    fit = fit_sections(first, second, model=linear_part(model), rotation=rotation, hint=hint, vouch=True, precise=not bends)
    return deformed(first, second, fit) if bends and fit.match.accepted else fit


def _keep(running: dict[Future[Fit], Pair], finished: Iterable[Future[Fit]], known: MutableMapping[Pair, Link]) -> int:
    """Move finished comparisons to what is known, and count them."""
    count = 0
    for comparison in finished:
        (a, b), fit = running.pop(comparison), comparison.result()
        known[a, b] = Link(a, b, fit.matrix, fit.match, field=fit.field)
        count += 1
    return count
