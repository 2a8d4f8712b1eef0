"""The one place that reads the Preferences page of this plugin.

napari 0.9 keeps plugin settings; before that, and where the plugin is switched off, the defaults below count.
"""

from __future__ import annotations

from typing import Any

SECTION = "features"
DEFAULTS: dict[str, Any] = {"backbone": "auto", "memory_gb": 2.0, "cache_gb": 4.0}


def setting(name: str) -> Any:
    """Read one setting.

    Parameters
    ----------
    name : str
        ``"backbone"``, ``"memory_gb"`` (budget of one run) or ``"cache_gb"`` (feature maps kept for a viewer).
    """
    default = DEFAULTS[name]
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # napari < 0.9
        return default
    try:
        section = getattr(get_plugin_settings("napari-dinov3"), SECTION)
    except (KeyError, AttributeError):  # the plugin is disabled, or run from source without its manifest
        return default
    return getattr(section, name, default)
