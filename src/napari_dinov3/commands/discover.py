"""``napari-dinov3 discover IMAGE OUT``: find what stands out in every plane, without labels (TokenCut)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Literal

from napari_dinov3.commands.arguments import (
    add_channel,
    add_features,
    add_reading,
    add_region,
    add_writing,
    check_out,
    extract_config,
    read_config,
    region_of,
    run_and_keep,
)
from napari_dinov3.commands.terminal import say
from napari_dinov3.errors import InputError
from napari_dinov3.wording import counted

if TYPE_CHECKING:
    from napari_dinov3.recipe import TaskConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading(parser)
    add_writing(parser, "masks to write, such as masks.ome.tif")
    add_channel(parser)
    add_region(parser)
    add_features(parser)
    parser.add_argument("--tau", default="auto", help="cosine above which patches are linked, or auto")
    parser.add_argument(
        "--stack",
        choices=("planes", "matched", "joint"),
        help="cut every plane for itself, matched to the one before, or all together so that objects keep their side; "
        "joint with --objects",
    )
    parser.add_argument(
        "--window", type=int, metavar="PLANES", help="with --stack joint: link only patches of planes at most so far apart"
    )
    parser.add_argument(
        "--objects",
        choices=("pieces", "maskcut", "clusters"),
        help="write labels instead of masks: the pieces of the mask, objects found by repeated cuts, or clusters of all patches",
    )
    parser.add_argument("--rounds", type=int, default=3, help="most objects of --objects maskcut")
    parser.add_argument(
        "--clusters", default="auto", metavar="N", help="how many --objects clusters makes; auto: by the eigengap"
    )
    parser.add_argument(
        "--bipartition",
        choices=("mean", "median", "gap", "otsu"),
        help="where the eigenvector is split; by default otsu with --tau auto, mean with a number",
    )
    parser.add_argument(
        "--side",
        choices=("seed", "border", "bright", "dark"),
        help="which side is the object; by default the one off the border with --tau auto, the seed's with a number",
    )
    parser.add_argument(
        "--component",
        choices=("seed", "largest", "all"),
        help="which pieces stay; by default all with --tau auto, the seed's with a number",
    )
    parser.add_argument(
        "--refine",
        type=float,
        metavar="PIXELS",
        help="how far outlines may move to edges of the image, "
        "0 to leave them on patches; by default they follow edges with --tau auto",
    )
    parser.add_argument("--opening", type=float, default=0.0, help="radius in patches; drops specks")
    parser.add_argument("--closing", type=float, default=0.0, help="radius in patches; bridges gaps")
    parser.add_argument("--fill-holes", action="store_true", help="enclosed background joins the mask")
    parser.add_argument("--invert", action="store_true", help="take the other side")
    parser.add_argument("--boxes", metavar="FILE", help="also write the boxes as a table (.csv or .json)")


def run(options: argparse.Namespace) -> int:
    """Discover objects."""
    from napari_dinov3.io import write
    from napari_dinov3.recipe import Recipe, Step, WriteConfig

    check_out(options.out, options.boxes, overwrite=options.overwrite)
    config = _objects_config(options) if options.objects in ("maskcut", "clusters") else _cut_config(options)
    wanted = f"{config.output}.{'masks' if options.objects is None else 'labels'}"
    recipe = Recipe(
        (
            Step(read_config(options)),
            Step(extract_config(options)),
            Step(config),
            Step(WriteConfig(path=options.out, kind="labels", overwrite=options.overwrite), inputs=(wanted, "features")),
        )
    )
    result = run_and_keep(recipe, options, title="discover")[config.output]
    names = ["row0", "col0", "row1", "col1"]
    if config.output == "objects":
        names.insert(0, "label")
    found = [(plane, box) for plane, boxes in enumerate(result.boxes) for box in boxes]
    rows = [{"plane": plane, **dict(zip(names, map(int, box), strict=True))} for plane, box in found]
    if options.boxes:
        write(options.boxes, rows or {name: [] for name in ("plane", *names)}, overwrite=options.overwrite)
    cut = result.cut
    what = counted(result.count, "object") if config.output == "objects" else counted(len(rows), "piece")
    one = "; the cut is clear" if cut.clear.all() else ""
    decided = one if len(cut) == 1 else f"; the cut is clear in {int(cut.clear.sum())} of them"
    say(f"{what} in {counted(len(cut), 'plane')}{decided}")
    unclear = int((cut.well_posed & ~cut.clear).sum())
    if unclear:
        say(f"In {counted(unclear, 'plane')} nothing stands out: the patches are spread as in noise of the same texture")
    guessed = config.output == "cut" and result.options.side == "border" and int((result.clear & ~result.surrounded).sum())
    if guessed:
        where = f"In {counted(guessed, 'plane')}"
        say(f"{where} both sides reach the border, so which one is the object is a guess; --invert turns it")
    say(f"Wrote {options.out}")
    return 0


def _cut_config(options: argparse.Namespace) -> TaskConfig:
    from napari_dinov3.recipe import TokenCutConfig

    return TokenCutConfig(
        tau=_tau(options.tau),
        stack=options.stack or "planes",
        window=options.window,
        bipartition=options.bipartition,
        side=options.side,
        component=options.component,
        opening=options.opening,
        closing=options.closing,
        fill_holes=options.fill_holes,
        invert=options.invert,
        refine=options.refine,
        memory_gb=options.memory_gb,
        channel=options.channel,
        level=options.level,
        region=region_of(options),
    )


def _objects_config(options: argparse.Namespace) -> TaskConfig:
    """Collect the options of many objects; those of masks count for repeated cuts only."""
    from napari_dinov3.recipe import ClustersConfig, MaskCutConfig

    unused = ("refine",) if options.objects == "maskcut" else ("refine", "bipartition", "side", "component")
    for name in unused:
        if getattr(options, name) is not None:
            raise InputError(
                f"--{name} with --objects {options.objects}",
                "labels of whole patches" if name == "refine" else "an option of masks, which clusters do not make",
                f"Leave out --{name}, or use --objects pieces",
            )
    common = {
        "tau": _tau(options.tau),
        "stack": options.stack or "joint",
        "window": options.window,
        "memory_gb": options.memory_gb,
    }
    if options.objects == "clusters":
        return ClustersConfig(clusters=_clusters(options.clusters), **common)
    chosen = {name: getattr(options, name) for name in ("bipartition", "side", "component")}
    return MaskCutConfig(
        rounds=options.rounds,
        opening=options.opening,
        closing=options.closing,
        fill_holes=options.fill_holes,
        invert=options.invert,
        **common,
        **{name: value for name, value in chosen.items() if value is not None},
    )


def _clusters(text: str) -> int | Literal["auto"]:
    try:
        return "auto" if text == "auto" else int(text)
    except ValueError:
        raise InputError(f"--clusters {text}", "a whole number, 2 or more, or auto", "Leave it out for auto") from None


def _tau(text: str) -> float | Literal["auto"]:
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise InputError(
            f"--tau {text}", "a cosine between -1 and 1, or auto", "Leave it out for auto, or write for example 0.3"
        ) from None
