from __future__ import annotations

import json

import dask.array
import numpy as np
import pytest
import tifffile

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import affine
from napari_dinov3.io import read_features, tables, write_steps
from napari_dinov3.io.atomic import written_whole

RNG = np.random.default_rng(0)
TYPES = [np.bool_, np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.float16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("yx", (20, 30)),
        ("zyx", (3, 20, 30)),
        ("tyx", (3, 20, 30)),
        ("tzcyx", (2, 3, 2, 20, 30)),
        ("zcyx", (3, 4, 20, 30)),
        ("yxs", (20, 30, 3)),
        ("zyxs", (2, 20, 30, 3)),
    ],
)
def test_ome_tiff_round_trip(tmp_path, dtype, axes, shape) -> None:
    data = (RNG.random(shape) * (1 if dtype == np.bool_ else 100)).astype(dtype)
    count = len(axes.replace("c", "").replace("s", ""))
    spacing, units = (3.0, 2.0, 0.5, 0.25)[-count:], ("second", "micrometer", "nanometer", "millimeter")[-count:]
    if axes[0] == "t":
        units = ("second", *units[1:])
    path = nd.write(tmp_path / "a.ome.tif", data, axes=axes, spacing=spacing, units=units)
    image = nd.read(path)
    assert (image.axes, image.spacing, image.units, image.kind) == (axes, spacing, units, "image")
    np.testing.assert_array_equal(np.asarray(image), data)


def test_other_programs_read_the_spacing(tmp_path) -> None:
    path = nd.write(tmp_path / "a.ome.tif", np.zeros((3, 20, 30), np.uint16), spacing=(50, 4, 5), units="nm")
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeZ"], pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == (50, 4, 5)
    assert pixels["PhysicalSizeXUnit"] == "nm"


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64, np.int64])
def test_large_ids_come_back_exactly(tmp_path, dtype) -> None:
    ids = np.array([[0, 1, 16_777_217], [312_782_628, 2**31 + 1, 2**32 - 1]], dtype)
    image = nd.read(nd.write(tmp_path / "a.tif", ids, kind="labels"))
    assert image.kind == "labels"
    np.testing.assert_array_equal(np.asarray(image), ids)


def test_ids_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path) -> None:
    with pytest.raises(InputError, match="4294967296"):
        nd.write(tmp_path / "a.tif", np.full((4, 4), 2**32, np.int64), kind="labels")
    with pytest.raises(InputError, match="whole numbers"):
        nd.write(tmp_path / "a.tif", np.zeros((4, 4)), kind="labels")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["ome.tif", "npy"])
def test_place_kind_and_provenance_come_back(tmp_path, suffix) -> None:
    place = affine((8.0, 2.0, 2.0), (100.0, 5.0, 7.0))
    place[1:3, 1:3] = [[1.6, -1.2], [1.2, 1.6]]
    planes = nd.as_planes(np.zeros((3, 20, 30), np.uint8), spacing=(8, 2, 2), units="micrometer", world_from_pixel=place)
    facts = {"backbone": "filter-bank", "window": np.array([0.5, 99.5]), "unicode": "µ≥"}
    image = nd.read(nd.write(tmp_path / f"a.{suffix}", planes, kind="labels", provenance=facts))
    np.testing.assert_allclose(image.planes().world_from_pixel, place)
    assert image.kind == "labels" and image.units == ("micrometer",) * 3
    assert image.facts["provenance"]["backbone"] == "filter-bank" and image.facts["provenance"]["unicode"] == "µ≥"


def test_time_without_a_unit_stays_without(tmp_path) -> None:
    image = nd.read(nd.write(tmp_path / "a.tif", np.zeros((3, 8, 8)), axes="tyx"))
    assert image.units == ("pixel",) * 3 and image.spacing == (1.0,) * 3


