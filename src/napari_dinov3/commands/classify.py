"""``napari-dinov3 classify``: learn classes of whole images, or give new images the classes of a saved model."""

from __future__ import annotations

import argparse

from napari_dinov3.commands.arguments import check_out, results_folder
from napari_dinov3.commands.terminal import note, run_job, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="to learn: a folder with a folder for each class, or a table (.csv) with the columns file, label and perhaps "
        "plane and group; with --model: images, or folders of them",
    )
    parser.add_argument("--model", metavar="FILE", help="do not learn: use this model (.npz)")
    parser.add_argument("--out", help="folder for model, tables and pictures; with --model a table (.csv)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--backbone", default="auto", help="see `napari-dinov3 backbones`")
    parser.add_argument("--stride", type=int, help="pixels between patch centres; 8 for the filter bank by default")
    parser.add_argument("--size", type=int, default=512, help="longest side in pixels; larger images are shrunk")
    parser.add_argument(
        "--pooling", default="auto", choices=("auto", "cls", "cls+mean", "mean", "mean+std"), help="what is pooled"
    )
    parser.add_argument(
        "--colour", default="auto", choices=("auto", "grey", "rgb"), help="auto: colours where every image has them, else grey"
    )
    parser.add_argument("--channel", type=int, help="which channel, where there are several")
    parser.add_argument("--C", type=float, default=1.0, help="inverse strength of the L2 penalty")
    parser.add_argument(
        "--scaling",
        default="standardize",
        choices=("standardize", "none"),
        help="of the vectors; none with --pooling cls is the plain linear test",
    )
    parser.add_argument("--balanced", action="store_true", help="give rare classes the same weight as common ones")
    parser.add_argument("--folds", type=int, default=5, help="images of one group are held out together")
    parser.add_argument("--seed", type=int, default=0, help="order in which groups are dealt to folds")


def run(options: argparse.Namespace) -> int:
    """Learn, or predict."""
    return _predict(options) if options.model else _learn(options)


def _learn(options: argparse.Namespace) -> int:
    from napari_dinov3.errors import InputError, MissingDependencyError
    from napari_dinov3.recipe.image_run import classify_images_steps

    if len(options.images) != 1:
        raise InputError(f"{len(options.images)} places to learn from", "one folder of classes, or one table", "Give one of them")
    with results_folder(options.out, default="napari-dinov3-classes", overwrite=options.overwrite) as folder:
        job = classify_images_steps(
            options.images[0],
            backbone=options.backbone,
            stride=options.stride,
            size=options.size,
            pooling=options.pooling,
            colour=options.colour,
            channel=options.channel,
            C=options.C,
            class_weight="balanced" if options.balanced else None,
            scaling=options.scaling,
            folds=options.folds,
            rng=options.seed,
        )
        found = run_job(job, title="classify")
        say(found.to_markdown())
        try:
            found.save(folder, overwrite=options.overwrite)
        except MissingDependencyError as error:
            note(f"Without pictures: {error}")
        for path in sorted(folder.iterdir()):
            say(f"Wrote {path}")
    return _name_failed(dict(found.vectors.failed))


def _predict(options: argparse.Namespace) -> int:
    from napari_dinov3.io.atomic import write_text
    from napari_dinov3.recipe.image_run import predict_images_steps

    check_out(options.out, overwrite=options.overwrite)
    found = run_job(predict_images_steps(options.model, options.images), title="classify")
    if options.out:
        say(f"Wrote {write_text(options.out, found.to_csv(), overwrite=options.overwrite)}")
    else:
        say(found.to_csv().rstrip())
    return _name_failed(dict(found.failed))


def _name_failed(failed: dict[str, str]) -> int:
    for path, reason in failed.items():
        note(f"Left out: {path}: {reason}")
    return 1 if failed else 0
