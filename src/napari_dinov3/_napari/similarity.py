"""The similarity layer of a viewer: the visible plane at once, the others in a job, one layer that follows the clicks.

The layer shows an array that the job fills plane by plane; the next click replaces it
(:class:`~napari_dinov3._napari.owned.OwnedLayer`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.jobs import FeatureRequest, outward
from napari_dinov3._napari.layers import pixel_at
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.provenance import provenance
from napari_dinov3._napari.results import add_patches
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.views import standardisation
from napari_dinov3.progress import Job, Progress
from napari_dinov3.recipe import SimilarityConfig

LOOK: dict[str, Any] = {"colormap": "inferno", "contrast_limits": (0, 1), "opacity": 0.6}


@dataclass(slots=True, eq=False)
class Filling:
    """Similarity to one place, filled plane by plane.

    Parameters
    ----------
    features : FeatureMap
        Compared.
    config : SimilarityConfig
        The place, in image coordinates.
    array : (planes, rows, cols) float32
        0 where not computed yet.
    done : set of int
        Planes that hold their answer.
    """

    features: FeatureMap
    config: SimilarityConfig
    array: npt.NDArray[np.float32]
    done: set[int] = field(default_factory=set)

    def compute(self, plane: int) -> None:
        """Compare one plane."""
        self.array[plane] = self.features.similarity(**self.config.options(), planes=[plane])[0]
        self.done.add(plane)


class SimilarityView:
    """Show similarity to clicked places.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._filling: Filling | None = None
        self._unit: tuple[FeatureMap, int, npt.NDArray[np.float32]] | None = None
        self.owned = OwnedLayer(viewer)

    @property
    def filling(self) -> Filling | None:
        """What the last click asked for."""
        return self._filling

    def pick(self, request: FeatureRequest, features: FeatureMap, world: Any) -> SimilarityConfig:
        """Show the similarity to the patch at a world position, in the visible plane.

        Parameters
        ----------
        request : FeatureRequest
            Of the image that was clicked.
        features : FeatureMap
            Its features.
        world : floats
            Position in the viewer's world.

        Raises
        ------
        InputError
            If the position lies outside the image.
        """
        plane, row, col = pixel_at(request.source, world)
        config = SimilarityConfig(plane=int(np.clip(round(plane), 0, len(features) - 1)), row=row, col=col)
        filling = Filling(features, config, np.zeros((len(features), *features.grid), np.float32))
        filling.array[request.visible] = self._visible_cosine(filling, request.visible)
        filling.done.add(request.visible)
        self._filling = filling
        self._show(request, filling)
        return config

    def rest_steps(self, visible: int) -> Job[Filling]:
        """Compare the other planes, from the visible one outward."""
        filling = self._filling
        assert filling is not None  # there is no rest without a pick
        for plane in outward(len(filling.array), visible):
            if plane not in filling.done:
                yield Progress(len(filling.done), len(filling.array), f"similarity in plane {plane + 1} of {len(filling.array)}")
                filling.compute(plane)
        return filling

    def _visible_cosine(self, filling: Filling, visible: int) -> npt.NDArray[np.float32]:
        """Compare the plane in view, kept as unit vectors from one click to the next: a drag costs one product each time."""
        features, at = filling.features, filling.config
        if self._unit is None or self._unit[0] is not features or self._unit[1] != visible:
            self._unit = (features, visible, unit_vectors(features, features.plane(visible)))
        unit = self._unit[2]
        row, col = features.patch_at(at.row, at.col)
        if at.plane == visible:
            direction = unit[row, col]
        else:
            direction = unit_vectors(features, features.plane(at.plane)[row : row + 1, col : col + 1])[0, 0]
        cosine: npt.NDArray[np.float32] = unit @ direction
        return cosine

    def _show(self, request: FeatureRequest, filling: Filling) -> None:
        placement = request.source.placement
        settings = {**request.config.options(), **filling.config.options()}
        metadata = provenance("similarity", source=placement.name, settings=settings, features=filling.features.provenance)

        def add() -> Any:
            return add_patches(self._viewer, placement, filling.features, filling.array, name=f"{placement.name} similarity",
                               metadata=metadata, **LOOK)

        self.owned.show(placement.arrange(filling.array), belongs_to=request.place, metadata=metadata, add=add)


def unit_vectors(features: FeatureMap, patches: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring patches to unit length, standardised as :meth:`FeatureMap.similarity` does, so that a product is their cosine.

    Parameters
    ----------
    features : FeatureMap
        Whose standardisation counts.
    patches : (rows, cols, dim) float32
        Patches of it.
    """
    mean, spread = standardisation(features)
    vectors: npt.NDArray[np.float32] = (patches - mean) / spread
    vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return vectors
