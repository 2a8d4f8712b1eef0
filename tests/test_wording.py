"""Nouns agree with their numbers."""

from __future__ import annotations

import pytest

from napari_dinov3.wording import counted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "plane", "0 planes"),
        (1, "plane", "1 plane"),
        (2, "labelled plane", "2 labelled planes"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "box", "2 boxes"),
        (2, "patch", "2 patches"),
        (2, "body", "2 bodies"),
        (2, "key", "2 keys"),
        (12_000, "pixel", "12,000 pixels"),
    ],
)
def test_a_noun_agrees_with_its_number(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text


def test_a_plural_of_its_own() -> None:
    assert (counted(1, "axis", "axes"), counted(2, "axis", "axes")) == ("1 axis", "2 axes")
