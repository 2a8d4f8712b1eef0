"""Extraction: the same numbers however an image is stored, tiled or batched; planes read one at a time."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import FeatureMismatchError, InputError
from napari_dinov3.features.tiling import cut_tiles

RNG = np.random.default_rng(0)
PLACEHOLDER = "random-projection-cnx-tiny"


@pytest.mark.parametrize("backbone", ["filter-bank", PLACEHOLDER])
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (17, 33), (64, 48)])
@pytest.mark.parametrize("rgb", [False, True])
def test_every_size_has_a_grid_that_covers_it(backbone: str, shape: tuple[int, int], rgb: bool) -> None:
    features = nd.extract(RNG.random((*shape, 3) if rgb else shape), backbone=backbone, rgb=rgb)
    stride = features.stride
    assert features.grid == (int(np.ceil(shape[0] / stride)), int(np.ceil(shape[1] / stride)))
    assert np.isfinite(features.array).all()
    assert features.image_shape == shape


@pytest.mark.parametrize("backbone", ["filter-bank", PLACEHOLDER])
@pytest.mark.parametrize("rgb", [False, True])
def test_tiles_and_batches_do_not_change_the_features(backbone: str, rgb: bool) -> None:
    image = RNG.random((2, 150, 220, 3) if rgb else (2, 150, 220))
    whole = nd.extract(image, backbone=backbone)
    for options in ({"tile_size": 64}, {"tile_size": 96, "batch_size": 3}, {"batch_size": 1}):
        tiled = nd.extract(image, backbone=backbone, **options)
        np.testing.assert_allclose(tiled.array, whole.array, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_filter_bank_offers_its_strides(stride: int) -> None:
    features = nd.extract(RNG.random((40, 56)), stride=stride)
    assert (features.grid, features.stride, features.first_centre) == ((40 // stride, 56 // stride), stride, (stride - 1) / 2)


def test_dask_gives_the_numbers_of_numpy_and_is_read_plane_by_plane() -> None:
    stack = RNG.integers(0, 255, (40, 32, 32), dtype=np.uint8)
    read: list[int] = []

    def load(block: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        if block_info:
            read.append(block_info[0]["chunk-location"][0])
        return block

    lazy = dask.array.from_array(stack, chunks=(1, 32, 32)).map_blocks(load, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    features = nd.extract(lazy, backbone=PLACEHOLDER)
    np.testing.assert_array_equal(features.array, nd.extract(stack, backbone=PLACEHOLDER).array)
    assert len(read) <= 40 + 16  # each plane once, and the sample for the intensity window


def test_a_map_over_the_budget_goes_to_disk_with_the_same_numbers() -> None:
    stack = RNG.random((6, 64, 64))
    in_memory = nd.extract(stack)
    on_disk = nd.extract(stack, memory_gb=0.001)
    assert in_memory.in_memory
    assert not on_disk.in_memory
    assert on_disk.provenance["precision"] == "float16"
    # float16 keeps 11 bits: a relative rounding of 2**-11, and the features are of order 1
    np.testing.assert_allclose(np.asarray(on_disk.array, np.float32), in_memory.array, rtol=2**-11, atol=1e-6)


def test_a_kept_folder_is_never_overwritten(tmp_path) -> None:
    nd.extract(RNG.random((16, 16)), folder=tmp_path)
    with pytest.raises(Exception, match="exists"):
        nd.extract(RNG.random((16, 16)), folder=tmp_path)


def test_progress_counts_tiles_and_a_closed_job_stops() -> None:
    reads = []

    class Watched:
        shape, dtype = (40, 64, 64), np.dtype("float32")

        def __getitem__(self, at: object) -> np.ndarray:
            reads.append(at)
            return np.zeros(self.shape, np.float32)[at]

    job = nd.extract_steps(Watched(), backbone=PLACEHOLDER, batch_size=1, tile_size=32)
    events = [next(job) for _ in range(4)]
    assert events[0].total == 40 * 4
    assert PLACEHOLDER in events[0].message
    before = len(reads)
    job.close()
    assert len(reads) == before < 20


def test_geometry_and_provenance_travel() -> None:
    features = nd.extract(RNG.random((3, 32, 48)), axes="zyx", spacing=(5, 0.5, 0.5), units="micrometer", name="brain")
    assert features.spacing == (5, 0.5, 0.5)
    assert features.units == ("micrometer",) * 3
    assert features.provenance["image"] == "brain"
    assert features.provenance["backbone"] == "filter-bank"
    assert "auto" in features.provenance["reason"]
    np.testing.assert_allclose(features.world_from_patch @ [1, 0, 0, 1], [5, 0.25, 0.25, 1])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"backbone": "resnet"}, "resnet"),
        ({"stride": 3}, "stride=3"),
        ({"backbone": PLACEHOLDER, "stride": 8}, "stride=8"),
        ({"memory_gb": 0}, "memory_gb"),
        ({"memory_gb": float("nan")}, "memory_gb"),
        ({"percentiles": (99, 1)}, "percentiles"),
        ({"percentiles": (-1, 101)}, "percentiles"),
        ({"batch_size": 0}, "batch_size"),
        ({"tile_size": 1}, "tile_size"),
    ],
)
def test_impossible_settings_are_refused(options: dict, names: str) -> None:
    with pytest.raises(InputError, match=names):
        nd.extract(np.zeros((32, 32)), **options)


def test_maps_made_differently_say_so() -> None:
    image = RNG.random((32, 32))
    with pytest.raises(FeatureMismatchError, match=r"stride 2\.0 and 4\.0"):
        nd.extract(image, stride=2).check_fits(nd.extract(image, stride=4))
    nd.extract(image).check_fits(nd.extract(image[:20]))


@pytest.mark.parametrize("tile_size", [16, 40, 1000])
def test_tile_cores_cover_each_patch_once(tile_size: int) -> None:
    count = np.zeros((10, 13), int)
    for tile in cut_tiles((160, 208), stride=16, tile_size=tile_size, halo=24):
        row0, row1, col0, col1 = tile.core
        count[row0:row1, col0:col1] += 1
        assert tile.read[0] <= row0 and tile.read[1] >= row1 and tile.read[2] <= col0 and tile.read[3] >= col1
    assert (count == 1).all()
