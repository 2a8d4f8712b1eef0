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
        filling.compute(request.visible)
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

    def _show(self, request: FeatureRequest, filling: Filling) -> None:
        placement = request.source.placement
        settings = {**request.config.options(), **filling.config.options()}
        metadata = provenance("similarity", source=placement.name, settings=settings, features=filling.features.provenance)

        def add() -> Any:
            return add_patches(self._viewer, placement, filling.features, filling.array, name=f"{placement.name} similarity",
                               metadata=metadata, **LOOK)

        self.owned.show(placement.arrange(filling.array), belongs_to=request.place, metadata=metadata, add=add)
