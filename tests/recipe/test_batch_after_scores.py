"""A saved probe with filters after its scores gives the same labels from files as in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.cli import main
from napari_dinov3.recipe.batch import apply_probe

AFTER = {"refine": 4.0, "smooth_z": 0.7, "median": 3, "thresholds": {2: 0.4}}


def stack(seed: int, *channels: int) -> np.ndarray:
    image = np.random.default_rng(seed).normal(100, 3, (3, *channels, 48, 48))
    image[..., 10:30, 12:36] += 60
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    marks = np.zeros((3, 48, 48), np.uint8)
    marks[0, 2:6], marks[0, 15:20, 15:30] = 1, 2
    fitted = nd.Probe(**AFTER).fit(nd.extract(stack(0), backbone="filter-bank", stride=4), marks)
    return fitted.save(tmp_path_factory.mktemp("probe") / "probe.npz")


def test_files_are_refined_on_their_own_image(probe: Path, tmp_path: Path) -> None:
    image = stack(1)
    nd.write(tmp_path / "a.ome.tif", image)
    result = apply_probe(probe, tmp_path / "a.ome.tif", tmp_path / "out", probabilities=True)
    assert not result.failed
    features = nd.extract(image, backbone="filter-bank", stride=4)
    loaded = nd.Probe.load(probe)
    expected = loaded.predict(features, image=image)
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "out" / "a_labels.ome.tif")), expected)
    soft = np.asarray(nd.read(tmp_path / "out" / "a_probabilities.ome.tif"))
    np.testing.assert_allclose(soft, loaded.predict_proba(features, image=image), atol=1e-6)
    plain = nd.Probe().restored(loaded.fitted).predict(features)
    assert np.count_nonzero(plain != expected) > 20  # the filters do something here
    truth = np.ones_like(expected)
    truth[:, 10:30, 12:36] = 2
    assert np.count_nonzero(expected != truth) < np.count_nonzero(plain != truth)


def test_the_channel_that_is_embedded_is_the_one_refined_on(probe: Path, tmp_path: Path) -> None:
    image = stack(2, 2)
    image[:, 0] = np.random.default_rng(0).integers(0, 255, (3, 48, 48))  # edges that are not those of the objects
    nd.write(tmp_path / "two.ome.tif", image, axes="zcyx")
    assert main(["apply", str(probe), str(tmp_path / "two.ome.tif"), "--output", str(tmp_path / "out"), "--channel", "1"]) == 0
    features = nd.extract(image[:, 1], backbone="filter-bank", stride=4)
    expected = nd.Probe.load(probe).predict(features, image=image[:, 1])
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "out" / "two_labels.ome.tif")), expected)


def test_a_single_plane_is_refined_too(probe: Path, tmp_path: Path) -> None:
    image = stack(3)[0]
    nd.write(tmp_path / "flat.tif", image)
    assert not apply_probe(probe, tmp_path / "flat.tif", tmp_path / "out", ending=".zarr").failed
    expected = nd.Probe.load(probe).predict(nd.extract(image, backbone="filter-bank", stride=4), image=image)
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "out" / "flat_labels.zarr")), expected[0])
