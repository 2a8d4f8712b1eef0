"""Objects from classes: what touches, what is parted, what is dropped."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
from skimage.draw import disk

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.objects.instances import objects_from_labels_steps

WATERSHED = {"method": "watershed"}


def draw(shape: tuple[int, int], *disks: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for row, col, radius in disks:
        mask[disk((row, col), radius, shape=shape)] = 1
    return mask


@pytest.fixture
def touching() -> np.ndarray:
    return draw((80, 120), (40, 30, 14), (40, 54, 14), (40, 95, 12))


def test_components_join_what_touches_and_a_watershed_parts_it(touching: np.ndarray) -> None:
    assert nd.objects_from_labels(touching).count == 2
    for options in ({"seeds": "h-maxima"}, {"seeds": "peaks", "min_distance": 8}):
        parted = nd.objects_from_labels(touching, **WATERSHED, **options)
        assert parted.count == 3
        assert parted.labels[0, 40, 30] != parted.labels[0, 40, 54]
        np.testing.assert_array_equal(parted.labels[0] > 0, touching > 0)


def test_a_watershed_on_probability_parts_at_its_valley() -> None:
    rows, cols = np.mgrid[:64, :96]
    summits = [np.exp(-((rows - 32) ** 2 + (cols - at) ** 2) / 200) for at in (32, 60)]
    probability = np.maximum(*summits).astype(np.float32)
    options = {"threshold": 0.3, "landscape": "probability"}
    parted = nd.objects_from_labels(probability, **WATERSHED, **options)
    assert parted.count == 2
    assert parted.labels[0, 32, 45] == parted.labels[0, 32, 32] != parted.labels[0, 32, 47]
    assert nd.objects_from_labels(probability, **WATERSHED, **options, depth=0.7).count == 1


def test_an_object_too_small_for_a_seed_is_kept() -> None:
    mask = draw((40, 40), (20, 20, 10))
    mask[2, 2] = 1
    assert nd.objects_from_labels(mask, **WATERSHED, depth=3).count == 2


def test_classes_do_not_join_and_each_object_knows_its_class() -> None:
    labels = np.zeros((20, 40), np.uint8)
    labels[5:15, 2:12], labels[5:15, 12:22], labels[5:15, 30:38] = 3, 7, 3
    for options in ({}, WATERSHED):
        objects = nd.objects_from_labels(labels, **options)
        assert sorted(objects.classes.tolist()) == [3, 3, 7]
        for number, value in enumerate(objects.classes, start=1):
            assert set(labels[objects.labels[0] == number]) == {value}
    assert nd.objects_from_labels(labels, classes=(7,)).classes.tolist() == [7]


def test_numbers_run_without_gaps_through_the_stack(touching: np.ndarray) -> None:
    stack = np.stack([touching, touching, np.zeros_like(touching)])
    objects = nd.objects_from_labels(stack, min_size=500)
    assert np.unique(objects.labels).tolist() == [0, 1, 2]
    assert nd.objects_from_labels(stack, across="stack").count == 2
    assert nd.objects_from_labels(stack[:2], across="stack", **WATERSHED).count == 3


@pytest.mark.parametrize("connectivity, count", [("faces", 2), ("corners", 1)])
@pytest.mark.parametrize("planes", [1, 2])
def test_corners_connect_where_asked(connectivity: str, count: int, planes: int) -> None:
    mask = np.zeros((planes, 8, 8), bool)
    mask[0, 1:3, 1:3] = mask[-1, 3:5, 3:5] = True
    across = "stack" if planes == 2 else "planes"
    assert nd.objects_from_labels(mask, connectivity=connectivity, across=across).count == count


def test_sizes_are_in_pixels_or_in_the_units_of_the_image() -> None:
    mask = np.zeros((40, 40), bool)
    mask[2:6, 2:6], mask[10:20, 10:20], mask[22:38, 22:38] = True, True, True
    placed = nd.as_planes(mask, spacing=0.5, units="micrometer")
    assert nd.objects_from_labels(placed, min_size=17, max_size=100).count == 1
    assert nd.objects_from_labels(placed, min_size=5, max_size=25, size_unit="world").count == 1
    assert nd.objects_from_labels(placed, min_size=4, max_size=64, size_unit="world").count == 3


def test_holes_are_filled_up_to_a_size_and_never_over_another_class() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[2:38, 2:38] = 1
    labels[5:7, 5:7], labels[10:20, 10:20], labels[25:30, 25:30] = 0, 0, 2
    filled = nd.objects_from_labels(labels, fill_holes=10).labels[0]
    assert filled[5, 5] == filled[2, 2]
    assert filled[12, 12] == 0
    everything = nd.objects_from_labels(labels, fill_holes="all")
    assert everything.labels[0, 12, 12] == everything.labels[0, 2, 2]
    assert everything.classes[everything.labels[0, 27, 27] - 1] == 2


def test_objects_on_the_border_are_dropped_where_asked() -> None:
    mask = np.zeros((3, 20, 20), bool)
    mask[:, 0:5, 3:8], mask[0:2, 10:15, 10:15], mask[1, 16:18, 10:15] = True, True, True
    counts = [nd.objects_from_labels(mask, across="stack", clear_border=which).count for which in ("none", "sides", "all")]
    assert counts == [3, 2, 1]
    assert nd.objects_from_labels(mask, clear_border="sides").count == 3


def test_lazy_planes_are_read_one_at_a_time(touching: np.ndarray) -> None:
    reads: list[int] = []

    def read(block: np.ndarray, block_info: dict) -> np.ndarray:
        reads.append(block_info[0]["chunk-location"][0])
        return block

    stack = np.stack([touching] * 3)
    lazy = dask.array.from_array(stack, chunks=(1, 80, 120)).map_blocks(read, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    job = objects_from_labels_steps(lazy)
    next(job)
    next(job)
    assert reads == [0]
    job.close()
    np.testing.assert_array_equal(nd.objects_from_labels(lazy).labels, nd.objects_from_labels(stack).labels)


@pytest.mark.parametrize("labels", [np.zeros((2, 9, 9), np.uint8), np.full((9, 9), np.nan)])
def test_nothing_makes_no_objects(labels: np.ndarray) -> None:
    for options in ({}, WATERSHED):
        objects = nd.objects_from_labels(labels, **options)
        assert objects.count == 0
        assert not objects.labels.any()


@pytest.mark.parametrize(
    "labels, options, message",
    [
        (np.ones((9, 9, 3), np.uint8), {}, "colour image"),
        (np.full((9, 9), 3.0), {}, "decimals from 3 to 3"),
        (np.ones((9, 9), np.uint8), {"method": "watershed", "landscape": "probability"}, "probability map"),
        (np.ones((9, 9), np.uint8), {"method": "magic"}, "method='magic'"),
        (np.ones((9, 9), np.uint8), {"min_size": 5, "max_size": 4}, "max_size"),
        (np.ones((9, 9), np.uint8), {"fill_holes": -1}, "fill_holes"),
        (np.ones((9, 9)), {"threshold": 0}, "threshold"),
        (np.ones((9, 9)), {"depth": 0}, "depth"),
    ],
)
def test_what_cannot_work_is_refused(labels: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nd.objects_from_labels(labels, **options)


def test_objects_keep_the_place_of_their_image(touching: np.ndarray) -> None:
    placed = nd.as_planes(touching[None], axes="zyx", spacing=(3, 0.5, 0.25), units="micrometer")
    planes = nd.as_planes(nd.objects_from_labels(placed))
    assert planes.spacing == (3, 0.5, 0.25)
    assert planes.units == ("micrometer",) * 3
