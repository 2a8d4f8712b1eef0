"""Weights are found where they may lie, in order, without torch and without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from napari_dinov3.backbones.dinov3_models import SPECS, all_facts, spec_of
from napari_dinov3.backbones.registry import choose_backbone
from napari_dinov3.backbones.sources import best_present, cache_folder, find_weights, require_weights
from napari_dinov3.errors import InputError

SPEC = spec_of("dinov3-vits16plus")


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def _snapshot(hub: Path, repository: str, revision: str = "abc", file: str = "model.safetensors") -> Path:
    return _touch(hub / f"models--{repository.replace('/', '--')}" / "snapshots" / revision / file).parent


@pytest.fixture
def places(own_caches, monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NAPARI_DINOV3_WEIGHTS", str(tmp_path / "mine"))
    return tmp_path


def test_places_are_searched_in_order(places):
    assert find_weights(SPEC) is None
    found_in = {}
    for source, put in [
        ("meta", lambda: _touch(places / "own" / "weights" / f"{SPEC.name}-meta" / "model.safetensors").parent),
        ("mirror", lambda: _touch(places / "own" / "weights" / SPEC.name / "model.safetensors").parent),
        ("cache", lambda: _snapshot(places / "hub", SPEC.meta_repo)),
        ("cache", lambda: _snapshot(places / "hub", SPEC.mirror)),
        ("folder", lambda: _touch(places / "torch" / "hub" / "checkpoints" / SPEC.meta_file)),
        ("folder", lambda: _touch(places / "mine" / SPEC.meta_file)),
    ]:
        path = put()  # each is preferred to those before it
        found = find_weights(SPEC)
        assert (found.source, found.path) == (source, path)
        found_in[source] = found
    for source, expected in found_in.items():
        assert find_weights(SPEC, source=source) == expected
    assert find_weights(spec_of("dinov3-vitb16")) is None


@pytest.mark.parametrize(
    "name",
    [
        f"{SPEC.name}.pth",
        f"{SPEC.name}.safetensors",
        f"{SPEC.name}/model.safetensors",
        "vit_small_plus_patch16_dinov3.lvd1689m/model.safetensors",
    ],
)
def test_a_users_folder_may_name_files_in_several_ways(places, name):
    path = _touch(places / "mine" / name)
    found = find_weights(SPEC)
    assert found is not None and found.path in (path, path.parent)


def test_the_main_revision_of_the_cache_comes_first(places):
    hub = places / "hub"
    main = _snapshot(hub, SPEC.mirror, "older")
    _snapshot(hub, SPEC.mirror, "newer")
    refs = hub / f"models--{SPEC.mirror.replace('/', '--')}" / "refs"
    refs.mkdir()
    (refs / "main").write_text("older")
    assert find_weights(SPEC).path == main


def test_shards_count_only_when_all_are_there(places):
    snapshot = _snapshot(places / "hub", SPEC.mirror, file="model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert find_weights(SPEC) is None
    _touch(snapshot / "model-00002-of-00002.safetensors")
    assert find_weights(SPEC).path == snapshot


def test_a_download_that_was_cut_short_is_not_taken_for_weights(places):
    _touch(places / "own" / "weights" / SPEC.name / "model.safetensors.part")
    assert find_weights(SPEC) is None


def test_absent_weights_are_told_in_three_parts(places):
    with pytest.raises(InputError) as caught:
        require_weights(SPEC)
    assert "DINOv3 ViT-S+/16 are not on this computer" in caught.value.problem
    assert "115 MB" in caught.value.expected and "DINOv3 License" in caught.value.expected
    assert f"napari-dinov3 download {SPEC.name}" in caught.value.action and "filter-bank" in caught.value.action


def test_auto_prefers_the_small_ones_and_never_the_giants(places):
    for name in ("dinov3-vit7b16", "dinov3-vitl16", "dinov3-vits16"):
        _touch(places / "mine" / f"{name}.pth")
    name, _ = best_present()
    assert name == "dinov3-vits16"


def test_auto_says_what_is_missing_when_there_are_weights_but_no_torch(places, monkeypatch):
    from napari_dinov3.backbones import registry

    _touch(places / "mine" / f"{SPEC.name}.pth")
    monkeypatch.setattr(registry, "_missing", lambda modules: ["torch"])
    assert choose_backbone("auto") == ("filter-bank", f"auto: weights of {SPEC.name} are here, but torch is not installed")


def test_without_weights_auto_is_the_filter_bank(places):
    assert choose_backbone("auto")[0] == "filter-bank"


def test_looking_loads_neither_torch_nor_the_hub():
    script = (
        "import sys; from napari_dinov3.backbones.registry import choose_backbone, list_backbones; choose_backbone(); "
        "list_backbones(); print({'torch', 'transformers', 'huggingface_hub', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_every_network_is_listed_once_with_its_own_files():
    for fact in ("name", "meta_file", "meta_repo", "mirror"):
        assert len({getattr(spec, fact) for spec in SPECS}) == len(SPECS) == 12
    assert len({facts.name for facts in all_facts()}) == 12 + 4
    assert {spec.meta_repo.partition("/")[0] for spec in SPECS} == {"facebook"}


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": "/somewhere"}, "/somewhere/napari-dinov3"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/napari-dinov3/Cache"),
        ("darwin", {"HOME": "/Users/me"}, "/Users/me/Library/Caches/napari-dinov3"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="the paths are written with slashes")
def test_the_cache_is_where_each_system_keeps_caches(monkeypatch, platform, variables, folder):
    monkeypatch.delenv("NAPARI_DINOV3_CACHE")
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == folder
