"""Presets are options of align_stack."""

from __future__ import annotations

import inspect

import pytest

from napari_dinov3.align.drift import DRIFTS
from napari_dinov3.align.presets import PRESETS, preset
from napari_dinov3.align.stack import align_stack_steps
from napari_dinov3.align.transforms import MODELS
from napari_dinov3.errors import InputError


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_holds_options_of_align_stack(name):
    options = preset(name)
    assert options["model"] in MODELS
    assert options["drift"] in DRIFTS
    inspect.signature(align_stack_steps).bind(None, **options)


def test_a_preset_can_be_changed_without_changing_the_next():
    preset("movie")["drift"] = "first"
    assert preset("movie")["drift"] == "mean"


def test_another_name_is_refused():
    with pytest.raises(InputError, match="serial, histology, movie"):
        preset("film")
