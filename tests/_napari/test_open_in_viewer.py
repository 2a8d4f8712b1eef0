"""What a file looks like once napari shows it: contrast limits, channels, and what is said of one that is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from PIL import Image as Picture

import napari_dinov3 as nd
from napari_dinov3._napari import file_hooks
from napari_dinov3.errors import InputError

RNG = np.random.default_rng(0)


def opened(path) -> ViewerModel:
    viewer = ViewerModel()
    for content, options, kind in file_hooks.get_reader(str(path))(str(path)):
        getattr(viewer, f"add_{kind}")(content, **options)
    return viewer


def test_a_volume_that_does_not_begin_at_0_is_not_shown_white(tmp_path) -> None:
    nibabel = pytest.importorskip("nibabel")
    voxels = RNG.integers(100, 3000, (20, 16, 6)).astype(np.int16)
    place = np.array([[0, -0.8, 0, 10], [0.9, 0, 0, -20], [0, 0, 1.5, 30], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(voxels, place), tmp_path / "a.nii")
    limits = opened(tmp_path / "a.nii").layers[0].contrast_limits
    assert limits == [voxels[..., 3].min(), voxels[..., 3].max()]


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.uint64])
def test_an_image_of_large_whole_numbers_is_shown(tmp_path, dtype) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = (np.arange(4 * 16 * 20).reshape(4, 16, 20) + 2**30).astype(dtype)
    low, high = opened(tmp_path / "a.h5").layers[0].contrast_limits
    assert 2**30 <= low < high < 2**30 + 4 * 16 * 20


def test_a_flat_image_off_the_origin_opens(tmp_path) -> None:
    place = np.diag([2.0, 2.0, 2.0, 1.0])
    place[0, 3] = 50
    like = nd.as_planes(np.zeros((3, 8, 9), np.uint16), world_from_pixel=place, spacing=2.0)
    nd.write(tmp_path / "a.ome.tif", np.full((3, 8, 9), 7, np.uint16), like=like)
    low, high = opened(tmp_path / "a.ome.tif").layers[0].contrast_limits
    assert low == 7 < high


def test_channels_lie_over_each_other_in_colours(tmp_path) -> None:
    about = {"axes": "ZCYX", "spacing": 3.0, "unit": "um", "mode": "composite", "Ranges": [0.0, 90.0, 5.0, 50.0]}
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 99, (3, 2, 8, 9), np.uint16), imagej=True, metadata=about)
    first, second = opened(tmp_path / "a.tif").layers
    assert (first.blending, second.blending) == ("additive", "additive")
    assert first.colormap.name != second.colormap.name
    assert (first.contrast_limits, second.contrast_limits) == ([0, 90], [5, 50])


def test_a_slice_that_does_not_fit_is_named(tmp_path) -> None:
    for number in range(4):
        Picture.fromarray(np.zeros((8, 9 - (number == 2)), np.uint8)).save(tmp_path / f"s{number}.png")
    reader = file_hooks.get_reader(str(tmp_path))
    assert reader is not None
    with pytest.raises(InputError, match=r"s2\.png"):
        reader(str(tmp_path))
