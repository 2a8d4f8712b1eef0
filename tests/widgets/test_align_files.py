"""An elastic stack through the Align panel, levels and channels, and every kind of file it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

import napari_dinov3 as nd
from napari_dinov3.geometry import transform_points
from napari_dinov3.widgets.align.panel import AlignPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
PLACE = {"scale": (2, 0.5, 0.25), "units": ("um", "um", "um")}
SIZE = 112


def wavy(planes: int = 3, size: int = SIZE) -> Any:
    """A stack whose planes lie off by a few pixels and are bent by two."""
    rng = np.random.default_rng(1)
    scene = gaussian_filter(rng.normal(size=(size + 40, size + 40)), 1.5) * 200 + 120
    row, col = np.mgrid[:size, :size].astype(float)
    out = []
    for k in range(planes):
        bend = 2.0 * np.sin(row / 17 + k) * np.cos(col / 19 - k)
        out.append(map_coordinates(scene, [row + 12 + 2 * k + bend, col + 15 - k - bend], order=3))
    return (np.stack(out) + rng.normal(0, 1, (planes, size, size))).clip(0, 255).astype(np.uint8)


@pytest.fixture
def elastic(panel_of: Open, finish: Finish, model: Any) -> Any:
    model.layers.clear()
    model.add_image(wavy(), name="wavy", **PLACE)
    panel = panel_of(AlignPanel)
    panel.setValue({"image": "wavy", "model": "elastic", "backbone": None, "drift": "first"})
    panel.run()
    assert "3 planes" in finish(panel)
    return panel


def save(panel: Any, finish: Finish, path: Path, what: str) -> Path:
    panel.files.what.setValue({"save_as": what})
    panel.files.save(str(path))
    assert "Wrote" in finish(panel)
    return path


def test_an_elastic_stack_moves_everything_and_comes_back_from_files(
    elastic: Any, finish: Finish, model: Any, tmp_path: Path
) -> None:
    bent, place = elastic.kept.alignment, {key: PLACE[key] for key in PLACE}
    assert any(bent.field_of(z) is not None and np.abs(bent.field_of(z).coefficients).max() > 0.5 for z in range(3))
    before, after = (np.asarray(data, float)[::2, 16:-16, 16:-16] for data in (wavy(), model.layers["wavy aligned"].data))
    assert np.abs(np.diff(after, axis=0)).mean() < 0.7 * np.abs(np.diff(before, axis=0)).mean()
    ids = np.zeros((3, SIZE, SIZE), np.uint8)
    ids[:, 30:70, 40:80] = 7
    model.add_labels(ids, name="ids", **place)
    model.add_points([[2, 40.5, 50]], name="dots", **place)
    model.add_shapes([[[2, 30, 40], [2, 30, 80], [2, 70, 80], [2, 70, 40]]], shape_type="polygon", name="box", **place)
    for name in ("ids", "dots", "box"):
        elastic.follower.setValue(name)
        elastic.move_follower()
        assert f"{name} aligned" in finish(elastic)
        exec(elastic.script(), {"viewer": model})
        for layer in (model.layers[f"{name} aligned"], model.layers[f"{name} aligned [1]"]):
            np.testing.assert_allclose(layer.scale, PLACE["scale"])
        np.testing.assert_allclose(model.layers[f"{name} aligned [1]"].data, model.layers[f"{name} aligned"].data)
    assert set(np.unique(model.layers["ids aligned"].data)) == {0, 7}
    back = bent.map_points([[2, 40.5, 50]])
    np.testing.assert_allclose(model.layers["dots aligned"].data, back)
    there = transform_points(bent.transforms[2], back[:, 1:]) + bent.field_of(2).at(back[:, 1:])
    np.testing.assert_allclose(there, [[40.5, 50]], atol=1e-3)
    elastic.add_grid()
    finish(elastic)
    pieces = np.asarray(model.layers["wavy grid"].data)
    assert np.abs(pieces[pieces[:, 0, 0] == 2, 1, 1:]).min(axis=1).max() > 0.05  # lines that are straight only on the raw plane
    path = save(elastic, finish, tmp_path / "bent.json", "json")
    assert len(list(save(elastic, finish, tmp_path / "itk", "itk").glob("*.tfm"))) == 3
    assert len(list(save(elastic, finish, tmp_path / "elx", "elastix").glob("*.txt"))) == 6
    model.add_image(wavy(), name="other stain", **place)
    elastic.image.setValue("other stain")
    elastic.load(str(path))
    assert "transforms of the file" in finish(elastic)
    np.testing.assert_array_equal(model.layers["other stain aligned"].data, model.layers["wavy aligned"].data)


@pytest.mark.parametrize("what", [".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize("lazy", [False, True])
def test_the_aligned_stack_is_saved_with_its_place(
    panel_of: Open, finish: Finish, model: Any, tmp_path: Path, what: str, lazy: bool
) -> None:
    if what == ".ome.zarr":
        pytest.importorskip("ome_zarr")
    model.layers.clear()
    images = wavy(size=80)
    model.add_image(dask.array.from_array(images, chunks=(1, 80, 80)) if lazy else images, name="stack", **PLACE)
    panel = panel_of(AlignPanel)
    panel.setValue({"image": "stack", "model": "translation", "backbone": None})
    panel.run()
    assert "3 planes" in finish(panel)
    assert isinstance(model.layers["stack aligned"].data, dask.array.Array) == lazy
    read = nd.read(save(panel, finish, tmp_path / f"out{what}", what)).planes()
    np.testing.assert_array_equal(np.asarray(read.data), panel.kept.alignment.apply(images))
    np.testing.assert_allclose(read.spacing, PLACE["scale"])
    assert set(map(str, read.units)) == {"micrometer"}


def test_found_on_one_channel_and_a_coarse_level_all_is_moved_at_full_resolution(
    panel_of: Open, finish: Finish, model: Any
) -> None:
    model.layers.clear()
    fine = np.repeat(np.repeat(wavy(), 2, axis=1), 2, axis=2)
    both = np.stack([np.zeros_like(fine), fine])
    coarse = both.reshape(2, 3, SIZE, 2, SIZE, 2).mean(axis=(3, 5)).astype(np.uint8)
    where = {"scale": (1, *PLACE["scale"]), "axis_labels": ("c", "z", "y", "x")}
    levels = [dask.array.from_array(level, chunks=(1, 1, *level.shape[2:])) for level in (both, coarse)]
    model.add_image(levels, multiscale=True, name="pyramid", **where)
    panel = panel_of(AlignPanel)
    panel.setValue({"image": "pyramid", "model": "affine", "backbone": None, "drift": "first", "channel": 1, "level": 1})
    panel.run()
    assert "every channel, at every level" in finish(panel)
    assert panel.kept.alignment.shape == (SIZE, SIZE)
    panel.move_button.click()
    assert "pyramid aligned (whole)" in finish(panel)
    moved = model.layers["pyramid aligned (whole)"]
    assert [level.shape for level in moved.data] == [both.shape, coarse.shape]
    assert all(isinstance(level, dask.array.Array) for level in moved.data)
    np.testing.assert_array_equal(np.asarray(moved.data[0][1]), panel.kept.alignment.apply(fine))
    exec(panel.script(), {"viewer": model})
    np.testing.assert_array_equal(np.asarray(model.layers["pyramid aligned (whole) [1]"].data[0]), np.asarray(moved.data[0]))
    model.add_points([[1, 2, 80, 90]], name="fine dots", **where)  # drawn at full resolution
    panel.follower.setValue("fine dots")
    panel.move_button.click()
    finish(panel)
    wanted = panel.kept.alignment.map_points([[2, (80 - 0.5) / 2, (90 - 0.5) / 2]])[0]
    np.testing.assert_allclose(model.layers["fine dots aligned"].data[0], [1, 2, *(wanted[1:] * 2 + 0.5)], atol=1e-6)
