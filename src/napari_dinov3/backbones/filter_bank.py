"""Classical multi-scale features on a fine grid: the offline default for real work.

Gaussian, gradient magnitude, Hessian eigenvalues (sigma 0.5 to 16) and structure-tensor eigenvalues (sigma 1 to 8), averaged
over cells of the grid. Derivatives are scale-normalised (multiplied by sigma, sigma squared), so that numbers of all scales
are of like size and safe in float16. Large scales are computed on a smaller image, where they cost little: sigma is at least 2
of its pixels, and away from the border the Gaussian of an image of 0..1 is within 0.005 of the one computed in full.

Tiles give the same features as the whole image, bit for bit, where each starts at a multiple of 8 pixels and has `halo`
pixels of true context around what is kept.

References
----------
.. [1] T. Lindeberg, "Feature detection with automatic scale selection", IJCV 30 (1998), doi:10.1023/A:1008045108935.
.. [2] I. Arganda-Carreras et al., "Trainable Weka Segmentation", Bioinformatics 33 (2017), doi:10.1093/bioinformatics/btx180.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_dinov3.backbones.base import BackboneFacts, Embedding
from napari_dinov3.cores import threads

FloatArray = npt.NDArray[np.float32]

SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_TENSOR_SIGMAS = (1.0, 2.0, 4.0, 8.0)
# Scale to the factor by which the image is shrunk for it. Measured on 15 real sets of labels: the scores of a kernel probe are
# the same as with less shrinking, at 0.7 of the time.
_SHRINK = {4.0: 2, 8.0: 4, 16.0: 4}
_TRUNCATE = 3.0
_GRID_ALIGN = 8


class FilterBank:
    """Multi-scale filter responses averaged on a grid.

    Parameters
    ----------
    facts : BackboneFacts
        Registry entry.
    stride : int
        Pixels a grid cell: 1, 2 (default), 4 or 8.
    """

    def __init__(self, facts: BackboneFacts, *, stride: int = 2) -> None:
        self.facts = facts
        self.stride = stride
        reach = max(SIGMAS) * _TRUNCATE + 3 * max(_SHRINK.values())
        self.halo = int(np.ceil(reach / _GRID_ALIGN) * _GRID_ALIGN)
        self.revision = "filter-bank-2"

    def width(self, channels: int) -> int:
        """Numbers a patch for an image of 1 or 3 channels."""
        return channels * (4 * len(SIGMAS) + 2 * len(_TENSOR_SIGMAS))

    def embed(self, tiles: FloatArray) -> Embedding:
        """Embed a batch of tiles; see :class:`~napari_dinov3.backbones.base.Backbone`."""
        if tiles.ndim == 3:
            tiles = tiles[..., None]
        count, height, width, channels = tiles.shape
        cells = (height // self.stride, width // self.stride)
        out = np.empty((count, *cells, self.width(channels)), np.float32)
        per_channel = self.width(1)
        jobs = [
            (tiles[n, :, :, c], sigma, out[n, :, :, c * per_channel + first : c * per_channel + last])
            for n in range(count)
            for c in range(channels)
            for sigma, first, last in _slots()
        ]
        with ThreadPoolExecutor(threads()) as pool:
            list(pool.map(lambda job: self._one_scale(*job), jobs))
        return Embedding(out, None)

    def _one_scale(self, image: FloatArray, sigma: float, out: FloatArray) -> None:
        shrink = _SHRINK.get(sigma, 1)
        for index, response in enumerate(_responses(_shrunk(image, shrink), sigma, shrink)):
            out[..., index] = _on_grid(response, shrink, self.stride, out.shape[:2])


def blurred_intensities(dim: int, *, smallest: float = 1.0, largest: float = 8.0) -> npt.NDArray[np.bool_]:
    """Say which numbers of a patch are Gaussian-blurred intensities.

    Parameters
    ----------
    dim : int
        Numbers a patch: of a grey or an RGB image.
    smallest, largest : float
        Scales wanted, pixels.

    Returns
    -------
    chosen : (dim,) bool
    """
    chosen = np.zeros(_slots()[-1][2], bool)
    chosen[[first for sigma, first, _ in _slots() if smallest <= sigma <= largest]] = True
    return np.tile(chosen, dim // len(chosen))


def _slots() -> list[tuple[float, int, int]]:
    slots, first = [], 0
    for sigma in SIGMAS:
        last = first + (6 if sigma in _TENSOR_SIGMAS else 4)
        slots.append((sigma, first, last))
        first = last
    return slots


def _responses(image: FloatArray, sigma: float, shrink: int) -> list[FloatArray]:
    """Filter one scale; sigma is in pixels of the full image, derivatives are scale-normalised."""
    local = sigma / shrink
    smooth = _gaussian(image, local)
    d_row, d_col = _gradient(smooth, 0), _gradient(smooth, 1)
    rr, rc, cc = _gradient(d_row, 0), _gradient(d_row, 1), _gradient(d_col, 1)
    square = np.float32(local * local)
    edge = np.sqrt(d_row * d_row + d_col * d_col) * np.float32(local)
    found = [smooth, edge, *_eigenvalues(rr * square, rc * square, cc * square)]
    if sigma in _TENSOR_SIGMAS:
        row, col = _gradient(image, 0), _gradient(image, 1)
        tensor = [_gaussian(product, local) * square for product in (row * row, row * col, col * col)]
        found += [np.sqrt(np.maximum(value, 0)) for value in _eigenvalues(*tensor)]
    return found


def _gaussian(image: FloatArray, sigma: float) -> FloatArray:
    smoothed: FloatArray = ndimage.gaussian_filter(image, sigma, output=np.float32, mode="nearest", truncate=_TRUNCATE)
    return smoothed


def _gradient(image: FloatArray, axis: int) -> FloatArray:
    if image.shape[axis] < 2:
        return np.zeros_like(image)
    return np.gradient(image, axis=axis)


def _eigenvalues(rr: FloatArray, rc: FloatArray, cc: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Larger and smaller eigenvalue of symmetric 2x2 matrices."""
    half_sum = (rr + cc) * np.float32(0.5)
    half_difference = (rr - cc) * np.float32(0.5)
    radius = np.sqrt(half_difference * half_difference + rc * rc)  # hypot guards against overflow that 0..1 cannot cause
    return half_sum + radius, half_sum - radius


