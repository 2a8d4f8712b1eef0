"""DINOv3 as a backbone: finer grids, layers, averages, memory, and the way through extract()."""
# ruff: noqa: E402 (torch is looked for before what needs it)

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [dinov3] extra is not installed")
pytest.importorskip("transformers", reason="the [dinov3] extra is not installed")
pytest.importorskip("safetensors", reason="the [dinov3] extra is not installed")

from dinov3_layouts import random_module, small, write

import napari_dinov3 as nd
from napari_dinov3.backbones import dinov3
from napari_dinov3.backbones.options import BackboneOptions, options_of
from napari_dinov3.backbones.registry import backbone_facts, choose_backbone, load_backbone
from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.progress import collect
from napari_dinov3.recipe import AlignConfig

VIT, CONVNEXT = "dinov3-vits16", "dinov3-convnext-tiny"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folders of small random networks, by name."""
    folders = {}
    for name in (VIT, CONVNEXT):
        folders[name] = tmp_path_factory.mktemp(name)
        write(random_module(small(name)), small(name), "timm", folders[name])
    return folders


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch):
    monkeypatch.setattr(dinov3, "spec_of", lambda name: small(name.removesuffix("-stage3")))


@pytest.fixture
def build(weights):
    def load(name=VIT, **options):
        options = {"precision": "float32", "device": "cpu", **options}
        return load_backbone(name, weights=weights[name.removesuffix("-stage3")], **options)

    return load


@pytest.fixture(scope="module")
def tiles():
    return np.random.default_rng(0).random((3, 64, 96), dtype=np.float32)


def test_colours_are_normalised_as_in_training(build, tiles):
    backbone = build()
    rgb = np.random.default_rng(1).random((1, 64, 96, 3), dtype=np.float32)
    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = backbone.network.module(pixel_values=(pixels - mean[:, None, None]) / std[:, None, None]).last_hidden_state
    embedding = backbone.embed(rgb)
    np.testing.assert_allclose(embedding.patches.reshape(24, -1), expected[0, 5:], atol=1e-5)
    np.testing.assert_allclose(embedding.cls, expected[:, 0], atol=1e-5)


def test_grey_is_the_same_grey_in_three_channels(build, tiles):
    backbone = build()
    coloured = np.repeat(tiles[..., None], 3, axis=-1)
    np.testing.assert_allclose(backbone.embed(tiles).patches, backbone.embed(coloured).patches, atol=1e-5)


@pytest.mark.parametrize(("stride", "shifts"), [(8, 1), (8, 2), (4, 1), (4, 2), (4, 4)])
def test_finer_grids_have_the_right_size(build, tiles, stride, shifts):
    embedding = build(stride=stride, shifts=shifts).embed(tiles[:1, :48, :64])
    assert embedding.patches.shape == (1, 48 // stride, 64 // stride, 64)


def test_shifted_patches_are_averaged_where_they_lie(build, monkeypatch):
    backbone = build(stride=8, shifts=2)
    monkeypatch.setattr(backbone, "_mirrored", _mean_intensities)
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32) / 64, (1, 64, 64)).copy()
    fine = backbone.embed(ramp).patches[0, 4, :, 0] * 0.229 + 0.485
    inside = np.arange(1, 7)  # the border patches see replicated pixels
    np.testing.assert_allclose(fine[inside], (8 * inside + 3.5) / 64, atol=1e-5)


def _mean_intensities(pixels):
    grid = torch.nn.functional.avg_pool2d(pixels, 16).permute(0, 2, 3, 1)
    return grid, grid.mean(dim=(1, 2))


def test_flips_make_the_features_mirror_with_the_image(build, tiles):
    backbone = build(flips="all")
    plain, mirrored = backbone.embed(tiles), backbone.embed(tiles[:, :, ::-1])
    np.testing.assert_allclose(mirrored.patches[:, :, ::-1], plain.patches, atol=1e-4)
    np.testing.assert_allclose(mirrored.cls, plain.cls, atol=1e-4)
    single = build().embed(tiles)
    assert np.abs(single.patches - plain.patches).max() > 0.01


def test_layers_are_standardised_the_same_for_every_image(build, tiles):
    backbone = build(layers="four")
    assert backbone.width(1) == 3 * 64
    alone = backbone.embed(tiles[:1]).patches
    together = backbone.embed(tiles).patches
    np.testing.assert_allclose(together[:1], alone, atol=1e-4)
    from napari_dinov3.backbones.calibration import dead_leaves

    calibrated = np.concatenate([backbone.embed(image[None]).patches.reshape(-1, 192) for image in dead_leaves()])
    np.testing.assert_allclose(calibrated.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(calibrated.std(axis=0), 1, atol=1e-2)


def test_the_third_stage_has_twice_the_resolution(build, tiles):
    last, third = build(CONVNEXT), build(f"{CONVNEXT}-stage3")
    assert last.embed(tiles).patches.shape == (3, 2, 3, 32)
    assert third.embed(tiles[:, :48, :80]).patches.shape == (3, 3, 5, 24)
    assert (third.width(1), third.stride, last.stride) == (24, 16, 32)


@pytest.mark.parametrize("name", [VIT, CONVNEXT, f"{CONVNEXT}-stage3"])
def test_extract_takes_odd_sizes_stacks_and_colours(build, name):
    backbone = build(name)
    features = nd.extract(np.random.default_rng(0).random((2, 70, 101, 3), dtype=np.float32), backbone=backbone, rgb=True)
    stride = backbone.stride
    assert features.array.shape == (2, -(-70 // stride), -(-101 // stride), backbone.width(3))
    assert features.cls.shape == (2, backbone.spec.width)
    assert features.provenance["network"]["sha256"] == backbone.provenance["sha256"]


def test_overlapping_tiles_stay_close_to_one_pass(build):
    image = np.random.default_rng(0).random((160, 240), dtype=np.float32)
    whole, tiled = (nd.extract(image, backbone=build(), tile_size=side).array for side in (256, 96))
    cosine = (whole * tiled).sum(-1) / np.linalg.norm(whole, axis=-1) / np.linalg.norm(tiled, axis=-1)
    assert whole.shape == tiled.shape
    assert np.median(cosine) > 0.7  # of a random network, which has learnt no stability


def test_lack_of_memory_halves_the_batch_and_goes_on(build, monkeypatch):
    backbone = build()
    forward, sizes = backbone._forward, []

    def scarce(tiles):
        sizes.append(len(tiles))
        if len(tiles) > 2:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 123 bytes")
        return forward(tiles)

    monkeypatch.setattr(backbone, "_forward", scarce)
    many = np.random.default_rng(0).random((9, 32, 32), dtype=np.float32)
    patches = backbone.embed(many).patches
    assert sizes == [9, 4, 2, 2, 2, 2, 1]
    np.testing.assert_allclose(patches, build().embed(many).patches, atol=1e-5)


def test_a_tile_that_never_fits_ends_in_advice(build, monkeypatch):
    backbone = build()

    def none(tiles):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(backbone, "_forward", none)
    with pytest.raises(InputError, match=r"One tile of 64x96 pixels does not fit.*Give a smaller tile_size"):
        backbone.embed(np.zeros((1, 64, 96), np.float32))


def test_other_errors_are_not_taken_for_a_lack_of_memory(build, monkeypatch):
    backbone = build()

    def broken(tiles):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(backbone, "_forward", broken)
    with pytest.raises(RuntimeError, match="multiplied"):
        backbone.embed(np.zeros((2, 64, 96), np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 8, "shifts": 4}, "stride=8 with shifts=4"),
        ({"shifts": 3}, "shifts=3"),
        ({"flips": "vertical"}, "flips='vertical'"),
        ({"layers": (0, 12)}, r"layers=\(0, 12\)"),
        ({"layers": "first"}, "layers='first'"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"precision": "float16"}, "float16 overflows"),
    ],
)
def test_wrong_options_are_refused_in_three_parts(build, options, message):
    with pytest.raises(InputError, match=message):
        build(**options)


def test_the_revision_tells_options_apart(build):
    revisions = {
        build(**options).revision
        for options in ({}, {"stride": 8}, {"stride": 8, "shifts": 2}, {"flips": "all"}, {"layers": "four"}, {"layers": (0, 1)})
    }
    assert len(revisions) == 6


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (VIT, {}),
        (VIT, {"stride": 8, "shifts": 2}),
        (VIT, {"stride": 8, "flips": "all"}),
        (VIT, {"layers": "four"}),
        (VIT, {"layers": (0, 1), "scale": 2}),
        (f"{CONVNEXT}-stage3", {}),
    ],
)
def test_a_revision_says_how_to_run_the_network_again(build, name, options):
    model = build(name, **options)
    again = options_of(name, model.revision)
    chosen = {"stride": model.stride, "scale": again.scale, "shifts": again.shifts, "flips": again.flips, "layers": again.layers}
    assert build(name, **chosen).revision == model.revision
    joint = options_of(f"filter-bank+{name}", f"filter-bank-2/2+{model.revision}/{model.stride:g}")
    assert joint == again and options_of("filter-bank", "filter-bank-2") == BackboneOptions()


def test_a_file_replaced_on_disk_is_read_anew(tmp_path):
    spec = small(VIT)
    path = write(random_module(spec), spec, "meta", tmp_path)
    first = load_backbone(VIT, weights=path)
    write(random_module(spec, seed=5), spec, "meta", tmp_path)
    assert load_backbone(VIT, weights=path).revision != first.revision
    path.write_bytes(b"damaged")
    with pytest.raises(FileFormatError):
        load_backbone(VIT, weights=path)


def test_auto_takes_a_network_whose_weights_are_here(monkeypatch, tmp_path):
    spec = small(VIT)
    write(random_module(spec), spec, "timm", tmp_path / VIT)
    monkeypatch.setenv("NAPARI_DINOV3_WEIGHTS", str(tmp_path))
    name, reason = choose_backbone("auto")
    assert name == VIT and str(tmp_path) in reason
    assert nd.extract(np.zeros((32, 32), np.float32)).backbone == VIT


def test_facts_are_those_of_the_table():
    facts = backbone_facts(f"{CONVNEXT}-stage3")
    assert (facts.stride, facts.width, facts.strides) == (16, 384, (16, 8, 4))


def test_extract_takes_the_options_of_a_network_and_keeps_them(weights):
    image = np.random.default_rng(0).random((3, 48, 64), dtype=np.float32)
    features = nd.extract(
        image, backbone=VIT, weights=weights[VIT], layers=(0, 2), shifts=2, flips="horizontal", colours="neighbours", device="cpu"
    )
    assert features.array.shape == (3, 6, 8, 2 * 64)
    network = features.provenance["network"]
    assert (network["layers"], network["shifts"], network["scale"], network["flips"]) == ([0, 2], 2, 1, "horizontal")


def test_a_precision_asked_for_is_part_of_what_a_stored_map_is_found_by(weights, tmp_path):
    image = np.random.default_rng(0).random((48, 64), dtype=np.float32)
    how = {"backbone": VIT, "weights": weights[VIT], "cache": tmp_path / "store"}
    exact = nd.extract(image, precision="float32", **how)
    rounded = nd.extract(image, precision="bfloat16", **how)
    assert not np.array_equal(exact.array, rounded.array)
    assert nd.extract(image, precision="float32", **how).provenance["planes_from_cache"] == 1
    exact.check_fits(rounded)  # to compare, both will do


@pytest.mark.parametrize("way", [nd.extract, nd.extract_on_demand])
def test_a_stored_map_is_opened_without_loading_the_network(weights, tmp_path, monkeypatch, way):
    image = np.random.default_rng(0).random((2, 48, 64), dtype=np.float32)
    how = {"backbone": VIT, "weights": weights[VIT], "cache": tmp_path / "store"}
    made = nd.extract(image, **how)
    monkeypatch.setattr(dinov3, "_load", lambda *_: pytest.fail("the network was loaded"))
    again = way(image, **how)
    np.testing.assert_array_equal(again.array, made.array)
    assert dict(again.provenance) == {**made.provenance, "planes_from_cache": 2}


def test_position_is_taken_out_by_default_to_match_across_images(weights, monkeypatch):
    monkeypatch.setenv("NAPARI_DINOV3_WEIGHTS", str(weights[VIT].parent))
    named = weights[VIT].parent / VIT
    if not named.exists():
        named.symlink_to(weights[VIT], target_is_directory=True)
    first, second = np.random.default_rng(0).random((2, 96, 96), dtype=np.float32)
    fixed, moving = (nd.extract(image, backbone=VIT, precision="float32") for image in (first, second))
    place = {"row": 40, "col": 72}
    plain = fixed.similarity_across(moving, model="none", **place)
    matched = fixed.similarity_across(moving, **place)
    given = fixed.similarity_across(moving, model=load_backbone(VIT, precision="float32"), **place)
    np.testing.assert_allclose(matched, given, atol=1e-6)
    assert np.abs(matched - plain).max() > 0.01
    monkeypatch.delenv("NAPARI_DINOV3_WEIGHTS")  # found where they were read from
    np.testing.assert_array_equal(fixed.similarity_across(moving, **place), matched)
    other = nd.FeatureMap.from_array(fixed.array, backbone=VIT, revision="another", image_shape=fixed.image_shape)
    with pytest.raises(InputError, match="are not on this computer"):
        other.similarity_across(other, **place)
    monkeypatch.setenv("NAPARI_DINOV3_WEIGHTS", str(weights[VIT].parent))
    with pytest.raises(InputError, match="others than those that made these features"):
        other.similarity_across(other, **place)


def test_alignment_takes_weights_by_path(weights, monkeypatch):
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(weights[VIT] / "elsewhere"))
    images = nd.synthetic.em(planes=2, size=128, rng=0).images
    how = {"model": "translation", "backbone": VIT, "weights": weights[VIT]}
    assert nd.align_stack(images, **how).transforms.shape == (2, 3, 3)
    assert nd.align_pair(*images, **how).backbone == VIT
    with pytest.raises(InputError, match="a DINOv3 network, which alone has these options"):
        nd.align_stack(images, backbone="filter-bank", weights=weights[VIT])


def test_the_align_panel_aligns_by_the_weights_that_are_chosen(weights, monkeypatch):
    stack = pytest.importorskip("napari_dinov3._napari.align.stack", reason="napari is not installed")
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(weights[VIT] / "elsewhere"))
    planes = nd.as_planes(nd.synthetic.em(planes=2, size=128, rng=0).images, axes="zyx")
    chosen = {"weights": str(weights[VIT]), "device": "cpu", "precision": "float32"}
    alignment, aligned = collect(stack.align_steps(planes, AlignConfig(model="translation", backbone=VIT, **chosen)))
    assert alignment.transforms.shape == (2, 3, 3) and aligned.shape == (2, 128, 128)
