"""``napari-dinov3 info PATH``: what a file is, without reading its pixels."""

from __future__ import annotations

import argparse

from napari_dinov3.commands.arguments import add_reading, read_image
from napari_dinov3.commands.terminal import say, size_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    parser.add_argument("--json", action="store_true", help="write it as JSON")


def run(options: argparse.Namespace) -> int:
    """Describe a file."""
    image = read_image(options)
    facts = {
        "path": str(image.path),
        "name": image.name,
        "kind": image.kind,
        **dict(image.facts),
        "axes": image.axes.upper(),
        "shape": list(image.shape),
        "type": str(image.dtype),
        "rgb": image.rgb,
        "spacing": dict(zip(image.space.upper(), image.spacing, strict=True)),
        "units": dict(zip(image.space.upper(), image.units, strict=True)),
        "channels": list(image.channel_names),
        "levels": [list(level.shape) for level in image.levels],
        "bytes": image.nbytes,
        "lazy": image.lazy,
    }
    if options.json:
        from napari_dinov3.io.tables import to_json

        say(to_json(facts).rstrip())
        return 0
    say(f"{image.path}")
    say(f"  format   {facts.get('format', 'unknown')}" + (f", {facts['compression'].lower()}" if "compression" in facts else ""))
    say("  axes     " + ", ".join(f"{a.upper()} {n}" for a, n in zip(image.axes, image.shape, strict=True)))
    say(f"  pixels   {image.dtype}{', colour' if image.rgb else ''}, {image.kind}; {size_text(image.nbytes)} in memory")
    steps = (f"{a.upper()} {s:g} {u}" for a, s, u in zip(image.space, image.spacing, image.units, strict=True))
    say("  spacing  " + ", ".join(steps))
    if image.channel_names:
        say("  channels " + ", ".join(image.channel_names))
    for number, level in enumerate(image.levels[1:], start=1):
        say(f"  level {number}  " + " x ".join(map(str, level.shape)))
    return 0
