"""The download command says what it is about to fetch, and what stands in the way."""

from __future__ import annotations

import pytest

from napari_dinov3 import cli
from napari_dinov3.backbones.registry import readiness


def test_names_without_weights_are_refused(capsys) -> None:
    assert cli.main(["download", "filter-bank"]) == 2
    assert "filter-bank has no weights" in capsys.readouterr().err
    assert cli.main(["download", "resnet"]) == 2
    assert "'resnet' is not known" in capsys.readouterr().err


def test_size_and_licence_come_before_anything_is_fetched(capsys, monkeypatch) -> None:
    pytest.importorskip("huggingface_hub", reason="the [dinov3] extra is not installed")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}"
    )
    assert cli.main(["download", "dinov3-vits16"]) == 2
    out, err = capsys.readouterr()
    assert "DINOv3 ViT-S/16, 86 MB. DINOv3 License" in out
    assert "connection to timm/vit_small_patch16_dinov3.lvd1689m failed" in err


def test_readiness_names_the_next_step(monkeypatch, tmp_path) -> None:
    from napari_dinov3.backbones import registry

    assert readiness("filter-bank").ready
    monkeypatch.setattr(registry, "_missing", lambda modules: [])
    absent = readiness("dinov3-vits16plus")
    assert (absent.ready, absent.message) == (False, "weights to download: 115 MB")
    (tmp_path / "dinov3-vits16plus.pth").write_bytes(b"weights")
    monkeypatch.setenv("NAPARI_DINOV3_WEIGHTS", str(tmp_path))
    assert readiness("dinov3-vits16plus").ready
    monkeypatch.setattr(registry, "_missing", lambda modules: ["torch"])
    assert readiness("dinov3-vits16plus").message == 'torch missing: pip install "napari-dinov3[dinov3]"'
