"""Whether anything stands out: patches in groups, or one cloud as in noise of the same texture.

A graph has a best cut whatever it is made of, and that of a structureless cloud can be as well posed as any: it halves the cloud
across its longest axis. So the cut itself is judged. Patches are projected on the axis that joins its two sides; in groups they
lie there in heaps, in noise as a normal distribution. How far from normal chance alone would take them depends on how coarse the
texture is, and on how many features there are to choose an axis from; it is seen in surrogates, the same features with their
Fourier phases scrambled, alike for all features: every correlation between places and between features stays, all else goes.
The surrogates are cut the same way.

References
----------
.. [1] D. Prichard and J. Theiler, "Generating surrogate data for time series with several simultaneously measured variables",
   Phys. Rev. Lett. 73 (1994), doi:10.1103/PhysRevLett.73.951.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import FloatArray, build_affinity_steps, normalise_rows
from napari_dinov3.discover.cut import Clarity, CutOptions, NormalisedCut
from napari_dinov3.discover.ncut import guess_from, smallest_eigenpairs_steps
from napari_dinov3.errors import IllPosedWarning
from napari_dinov3.parallel import one_library_thread
from napari_dinov3.progress import collect
from napari_dinov3.wording import counted

SAMPLED_PATCHES = 400
SURROGATES = 3


def clarity(
    plane: FloatArray, valid: npt.NDArray[np.bool_], tau: float, options: CutOptions, *, rng: np.random.Generator | int = 0
) -> Clarity:
    """Judge what stands out of a plane.

    Parameters
    ----------
    plane : (rows, cols, dim) float32
        Features as they are compared: scaled, not yet of length 1.
    valid : (rows, cols) bool
        Patches to count.
    tau : float
        Threshold of the cut that is judged.
    options : CutOptions
        Its weighting and epsilon. With a number for tau the question is not asked: answering it costs as much as the cut of 1,024
        patches, and who gives tau has looked at the image.
    rng : numpy.random.Generator or int
        For the phases.

    Notes
    -----
    At most 400 patches are looked at, every so-many-th of each axis, so that the four graphs cost little beside the cut.
    """
    if options.tau != "auto":
        return Clarity(math.nan, math.nan)
    step = max(1, math.ceil(math.sqrt(valid.size / SAMPLED_PATCHES)))
    sample = np.asarray(plane[step // 2 :: step, step // 2 :: step], np.float32)
    counted = valid[step // 2 :: step, step // 2 :: step]
    if np.count_nonzero(counted) < 2 or not math.isfinite(tau):
        return Clarity(0.0, 0.0)
    sample = np.where(counted[..., None], sample, sample[counted].mean(axis=0))
    sample = sample[..., sample.any(axis=(0, 1))]
    generator = np.random.default_rng(rng)
    with one_library_thread():
        distance = _distance(sample[counted], tau, options)
        null = [_distance(scrambled(sample, generator)[counted], tau, options) for _ in range(SURROGATES)] if distance else [0.0]
    return Clarity(distance, max(null))


def scrambled(features: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Scramble the Fourier phases of a (rows, cols, dim) map, alike for all features; means, spectra and correlations stay."""
    shape = features.shape[:2]
    phases = np.fft.rfft2(rng.standard_normal(shape))
    phases /= np.maximum(np.abs(phases), 1e-12)
    phases[0, 0] = 1
    spectrum = np.fft.rfft2(features, axes=(0, 1)) * phases[..., None]
    return np.fft.irfft2(spectrum, s=shape, axes=(0, 1)).astype(np.float32)


def _distance(patches: FloatArray, tau: float, options: CutOptions) -> float:
    """Cut (n, dim) patches, project them on the axis of the cut, and measure how far they are from a normal distribution."""
    unit = normalise_rows(patches)
    affinity = collect(build_affinity_steps(unit, tau=tau, weighting=options.weighting, epsilon=options.epsilon))
    vector = collect(smallest_eigenpairs_steps(affinity, 2, start=guess_from(unit))).vectors[:, 0]
    if not vector.any():
        return 0.0
    centred = patches - patches.mean(axis=0)
    along = centred @ (centred.T @ (vector - vector.mean()))
    spread = float(along.std())
    return _from_normal(along / spread) if spread > 0 else 0.0


def _from_normal(values: FloatArray) -> float:
    from scipy.special import ndtr

    normal = ndtr(np.sort(values).astype(np.float64))
    steps = np.arange(len(values) + 1) / len(values)
    return float(max(np.max(steps[1:] - normal), np.max(normal - steps[:-1])))


def warn_if_ill_posed(cut: NormalisedCut) -> None:
    """Say of which planes the mask is arbitrary, and why."""
    arbitrary = np.flatnonzero(~cut.well_posed)
    if not len(arbitrary):
        return
    plane = arbitrary[0]
    if not cut.valid[plane].any():
        why = "no patch has a finite feature"
    elif cut.density[plane] in (0, 1) and cut.options.tau == "auto":
        why = "its patches do not differ, or no two are alike, whatever tau is"
    elif cut.density[plane] == 0:
        why = "no two patches are linked: lower tau"
    elif cut.density[plane] == 1:
        why = "all patches are linked: raise tau, or the plane is uniform"
    else:
        first, second = [*cut.eigenvalues[plane], np.nan][:2]
        why = f"its second and third eigenvalue nearly coincide ({first:.4g}, {second:.4g}): try another tau"
    what = "nothing is marked there" if not cut.eigenvectors[arbitrary].any() else "its mask is arbitrary"
    warnings.warn(
        f"The cut is ill posed on {len(arbitrary)} of {counted(len(cut), 'plane')}, so {what}. Plane {plane}: {why}.",
        IllPosedWarning,
        stacklevel=3,
    )
