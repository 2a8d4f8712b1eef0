"""Single pictures (PNG, JPEG, BMP, GIF's first frame) through Pillow.

Grey stays grey and colour becomes RGB; palettes are looked up, alpha is dropped. A 16-bit colour PNG is refused, because
Pillow would cut it to 8 bits without a word.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm")
_MOST_EXPANSION = 1100  # deflate reaches 1032
_ALWAYS_FINE = 1 << 26
# values a byte: deflate at one bit a pixel, LZW with its longest words, one or two bits for a block of 8 x 8, bytes as they are
_MOST_PACKED = {"PNG": 8 * _MOST_EXPANSION, "GIF": 8_000, "JPEG": 1_000, "BMP": 2_000}
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_GREY_TYPES = {"1": "u1", "L": "u1", "LA": "u1", "La": "u1", "I;16": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}
_GREY_MODES: dict[str, np.dtype[Any]] = {mode: np.dtype(name) for mode, name in _GREY_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Header:
    """Shape and type of a picture, known without decoding it.

    Parameters
    ----------
    rows, cols : int
        Size.
    rgb : bool
        Whether pixels are colours once read.
    dtype : numpy.dtype
        Once read.
    """

    rows: int
    cols: int
    rgb: bool
    dtype: np.dtype[Any]


def read_header(path: Path) -> Header:
    """Read shape and type only."""
    with _opened(path) as picture:
        grey = _GREY_MODES.get(picture.mode)
        return Header(picture.height, picture.width, grey is None, grey or np.dtype("u1"))


def read_picture(path: Path, *, rgb: bool | None = None) -> npt.NDArray[Any]:
    """Read a picture whole.

    Parameters
    ----------
    path : Path
        Of the file.
    rgb : bool, optional
        Ask for colours even of a grey file; as stored by default.

    Returns
    -------
    pixels : (rows, cols) or (rows, cols, 3)

    Raises
    ------
    FileFormatError
        If it cannot be decoded.
    """
    with _opened(path) as picture:
        if picture.mode not in _GREY_MODES:
            return np.asarray(picture.convert("RGB"))
        mode = {"1": "L", "LA": "L", "La": "L"}.get(picture.mode)
        pixels = np.asarray(picture.convert(mode) if mode else picture)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return np.repeat(pixels[..., None], 3, axis=-1) if rgb else pixels


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from PIL import Image

    _refuse_deep_colour(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large sections are normal; the error at twice stays
            with Image.open(path) as picture:
                _refuse_empty_claims(path, picture)
                yield picture
    except FileFormatError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ValueError ... on damaged files
        raise FileFormatError(
            f"{path.name} cannot be read as a picture: {error}",
            "a whole PNG, JPEG, BMP or GIF file",
            "Copy it again; save very large pictures as tiled TIFF",
        ) from error


def _refuse_empty_claims(path: Path, picture: Any) -> None:
    """Refuse a size that the compression could not have packed into the file, before Pillow makes room for it."""
    claimed, packed = picture.width * picture.height * len(picture.getbands()), path.stat().st_size
    most = _MOST_PACKED.get(picture.format)
    if most is not None and claimed > max(_ALWAYS_FINE, packed * most):
        raise FileFormatError(
            f"{path.name} claims {picture.width:,} x {picture.height:,} pixels in {packed:,} bytes",
            "a whole picture",
            "Copy it again",
        )


def _refuse_deep_colour(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError as error:
        raise FileFormatError(f"{path} cannot be opened: {error}", "a file that can be read", "Check the path") from error
    if head.startswith(_PNG_MAGIC) and len(head) == 26 and head[24] == 16 and head[25] in (2, 6):
        raise FileFormatError(
            f"{path.name} is a colour PNG of 16 bits a channel",
            "8 bits a channel, or TIFF",
            "Save it as TIFF, so that nothing is cut to 8 bits",
        )
