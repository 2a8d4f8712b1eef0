"""Samples and files as layers: scale, units, masks and channels in their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_dinov3 as nd
from napari_dinov3._napari import sample_data
from napari_dinov3._napari.open_file import calibrated, file_layers, make_sample_steps, open_steps, sample_layers
from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3.progress import collect
from napari_dinov3.synthetic import MODALITIES


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_modality_opens_as_a_sample_with_its_mask(modality: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "SIZE", 64)
    viewer = ViewerModel()
    for data, options, kind in getattr(sample_data, modality)():
        getattr(viewer, f"add_{kind}")(data, **options)
    image, mask = viewer.layers
    assert image.data.shape[: image.ndim] == mask.data.shape
    assert mask.data.any()
    np.testing.assert_array_equal(image.scale, mask.scale)
    assert all(str(unit) != "pixel" for unit in image.units)
    assert image.units == mask.units
    assert image.rgb == MODALITIES[modality](size=16).rgb


def test_the_known_shifts_are_in_the_metadata() -> None:
    sample = collect(make_sample_steps("em", planes=3, size=32, drift=2.0))
    layer = ViewerModel().add_image(sample_layers(sample)[0][0], **sample_layers(sample, drift=2.0)[0][1])
    np.testing.assert_allclose(provenance_of(layer)["shifts"], sample.shifts)
    assert provenance_of(layer)["settings"] == {"drift": 2.0}


def test_a_file_opens_with_its_spacing_and_units(tmp_path: Path) -> None:
    path = tmp_path / "stack.npy"
    np.save(path, np.zeros((3, 16, 20), np.uint8))
    image = nd.read(path, spacing=(50, 4, 4), units="nanometer")
    viewer = ViewerModel()
    for data, options, kind in file_layers(image):
        getattr(viewer, f"add_{kind}")(data, **options)
    (layer,) = viewer.layers
    np.testing.assert_array_equal(layer.scale, (50, 4, 4))
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    assert layer.axis_labels == ("z", "y", "x")
    assert [image.shape for image in collect(open_steps(path))] == [(3, 16, 20)]


def test_channels_open_as_layers_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "channels.npy"
    np.save(path, np.arange(2 * 16 * 20, dtype=np.uint16).reshape(2, 16, 20))
    layers = file_layers(nd.read(path, axes="cyx"))
    assert [np.asarray(data).min() for data, _, _ in layers] == [0, 320]
    assert len({options["name"] for _, options, _ in layers}) == 2


def test_labels_open_as_labels(tmp_path: Path) -> None:
    path = tmp_path / "ids.npy"
    np.save(path, np.ones((16, 20), np.uint16))
    assert [kind for _, _, kind in file_layers(nd.read(path, kind="labels"))] == ["labels"]


def test_a_known_pixel_size_counts_only_where_the_file_does_not_say(tmp_path: Path) -> None:
    np.save(tmp_path / "bare.npy", np.zeros((3, 16, 20), np.uint8))
    bare = nd.read(tmp_path / "bare.npy")
    known = calibrated(bare, plane=50, row=4, col=5, unit="nanometer")
    assert known.spacing == (50, 4, 5)
    assert known.units == ("nanometer",) * 3
    assert calibrated(bare, plane=50, row=4, col=5, unit="pixel").spacing == (1, 1, 1)
    stated = nd.read(tmp_path / "bare.npy", spacing=(2, 1, 1), units="micrometer")
    assert calibrated(stated, plane=50, row=4, col=5, unit="nanometer") is stated
