"""Pyramids, features, transforms and masks as files that other programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import tifffile
from skimage.draw import polygon2mask

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.io import VectorFile
from napari_dinov3.io.outlines import outline, signed_area, trace
from napari_dinov3.io.writing import write_steps
from napari_dinov3.progress import collect

RNG = np.random.default_rng(0)
SIZE = (4200, 4101)


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    coarse = RNG.integers(0, 2000, (53, 52), np.uint16)
    return np.repeat(np.repeat(coarse, 80, axis=0), 80, axis=1)[: SIZE[0], : SIZE[1]]


def ending_of(request: Any) -> str:
    if request.param == "ome.zarr":
        pytest.importorskip("ome_zarr")
    return str(request.param)


@pytest.fixture(params=["ome.tif", "ome.zarr"])
def ending(request: Any) -> str:
    return ending_of(request)


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_large_planes_get_levels_that_lie_over_each_other(tmp_path: Path, large: np.ndarray, ending: str, kind: Any) -> None:
    data = dask.array.from_array(large, chunks=(1000, 1000))
    path = nd.write(tmp_path / f"a.{ending}", data, spacing=(0.5, 0.5), units="um", kind=kind)
    image = nd.read(path)
    assert [level.shape for level in image.levels] == [(4200, 4101), (2100, 2050), (1050, 1025), (525, 512)]
    assert image.spacing == (0.5, 0.5) and image.units == ("micrometer",) * 2 and image.kind == kind
    np.testing.assert_array_equal(np.asarray(image), large)
    coarse = np.asarray(image.levels[1])
    if kind == "labels":
        np.testing.assert_array_equal(coarse, large[::2, ::2][:, :2050])
        assert set(np.unique(np.asarray(image.levels[3]))) <= set(np.unique(large))
    else:
        expected = large[:, :4100].reshape(2100, 2, 2050, 2).astype(float).mean(axis=(1, 3))
        np.testing.assert_allclose(coarse, expected, atol=0.5)
    np.testing.assert_allclose(image.planes(level=1).spacing[1], 1.0)


def test_large_colours_are_tiled_and_opened_by_tifffile_as_a_pyramid(tmp_path: Path) -> None:
    data = np.broadcast_to(RNG.integers(0, 255, (1, 5000, 3), np.uint8), (1030, 5000, 3))
    path = nd.write(tmp_path / "a.ome.tif", data)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome and tif.pages.first.is_tiled
        assert [level.shape for level in tif.series[0].levels] == [(1030, 5000, 3), (515, 2500, 3), (257, 1250, 3), (128, 625, 3)]
        np.testing.assert_array_equal(tif.series[0].asarray(), data)


def test_writing_a_large_plane_holds_a_band_and_can_be_stopped(tmp_path: Path) -> None:
    class Source:
        def __init__(self) -> None:
            self.shape, self.dtype, self.ndim = (20_000, 8_000), np.dtype(np.uint8), 2
            self.seen: list[int] = []

        def __getitem__(self, index: Any) -> np.ndarray:
            part = np.zeros((len(range(20_000)[index[0]]), len(range(8_000)[index[1]])), np.uint8)
            self.seen.append(part.size)
            return part

    source = Source()
    data = dask.array.from_array(source, chunks=(2048, 8000), meta=np.empty((0, 0), np.uint8))
    job = write_steps(tmp_path / "a.ome.tif", data)
    for _ in range(4):
        next(job)
    job.close()
    assert max(source.seen) <= 2048 * 8000 and len(source.seen) < 6
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise RuntimeError("the source is gone")

    data = dask.array.zeros((5000, 600), chunks=(2048, 600), dtype=np.uint8).map_blocks(fail, meta=np.empty((0, 0), np.uint8))
    with pytest.raises(RuntimeError, match="source is gone"):
        nd.write(tmp_path / "a.ome.tif", data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flat", [True, False])
def test_features_become_channels_that_lie_on_their_patches(tmp_path: Path, ending: str, flat: bool) -> None:
    image = RNG.random((32, 48) if flat else (3, 32, 48))
    features = nd.extract(image, backbone="random-projection-cnx-tiny", spacing=(5, 2, 2), units="nanometer")
    found = nd.read(nd.write(tmp_path / f"f.{ending}", features))
    assert found.axes == ("cyx" if flat else "zcyx")
    expected = np.asarray(features.array).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(np.asarray(found), expected[0] if flat else expected)
    place = features.world_from_patch[1:, 1:] if flat else features.world_from_patch
    np.testing.assert_allclose(found.world_from_pixel, place)
    assert found.facts["provenance"]["backbone"] == features.backbone
    assert found.spacing[-1] == 2 * features.stride


def test_probabilities_and_their_classes(tmp_path: Path, ending: str) -> None:
    image = nd.as_planes(RNG.random((3, 16, 20)), spacing=(5, 2, 2), units="um")
    proba = RNG.random((3, 16, 20, 2)).astype(np.float32)
    path = nd.write(tmp_path / f"p.{ending}", proba, like=image, axes="zyxc", channel_names=("cell", "rest"))
    found = nd.read(path)
    assert found.axes.replace("c", "") == "zyx" and found.spacing == (5, 2, 2)
    np.testing.assert_array_equal(np.asarray(found.select(c=1)), proba[..., 1])
    if ending == "ome.tif":
        assert found.channel_names == ("cell", "rest")


def test_transforms_travel_with_the_aligned_stack_and_as_tables(tmp_path: Path, ending: str) -> None:
    from napari_dinov3.align.files import load_alignment

    images = nd.synthetic.em(planes=3, size=64, rng=0).images
    path = nd.align_stack(images, model="translation", backbone=None)
    aligned = np.asarray(path.apply(images))
    out = nd.write(
        tmp_path / f"a.{ending}", aligned, spacing=(30, 4, 4), units="nm", axes="zyx", provenance={"transforms": path.transforms}
    )
    found = nd.read(out)
    np.testing.assert_allclose(found.facts["provenance"]["transforms"], path.transforms)
    np.testing.assert_array_equal(np.asarray(found), aligned)
    rows = nd.write(tmp_path / "t.csv", path).read_text().splitlines()
    assert rows[0].startswith("section,r0c0,r0c1,r0c2") and len(rows) == 4
    assert float(rows[3].split(",")[3]) == path.transforms[2, 0, 2]
    again = load_alignment(nd.write(tmp_path / "t.json", path))
    np.testing.assert_array_equal(again.transforms, path.transforms)


def blobs() -> np.ndarray:
    labels = np.zeros((24, 30), np.uint32)
    labels[2:9, 3:12] = 4_000_000_000  # not exact in float32
    labels[4:6, 5:8] = 0  # a hole
    labels[12:15, 2:6] = 7
    labels[15:18, 6:9] = 7  # touches the other part at a corner only
    labels[20, 20] = 9
    labels[4:6, 6] = 9  # inside the hole
    return labels


def drawn(ring: Any, shape: tuple[int, ...]) -> np.ndarray:
    return polygon2mask(shape, np.asarray(ring)[:, ::-1] - 0.5)


def test_geojson_holds_every_mask_exactly_in_the_frame_of_qupath(tmp_path: Path) -> None:
    labels = blobs()
    content = json.loads(nd.write(tmp_path / "a.geojson", labels, kind="labels").read_text())
    assert content["type"] == "FeatureCollection"
    again = np.zeros_like(labels)
    for feature in content["features"]:
        assert feature["properties"]["objectType"] == "annotation" and len(feature["id"]) == 36
        geometry = feature["geometry"]
        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for outer, *holes in polygons:
            assert outer[0] == outer[-1]
            mask = drawn(outer, labels.shape)
            for hole in holes:
                mask &= ~drawn(hole, labels.shape)
            again[mask] = feature["properties"]["measurements"]["label"]
    np.testing.assert_array_equal(again, labels)
    single = next(f for f in content["features"] if f["properties"]["name"] == "7")
    assert single["geometry"]["type"] == "MultiPolygon"
    (shapes,) = nd.read_layers(tmp_path / "a.geojson")
    assert isinstance(shapes, VectorFile) and set(shapes.columns["id"]) == {4_000_000_000, 7, 9}
    largest = shapes.data[list(shapes.columns["id"]).index(4_000_000_000)]
    np.testing.assert_allclose(largest.min(axis=0), [1.5, 2.5])


def test_geojson_of_a_stack_says_the_plane(tmp_path: Path) -> None:
    labels = np.stack([blobs(), blobs() * 0, blobs()])
    content = json.loads(nd.write(tmp_path / "a.geojson", labels, kind="labels").read_text())
    assert {feature["geometry"]["plane"]["z"] for feature in content["features"]} == {0, 2}
    (shapes,) = nd.read_layers(tmp_path / "a.geojson")
    assert shapes.axes == "tzyx"  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(5))
def test_borders_enclose_exactly_their_pixels(seed: int) -> None:
    mask = np.random.default_rng(seed).random((17, 13)) > 0.5
    rings = trace(np.argwhere(mask))
    assert sum(map(signed_area, rings)) == mask.sum()
    from scipy.ndimage import label

    assert len(outline(np.argwhere(mask))) == label(mask)[1]


def test_regions_come_back_from_neurofinders_file(tmp_path: Path) -> None:
    from napari_dinov3.io.layouts.neurofinder import read_regions

    labels = blobs()
    regions = read_regions(nd.write(tmp_path / "regions.json", labels, kind="labels"), labels.shape)
    assert [len(pixels) for pixels in regions] == [int((labels == i).sum()) for i in (7, 9, 4_000_000_000)]
    assert (labels[tuple(regions[0].T)] == 7).all()
    with pytest.raises(InputError, match="3 planes"):
        nd.write(tmp_path / "b.json", np.stack([labels] * 3), kind="labels")
    with pytest.raises(InputError, match="whole numbers"):
        nd.write(tmp_path / "b.geojson", np.zeros((4, 5)))
    assert nd.write(tmp_path / "plain.json", {"a": 1}).read_text() == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr", "a.geojson", "a.json", "a.csv", "a.npy", "a.png", "a.nii.gz"])
def test_nothing_is_overwritten_unasked_in_any_format(tmp_path: Path, name: str) -> None:
    pytest.importorskip({"zarr": "ome_zarr", "gz": "nibabel"}.get(name.rsplit(".", 1)[1], "numpy"))
    path = tmp_path / name
    if name.endswith("zarr"):
        path.mkdir()
    else:
        path.write_text("mine")
    data: Any = [{"a": 1}] if name.endswith("csv") else blobs().astype(np.uint8)
    options: dict[str, Any] = {} if name.endswith("csv") else {"kind": "labels"}
    with pytest.raises(InputError, match="exists"):
        collect(write_steps(path, data, **options))
    assert path.is_dir() or path.read_text() == "mine"
    nd.write(path, data, overwrite=True, **options)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".part", ".old"))]