def test_results_take_after_their_image(tmp_path) -> None:
    image = nd.as_planes(np.zeros((32, 48)), spacing=0.5, units="micrometer")
    features = nd.extract(image, backbone="random-projection-cnx-tiny")
    for name, like in (("a", image), ("b", features)):
        back = nd.read(nd.write(tmp_path / f"{name}.tif", np.ones((1, 32, 48), np.uint8), like=like))
        assert back.axes == "yx" and back.spacing == (0.5, 0.5) and back.units == ("micrometer",) * 2
    named = {"axes": "zcyx", "spacing": (9, 2, 2), "channel_names": ("a", "b")}
    stack = nd.read(nd.write(tmp_path / "s.tif", np.zeros((3, 2, 8, 9)), **named))
    assert stack.channel_names == ("a", "b")
    labels = nd.read(nd.write(tmp_path / "l.tif", np.zeros((3, 8, 9), np.uint8), like=stack))
    assert labels.axes == "zyx" and labels.spacing == (9.0, 2.0, 2.0)
    again = nd.read(nd.write(tmp_path / "t.tif", stack))
    assert (again.axes, again.spacing, again.channel_names) == (stack.axes, stack.spacing, stack.channel_names)


def test_lazy_stacks_are_written_plane_by_plane(tmp_path) -> None:
    alive: list[int] = []
    most: list[int] = []

    def block(block_id):
        alive.append(block_id[0])
        most.append(len(alive))
        return np.full((1, 16, 16), block_id[0], np.uint8)

    lazy = dask.array.map_blocks(block, chunks=((1,) * 20, (16,), (16,)), dtype=np.uint8)
    for event in write_steps(tmp_path / "a.tif", lazy):
        assert len(alive) == event.done
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "a.tif"))[:, 0, 0], np.arange(20))
    assert max(most) == 20


def test_cancelling_leaves_nothing(tmp_path) -> None:
    job = write_steps(tmp_path / "a.tif", np.zeros((5, 16, 16), np.uint8))
    next(job)
    next(job)
    job.close()
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept_unless_asked(tmp_path) -> None:
    path = nd.write(tmp_path / "a.tif", np.zeros((8, 8), np.uint8))
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        nd.write(path, np.ones((8, 8), np.uint8))
    assert path.read_bytes() == before
    nd.write(path, np.ones((8, 8), np.uint8), overwrite=True)
    assert np.asarray(nd.read(path)).min() == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_a_file_made_meanwhile_is_kept(tmp_path) -> None:
    with pytest.raises(InputError, match="exists"), written_whole(tmp_path / "a.txt") as part:
        part.write_text("ours")
        (tmp_path / "a.txt").write_text("theirs")
    assert (tmp_path / "a.txt").read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("a.xyz", np.zeros((4, 4)), r"ends in \.xyz"),
        ("missing/a.tif", np.zeros((4, 4)), "does not exist"),
        ("a.tif", np.zeros((0, 4)), "at least one pixel"),
        ("a.tif", np.array([["x"]]), "plain numbers"),
        ("a.png", np.zeros((3, 4, 4), np.uint8), "one plane"),
        ("a.png", np.full((4, 4), 7.0), "one plane"),
        ("a.csv", np.zeros((4, 4)), "neither rows nor columns"),
    ],
)
def test_what_does_not_fit_is_refused_before_writing(tmp_path, name, data, match) -> None:
    with pytest.raises(InputError, match=match):
        nd.write(tmp_path / name, data)
    assert list(tmp_path.iterdir()) == []


def test_png(tmp_path) -> None:
    colours = RNG.random((1, 8, 9, 3))
    back = np.asarray(nd.read(nd.write(tmp_path / "a.png", colours)))
    np.testing.assert_allclose(back / 255, colours[0], atol=0.5 / 255 + 1e-9)
    deep = RNG.integers(0, 65535, (8, 9), np.uint16)
    np.testing.assert_array_equal(np.asarray(nd.read(nd.write(tmp_path / "b.png", deep))), deep)


