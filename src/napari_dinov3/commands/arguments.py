"""Options that several commands share, and how they become configs and recipes."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinov3.commands.network_options import add_network, network_options
from napari_dinov3.errors import InputError

if TYPE_CHECKING:
    from napari_dinov3.io.image_file import ImageFile
    from napari_dinov3.recipe import ExtractConfig, ReadConfig, Recipe


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the path of the image and how to read it."""
    parser.add_argument("path", metavar="PATH", help="image file, or folder of slices")
    parser.add_argument("--series", type=int, default=0, help="which image, where a file holds several")
    parser.add_argument("--dataset", help="which data set of an HDF5 file, array of an .npz file, or folder of an OME-Zarr image")
    parser.add_argument("--axes", help="one letter an axis out of t z c y x s, where the file does not say")
    parser.add_argument("--spacing", metavar="N[,N...]", help="distance between neighbours on t, z, y, x (or y, x)")
    parser.add_argument("--units", type=_words, metavar="UNIT[,UNIT...]", help="of the spacing, such as micrometer")


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a channel and of a pyramid level."""
    parser.add_argument("--channel", type=int, help="which channel, where there are several")
    parser.add_argument("--level", type=int, default=0, help="pyramid level, 0 the finest")


def add_region(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a part of the image."""
    parser.add_argument(
        "--region",
        metavar="ROW,COL,END_ROW,END_COL",
        help="only this rectangle, in pixels of the finest level; nothing else is read, and results lie where it lies",
    )


def region_of(options: argparse.Namespace) -> tuple[float, float, float, float] | None:
    """Take the four numbers of ``--region``, or None for the whole image."""
    if getattr(options, "region", None) is None:
        return None
    try:
        row, col, end_row, end_col = (float(part) for part in options.region.split(","))
    except ValueError:
        raise InputError(
            f"--region {options.region}",
            "four numbers with commas between them: first row, first column, end row, end column",
            "Write for example --region 0,0,512,512",
        ) from None
    return row, col, end_row, end_col


def add_features(parser: argparse.ArgumentParser) -> None:
    """Add the options of extraction."""
    parser.add_argument("--backbone", default="auto", help="see `napari-dinov3 backbones`")
    parser.add_argument("--stride", type=int, help="pixels between patch centres; the backbone's own by default")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="memory the features may take")
    add_network(parser)


def add_writing(parser: argparse.ArgumentParser, what: str) -> None:
    """Add where results go."""
    parser.add_argument("out", metavar="OUT", help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--recipe", metavar="FILE", help="also write what was done as a recipe (.json), to replay with `run`")


def read_config(options: argparse.Namespace) -> ReadConfig:
    """Collect the reading options."""
    from napari_dinov3.recipe import ReadConfig

    return ReadConfig(
        path=options.path,
        series=options.series,
        dataset=options.dataset,
        axes=options.axes,
        spacing=_numbers(options.spacing),
        units=options.units,
    )


def read_image(options: argparse.Namespace) -> ImageFile:
    """Open the image that the options name."""
    from napari_dinov3.io import read

    return read(**read_config(options).options())


def extract_config(options: argparse.Namespace) -> ExtractConfig:
    """Collect the options of extraction."""
    from napari_dinov3.recipe import ExtractConfig

    return ExtractConfig(
        backbone=options.backbone,
        stride=options.stride,
        memory_gb=options.memory_gb,
        channel=options.channel,
        level=options.level,
        region=region_of(options),
        **network_options(options),
    )


def check_out(*paths: str | None, overwrite: bool) -> None:
    """Refuse places that cannot be written to before any work is done."""
    from napari_dinov3.io.atomic import check_target

    given = [path for path in paths if path]
    for path in given:
        check_target(path, overwrite=overwrite)
    if len({Path(path).absolute() for path in given}) < len(given):
        raise InputError(f"The same name twice: {', '.join(given)}", "a name of its own for each result", "Change one of them")


@contextlib.contextmanager
def results_folder(out: str | None, *, default: str, overwrite: bool) -> Iterator[Path]:
    """Make a folder for results, see :func:`make_folder`, and take it away again where work that fails leaves it empty."""
    before = out is not None and Path(out).expanduser().exists()
    folder = make_folder(out, default=default, overwrite=overwrite)
    try:
        yield folder
    except BaseException:
        if not before:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
        raise


def make_folder(out: str | None, *, default: str, overwrite: bool) -> Path:
    """Make a folder for results.

    Parameters
    ----------
    out : str, optional
        Its name; without one the first free of `default`, `default`-2, -3 ... in the current folder is taken.
    default : str
        See there.
    overwrite : bool
        Whether it may hold something already.

    Raises
    ------
    InputError
        If a named folder holds something already, or cannot be made.
    """
    if out is None:
        names = itertools.chain([default], (f"{default}-{number}" for number in itertools.count(2)))
        folder = next(path for path in map(Path, names) if not path.exists()).absolute()
    else:
        folder = Path(out).expanduser().absolute()
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not overwrite):
            raise InputError(
                f"{folder} holds something already", "a new or empty folder", "Give another one with --out, or add --overwrite"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be made: {error}", "a place you may write to", "Give another one with --out"
        ) from error
    return folder


def run_and_keep(recipe: Recipe, options: argparse.Namespace, *, title: str) -> dict[str, Any]:
    """Run a recipe under a progress bar, and write it down if asked; returns its results by name."""
    from napari_dinov3.commands.terminal import run_job
    from napari_dinov3.recipe import run_recipe_steps, save_recipe

    check_out(options.recipe, overwrite=options.overwrite)
    results = run_job(run_recipe_steps(recipe), title=title)
    if options.recipe:
        save_recipe(options.recipe, relative_to(recipe, Path(options.recipe).absolute().parent), overwrite=options.overwrite)
    return results


def relative_to(recipe: Recipe, folder: Path) -> Recipe:
    """Count a recipe's paths from the folder it is kept in, so that both can be moved together."""
    steps = []
    for step in recipe.steps:
        near = {name: _near(getattr(step.config, name), folder) for name in step.config.paths}
        steps.append(replace(step, config=replace(step.config, **near)) if near else step)
    return replace(recipe, steps=tuple(steps))


def _near(path: Any, folder: Path) -> Any:
    if not path or isinstance(path, tuple):
        return tuple(_near(one, folder) for one in path) if path else path
    absolute = Path(path).expanduser().absolute()
    try:
        return Path(os.path.relpath(absolute, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return str(absolute)


def _numbers(text: str | None) -> float | tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--spacing {text}", "numbers with commas between them", "Write for example --spacing 50,4,4") from None
    return values[0] if len(values) == 1 else values


def _words(text: str) -> str | tuple[str, ...]:
    values = tuple(part.strip() for part in text.split(","))
    return values[0] if len(values) == 1 else values
