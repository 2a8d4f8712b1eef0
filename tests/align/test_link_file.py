"""A run that was stopped goes on from its file."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.align import matching, stack
from napari_dinov3.align.link_file import LinkFile
from napari_dinov3.errors import FileFormatError

ABOUT = {"shape": [4, 96, 96], "model": "translation"}


@pytest.fixture
def images():
    return nd.synthetic.em(planes=4, size=96, rng=0, shifts=[[0, 0], [2, 1], [1, 3], [0, 2]]).images


def test_what_is_in_the_file_is_not_matched_again(images, tmp_path, monkeypatch):
    options = {"model": "translation", "backbone": None}
    known = LinkFile(tmp_path / "links.jsonl", ABOUT)
    job = stack.align_stack_steps(images, known=known, **options)
    while not known:
        next(job)
    job.close()
    done = len(LinkFile(tmp_path / "links.jsonl", ABOUT))
    assert 0 < done < 6
    calls = []
    real = matching.fit_sections
    monkeypatch.setattr(matching, "fit_sections", lambda *a, **k: calls.append(1) or real(*a, **k))
    path = nd.align_stack(images, known=LinkFile(tmp_path / "links.jsonl", ABOUT), **options)
    assert len(calls) == 6 - done
    np.testing.assert_allclose(path.transforms, nd.align_stack(images, **options).transforms)


def test_a_line_cut_off_by_a_crash_is_dropped(images, tmp_path):
    kept = LinkFile(tmp_path / "links.jsonl", ABOUT)
    nd.align_stack(images, model="translation", backbone=None, known=kept)
    text = kept.path.read_text()
    kept.path.write_text(text[:-30])
    assert len(LinkFile(kept.path, ABOUT)) == len(kept) - 1


def test_links_of_another_stack_are_refused(tmp_path):
    LinkFile(tmp_path / "links.jsonl", ABOUT)
    with pytest.raises(FileFormatError, match="this stack"):
        LinkFile(tmp_path / "links.jsonl", {**ABOUT, "model": "rigid"})
