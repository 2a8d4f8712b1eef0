"""From odd images to a clear result: uniform, tiny, NaN, colour, objects at the border."""

import warnings

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import IllPosedWarning

BACKBONES = [("filter-bank", {"stride": 4}), ("random-projection-cnx-tiny", {})]


def cut_of(image, backbone, options, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllPosedWarning)
        return nd.tokencut(nd.extract(image, backbone=backbone, **options), image=image, **more)


@pytest.mark.parametrize(("backbone", "options"), BACKBONES)
@pytest.mark.parametrize("tau", ["auto", 0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "image",
    [np.zeros((32, 40), np.uint8), np.full((2, 32, 40), 7.5), np.ones((1, 3)), np.array([[1.0, 2, 3]]), np.full((9, 9), np.nan)],
    ids=["black", "uniform stack", "three equal pixels", "three pixels", "NaN"],
)
def test_images_without_an_object_give_masks_of_their_own_shape(image, backbone, options, tau):
    cut = cut_of(image, backbone, options, tau=tau)
    assert cut.masks.shape == ((1, *image.shape) if image.ndim == 2 else image.shape)
    assert len(cut.boxes) == len(cut)
    assert np.isfinite(cut.eigenvectors).all()


@pytest.mark.parametrize("shape", [(32, 40), (2, 32, 40)])
def test_uniform_images_are_flagged_and_empty(shape):
    with pytest.warns(IllPosedWarning):
        cut = nd.tokencut(nd.extract(np.full(shape, 3, np.uint8), backbone="filter-bank", stride=4))
    assert not cut.well_posed.any()
    assert not cut.masks.any()


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize(
    ("rows", "cols"), [(slice(30, 70), slice(40, 90)), (slice(0, 40), slice(40, 90)), (slice(60, 96), slice(0, 50))]
)
def test_a_rectangle_is_found_inside_and_at_the_border(rows, cols, colour):
    known = np.zeros((96, 128), bool)
    known[rows, cols] = True
    image = 90 + 80 * known + np.random.default_rng(0).normal(0, 6, known.shape)
    if colour:
        image = np.stack([image, np.full_like(image, 60), 255 - image], axis=-1)
    cut = cut_of(np.clip(image, 0, 255).astype(np.uint8), "filter-bank", {"stride": 4})
    assert np.count_nonzero(cut.masks[0] & known) / np.count_nonzero(cut.masks[0] | known) > 0.9
    np.testing.assert_allclose(cut.boxes[0][0], [rows.start, cols.start, rows.stop, cols.stop], atol=4)


def test_a_plane_cut_in_two_halves_is_told_from_an_object_inside_it():
    inside, halves = np.zeros((2, 16, 16, 2), np.float32)
    inside[..., 0], halves[..., 0] = 1, 1
    inside[5:9, 4:10], halves[:, 8:] = (0, 1), (0, 1)
    found = nd.tokencut(np.stack([inside, halves]), tau=0.5)
    assert found.well_posed.all()
    assert found.surrounded.tolist() == [True, False]


def test_a_uniform_image_is_said_to_be_that_and_not_a_matter_of_tau():
    with pytest.warns(nd.errors.IllPosedWarning, match="nothing is marked there.*do not differ"):
        found = nd.tokencut(nd.extract(np.full((64, 64), 7, np.uint8)))
    assert not found.surrounded.any()
