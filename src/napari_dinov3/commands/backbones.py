"""``napari-dinov3 backbones``: what can turn an image into features, and whether it is ready here."""

from __future__ import annotations

import argparse

from napari_dinov3.commands.terminal import say, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--json", action="store_true", help="write every fact as JSON")


def run(options: argparse.Namespace) -> int:
    """List the backbones."""
    from dataclasses import asdict

    from napari_dinov3.backbones.registry import choose_backbone, list_backbones, readiness

    facts = list_backbones()
    if options.json:
        from napari_dinov3.io.tables import to_json

        say(to_json([asdict(one) for one in facts]).rstrip())
        return 0
    rows = []
    for one in facts:
        rows.append(
            {
                "name": one.name,
                "patch": one.patch,
                "strides": ", ".join(map(str, one.strides)),
                "numbers": one.width,
                "download": f"{one.download_mb:.0f} MB" if one.download_mb else "none",
                "here": readiness(one.name).message,
                "licence": one.licence,
            }
        )
    say(table(rows))
    say()
    for one in facts:
        say(f"{one.name}: {one.good_for}")
    name, reason = choose_backbone("auto")
    say(f"\nauto takes {name} ({reason})")
    return 0
