"""Damaged, foreign and incomplete weights end in a message that names what is wrong."""
# ruff: noqa: E402 (torch is looked for before what needs it)

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the [dinov3] extra is not installed")
pytest.importorskip("transformers", reason="the [dinov3] extra is not installed")
pytest.importorskip("safetensors", reason="the [dinov3] extra is not installed")

from dinov3_layouts import meta_state, random_module, small, timm_state, write
from safetensors.torch import save_file

from napari_dinov3.backbones.checkpoints import find_noted, read_checkpoint, sha256_of
from napari_dinov3.backbones.dinov3_network import build_network
from napari_dinov3.errors import FileFormatError


@pytest.fixture(scope="module")
def spec():
    return small("dinov3-vits16plus")


@pytest.fixture(scope="module")
def module(spec):
    return random_module(spec)


def _load(path, spec):
    return build_network(spec, read_checkpoint(path, spec), device="cpu", precision="float32")


def test_a_missing_tensor_is_named(spec, module, tmp_path):
    state = meta_state(module, spec)
    del state["blocks.1.ls2.gamma"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(FileFormatError, match=r"missing: layer\.1\.layer_scale2\.lambda1"):
        _load(tmp_path / "weights.pth", spec)


def test_an_extra_tensor_is_named(spec, module, tmp_path):
    state = {**meta_state(module, spec), "head.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(FileFormatError, match=r"not part of it: head\.weight"):
        _load(tmp_path / "weights.pth", spec)


def test_a_wrong_shape_is_named_as_in_the_file(spec, module, tmp_path):
    state = timm_state(module, spec)
    state["blocks.0.mlp.fc2.weight"] = torch.zeros(64, 95)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(FileFormatError, match=r"wrong shape: blocks\.0\.mlp\.fc2\.weight \(64, 95\) instead of \(64, 96\)"):
        _load(tmp_path, spec)


def test_weights_of_another_size_are_refused(spec, module, tmp_path):
    with pytest.raises(FileFormatError, match="does not fit DINOv3 ViT-S\\+/16"):
        _load(write(module, spec, "meta", tmp_path), replace(spec, depths=(4,)))


def test_weights_of_the_other_family_are_refused(module, spec, tmp_path):
    convnext = small("dinov3-convnext-tiny")
    with pytest.raises(FileFormatError, match="holds a vit network"):
        read_checkpoint(write(module, spec, "timm", tmp_path), convnext)


def test_a_network_of_another_kind_is_refused(spec, tmp_path):
    torch.save({"conv1.weight": torch.zeros(2, 2)}, tmp_path / "resnet.pth")
    with pytest.raises(FileFormatError, match=r"no DINOv3 network \(first tensors: conv1\.weight\)"):
        read_checkpoint(tmp_path / "resnet.pth", spec)


def test_query_and_value_biases_may_be_absent_in_timm_files_alone(spec, module, tmp_path):
    bare = timm_state(module, spec, biases=False)
    save_file({name: tensor.contiguous() for name, tensor in bare.items()}, tmp_path / "model.safetensors")
    network = _load(tmp_path, spec)
    assert not network.blocks()[0].attention.q_proj.bias.any()
    state = meta_state(module, spec)
    del state["blocks.0.attn.qkv.bias"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(FileFormatError, match="missing"):
        _load(tmp_path / "weights.pth", spec)


def test_a_key_bias_that_is_not_masked_is_refused(spec, module, tmp_path):
    state = meta_state(module, spec)
    state["blocks.0.attn.qkv.bias_mask"] = torch.ones_like(state["blocks.0.attn.qkv.bias_mask"])
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(FileFormatError, match="lets a key bias through"):
        read_checkpoint(tmp_path / "weights.pth", spec)


def test_other_rope_periods_are_refused(spec, module, tmp_path):
    state = meta_state(module, spec)
    state["rope_embed.periods"] = state["rope_embed.periods"] * 2
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(FileFormatError, match="RoPE periods of base 100"):
        read_checkpoint(tmp_path / "weights.pth", spec)


@pytest.mark.parametrize("layout", ["meta", "timm"])
def test_a_truncated_file_is_called_damaged(layout, spec, module, tmp_path):
    path = write(module, spec, layout, tmp_path)
    file = path if path.is_file() else path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(FileFormatError, match=r"it is truncated or damaged \(its index|is damaged or truncated"):
        read_checkpoint(path, spec)


def test_a_pickle_with_code_in_it_is_not_run(spec, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "written by the pickle"), "w"))

    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"cls_token": Harmful()}))
    with pytest.raises(FileFormatError, match="cannot be read as PyTorch weights: it is damaged, or holds other") as told:
        read_checkpoint(tmp_path / "weights.pth", spec)
    assert "weights_only" not in str(told.value)  # no advice to run it
    assert not (tmp_path / "written by the pickle").exists()


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_noise_is_called_damaged(size, spec, tmp_path):
    noise = torch.randint(0, 256, (size,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    (tmp_path / "weights.pth").write_bytes(bytes(noise.tolist()))
    with pytest.raises(FileFormatError, match="cannot be read as PyTorch weights: it is damaged"):
        read_checkpoint(tmp_path / "weights.pth", spec)


def test_a_meta_file_name_holds_its_hash(spec, module, tmp_path):
    path = write(module, spec, "meta", tmp_path)
    wrong = path.rename(tmp_path / "dinov3_vits16plus_pretrain_lvd1689m-4057cbaa.pth")
    with pytest.raises(FileFormatError, match=r"has SHA-256 \w{8}\.\.\., so it is damaged or changed"):
        read_checkpoint(wrong, spec)
    right = wrong.rename(tmp_path / f"dinov3_vits16plus_pretrain_lvd1689m-{sha256_of((wrong,))[:8]}.pth")
    assert read_checkpoint(right, spec).identity.layout == "meta"


def test_a_missing_shard_is_named(spec, module, tmp_path):
    write(module, spec, "sharded", tmp_path)
    (tmp_path / "part.safetensors").unlink()
    with pytest.raises(FileFormatError, match=r"lacks part\.safetensors"):
        read_checkpoint(tmp_path, spec)


def test_an_empty_folder_and_a_missing_path_are_told_apart(spec, tmp_path):
    with pytest.raises(FileFormatError, match="holds no weights"):
        read_checkpoint(tmp_path, spec)
    with pytest.raises(FileFormatError, match="There is nothing at"):
        read_checkpoint(tmp_path / "nowhere.pth", spec)


def test_a_wrapped_state_dict_is_unwrapped(spec, module, tmp_path):
    state = {f"backbone.{name}": tensor for name, tensor in meta_state(module, spec).items()}
    torch.save({"teacher": state}, tmp_path / "weights.pth")
    assert _load(tmp_path / "weights.pth", spec).spec is spec


@pytest.mark.parametrize("layout", ["transformers", "sharded", "meta", "timm"])
def test_weights_are_found_by_what_they_are_until_they_change(spec, module, tmp_path, layout, monkeypatch):
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(tmp_path / "notes"))
    path = write(module, spec, layout, tmp_path / "weights")
    identity = read_checkpoint(path, spec).identity
    found = find_noted(identity.fingerprint)
    assert found is not None and read_checkpoint(found, spec).identity == identity
    assert find_noted("0" * 12) is None
    for file in (tmp_path / "weights").glob("*"):
        file.write_bytes(b"damaged")
    assert find_noted(identity.fingerprint) is None
