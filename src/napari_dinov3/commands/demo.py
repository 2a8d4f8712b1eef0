"""``napari-dinov3 demo [PATH]``: the main job from start to end, on a made-up stack or on your own image."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from napari_dinov3.commands.terminal import note, run_job, say, table
from napari_dinov3.wording import counted

if TYPE_CHECKING:
    from napari_dinov3.commands.main_job import DemoInput, DemoResult

DEFAULT_PLANES = 16
MAX_SIDE = 1024
_SIZE = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("path", metavar="PATH", nargs="?", help="TIFF, or folder of slices; without it an EM stack is made up")
    parser.add_argument("--out", help="folder for the results; the first free of napari-dinov3-demo, -2, -3 ... by default")
    parser.add_argument("--scribbles", metavar="FILE", help="labels of the same size as PATH, 0 where nothing is painted")
    parser.add_argument("--planes", help=f"at most so many planes from the middle of PATH, or all; {DEFAULT_PLANES} by default")
    parser.add_argument("--channel", type=int, help="which channel, where PATH has several; the first by default")
    parser.add_argument("--backbone", default="auto", help="see `napari-dinov3 backbones`")
    parser.add_argument("--seed", type=int, default=0, help="of the made-up stack and of the shifts")
    parser.add_argument("--no-window", action="store_true", help="open no window, even where there is a screen; take a picture")
    parser.add_argument("--no-picture", action="store_true", help="take no picture of the window either")
    parser.add_argument("--size", default="1600x1000", help="of the window in the picture, in pixels")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that holds something already")


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    from napari_dinov3._napari import demo_window
    from napari_dinov3.commands.arguments import results_folder
    from napari_dinov3.commands.demo_files import write_demo_steps
    from napari_dinov3.commands.main_job import main_job_steps

    size = demo_window.parse_size(options.size)
    _check(options)
    begun = time.perf_counter()
    given = _given(options)
    with results_folder(options.out, default="napari-dinov3-demo", overwrite=options.overwrite) as folder:
        planes, rows, cols = given.image.shape
        colour = " in colour" if given.image.rgb else ""
        say(f"{given.image.name}: {counted(planes, 'plane')} of {rows} x {cols}{colour}, {given.image.dtype}")
        for line in given.notes:
            say(f"  {line}")
        done = run_job(main_job_steps(given, backbone=options.backbone, rng=options.seed), title="demo")
        names = run_job(write_demo_steps(folder, done), title="write")
    _report(done)
    say(f"\n{counted(len(names), 'file')} in {folder} ({time.perf_counter() - begun:.0f} s)")
    return _show(folder, options, size)


def _check(options: argparse.Namespace) -> None:
    """Refuse what makes no sense before anything is read or made."""
    from napari_dinov3.errors import InputError

    if options.seed < 0:
        raise InputError(f"--seed {options.seed}", "a whole number, 0 or more", "Leave it out for 0")
    if options.planes is not None and options.planes != "all" and (not options.planes.isdecimal() or int(options.planes) < 1):
        raise InputError(f"--planes {options.planes}", "a number of planes, or all", f"Leave it out for {DEFAULT_PLANES}")
    for name in ("scribbles", "planes", "channel"):
        value = getattr(options, name)
        if options.path is None and value is not None:
            raise InputError(
                f"--{name} {value} without PATH",
                "an image of your own with this option",
                f"Give the image too: napari-dinov3 demo PATH --{name} {value}",
            )


def _report(done: DemoResult) -> None:
    say(f"  backbone {done.results['features'].backbone} ({done.results['features'].provenance['reason']})")
    say(f"  the probes learn from {done.scribbles_from}\n")
    say(
        table(
            [
                {"step": m.step, "measured": m.measured, "value": float(m.value), "seconds": f"{m.seconds:.1f}"}
                for m in done.measures
            ]
        )
    )


def _show(folder: Any, options: argparse.Namespace, size: tuple[int, int]) -> int:
    """Open the window on a screen; without one, take its picture on a virtual screen."""
    from napari_dinov3._napari import demo_window

    if demo_window.has_screen() and not options.no_window:
        say("Opening napari; close its window to end the demo.")
        problem = demo_window.open_window(folder, size)
    elif options.no_picture:
        return 0
    else:
        picture = folder / "window.png"
        problem = demo_window.take_picture(folder, picture, size)
        if not problem:
            say(f"Picture of the window: {picture}")
    if problem:
        note(f"The window could not be shown: {problem}\nAll other results are in {folder}.")
        return 1
    return 0


def _given(options: argparse.Namespace) -> DemoInput:
    from napari_dinov3.commands.main_job import DemoInput

    if options.path is None:
        from napari_dinov3.synthetic import em

        sample = em(planes=8, size=_SIZE, rng=options.seed)
        return DemoInput(sample.to_planes(), truth=sample.masks, notes=("made up, with known masks",))
    image, notes, window = _chosen_part(options)
    scribbles = None if options.scribbles is None else _read_scribbles(options.scribbles, window, image)
    return DemoInput(image, scribbles=scribbles, notes=tuple(notes))


def _chosen_part(options: argparse.Namespace) -> tuple[Any, list[str], tuple[Any, ...]]:
    """Take the middle planes, and the middle of large ones, into memory; say what was left out."""
    import numpy as np

    from napari_dinov3.geometry import affine
    from napari_dinov3.image import as_planes
    from napari_dinov3.io import read

    file = read(options.path)
    notes = []
    if "t" in file.axes and "z" in file.axes and file.shape[file.axes.index("t")] > 1 and file.shape[file.axes.index("z")] > 1:
        file = file.select(t=0)
        notes.append("the first time point only")
    channel = options.channel or 0
    several = "c" in file.axes and file.shape[file.axes.index("c")] > 1
    if several:
        notes.append(f"channel {channel} of {file.shape[file.axes.index('c')]}")
    planes = file.planes(channel=channel if several else None)
    total, height, width = planes.shape
    count = total if options.planes == "all" else min(total, int(options.planes or DEFAULT_PLANES))
    first = (total - count) // 2
    rows, cols = (slice((n - min(n, MAX_SIDE)) // 2, (n + min(n, MAX_SIDE)) // 2) for n in (height, width))
    if count < total:
        notes.append(f"planes {first} to {first + count - 1} of {total}; --planes all takes every one")
    if max(height, width) > MAX_SIDE:
        notes.append(f"rows {rows.start} to {rows.stop - 1} of {height}, columns {cols.start} to {cols.stop - 1} of {width}")
    window = (slice(first, first + count), rows, cols)
    data = np.stack([planes.plane(z)[rows, cols] for z in range(first, first + count)])
    place = planes.world_from_pixel @ affine((1, 1, 1), (first, rows.start, cols.start))
    chosen = as_planes(
        data[0] if planes.is_2d else data,
        axes=planes.axes + "s" * planes.rgb,
        spacing=planes.spacing,
        units=planes.units,
        world_from_pixel=place,
        name=planes.name,
    )
    return chosen, notes, window


def _read_scribbles(path: str, window: tuple[Any, ...], image: Any) -> Any:
    import numpy as np

    from napari_dinov3.errors import InputError
    from napari_dinov3.io import read

    painted = read(path, kind="labels").planes()
    first, count = window[0].start, len(image)
    inside = painted.shape[1:] == image.shape[1:] and len(painted) == count
    if not inside and (len(painted) < first + count or painted.shape[1] < window[1].stop or painted.shape[2] < window[2].stop):
        raise InputError(
            f"The scribbles have planes, rows, cols {painted.shape}",
            "those of the image",
            "Paint on a labels layer of the image itself",
        )
    if painted.rgb or painted.dtype.kind not in "bui":
        raise InputError(
            f"The scribbles are {'a colour image' if painted.rgb else painted.dtype}",
            "whole numbers, one a pixel",
            "Save the labels layer, not a picture of it",
        )
    wanted = range(count) if inside else range(first, first + count)
    marks = np.stack([painted.plane(z) if inside else painted.plane(z)[window[1:]] for z in wanted])
    if len(np.unique(marks[marks > 0])) < 2:
        raise InputError(
            f"The scribbles hold {len(np.unique(marks[marks > 0]))} classes on the planes that are used",
            "two or more, to tell apart",
            "Paint a second class, or take more planes with --planes all",
        )
    return marks
