"""Order of comparisons, and what becomes of links that are wrong."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.align.links import Link, planned_links
from napari_dinov3.align.matching import match_steps, waves
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.stack import solve_stack
from napari_dinov3.align.transforms import translation_matrix
from napari_dinov3.progress import collect

AGREEMENT = {1: 0.7, 2: 0.55, 3: 0.43}  # as sections of one stack have it: less, the farther apart they are


def right_links(count: int) -> list[Link]:
    quality = {d: MatchQuality(z=25.0, lead=3.0, agreement=r, overlap=0.9) for d, r in AGREEMENT.items()}
    return [Link(a, b, np.eye(3), quality[b - a]) for a, b in planned_links(count)]


def solved(links: list[Link], count: int) -> nd.StackAlignment:
    return solve_stack(links, nd.as_planes(np.zeros((count, 64, 64), np.uint8)), model="translation", drift="first")


@pytest.mark.parametrize("together", [1, 2, 5, 100])
@pytest.mark.parametrize("reach", [(1,), (1, 2, 3), (2, 5)])
def test_a_link_comes_after_all_that_it_spans(together, reach):
    pairs = planned_links(17, reach)
    done: set[tuple[int, int]] = set()
    for wave in waves(pairs, together):
        for a, b in wave:
            spanned = {(c, d) for c, d in pairs if a <= c and d <= b and (c, d) != (a, b)}
            assert spanned <= done
        done |= set(wave)
    assert done == set(pairs)


def test_what_is_found_does_not_depend_on_the_number_of_threads(monkeypatch):
    images = nd.synthetic.em(planes=5, size=96, rng=0, shifts=[[0, 0], [2, 1], [1, 3], [0, 2], [3, 0]]).images
    found = []
    for count in (1, 3):
        monkeypatch.setattr("napari_dinov3.align.matching.threads", lambda count=count: count)
        found.append(collect(match_steps(nd.as_planes(images), model="rigid", backbone=None)))
    assert [(link.first, link.second) for link in found[0]] == planned_links(5)
    np.testing.assert_array_equal(*([link.matrix for link in links] for links in found))


def test_one_wrong_link_between_neighbours_is_outvoted_by_those_across_it():
    links = right_links(20)
    wrong = next(i for i, link in enumerate(links) if (link.first, link.second) == (9, 10))
    links[wrong] = Link(9, 10, translation_matrix(0, 1.0), links[wrong].match)
    assert np.abs(solved(links, 20).transforms - np.eye(3)).max() < 0.05


def test_a_section_whose_links_contradict_each_other_is_bad():
    rng = np.random.default_rng(0)
    chance = [
        Link(k.first, k.second, translation_matrix(*rng.uniform(-60, 60, 2)), k.match) if 9 in (k.first, k.second) else k
        for k in right_links(20)
    ]
    path = solved(chance, 20)
    assert path.bad == (9,)
    assert np.abs(path.transforms - np.eye(3)).max() < 1e-6


def chance(link: Link, z: float) -> Link:
    """Let a link be accepted, or not, as one of unrelated images."""
    return Link(link.first, link.second, translation_matrix(20, 5), MatchQuality(z=z, lead=1.5, agreement=0.2, overlap=0.9))


def test_a_section_that_matches_few_and_barely_is_bad_although_those_agree():
    links = [
        chance(k, 7.0 if k.second in (10, 11) and k.first == 9 else 3.0) if 9 in (k.first, k.second) else k
        for k in right_links(20)
    ]
    assert solved(links, 20).bad == (9,)
    with_it = solve_stack(links, nd.as_planes(np.zeros((20, 64, 64), np.uint8)), model="translation", include=[9])
    assert with_it.bad == ()


def test_where_all_sections_match_only_the_next_none_is_doubtful():
    links = [k if k.second - k.first == 1 else chance(k, 3.0) for k in right_links(20)]
    assert solved(links, 20).bad == ()
