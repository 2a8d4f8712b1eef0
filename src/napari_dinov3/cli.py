"""The command line ``napari-dinov3``: one subcommand a file in :mod:`napari_dinov3.commands`, each loaded when it is used.

Results and tables go to standard output, progress and messages to standard error. Exit status: 0 all went well, 1 a part of
what was asked could not be done (said on standard error), 2 a wrong input (three lines: what, what was expected, what to try),
130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from napari_dinov3 import __version__
from napari_dinov3.errors import FallbackWarning, IllPosedWarning, InputError

COMMANDS = {
    "demo": "run the whole main job on a made-up stack or on your own image, and look at it",
    "experiments": "redo the reference tables of features, segmentation and registration",
    "backbones": "list what can turn an image into features",
    "download": "fetch the weights of a DINOv3 network",
    "info": "say what a file is: axes, size, type, spacing, memory",
    "convert": "read any image this package knows and write it as another format",
    "extract": "write the features of an image",
    "segment": "learn classes from scribbles and label every pixel",
    "apply": "apply a saved probe to many stacks: labels, and one row of results a file",
    "evaluate": "measure labels against reference labels",
    "compare": "compare backbones and heads on your labels, held out by plane",
    "transfer": "train on one data set, test on another: the matrix of all pairs",
    "classify": "learn classes of whole images, or give new images theirs",
    "discover": "find what stands out, without labels (TokenCut)",
    "sweep": "score TokenCut at every tau against known objects: a table and a plot",
    "objects": "make objects of labels or of a probability, and measure them",
    "classify-objects": "give every object a class, from a few examples",
    "align": "align the planes of a stack to each other",
    "run": "replay a recipe",
}
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(words)
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        with _plain_warnings():
            status: int = _module(options.command).run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except InputError as error:
        if options.traceback:
            raise
        action = error.action.replace("pass overwrite=True", "add --overwrite")  # the words of the terminal
        print(f"{error.problem}\nExpected: {error.expected}\nTry: {action}", file=sys.stderr)
        return 2


class _Help(argparse.HelpFormatter):
    """Name the default of an option where there is one to speak of."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        spoken = action.option_strings and action.default not in (None, False, argparse.SUPPRESS)
        return f"{action.help} (default: %(default)s)" if spoken else action.help


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; only the command that was named adds its options, so that help comes at once."""
    parser = argparse.ArgumentParser(
        prog="napari-dinov3",
        allow_abbrev=False,
        description=("See, segment, discover and align brain images with self-supervised patch features."),
    )
    parser.add_argument("--version", action="version", version=f"napari-dinov3 {__version__}")
    parser.set_defaults(command=None, traceback=False)
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    named = next((word for word in words if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        one = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False, formatter_class=_Help
        )
        one.add_argument("--traceback", action="store_true", help="show where in the program an error arose")
        if name == named:
            _module(name).add_arguments(one)
    return parser


def _module(command: str) -> Any:
    return importlib.import_module(f"napari_dinov3.commands.{command.replace('-', '_')}")


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings meant for users as one line, without file names and code."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if category.__module__.startswith("napari_dinov3"):
                print(f"Note: {message}", file=sys.stderr)
            else:
                shown(message, category, *rest, **more)

        warnings.showwarning = show
        for category in (FallbackWarning, IllPosedWarning):
            warnings.simplefilter("always", category)
        yield


if __name__ == "__main__":
    sys.exit(main())