def _shrunk(image: FloatArray, factor: int) -> FloatArray:
    if factor == 1:
        return image
    pad = [(0, -size % factor) for size in image.shape]
    if any(after for _, after in pad):
        image = np.pad(image, pad, mode="edge")
    return _block_mean(image, factor)


def _block_mean(image: FloatArray, factor: int) -> FloatArray:
    rows, cols = image.shape[0] // factor, image.shape[1] // factor
    image = image[: rows * factor, : cols * factor]
    down = image[::factor].copy()  # sums of strided views: several times faster than a mean over two axes of a reshaped array
    for row in range(1, factor):
        down += image[row::factor]
    mean = down[:, ::factor].copy()
    for col in range(1, factor):
        mean += down[:, col::factor]
    mean *= np.float32(1.0 / factor**2)
    return mean


def _on_grid(response: FloatArray, shrink: int, stride: int, cells: tuple[int, int]) -> FloatArray:
    """Average a response on the grid, or interpolate it where the grid is finer than the shrunken image."""
    if shrink == stride:
        return response[: cells[0], : cells[1]]
    if shrink < stride:
        return _block_mean(response, stride // shrink)[: cells[0], : cells[1]]
    for axis in (0, 1):
        centre = (np.arange(cells[axis]) + 0.5) * stride / shrink - 0.5
        low = np.clip(np.floor(centre).astype(int), 0, max(response.shape[axis] - 2, 0))
        high = np.minimum(low + 1, response.shape[axis] - 1)
        part = np.clip(centre - low, 0, 1).astype(np.float32)
        part = part[:, None] if axis == 0 else part
        response = np.take(response, low, axis) * (1 - part) + np.take(response, high, axis) * part
    return response
