"""Files that appear whole or not at all: written beside their place, then renamed; never over an existing one unasked."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from napari_dinov3.errors import InputError


def check_target(path: str | Path, *, overwrite: bool = False) -> Path:
    """Refuse a place that cannot be written to, before any work is done.

    Parameters
    ----------
    path : path-like
        Where a file or folder is to be written.
    overwrite : bool
        Whether an existing one may be replaced.

    Returns
    -------
    path : Path
        Absolute.

    Raises
    ------
    InputError
        If it exists and may not be replaced, or its folder does not exist.
    """
    target = Path(path).expanduser().absolute()
    if not target.name:
        raise InputError(f"{path} is not a file name", "a path that ends in a name", "Add a file name")
    if target.suffix.lower() == ".npy" and not target.exists():
        check_target(target.with_name(f"{target.name}.json"), overwrite=overwrite)  # its facts go there
    if target.exists() and not overwrite:
        raise InputError(
            f"{target} exists", "a new file: nothing is overwritten unasked", "Choose another name, or pass overwrite=True"
        )
    if not target.parent.is_dir():
        raise InputError(f"The folder {target.parent} does not exist", "an existing folder", "Create it, or correct the path")
    return target


@contextlib.contextmanager
def written_whole(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a name beside `path` to write to, and move it into place when the block ends well.

    Parameters
    ----------
    path, overwrite
        As in :func:`check_target`.

    Yields
    ------
    part : Path
        A free name in the same folder, with the same extensions. Whatever stands there is removed if the block fails or is
        cancelled.
    """
    target = check_target(path, overwrite=overwrite)
    part = target.with_name(f".part-{secrets.token_hex(4)}-{target.name}")
    try:
        yield part
        _move(part, target, overwrite)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise InputError(
                f"{target} exists", "a new file: nothing is overwritten unasked", "Choose another name, or pass overwrite=True"
            ) from error
        raise InputError(
            f"{target} cannot be written: {error}", "a folder with room and the right to write in it", "Choose another folder"
        ) from error
    finally:
        _remove(part)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> Path:
    """Write a UTF-8 text file whole.

    Returns
    -------
    path : Path
        Absolute.
    """
    with written_whole(path, overwrite=overwrite) as part:
        part.write_text(text, "utf-8", newline="\n")
    return Path(path).expanduser().absolute()


def _move(part: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        if part.is_dir() and target.exists():
            old = target.with_name(f".old-{secrets.token_hex(4)}-{target.name}")
            target.rename(old)
            part.rename(target)
            _remove(old)
        else:
            os.replace(part, target)
        return
    if part.is_dir():
        if target.exists():
            raise FileExistsError(target)
        part.rename(target)
        return
    try:
        os.link(part, target)  # unlike a rename, fails where another program has made the file meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        os.replace(part, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
