"""Data sets in their own layouts: true files written by the real libraries, opened together in one world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_dinov3 as nd
from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.io import ImageFile, VectorFile
from napari_dinov3.io.layouts import find_layout
from napari_dinov3.io.legend import LabelName

RNG = np.random.default_rng(0)


def names(records: tuple[Any, ...]) -> list[str]:
    return [record.kind for record in records]


def test_snemi3d_pairs_open_as_image_and_ids_at_one_place(tmp_path: Path) -> None:
    image, ids = RNG.integers(0, 255, (6, 20, 24), np.uint8), RNG.integers(0, 60_000, (6, 20, 24), np.uint16)
    tifffile.imwrite(tmp_path / "train-input.tif", image)
    tifffile.imwrite(tmp_path / "train-labels.tif", ids)
    tifffile.imwrite(tmp_path / "test-input.tif", image)
    records = nd.read_layers(tmp_path)
    assert [(r.name, r.kind) for r in records] == [("test-input", "image"), ("train-input", "image"), ("train-labels", "labels")]
    np.testing.assert_array_equal(np.asarray(records[2]), ids)
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path, dataset="train-labels")), ids)
    (tmp_path / "train-labels.tif").unlink()
    assert find_layout(tmp_path) is None


def test_snemi3d_has_its_known_pixel_size_and_no_other_stack_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_dinov3.io.layouts import snemi3d

    monkeypatch.setattr(snemi3d, "SNEMI3D_SHAPE", (6, 20, 24))  # the true one takes seconds to write
    for name in ("train-input.tif", "train-labels.tif", "test-input.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((7 if name.startswith("test") else 6, 20, 24), np.uint8))
    other, image, labels = nd.read_layers(tmp_path)
    assert image.spacing == labels.spacing == (30.0, 6.0, 6.0)
    assert set(image.units) == set(labels.units) == {"nanometer"}
    assert other.units == ("pixel",) * 3


@pytest.fixture
def nibabel() -> Any:
    return pytest.importorskip("nibabel")


def _nifti(nibabel: Any, path: Path, data: np.ndarray, step: float, shift: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    matrix = np.diag([step, step, step, 1.0])
    matrix[:3, 3] = shift
    nibabel.save(nibabel.Nifti1Image(data, matrix), path)


@pytest.mark.parametrize("folder", ["anat", "anat2/NIFTI"])
def test_a_session_opens_its_contrasts_in_one_world(tmp_path: Path, nibabel: Any, folder: str) -> None:
    session = tmp_path / "OAS30001_MR_d0129"
    who = "sub-OAS30001_ses-d0129"
    _nifti(nibabel, session / folder / f"{who}_run-01_T1w.nii.gz", RNG.integers(0, 99, (8, 9, 10), np.int16), 1.0, -4.0)
    _nifti(nibabel, session / folder / f"{who}_FLAIR.nii.gz", RNG.integers(0, 99, (4, 4, 5), np.int16), 2.0, -4.0)
    _nifti(nibabel, session / folder / f"{who}_T2w.nii.gz", RNG.integers(0, 99, (4, 4, 5), np.int16), 2.0, -4.0)
    _nifti(nibabel, session / folder / f"{who}_desc-tissue_dseg.nii.gz", RNG.integers(0, 3, (8, 9, 10), np.uint8), 1.0, -4.0)
    records = nd.read_layers(session)
    assert [r.name.rsplit("_", 1)[1] for r in records] == ["T1w", "T2w", "FLAIR", "dseg"]
    assert names(records) == ["image"] * 3 + ["labels"]
    assert {r.units for r in records} == {("millimeter",) * 3}
    # one point of the scanner, in voxels of each
    point = [2.0, 2.0, 0.0, 1.0]
    at = [np.linalg.inv(r.world_from_pixel) @ point for r in records]  # type: ignore[union-attr]
    np.testing.assert_allclose(at[0], [6, 6, 4, 1])
    np.testing.assert_allclose(at[1], [3, 3, 2, 1])
    np.testing.assert_allclose(at[2], at[1])
    assert nd.read(session, dataset="FLAIR").spacing == (2.0, 2.0, 2.0)
    _nifti(nibabel, tmp_path / "b" / "sub-02_T1w.nii", np.zeros((4, 4, 4), np.int16), 1, 0)
    with pytest.raises(InputError, match="2 sessions"):
        nd.read_layers(tmp_path)


TREE = {
    "msg": [
        {
            "id": 997,
            "acronym": "root",
            "name": "root",
            "color_hex_triplet": "FFFFFF",
            "children": [
                {"id": 614454277, "acronym": "CTX", "name": "Cortex", "color_hex_triplet": "70FF71", "parent_structure_id": 997}
            ],
        }
    ]
}


def _allen(folder: Path, nrrd: Any) -> np.ndarray:
    ids = np.zeros((5, 6, 7), np.uint32)
    ids[1:3, 2:4, 3:5] = 614454277  # not exact in float32
    ids[4] = 997
    head = {"space": "left-posterior-superior", "space directions": np.diag([25.0] * 3), "encoding": "gzip"}
    nrrd.write(str(folder / "annotation_25.nrrd"), ids, head)
    nrrd.write(str(folder / "average_template_25.nrrd"), RNG.integers(0, 500, (5, 6, 7), np.uint16), head)
    return ids


@pytest.mark.parametrize("form", ["json", "csv", "brainglobe"])
def test_the_allen_atlas_comes_with_names_and_colours_and_exact_ids(tmp_path: Path, form: str) -> None:
    nrrd = pytest.importorskip("nrrd")
    ids = _allen(tmp_path, nrrd)
    if form == "json":
        (tmp_path / "1.json").write_text(json.dumps(TREE))
    elif form == "csv":
        (tmp_path / "structure_tree_safe_2017.csv").write_text(
            "id,acronym,safe_name,color_hex_triplet,structure_id_path\n997,root,root,FFFFFF,/997/\n"
            "614454277,CTX,Cortex,70FF71,/997/614454277/\n"
        )
    else:
        row = {
            "id": 614454277,
            "acronym": "CTX",
            "name": "Cortex",
            "rgb_triplet": [112, 255, 113],
            "structure_id_path": [997, 614454277],
        }
        (tmp_path / "structures.json").write_text(json.dumps([row]))
    template, annotation = nd.read_layers(tmp_path)
    assert isinstance(annotation, ImageFile) and names((template, annotation)) == ["image", "labels"]
    assert annotation.spacing == (25.0,) * 3 and annotation.units == ("micrometer",) * 3
    assert annotation.dtype == np.uint32
    np.testing.assert_array_equal(np.asarray(annotation), ids.T)
    assert annotation.legend[614454277] == LabelName("Cortex", "CTX", (112, 255, 113), 997)
    single = nd.read(tmp_path / "annotation_25.nrrd")
    assert single.kind == "labels" and single.legend[614454277].name == "Cortex"


def test_a_brainglobe_atlas_has_its_resolution(tmp_path: Path) -> None:
    ids = np.full((6, 7, 8), 614454277, np.uint32)
    tifffile.imwrite(tmp_path / "annotation.tiff", ids)
    tifffile.imwrite(tmp_path / "reference.tiff", np.zeros((6, 7, 8), np.uint16))
    (tmp_path / "structures.json").write_text(json.dumps([{"id": 614454277, "name": "Cortex", "acronym": "CTX"}]))
    (tmp_path / "metadata.json").write_text(json.dumps({"resolution": [25.0, 20.0, 10.0]}))
    reference, annotation = nd.read_layers(tmp_path)
    assert annotation.spacing == reference.spacing == (25.0, 20.0, 10.0)
    assert isinstance(annotation, ImageFile) and annotation.legend[614454277].acronym == "CTX"
    np.testing.assert_array_equal(np.asarray(annotation), ids)


def test_cremi_opens_with_labels_clefts_and_synapses_where_they_lie(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "sample_A_padded.hdf"
    background = np.iinfo(np.uint64).max
    clefts = np.full((2, 10, 12), background, np.uint64)
    clefts[0, 3] = 7
    with h5py.File(path, "w") as file:
        file["volumes/raw"] = RNG.integers(0, 255, (4, 20, 24), np.uint8)
        file["volumes/labels/neuron_ids"] = RNG.integers(0, 2**40, (2, 10, 12), np.uint64)
        file["volumes/labels/clefts"] = clefts
        for name in ("raw", "labels/neuron_ids", "labels/clefts"):
            file["volumes"][name].attrs["resolution"] = (40.0, 4.0, 4.0)
            if name != "raw":
                file["volumes"][name].attrs["offset"] = (40.0, 20.0, 24.0)
        group = file.create_group("annotations")
        group.attrs["offset"] = (40.0, 20.0, 24.0)
        group["ids"] = np.array([5, 9], np.uint64)
        group["types"] = np.array([b"presynaptic_site", b"postsynaptic_site"])
        group["locations"] = np.array([[0.0, 4.0, 8.0], [40.0, 4.0, 8.0]])
        group["presynaptic_site/partners"] = np.array([[5, 9]], np.uint64)
    raw, ids, shown, lines, points = nd.read_layers(path)
    assert names((raw, ids, shown, lines, points)) == ["image", "labels", "labels", "lines", "points"]
    assert isinstance(ids, ImageFile) and ids.dtype == np.uint64
    np.testing.assert_allclose(ids.world_from_pixel @ [0, 0, 0, 1], [40, 20, 24, 1])
    assert set(np.unique(np.asarray(shown))) == {0, 7}
    assert isinstance(points, VectorFile) and list(points.columns["type"]) == ["presynaptic_site", "postsynaptic_site"]
    np.testing.assert_allclose(points.world_from_pixel @ [*points.data[1], 1], [80, 24, 32, 1])
    assert len(lines) == 1  # type: ignore[arg-type]
    assert nd.read(path).shape == (4, 20, 24)


def _neurofinder(folder: Path, regions: Any) -> np.ndarray:
    movie = RNG.integers(0, 50, (12, 20, 24)).astype(np.uint16)
    pulse = np.arange(12) % 3 * 60
    movie[:, 5:9, 6:12] += pulse[:, None, None].astype(np.uint16)
    (folder / "images").mkdir(parents=True)
    (folder / "regions").mkdir()
    for i, frame in enumerate(movie):
        tifffile.imwrite(folder / "images" / f"image{i:05d}.tiff", frame)
    (folder / "regions" / "regions.json").write_text(json.dumps(regions))
    (folder / "info.json").write_text(json.dumps({"rate-hz": 8.0, "pixels-per-micron": 0.8, "indicator": "GCaMP6s"}))
    return movie


def test_neurofinder_opens_movie_projections_regions_and_outlines(tmp_path: Path) -> None:
    folder = tmp_path / "neurofinder.00.00"
    cell = [[r, c] for r in range(5, 9) for c in range(6, 12)]
    over = [[r, c] for r in range(8, 10) for c in range(10, 14)]
    data = _neurofinder(folder, [{"coordinates": cell}, {"id": 3, "coordinates": over}])
    movie, mean, local, labels, outlines = nd.read_layers(folder)
    assert movie.axes == "tyx" and movie.spacing == (0.125, 1.25, 1.25)
    assert movie.units == ("second", "micrometer", "micrometer")
    assert isinstance(movie, ImageFile)
    np.testing.assert_array_equal(np.asarray(movie), data)
    np.testing.assert_allclose(np.asarray(mean), data.mean(axis=0), rtol=1e-5)
    inside, outside = np.asarray(local)[6:8, 7:11].min(), np.abs(np.asarray(local)[12:, 15:]).mean()
    assert inside > 0.5 > 0.35 > outside
    ids = np.asarray(labels)
    assert ids[6, 7] == 1 and ids[9, 13] == 2 and np.count_nonzero(ids == 1) == 24 - 2  # the later one covers two pixels
    assert isinstance(outlines, VectorFile) and list(outlines.columns["id"]) == [1, 2]
    np.testing.assert_allclose(outlines.data[0].min(axis=0), [4.5, 5.5])
    assert labels.spacing == outlines.spacing == (1.25, 1.25)


def test_local_correlation_is_the_mean_pearson_correlation_with_the_neighbours() -> None:
    from napari_dinov3.io.projections import project

    movie = RNG.normal(size=(30, 5, 6)) + RNG.normal(size=(30, 1, 1)) + 1000
    movie[:, 0, 0] = 7
    _, found = project(movie)
    for row, col in ((2, 3), (4, 5), (0, 0), (0, 1)):
        around = [
            (r, c)
            for r in range(max(0, row - 1), min(5, row + 2))
            for c in range(max(0, col - 1), min(6, col + 2))
            if (r, c) != (row, col)
        ]
        with np.errstate(invalid="ignore"):
            values = [np.nan_to_num(np.corrcoef(movie[:, row, col], movie[:, r, c])[0, 1]) for r, c in around]
        np.testing.assert_allclose(found[row, col], np.mean(values), atol=1e-5)


def test_projections_look_at_a_bounded_number_of_frames() -> None:
    from napari_dinov3.io.projections import project

    seen = []

    class Movie:
        shape = (100_000, 4, 5)

        def __getitem__(self, index: int) -> np.ndarray:
            seen.append(index)
            return np.zeros((4, 5))

    project(Movie(), frames=50)
    assert len(seen) <= 52 and seen[-1] == 99_999


@pytest.mark.parametrize(
    "regions",
    [
        {"a": 1},
        [{"coordinates": [[0, 99]]}],
        [{"coordinates": [[-1, 0]]}],
        [{"coordinates": []}],
        [[1, 2]],
        [{"coordinates": "x"}],
    ],
)
def test_senseless_regions_are_refused(tmp_path: Path, regions: Any) -> None:
    _neurofinder(tmp_path / "n", regions)
    with pytest.raises(FileFormatError, match=r"regions\.json"):
        nd.read_layers(tmp_path / "n")


def _challenge(root: Path, ndim: int) -> np.ndarray:
    shape = (5, 16, 20) if ndim == 2 else (5, 4, 16, 20)
    masks = np.zeros(shape, np.uint16)
    for t in range(5):
        masks[t, ..., 2 + t : 6 + t, 3:8] = 1 if t < 3 else 2
        masks[t, ..., 10:14, 12:16] = 3 if t > 2 else 0
    for name in ("01", "01_GT/TRA", "01_GT/SEG", "02"):
        (root / name).mkdir(parents=True)
    for t in range(5):
        tifffile.imwrite(root / "01" / f"t{t:03d}.tif", (masks[t] * 20).astype(np.uint8), photometric="minisblack")
        tifffile.imwrite(root / "01_GT/TRA" / f"man_track{t:03d}.tif", masks[t], compression="zlib", photometric="minisblack")
        tifffile.imwrite(root / "02" / f"t{t:03d}.tif", np.zeros_like(masks[t]), photometric="minisblack")
    (root / "01_GT/TRA/man_track.txt").write_text("1 0 2 0\n2 3 4 1\n3 3 4 1\n")
    if ndim == 2:
        tifffile.imwrite(root / "01_GT/SEG/man_seg002.tif", masks[2])
    else:
        tifffile.imwrite(root / "01_GT/SEG/man_seg_002_001.tif", masks[2, 1])
    return masks


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("inner", ["01", "."])
def test_a_cell_tracking_sequence_opens_with_its_labels_and_lineage(tmp_path: Path, ndim: int, inner: str) -> None:
    masks = _challenge(tmp_path / "Fluo-N3DH-CE", ndim)
    movie, tracked, tracks, segmented = nd.read_layers(tmp_path / "Fluo-N3DH-CE" / inner)
    assert names((movie, tracked, tracks, segmented)) == ["image", "labels", "tracks", "labels"]
    assert isinstance(movie, ImageFile) and movie.axes == ("tyx" if ndim == 2 else "tzyx") and movie.name.endswith("01")
    np.testing.assert_array_equal(np.asarray(tracked), masks)
    expected = np.zeros_like(masks)
    expected[(2,) if ndim == 2 else (2, 1)] = masks[(2,) if ndim == 2 else (2, 1)]
    np.testing.assert_array_equal(np.asarray(segmented), expected)
    assert isinstance(tracks, VectorFile) and dict(tracks.graph) == {2: [1], 3: [1]}
    first = tracks.data[tracks.data[:, 0] == 1]
    np.testing.assert_allclose(first[:, 1], [0, 1, 2])
    np.testing.assert_allclose(first[:, -2:], [[3.5, 5], [4.5, 5], [5.5, 5]])


def test_an_swc_tracing_lies_over_its_stack(tmp_path: Path) -> None:
    (tmp_path / "cell.swc").write_text("# made\n1 1 10 20 5 2.0 -1\n2 3 12 20 5 1.0 1\n7 3 12 22 6 1.0 2 # tip\n")
    tifffile.imwrite(
        tmp_path / "cell.tif",
        np.zeros((8, 32, 32), np.uint8),
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": "um"},
    )
    stack, lines, points = nd.read_layers(tmp_path / "cell.swc")
    assert stack.spacing == points.spacing == lines.spacing == (3.0, 0.5, 0.5)
    assert isinstance(points, VectorFile) and isinstance(lines, VectorFile)
    np.testing.assert_array_equal(points.data, [[5, 20, 10], [5, 20, 12], [6, 22, 12]])
    np.testing.assert_array_equal(lines.data[1], [[5, 20, 12], [6, 22, 12]])
    assert list(points.columns["type"]) == ["soma", "dendrite", "dendrite"]
    (tmp_path / "cell.tif").unlink()
    assert nd.read_layers(tmp_path / "cell.swc")[0].units == ("micrometer",) * 3
    with pytest.raises(InputError, match="0 images"):
        nd.read(tmp_path / "cell.swc")


@pytest.mark.parametrize(
    "content", ["", "1 2 3", "1 1 0 0 0 1 9", "1 1 0 0 nan 1 -1", "x y z a b c d", "1 1 0 0 0 1 -1\n1 1 0 0 0 1 -1"]
)
def test_tracings_that_make_no_sense_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.swc").write_text(content)
    with pytest.raises(FileFormatError, match=r"a\.swc"):
        nd.read_layers(tmp_path / "a.swc")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ome_zarr")  # of the library about its own scaler
def test_ome_zarr_opens_with_its_labels(tmp_path: Path) -> None:
    writer = pytest.importorskip("ome_zarr.writer")
    import zarr

    image, ids = RNG.integers(0, 255, (3, 16, 20), np.uint8), RNG.integers(0, 2**31, (3, 16, 20), np.uint32)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    scale = {"z": 2.0, "y": 0.5, "x": 0.5}
    writer.write_image(image, group, axes="zyx", scale_factors=[], scale=scale, axes_units=dict.fromkeys("zyx", "micrometer"))
    writer.write_labels(ids, group, name="cells", axes="zyx", scale_factors=[], scale=scale)
    opened = nd.read_layers(tmp_path / "a.zarr")
    assert names(opened) == ["image", "labels"]
    np.testing.assert_array_equal(np.asarray(opened[1]), ids)
    assert opened[1].spacing == opened[0].spacing == (2.0, 0.5, 0.5)


def test_plain_folders_are_no_data_sets(tmp_path: Path) -> None:
    for i in range(3):
        tifffile.imwrite(tmp_path / f"s{i}.tif", np.zeros((8, 9), np.uint8))
    assert find_layout(tmp_path) is None
    assert nd.read_layers(tmp_path)[0].axes == "zyx"


def test_real_tracing_over_its_real_stack(shared_data: Any) -> None:
    stack, lines, points = nd.read_layers(shared_data("connectomics/rivulet_neuron_stack") / "test.small.swc")
    assert isinstance(points, VectorFile) and len(points) == 229 and isinstance(lines, VectorFile)
    rows = np.round(points.data).astype(int)
    pixels = np.asarray(stack)
    assert (rows >= 0).all() and (rows < pixels.shape).all()
    assert pixels[tuple(rows.T)].mean() > 10 * pixels.mean()


def test_real_calcium_folder_is_a_time_series(shared_data: Any) -> None:
    (movie,) = nd.read_layers(shared_data("calcium/thunder_zebrafish") / "images")
    assert movie.axes == "tzyx" and isinstance(movie, ImageFile) and movie.shape == (20, 2, 76, 87)
