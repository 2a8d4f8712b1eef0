"""``napari-dinov3 info PATH``: what a file or data set holds, without reading its pixels."""

from __future__ import annotations

import argparse
from typing import Any

from napari_dinov3.commands.arguments import add_reading, read_config
from napari_dinov3.commands.terminal import say, size_text
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.vectors import VectorFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    parser.add_argument("--json", action="store_true", help="write it as JSON")


def run(options: argparse.Namespace) -> int:
    """Describe a file, a folder, or each part of a data set."""
    from napari_dinov3.io import read_layers
    from napari_dinov3.recipe import ReadConfig

    config = read_config(options)
    chosen = {name: value for name, value in config.options().items() if value != getattr(ReadConfig(path=config.path), name)}
    records = read_layers(config.path, **chosen)
    if options.json:
        from napari_dinov3.io.tables import to_json

        facts = [image_facts(record) if isinstance(record, ImageFile) else vector_facts(record) for record in records]
        say(to_json(facts[0] if len(facts) == 1 else facts).rstrip())
        return 0
    for record in records:
        for line in image_lines(record) if isinstance(record, ImageFile) else vector_lines(record):
            say(line)
    return 0


def image_facts(image: ImageFile) -> dict[str, Any]:
    """List all that is known of an image, JSON-able."""
    return {
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
        "world_from_pixel": image.world_from_pixel,
        "named_ids": len(image.legend),
    }


def image_lines(image: ImageFile) -> list[str]:
    """Describe an image for people."""
    compression = f", {str(image.facts['compression']).lower()}" if "compression" in image.facts else ""
    lines = [
        f"{image.path}",
        f"  name     {image.name}",
        f"  format   {image.facts.get('format', 'unknown')}{compression}",
        "  axes     " + ", ".join(f"{a.upper()} {n}" for a, n in zip(image.axes, image.shape, strict=True)),
        f"  pixels   {image.dtype}{', colour' if image.rgb else ''}, {image.kind}; {size_text(image.nbytes)} in memory"
        + (", read when asked for" if image.lazy else ""),
        "  spacing  " + _steps(image.space, image.spacing, image.units),
    ]
    if image.placement is not None:
        origin = image.placement[:-1, -1]
        lines.append("  origin   " + ", ".join(f"{a.upper()} {v:g}" for a, v in zip(image.space, origin, strict=True)))
    if image.channel_names:
        lines.append("  channels " + ", ".join(image.channel_names))
    if image.legend:
        lines.append(f"  names    of {len(image.legend)} ids")
    for number, level in enumerate(image.levels[1:], start=1):
        pixels = image.shape[image.axes.index("x")] / level.shape[image.axes.index("x")] * image.spacing[-1]
        lines.append(f"  level {number}  " + " x ".join(map(str, level.shape)) + f", pixels of {pixels:g} {image.units[-1]}")
    return lines


def vector_facts(record: VectorFile) -> dict[str, Any]:
    """List all that is known of points, lines, outlines or tracks, JSON-able."""
    return {
        "path": str(record.path),
        "name": record.name,
        "kind": record.kind,
        **dict(record.facts),
        "count": len(record),
        "axes": record.axes.upper(),
        "spacing": dict(zip(record.axes.upper(), record.spacing, strict=True)),
        "units": dict(zip(record.axes.upper(), record.units, strict=True)),
        "columns": sorted(record.columns),
        "bytes": record.nbytes,
        "world_from_pixel": record.world_from_pixel,
    }


def vector_lines(record: VectorFile) -> list[str]:
    """Describe points, lines, outlines or tracks for people."""
    known = f"; {', '.join(sorted(record.columns))}" if record.columns else ""
    return [
        f"{record.path}",
        f"  name     {record.name}",
        f"  format   {record.facts.get('format', 'unknown')}",
        f"  {record.kind:8} {len(record):,} along {', '.join(record.axes.upper())}{known}; {size_text(record.nbytes)} in memory",
        "  spacing  " + _steps(record.axes, record.spacing, record.units),
    ]


def _steps(axes: str, spacing: tuple[float, ...], units: tuple[str, ...]) -> str:
    return ", ".join(f"{a.upper()} {s:g} {u}" for a, s, u in zip(axes, spacing, units, strict=True))
