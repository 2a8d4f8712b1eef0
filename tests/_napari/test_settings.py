"""Preferences are read where napari keeps them, and have defaults everywhere else."""

from __future__ import annotations

import sys
import types

import pytest

from napari_dinov3._napari.settings import DEFAULTS, setting


def test_before_napari_0_9_the_defaults_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "napari.settings", types.ModuleType("napari.settings"))
    assert {name: setting(name) for name in DEFAULTS} == DEFAULTS


def test_a_disabled_plugin_has_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = types.ModuleType("napari.settings")
    monkeypatch.setattr(settings, "get_plugin_settings", lambda name: {}[name], raising=False)
    monkeypatch.setitem(sys.modules, "napari.settings", settings)
    assert setting("memory_gb") == DEFAULTS["memory_gb"]


def test_what_the_user_chose_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = types.ModuleType("napari.settings")
    chosen = types.SimpleNamespace(features=types.SimpleNamespace(memory_gb=7.5))
    monkeypatch.setattr(settings, "get_plugin_settings", lambda name: chosen, raising=False)
    monkeypatch.setitem(sys.modules, "napari.settings", settings)
    assert setting("memory_gb") == 7.5
    assert setting("backbone") == "auto"


def test_the_manifest_offers_what_is_read() -> None:
    from npe2 import PluginManifest

    configurations = PluginManifest.from_distribution("napari-dinov3").contributions.configurations
    offered = {name: item.default for section in configurations.values() for name, item in section.properties.items()}
    assert offered == DEFAULTS
