"""The similarity layer of a viewer: the visible plane at once, the others in a job, one layer that follows the clicks.

The layer shows an array that the job fills plane by plane; the next click replaces it
(:class:`~napari_dinov3._napari.owned.OwnedLayer`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

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

UNIT_PLANES = 3  # the plane in view and its neighbours
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


class UnitPlanes:
    """Unit vectors of the last few planes that were looked at, so that a click costs one product.

    A worker may prepare them (:meth:`get` in a job) before the click comes.
    """

    def __init__(self) -> None:
        self._features: ref[FeatureMap] | None = None
        self._planes: OrderedDict[int, npt.NDArray[np.float32]] = OrderedDict()

    def get(self, features: FeatureMap, plane: int) -> npt.NDArray[np.float32]:
        """Give the unit vectors of a plane, ``(rows, cols, dim)``; made where they are not there."""
        if self._features is None or self._features() is not features:
            self._features, self._planes = ref(features), OrderedDict()
        planes = self._planes  # of this map; a worker that still prepares another one fills its own
        found = planes.get(plane)
        if found is None:
            found = planes[plane] = unit_vectors(features, features.plane(plane))
            while len(planes) > UNIT_PLANES:
                planes.popitem(last=False)
        return found


class SimilarityView:
    """Show similarity to clicked places.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    owned : OwnedLayer, optional
        Of an earlier panel of the viewer.
    """

    def __init__(self, viewer: Any, owned: OwnedLayer | None = None) -> None:
        self._viewer = viewer
        self._filling: Filling | None = None
        self._unit = UnitPlanes()
        self.owned = owned or OwnedLayer(viewer)

    @property
    def filling(self) -> Filling | None:
        """What the last click asked for."""
        return self._filling

    def prepare(self, features: FeatureMap, plane: int) -> None:
        """Do what a first click in a plane would wait for; for a worker thread."""
        self._unit.get(features, plane)

    def pick(
        self,
        request: FeatureRequest,
        features: FeatureMap,
        world: Any,
        *,
        code: Callable[[SimilarityConfig], str] = lambda config: "",
    ) -> SimilarityConfig:
        """Show the similarity to the patch at a world position, in the visible plane.

        Parameters
        ----------
        request : FeatureRequest
            Of the image that was clicked.
        features : FeatureMap
            Its features.
        world : floats
            Position in the viewer's world.
        code : callable, optional
            Writes the Python that makes the layer, for its metadata.

        Raises
        ------
        InputError
            If the position lies outside the image.
        """
        plane, row, col = pixel_at(request.source, world)
        config = SimilarityConfig(plane=int(np.clip(round(plane), 0, len(features) - 1)), row=round(row, 2), col=round(col, 2))
        filling = Filling(features, config, np.zeros((len(features), *features.grid), np.float32))
        filling.array[request.visible] = self._visible_cosine(filling, request.visible)
        filling.done.add(request.visible)
        self._filling = filling
        self._show(request, filling, code(config))
        return config

    def rest_steps(self, visible: int) -> Job[Filling]:
        """Compare the other planes, from the visible one outward."""
        filling = self._filling
        assert filling is not None  # there is no rest without a pick
        order = outward(len(filling.array), visible)
        for plane in order:
            if plane not in filling.done:
                yield Progress(len(filling.done), len(filling.array), f"similarity in plane {plane + 1} of {len(filling.array)}")
                filling.compute(plane)
        for plane in order[:UNIT_PLANES]:  # the next click may be in a neighbour
            yield Progress(len(filling.array), len(filling.array), "ready for the next click")
            self.prepare(filling.features, plane)
        return filling

    def _visible_cosine(self, filling: Filling, visible: int) -> npt.NDArray[np.float32]:
        """Compare the plane in view, kept as unit vectors from one click to the next: a drag costs one product each time."""
        features, at = filling.features, filling.config
        unit = self._unit.get(features, visible)
        row, col = features.patch_at(at.row, at.col)
        if at.plane == visible:
            direction = unit[row, col]
        else:
            direction = unit_vectors(features, features.plane(at.plane)[row : row + 1, col : col + 1])[0, 0]
        cosine: npt.NDArray[np.float32] = unit @ direction
        return cosine

    def _show(self, request: FeatureRequest, filling: Filling, code: str) -> None:
        placement = request.source.placement
        settings = {**request.config.options(), **filling.config.options()}
        metadata = provenance(
            "similarity", source=placement.name, settings=settings, script=code, features=filling.features.provenance
        )

        def add() -> Any:
            return add_patches(
                self._viewer,
                placement,
                filling.features,
                filling.array,
                name=f"{placement.name} similarity",
                metadata=metadata,
                **LOOK,
            )

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
