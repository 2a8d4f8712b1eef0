"""``napari-dinov3 sweep IMAGES TRUTH``: TokenCut at tau 0.1 to 0.9, scored against known objects; a table and a plot."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinov3.commands.arguments import add_channel, add_features, check_out, extract_config
from napari_dinov3.commands.terminal import note, run_job, say
from napari_dinov3.errors import InputError
from napari_dinov3.wording import counted

if TYPE_CHECKING:
    from napari_dinov3.evaluate.corloc import Truth
    from napari_dinov3.features.feature_map import FeatureMap

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".nii", ".nii.gz", ".nrrd")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("images", metavar="IMAGES", help="an image or stack, or a folder of images")
    parser.add_argument(
        "truth",
        metavar="TRUTH",
        help="labels of the image (0 is background); or a folder of labels, or of Pascal VOC .xml files, with the images' names",
    )
    add_channel(parser)
    add_features(parser)
    parser.add_argument("--taus", default="0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9", metavar="N[,N...]", help="cosines to try")
    parser.add_argument("--rules", default="paper", choices=("paper", "one-click"), help="of masks: see the docs on Discover")
    parser.add_argument("--drop-difficult", action="store_true", help="leave out objects that VOC marks as difficult")
    parser.add_argument("--table", metavar="FILE", help="also write the table (.csv or .md)")
    parser.add_argument("--plot", metavar="FILE", help="also draw it (.png, .svg or .pdf); needs matplotlib")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> int:
    """Sweep over tau."""
    from dataclasses import asdict

    from napari_dinov3.discover.tokencut import ONE_CLICK
    from napari_dinov3.evaluate.tau_sweep import figure_class, tau_sweep_steps

    taus = _taus(options.taus)
    check_out(options.table, options.plot, overwrite=options.overwrite)
    if options.table and Path(options.table).suffix.lower() not in (".csv", ".md"):
        raise InputError(f"--table {options.table}", "a name that ends in .csv or .md", "Change the ending")
    if options.plot:
        figure_class()
    pairs = list(_pairs(Path(options.images), Path(options.truth), drop_difficult=options.drop_difficult))
    truths = [truth for _, of_image in pairs for truth in of_image]
    rules: dict[str, Any] = {} if options.rules == "paper" else {**asdict(ONE_CLICK), "refine": 0.0}
    maps = (_features(path, len(of_image), options) for path, of_image in pairs)
    sweep = run_job(tau_sweep_steps(maps, truths, taus=taus, **rules), title="sweep")
    say(sweep.markdown())
    say(f"Best tau: {sweep.best:g}")
    if options.table:
        text = sweep.csv() if options.table.lower().endswith(".csv") else sweep.markdown()
        Path(options.table).write_text(text, encoding="utf-8")
        say(f"Wrote {options.table}")
    if options.plot:
        sweep.save_plot(options.plot)
        say(f"Wrote {options.plot}")
    return 0


def _features(path: Path, planes: int, options: argparse.Namespace) -> FeatureMap:
    from napari_dinov3.io import read
    from napari_dinov3.progress import collect

    config = extract_config(options)
    features: FeatureMap = collect(config.steps(read(path)))
    if len(features) != planes:
        raise InputError(
            f"{path.name} has {counted(len(features), 'plane')}, its reference {planes}", "the same", "Check which files belong"
        )
    return features


def _pairs(images: Path, truth: Path, *, drop_difficult: bool) -> Iterator[tuple[Path, list[Truth]]]:
    """Find each image and what is known of its planes."""
    from napari_dinov3.evaluate.corloc import Truth, read_voc_boxes

    for path in (images, truth):
        if not path.exists():
            raise InputError(f"There is no {path}", "a file or folder that exists", "Check the path")
    if truth.suffix.lower() == ".xml" or (truth.is_dir() and any(truth.glob("*.xml"))):
        known = read_voc_boxes(truth, difficult="drop" if drop_difficult else "keep")
        found = _by_name(images)
        both = sorted(set(known) & set(found))
        _tell(len(both), len(known), "annotations", images)
        for name in both:
            yield found[name], [Truth(known[name])]
    elif images.is_dir():
        known_labels, found = _by_name(truth), _by_name(images)
        both = sorted(set(known_labels) & set(found))
        _tell(len(both), len(known_labels), "label images", images)
        for name in both:
            yield found[name], _planes_of(known_labels[name])
    else:
        yield images, _planes_of(truth)


def _planes_of(path: Path) -> list[Truth]:
    from napari_dinov3.evaluate.corloc import Truth
    from napari_dinov3.image import as_planes
    from napari_dinov3.io import read

    planes = as_planes(read(path))
    return [Truth.from_labels(planes.plane(index)) for index in range(len(planes))]


def _by_name(path: Path) -> dict[str, Path]:
    """Find the images of a folder by their names without ending."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {_stem(file): file for file in files if file.name.lower().endswith(ENDINGS)}


def _stem(file: Path) -> str:
    ending = max((ending for ending in ENDINGS if file.name.lower().endswith(ending)), key=len)
    return file.name[: -len(ending)]


def _tell(both: int, known: int, what: str, images: Path) -> None:
    if not both:
        raise InputError(
            f"None of the {known} {what} has the name of an image in {images}",
            "images and references of the same names",
            "Check the two folders",
        )
    if both < known:
        note(f"{known - both} of {known} {what} have no image and are left out")


def _taus(text: str) -> tuple[float, ...]:
    try:
        taus = tuple(float(part) for part in text.split(","))
    except ValueError:
        taus = ()
    if not taus or not all(-1 <= tau <= 1 for tau in taus):
        raise InputError(
            f"--taus {text}", "cosines between -1 and 1 with commas between them", "Write for example --taus 0.2,0.4"
        )
    return taus