def test_tables(tmp_path) -> None:
    rows = [{"plane": 0, "area": np.float32(1.5), "name": "=1+1"}, {"plane": 1, "area": float("nan"), "name": "a,b"}]
    assert nd.write(tmp_path / "a.csv", rows).read_text() == 'plane,area,name\n0,1.5,\'=1+1\n1,nan,"a,b"\n'
    assert json.loads(nd.write(tmp_path / "a.json", rows).read_text())[1] == {"plane": 1, "area": None, "name": "a,b"}
    assert tables.to_markdown({"x": [1, 2], "y": [0.123456, 3.0]}).splitlines()[2] == "| 1   | 0.1235 |"
    with pytest.raises(InputError):
        tables.as_rows({"x": [1], "y": [1, 2]})


def test_features_round_trip(tmp_path) -> None:
    features = nd.extract(RNG.random((3, 32, 48)), backbone="random-projection-cnx-tiny", spacing=(5, 2, 2), units="nanometer")
    again = read_features(nd.write(tmp_path / "f.zarr", features))
    assert not again.in_memory and again.signature == features.signature and again.units == features.units
    np.testing.assert_array_equal(again.plane(2), features.plane(2))
    np.testing.assert_array_equal(again.world_from_patch, features.world_from_patch)
    assert dict(again.provenance) == dict(features.provenance)
    (tmp_path / "other.zarr").mkdir()
    with pytest.raises(InputError, match="cannot be opened as features"):
        read_features(tmp_path / "other.zarr")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"units": "parsnip"}, "parsnip"),
        ({"units": ("nm", "nm", "parsnip")}, "parsnip"),
        ({"spacing": 0}, "above 0"),
        ({"spacing": (50, -4, 4)}, "above 0"),
        ({"spacing": (1, float("nan"), 1)}, "above 0"),
        ({"spacing": (1, 2, 3, 4, 5)}, "3 values"),
    ],
)
def test_senseless_spacing_and_units_of_a_person_are_refused(tmp_path, options, match) -> None:
    stack = np.zeros((3, 8, 9), np.uint8)
    with pytest.raises(InputError, match=match):
        nd.write(tmp_path / "new.tif", stack, **options)
    assert list(tmp_path.iterdir()) == []
    path = nd.write(tmp_path / "plain.tif", stack)
    with pytest.raises(InputError, match=match):
        nd.read(path, **options)


def test_spacing_of_rows_and_columns_leaves_that_of_planes(tmp_path) -> None:
    path = nd.write(tmp_path / "s.ome.tif", np.zeros((3, 8, 9), np.uint8), spacing=(50, 4, 4), units="nm")
    assert nd.read(path, spacing=(3, 2)).spacing == (50, 3, 2)
    assert nd.read(path, spacing=2.0).spacing == (50, 2, 2)
    assert nd.read(path, units=("um", "um")).units == ("nanometer", "micrometer", "micrometer")
    again = nd.write(tmp_path / "again.ome.tif", nd.read(path), spacing=(3, 2))
    assert nd.read(again).spacing == (50, 3, 2)


@pytest.mark.parametrize("ending", ["ome.tif", "npy"])
@pytest.mark.parametrize("axes", ["zyx", "tyx", "zcyx", "zyxs"])
def test_a_stack_of_one_plane_stays_a_stack(tmp_path, ending, axes) -> None:
    shape = tuple({"z": 1, "t": 1, "c": 2, "y": 8, "x": 9, "s": 3}[a] for a in axes)
    spacing = (50.0, 4.0, 3.0)
    data = np.random.default_rng(0).integers(0, 200, shape, np.uint8)
    units = ("second" if "t" in axes else "nm", "nm", "nm")
    found = nd.read(nd.write(tmp_path / f"one.{ending}", data, axes=axes, spacing=spacing, units=units))
    assert (found.axes, found.shape, found.spacing) == (axes, shape, spacing)
    np.testing.assert_array_equal(np.asarray(found), data)
