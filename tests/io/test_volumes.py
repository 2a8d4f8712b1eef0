"""Formats that need optional packages; each test is skipped where its package is not installed."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import FileFormatError, InputError, MissingDependencyError

RNG = np.random.default_rng(0)


@pytest.fixture
def nibabel():
    return pytest.importorskip("nibabel")


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py")


@pytest.fixture
def nrrd():
    return pytest.importorskip("nrrd")


def affine_ras() -> np.ndarray:
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([-1.5, 2.0, 3.0])
    matrix[:3, 3] = [90, -126, -72]
    return matrix


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_voxels_lie_where_nibabel_says(tmp_path, nibabel, suffix) -> None:
    data = RNG.integers(0, 1000, (5, 6, 7), np.int16)
    nibabel.save(nibabel.Nifti1Image(data, affine_ras()), tmp_path / f"a.{suffix}")
    image = nd.read(tmp_path / f"a.{suffix}")
    assert image.axes == "zyx" and image.units == ("millimeter",) * 3 and image.dtype == np.int16
    np.testing.assert_allclose(image.spacing, (3, 2, 1.5))
    np.testing.assert_array_equal(np.asarray(image), data.T)
    i, j, k = 1, 2, 4
    np.testing.assert_allclose((image.world_from_pixel @ [k, j, i, 1])[:3][::-1], (affine_ras() @ [i, j, k, 1])[:3])


def test_nifti_4d_scaling_and_labels(tmp_path, nibabel) -> None:
    data = RNG.integers(0, 1000, (5, 6, 7, 3), np.int16)
    series = nibabel.Nifti1Image(data, np.diag([2, 2, 2, 1]))
    series.header.set_zooms((2, 2, 2, 1.5))
    series.header.set_xyzt_units("mm", "sec")
    series.header.set_slope_inter(0.5, 10)
    nibabel.save(series, tmp_path / "a.nii.gz")
    image = nd.read(tmp_path / "a.nii.gz")
    assert image.axes == "tzyx" and image.spacing == (1.5, 2, 2, 2) and image.units[0] == "second"
    np.testing.assert_allclose(np.asarray(image), nibabel.load(tmp_path / "a.nii.gz").get_fdata().T, rtol=1e-6)
    labels = nibabel.Nifti1Image(np.array(data[..., 0], np.int32), np.eye(4))
    labels.header.set_intent("label")
    nibabel.save(labels, tmp_path / "l.nii")
    assert nd.read(tmp_path / "l.nii").kind == "labels"


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_round_trip_keeps_ids_and_place(tmp_path, nibabel, suffix) -> None:
    place = np.eye(4)
    place[:3] = [[3, 0, 0, -72], [0, 1.2, -1.2, 5], [0, 1.6, 0.9, 7]]
    ids = RNG.integers(0, 2**32 - 1, (4, 5, 6), np.uint32)
    planes = nd.as_planes(ids, spacing=(3, 2, 1.5), units="millimeter", world_from_pixel=place)
    image = nd.read(nd.write(tmp_path / f"a.{suffix}", planes, kind="labels"))
    assert image.kind == "labels" and image.dtype == np.uint32
    np.testing.assert_array_equal(np.asarray(image), ids)
    np.testing.assert_allclose(image.world_from_pixel, place, atol=1e-5)
    microns = nd.read(nd.write(tmp_path / "b.nii", np.zeros((2, 3, 4), np.uint8), spacing=(5, 2, 2), units="micrometer"))
    np.testing.assert_allclose(microns.spacing, (0.005, 0.002, 0.002), rtol=1e-6)
    with pytest.raises(InputError, match="no channels"):
        nd.write(tmp_path / "c.nii", np.zeros((8, 9, 3), np.uint8))


def test_damaged_nifti(tmp_path, nibabel) -> None:
    nibabel.save(nibabel.Nifti1Image(RNG.integers(0, 99, (20, 20, 20), np.int16), np.eye(4)), tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    huge = bytearray(whole)
    huge[40:48] = np.array([3, 32000, 32000, 32000], np.int16).tobytes()
    empty = bytearray(whole)
    empty[42:44] = np.array([0], np.int16).tobytes()
    for name, content in (
        ("cut.nii", whole[:2000]),
        ("head.nii", whole[:100]),
        ("huge.nii", bytes(huge)),
        ("no.nii", b"x" * 500),
        ("empty.nii", bytes(empty)),
        ("huge.nii.gz", gzip.compress(bytes(huge))),
        ("no.nii.gz", b"\x1f\x8b\x08x"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=name):
            nd.read(tmp_path / name)


def test_real_nifti(shared_data, nibabel) -> None:
    folder = shared_data("mri/nibabel_anatomy_lowres")
    paths = [*folder.rglob("*.nii"), *folder.rglob("*.nii.gz")]
    assert paths
    for path in paths:
        image, known = nd.read(path), nibabel.load(path)
        np.testing.assert_allclose(np.asarray(image), np.squeeze(known.get_fdata()).T, rtol=1e-4)
        assert "millimeter" in image.units


def test_cremi_layout(tmp_path, h5py) -> None:
    raw = RNG.integers(0, 255, (4, 20, 24), np.uint8)
    ids = RNG.integers(0, 2**40, (2, 10, 12), np.uint64)
    with h5py.File(tmp_path / "sample.h5", "w") as file:
        file.create_dataset("volumes/raw", data=raw, chunks=(1, 10, 12), compression="gzip")
        file["volumes/raw"].attrs["resolution"] = (40.0, 4.0, 4.0)
        labels = file.create_dataset("volumes/labels/neuron_ids", data=ids)
        labels.attrs["resolution"], labels.attrs["offset"] = (40.0, 4.0, 4.0), (40.0, 20.0, 24.0)
        file.create_dataset("annotations/ids", data=np.arange(5))
    image = nd.read(tmp_path / "sample.h5")
    assert image.spacing == (40.0, 4.0, 4.0) and image.units == ("nanometer",) * 3 and image.data.numblocks[0] == 4
    np.testing.assert_array_equal(np.asarray(image), raw)
    known = nd.read(tmp_path / "sample.h5", dataset="volumes/labels/neuron_ids")
    assert known.kind == "labels" and known.dtype == np.uint64
    np.testing.assert_array_equal(np.asarray(known), ids)
    np.testing.assert_allclose(known.world_from_pixel @ [0, 0, 0, 1], [40, 20, 24, 1])
    with pytest.raises(InputError, match="volumes/labels/neuron_ids 2 x 10 x 12"):
        nd.read(tmp_path / "sample.h5", dataset="volumes/none")


def test_hdf5_links_out_of_the_file_are_not_followed(tmp_path, h5py) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file.create_dataset("data", data=np.zeros((8, 8)))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volumes/raw"] = h5py.ExternalLink("secret.h5", "data")
    with pytest.raises(InputError, match="0 images"):
        nd.read(tmp_path / "a.h5")
    with pytest.raises(InputError, match="0 images"):
        nd.read(tmp_path / "a.h5", dataset="volumes/raw")


def test_damaged_hdf5(tmp_path, h5py) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=RNG.random((50, 50)))
    (tmp_path / "cut.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:3000])
    (tmp_path / "no.h5").write_bytes(b"not hdf5")
    for name in ("cut.h5", "no.h5"):
        with pytest.raises(FileFormatError, match=name):
            nd.read(tmp_path / name)


def test_nrrd_of_the_allen_atlas(tmp_path, nrrd) -> None:
    ids = RNG.integers(0, 2**32 - 1, (5, 6, 7), np.uint32)
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([25.0, 25.0, 50.0]),
        "space origin": [1.0, 2.0, 3.0],
        "space units": ["microns"] * 3,
        "encoding": "gzip",
    }
    nrrd.write(str(tmp_path / "annotation_25.nrrd"), ids, header)
    image = nd.read(tmp_path / "annotation_25.nrrd")
    assert image.kind == "labels" and image.spacing == (50.0, 25.0, 25.0) and image.units == ("micrometer",) * 3
    np.testing.assert_array_equal(np.asarray(image), ids.T)
    np.testing.assert_allclose(image.world_from_pixel @ [0, 0, 0, 1], [3, 2, 1, 1])


@pytest.mark.parametrize("target", ["../outside.raw", "/etc/hostname"])
def test_nrrd_headers_do_not_reach_into_other_folders(tmp_path, nrrd, target) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "outside.raw").write_bytes(b"\0" * 64)
    text = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 8 8\nencoding: raw\ndata file: {target}\n"
    (folder / "a.nhdr").write_text(text)
    with pytest.raises(FileFormatError, match="takes its data from"):
        nd.read(folder / "a.nhdr")


def test_damaged_nrrd(tmp_path, nrrd) -> None:
    head = "NRRD0004\ntype: uint8\nencoding: raw\n"
    for name, text in (
        ("no.nrrd", "hello"),
        ("huge.nrrd", head + "dimension: 3\nsizes: 9999 9999 9999\n\n"),
        ("zero.nrrd", head + "dimension: 2\nsizes: 0 4\n\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(FileFormatError, match=name):
            nd.read(tmp_path / name)


def test_ome_zarr_round_trip(tmp_path) -> None:
    pytest.importorskip("ome_zarr")
    data = RNG.integers(0, 60000, (3, 2, 20, 30), np.uint16)
    path = nd.write(tmp_path / "a.zarr", data, axes="zcyx", spacing=(2, 0.5, 0.5), units="micrometer", provenance={"by": "test"})
    image = nd.read(path)
    assert image.axes == "zcyx" and image.spacing == (2, 0.5, 0.5) and image.units == ("micrometer",) * 3
    assert image.facts["provenance"] == {"by": "test"}
    np.testing.assert_array_equal(np.asarray(image), data)
    labels = nd.read(nd.write(tmp_path / "l.zarr", data[:, 0], kind="labels"))
    assert labels.kind == "labels" and labels.units == ("pixel",) * 3
    with pytest.raises(InputError, match="inside the image"):
        nd.read(path, dataset="../l.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(FileFormatError, match=r"empty\.zarr"):
        nd.read(tmp_path / "empty.zarr")
    features = nd.extract(data[:, 0], backbone="random-projection-cnx-tiny")
    with pytest.raises(InputError, match="read_features"):
        nd.read(nd.write(tmp_path / "f.zarr", features))
    broken = json.loads((path / "zarr.json").read_text())
    broken["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "../../elsewhere"
    (path / "zarr.json").write_text(json.dumps(broken))
    with pytest.raises(FileFormatError):
        nd.read(path)


@pytest.mark.parametrize(
    ("name", "package"),
    [("a.nii", "nibabel"), ("a.h5", "h5py"), ("a.nrrd", "pynrrd"), ("a.mha", "SimpleITK"), ("a.zarr", "ome-zarr")],
)
def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch, name, package) -> None:
    import importlib

    def absent(module):
        raise ImportError(module)

    if name.endswith("zarr"):
        (tmp_path / name).mkdir()
    else:
        head = b"NDims = 2\nDimSize = 1 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n" if name == "a.mha" else b""
        (tmp_path / name).write_bytes(head + b"x")
    monkeypatch.setattr(importlib, "import_module", absent)
    from napari_dinov3.io.reading import read

    with pytest.raises(MissingDependencyError, match=f"pip install {package}"):
        read(tmp_path / name)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_metaimage_voxels_lie_where_simpleitk_says(tmp_path, packed, name) -> None:
    sitk = pytest.importorskip("SimpleITK")
    data = RNG.integers(-99, 99, (4, 5, 6), np.int16)
    image = sitk.GetImageFromArray(data)
    image.SetSpacing((0.5, 0.6, 2.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / name), packed)
    found = nd.read(tmp_path / name)
    assert found.axes == "zyx" and found.units == ("millimeter",) * 3 and found.dtype == np.int16
    np.testing.assert_allclose(found.spacing, (2.0, 0.6, 0.5))
    np.testing.assert_array_equal(np.asarray(found), data)
    np.testing.assert_array_equal(np.asarray(found.data[2, 1:3]), data[2, 1:3])
    point = image.TransformIndexToPhysicalPoint((3, 2, 1))
    np.testing.assert_allclose((found.world_from_pixel @ [1, 2, 3, 1])[:3][::-1], point)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_of_the_library_itself(tmp_path, version, capfd) -> None:
    """Written by ome-zarr-py in both versions: pyramid, axes, units, channels, exact 64-bit ids, nothing logged."""
    pytest.importorskip("ome_zarr")
    import zarr

    ids = np.arange(4 * 32 * 40, dtype=np.uint64).reshape(4, 32, 40) // 200 + 2**40 + 1
    image = np.stack([ids % 1000, ids % 77]).astype(np.uint16)
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", "unit": "micrometer"} for a in "zyx")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        from ome_zarr.format import format_from_version
        from ome_zarr.writer import write_multiscale, write_multiscale_labels

        form = format_from_version(version)
        group = zarr.open_group(tmp_path / "a.ome.zarr", mode="w", zarr_format=form.zarr_format)
        steps = [[{"type": "scale", "scale": [1.0, 2.0, s, s]}] for s in (0.5, 1.0)]
        write_multiscale([image, image[..., ::2, ::2]], group, fmt=form, axes=axes, coordinate_transformations=steps)
        steps = [[{"type": "scale", "scale": [2.0, s, s]}] for s in (0.5, 1.0)]
        levels = [ids, ids[:, ::2, ::2]]
        write_multiscale_labels(levels, group, name="cells", fmt=form, axes=axes[1:], coordinate_transformations=steps)
    capfd.readouterr()
    opened, labels = nd.read_layers(tmp_path / "a.ome.zarr")
    assert capfd.readouterr().err == ""
    assert (opened.axes, opened.shape, len(opened.levels)) == ("zcyx", (4, 2, 32, 40), 2)
    assert (labels.kind, labels.dtype, labels.name) == ("labels", np.uint64, "a cells")
    assert opened.spacing == labels.spacing == (2.0, 0.5, 0.5)
    assert set(opened.units) == set(labels.units) == {"micrometer"}
    np.testing.assert_array_equal(np.asarray(opened.select(c=1).data), image[1])
    np.testing.assert_array_equal(np.asarray(labels), ids)
