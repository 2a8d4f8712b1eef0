"""``napari-dinov3 apply PROBE FILES --output FOLDER``: apply a saved probe to many stacks."""

from __future__ import annotations

import argparse

from napari_dinov3.commands.terminal import note, run_job, say, table
from napari_dinov3.wording import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("probe", metavar="PROBE", help="probe file (.npz), saved by the Segment panel or by Probe.save()")
    parser.add_argument("images", nargs="+", metavar="FOLDER_OR_FILES", help="images, or folders of them")
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="where labels and results.csv go; a stopped run goes on"
    )
    parser.add_argument("--probabilities", action="store_true", help="also write the probability of each class")
    parser.add_argument("--ending", default=".ome.tif", choices=(".ome.tif", ".zarr"), help="format of what is written")
    parser.add_argument("--channel", type=int, help="which channel, where there are several")
    parser.add_argument("--level", type=int, default=0, help="pyramid level, 0 the finest")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="memory the features of one stack may take")


def run(options: argparse.Namespace) -> int:
    """Apply a probe."""
    from napari_dinov3.recipe.batch import apply_probe_steps

    job = apply_probe_steps(
        options.probe,
        options.images,
        options.output,
        probabilities=options.probabilities,
        ending=options.ending,
        channel=options.channel,
        level=options.level,
        memory_gb=options.memory_gb,
    )
    result = run_job(job, title="apply")
    say(table([{name: value for name, value in row.items() if name != "error"} for row in result.short_rows()]))
    if result.skipped:
        say(f"{result.skipped} of {counted(len(result.rows), 'file')} done before and left as found")
    say(f"Wrote {result.table}")
    for path, reason in result.failed:
        note(f"Failed: {path}: {reason}")
    return 1 if result.failed else 0
