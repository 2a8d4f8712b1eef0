"""``napari-dinov3 download NAME``: fetch the weights of a DINOv3 network; stopped, it goes on the next time."""

from __future__ import annotations

import argparse

from napari_dinov3.commands.terminal import run_job, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("name", metavar="NAME", help="such as dinov3-vits16plus; see `napari-dinov3 backbones`")
    parser.add_argument(
        "--source",
        choices=("auto", "mirror", "meta"),
        default="auto",
        help="the ungated mirror, or Meta's repository, which needs a token and granted access; auto: the first to give them",
    )
    parser.add_argument("--folder", help="where to put the files; by default where they are found again")


def run(options: argparse.Namespace) -> int:
    """Fetch weights."""
    from napari_dinov3.backbones.dinov3_models import LICENCE, LICENCE_URL, spec_of
    from napari_dinov3.backbones.download import download_steps
    from napari_dinov3.backbones.registry import backbone_facts
    from napari_dinov3.errors import InputError

    if backbone_facts(options.name).kind != "dinov3":
        raise InputError(f"{options.name} has no weights", "the name of a DINOv3 network", "It is ready as it is")
    spec = spec_of(options.name)
    say(f"{spec.label}, {spec.megabytes:,.0f} MB. {LICENCE}. {LICENCE_URL}")
    say(f"Wrote {run_job(download_steps(options.name, source=options.source, folder=options.folder), title='download')}")
    return 0
