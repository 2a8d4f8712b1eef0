"""What may be chosen of a network: what follows from it, and what is refused; without torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.backbones.options import BackboneOptions, scale_of, split_options, stride_of, width_of
from napari_dinov3.backbones.registry import backbone_facts, list_backbones, load_backbone, readiness
from napari_dinov3.errors import InputError

VIT = backbone_facts("dinov3-vits16")


@pytest.mark.parametrize(
    ("scale", "shifts"), [(s, h) for s, h in itertools.product((None, 1, 2, 4), (1, 2, 4)) if (s or 1) * h <= 4]
)
def test_the_stride_follows_from_scale_and_shifts(scale, shifts):
    options = BackboneOptions(scale=scale, shifts=shifts)
    stride = stride_of(VIT, None, options)
    assert stride * (scale or 1) * shifts == 16
    assert stride_of(VIT, stride, options) == stride
    assert scale_of(VIT, stride, shifts) == (scale or 1)


def test_a_finer_stride_without_shifts_enlarges_the_image():
    assert scale_of(VIT, stride_of(VIT, 4, BackboneOptions(shifts=2)), 2) == 2
    assert scale_of(VIT, stride_of(VIT, 4, BackboneOptions()), 1) == 4


@pytest.mark.parametrize(
    ("stride", "options", "message"),
    [
        (5, {}, "stride=5"),
        (None, {"scale": 4, "shifts": 2}, "8 times finer"),
        (8, {"scale": 4}, "stride=8 with shifts=1 and scale=4"),
        (None, {"scale": 3}, "scale=3"),
        (None, {"shifts": 3}, "shifts=3"),
    ],
)
def test_contradictions_are_named(stride, options, message):
    with pytest.raises(InputError, match=message):
        stride_of(VIT, stride, BackboneOptions(**options))


@pytest.mark.parametrize("facts", list_backbones(), ids=lambda facts: facts.name)
def test_the_width_of_every_backbone_is_as_registered_by_default(facts):
    assert width_of(facts, rgb=False, options=BackboneOptions()) == facts.width
    assert stride_of(facts, None, BackboneOptions()) == facts.stride


def test_layers_are_put_side_by_side():
    assert width_of(VIT, rgb=True, options=BackboneOptions(layers="four")) == 4 * 384
    assert width_of(VIT, rgb=False, options=BackboneOptions(layers=(3, 7))) == 2 * 384


def test_options_of_the_image_are_left_alone():
    network, image = split_options({"layers": [1, 2], "axes": "zyx", "device": "cpu"})
    assert network.given() == {"layers": (1, 2), "device": "cpu"}
    assert image == {"axes": "zyx"}


@pytest.mark.parametrize("given", [{"layers": "four"}, {"scale": 2}, {"device": "cuda"}, {"weights": "w.pth"}])
def test_backbones_without_options_refuse_them_by_name(given):
    with pytest.raises(InputError, match=f"{next(iter(given))}=.* for backbone 'filter-bank'"):
        nd.extract(np.zeros((32, 32), np.float32), backbone="filter-bank", **given)


def test_options_beside_a_built_backbone_are_refused():
    with pytest.raises(InputError, match="flips beside a backbone that is built already"):
        nd.extract(np.zeros((32, 32), np.float32), backbone=load_backbone("filter-bank"), flips="all")


def test_a_path_that_is_not_there_is_said_before_anything_is_loaded(tmp_path):
    pytest.importorskip("torch", reason="otherwise torch is what is missing")
    assert "nothing at" in readiness(VIT.name, weights=tmp_path / "none.pth").message
    (tmp_path / "some.pth").write_bytes(b"")
    assert readiness(VIT.name, weights=tmp_path / "some.pth").ready


def test_neighbouring_planes_become_colours_on_request(rng=0):
    stack = np.random.default_rng(rng).random((3, 32, 32), dtype=np.float32)
    plain = nd.extract(stack, backbone="filter-bank")
    coloured = nd.extract(stack, backbone="filter-bank", colours="neighbours")
    assert coloured.dim == 3 * plain.dim
    assert coloured.provenance["colours"] == "neighbours"
    assert coloured.revision != plain.revision  # of a network both have the same width
    with pytest.raises(InputError, match="colours='rgb'"):
        nd.extract(stack, backbone="filter-bank", colours="rgb")
