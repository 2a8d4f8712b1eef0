"""DINOv3 behind the backbone Protocol: tiles of intensities in, patch features and CLS tokens out.

Grey is replicated to three channels; colours are centred and scaled as the network was trained. A finer grid than the network's
own comes from enlarging the tile (a patch then covers fewer pixels), from averaging over sub-patch shifts (it covers as many,
but patches overlap), or both. A transformer's position code is relative to the tile, so a run keeps one tile size.

References
----------
.. [1] O. Simeoni et al., "DINOv3", arXiv:2508.10104 (2025), doi:10.48550/arXiv.2508.10104.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones import calibration
from napari_dinov3.backbones.base import BackboneFacts, Embedding
from napari_dinov3.backbones.checkpoints import Identity, identify, read_checkpoint
from napari_dinov3.backbones.device import check_choice, choose_device, choose_precision, free_bytes, is_out_of_memory, release
from napari_dinov3.backbones.dinov3_models import STAGE3, ModelSpec, spec_of
from napari_dinov3.backbones.dinov3_network import Network, build_network
from napari_dinov3.backbones.options import BackboneOptions, Flips, Layers, scale_of, stride_of
from napari_dinov3.backbones.sources import Source, require_weights
from napari_dinov3.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = npt.NDArray[np.float32]

_FLIPS: dict[str, tuple[tuple[int, ...], ...]] = {"none": ((),), "horizontal": ((), (2,)), "all": ((), (2,), (1,), (1, 2))}
_BATCH_PIXELS = {"cuda": 1 << 24}  # handed over at once; split further by measured memory
_FEW_PIXELS = 1 << 20
_TILE = 1024
_SAFE_SHARE = 0.8  # of the free memory of a card
_STAGE3_INDEX = 2


class DINOv3:
    """A DINOv3 network with its weights, ready to embed tiles.

    Parameters
    ----------
    facts : BackboneFacts
        Registry entry.
    stride : int
        Image pixels between patch centres: the network's own, a half or a quarter of it.
    weights : path, optional
        File or folder in any of the three formats; by default they are looked for, see
        :mod:`napari_dinov3.backbones.sources`.
    source : str
        Where to look.
    layers : {"last", "four"} or tuple of int
        ``"last"``: the last layer after its LayerNorm, right for most things. ``"four"`` or 0-based blocks: these layers, each
        dimension standardised by :mod:`~napari_dinov3.backbones.calibration`, one after the other; helps with textures.
    scale : {1, 2, 4}, optional
        Enlarge tiles this many times; by default what the stride and the shifts ask for.
    shifts : {1, 2, 4}
        Average over this many sub-patch shifts along each axis (cost grows by its square). What of the finer stride is not
        made by shifts is made by enlarging the tile.
    flips : {"none", "horizontal", "all"}
        Average over mirrored tiles, mirrored back (cost x2, x4).
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision : {"auto", "float32", "bfloat16"}
        ``"auto"``: bfloat16 where the device has it natively.
    batch_size : int, optional
        Tiles passed at once at most; by default as many as the memory holds.
    """

    overlap = 0.25  # of a tile, blended with its neighbours: features near a tile's border know less of their surround

    def __init__(
        self,
        facts: BackboneFacts,
        *,
        stride: int | None = None,
        weights: str | Path | None = None,
        source: Source = "auto",
        layers: Layers = "last",
        scale: int | None = None,
        shifts: int = 1,
        flips: Flips = "none",
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        spec = spec_of(facts.name)
        self.facts = facts
        self.stride = stride_of(facts, stride, BackboneOptions(scale=scale, shifts=shifts))
        self.halo = 0
        self._scale = scale_of(facts, self.stride, shifts)
        self._shifts = shifts
        self._flips = _checked_flips(flips)
        self._layers = _checked_layers(spec, facts, layers)
        self._batch_limit = batch_size
        self._path = require_weights(spec, weights, source=source)
        self._identity = identify(self._path, spec)
        self._device, self.precision = check_choice(device, precision)
        chosen = {"scale": scale, "layers": layers, "shifts": shifts, "flips": flips}
        self.options = BackboneOptions(device=device, precision=precision, weights=weights, source=source, **chosen)  # type: ignore[arg-type]
        self._network: Network | None = None
        self._scaling: tuple[calibration.Scaling, ...] | None = None
        self.spec = spec
        read = "last" if not self._layers else "+".join(map(str, self._layers)) + f"-calibration{calibration.VERSION}"
        # read again by options.options_of
        self.revision = f"{self._identity.fingerprint}-{read}-x{self._scale}-shifts{shifts}-flips-{flips}"

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process without the network, which is loaded there from the same file."""
        return {**self.__dict__, "_network": None}

    @property
    def network(self) -> Network:
        """The network, loaded when first needed: a map that is stored already needs none."""
        if self._network is None:
            device = choose_device(self._device)
            precision = choose_precision(device, self.precision)
            self._network = _load(self.spec, self._path, self._identity, device, precision)
        return self._network

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the numbers come from: weights file, its SHA-256, format, options, device and precision."""
        who = self._identity
        return {
            "weights": self._path.name,
            "layout": who.layout,
            "sha256": who.sha256,
            "fingerprint": who.fingerprint,
            "device": self.network.device,
            "precision": self.network.precision,
            "scale": self._scale,
            "shifts": self._shifts,
            "layers": "last" if not self._layers else list(self._layers),
            "flips": self.options.flips,
        }

    @property
    def tile_size(self) -> int:
        """Side of a tile in image pixels: 1024 of the network's; attention grows with the fourth power of it."""
        return max(self.facts.stride, _TILE // self._scale)

    @property
    def batch_pixels(self) -> int:
        """Pixels worth handing over at once."""
        pixels = _BATCH_PIXELS.get(choose_device(self._device).partition(":")[0], _FEW_PIXELS)
        return max(1, pixels // self._scale**2)

    def width(self, channels: int) -> int:
        """Numbers a patch; the same for grey and RGB."""
        if not self._layers:
            return self.spec.width
        if self.spec.family == "convnext":
            return sum(self.spec.widths[stage] for stage in self._layers)
        return self.spec.width * len(self._layers)

    def embed(self, tiles: FloatArray) -> Embedding:
        """Embed a batch of tiles; see :class:`~napari_dinov3.backbones.base.Backbone`.

        Raises
        ------
        InputError
            If not even one tile fits in the memory of the device.
        """
        if self._layers and self._scaling is None:
            self._scaling = _calibration(self.network, self._layers, self._scale)
        parts: list[tuple[FloatArray, FloatArray]] = []
        start = 0
        while start < len(tiles):
            count = min(self._batch_limit or len(tiles), len(tiles) - start)
            if self._batch_limit is None and self.network.device.startswith("cuda"):
                count = 1  # the first tile is measured, the rest sized by it
            try:
                parts.append(self._forward(tiles[start : start + count]))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(count, tiles.shape[1:3], error)
                continue
            start += count
        patches, cls = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Embedding(patches, cls)

    def _halve(self, count: int, shape: tuple[int, ...], error: BaseException) -> None:
        device = self.network.device
        release(device)
        if count == 1:
            raise InputError(
                f"One tile of {shape[0]}x{shape[1]} pixels does not fit in the memory of {device} with {self.spec.label}",
                f"more than the {free_bytes(device) / 1e9:.1f} GB that are free",
                "Give a smaller tile_size, a smaller model or a coarser stride, or close other programs",
            ) from error
        self._batch_limit = count // 2

    def _forward(self, tiles: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Embed tiles that fit together; measure the memory of the first ones on a card."""
        import torch

        device = self.network.device
        measuring = self._batch_limit is None and device.startswith("cuda")
        if measuring:
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        with torch.inference_mode():
            pixels = _pixels(tiles, self.network, self._scale)
            patches, cls = self._averaged(pixels, (tiles.shape[1] // self.stride, tiles.shape[2] // self.stride))
            result = patches.cpu().numpy(), cls.cpu().numpy()
        if measuring:
            used = max(1, torch.cuda.max_memory_allocated(device) - before) / len(tiles)
            del pixels, patches, cls
            self._batch_limit = max(1, int(_SAFE_SHARE * free_bytes(device) / used))
        return result

    def _averaged(self, pixels: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Average over sub-patch shifts and mirror images; give ``(n, rows, cols, dim)`` of `shape` and the CLS tokens."""
        import torch
        from torch.nn import functional

        patch, step = self.facts.stride, self.facts.stride // self._shifts
        grids, tokens = [], []
        for down in range(self._shifts):
            for right in range(self._shifts):
                moved = pixels
                if self._shifts > 1:  # one patch of margin for every shift, so that all see the same extent
                    top, left = down * step, right * step
                    moved = functional.pad(pixels, (left, patch - left, top, patch - top), mode="replicate")
                grid, cls = self._mirrored(moved)
                # the patch that covers each cell of the fine grid
                at_row = (torch.arange(shape[0], device=grid.device) + down) // self._shifts
                at_col = (torch.arange(shape[1], device=grid.device) + right) // self._shifts
                grids.append(grid[:, at_row][:, :, at_col])
                tokens.append(cls)
        return _mean(grids), _mean(tokens)

    def _mirrored(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        grids, tokens = [], []
        for axes in self._flips:
            grid, cls = self._layers_of(torch.flip(pixels, [axis + 1 for axis in axes]) if axes else pixels)
            grids.append(torch.flip(grid, list(axes)) if axes else grid)
            tokens.append(cls)
        return _mean(grids), _mean(tokens)

    def _layers_of(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        cls, patches, read = self.network.run(pixels, self._layers)
        if not self._layers or self._scaling is None:
            return patches, cls
        scaled = []
        for grid, constants in zip(read, self._scaling, strict=True):
            mean, deviation = (torch.from_numpy(value).to(grid.device) for value in (constants.mean, constants.deviation))
            scaled.append((grid - mean) / deviation)
        return torch.cat(scaled, dim=-1), cls


def _pixels(tiles: FloatArray, network: Network, scale: int) -> Tensor:
    """Bring tiles to ``(n, 3, H, W)`` on the device: centred, scaled, enlarged, padded to whole patches."""
    import torch
    from torch.nn import functional

    batch = torch.from_numpy(np.ascontiguousarray(tiles)).to(network.device)
    batch = batch[:, None].expand(-1, 3, -1, -1) if batch.ndim == 3 else batch.permute(0, 3, 1, 2)
    mean, std = (batch.new_tensor(value)[:, None, None] for value in (network.spec.mean, network.spec.std))
    batch = (batch - mean) / std
    if scale > 1:
        batch = functional.interpolate(batch, scale_factor=scale, mode="bicubic", align_corners=False)
    after = [-side % network.spec.stride for side in batch.shape[2:]]
    if any(after):
        batch = functional.pad(batch, (0, after[1], 0, after[0]), mode="replicate")
    return batch


@lru_cache(maxsize=1)  # it keeps its network alive
def _calibration(network: Network, layers: tuple[int, ...], scale: int) -> tuple[calibration.Scaling, ...]:
    """Measure each layer on the calibration images, one at a time so that it costs no memory worth naming."""
    per_layer: list[list[FloatArray]] = [[] for _ in layers]
    for image in calibration.dead_leaves():
        _, _, read = network.run(_pixels(image[None], network, scale), layers)
        for collected, grid in zip(per_layer, read, strict=True):
            collected.append(grid.cpu().numpy())
    return tuple(calibration.measure(np.concatenate(collected)) for collected in per_layer)


def _mean(tensors: list[Tensor]) -> Tensor:
    """Average tensors one after the other: a stack of all would double the memory."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total / len(tensors)


def _checked_flips(flips: str) -> tuple[tuple[int, ...], ...]:
    if flips not in _FLIPS:
        raise InputError(f"flips={flips!r}", f"one of {', '.join(_FLIPS)}", "Choose one of these")
    return _FLIPS[flips]


def _checked_layers(spec: ModelSpec, facts: BackboneFacts, layers: Layers) -> tuple[int, ...]:
    """Resolve layers; empty for the last one."""
    if facts.name.endswith(STAGE3):
        if layers != "last":
            raise InputError(f"layers={layers} for {facts.name}", "its third stage alone", f"Choose {spec.name} to name stages")
        return (_STAGE3_INDEX,)
    if layers == "last":
        return ()
    chosen: tuple[Any, ...] = spec.four_layers if layers == "four" else tuple(layers)  # any other word becomes its letters
    last = spec.depths[0] - 1 if spec.family == "vit" else len(spec.depths) - 1
    if not chosen or any(not isinstance(layer, int) or not 0 <= layer <= last for layer in chosen):
        named = "'last', 'four'" if spec.four_layers else "'last'"
        raise InputError(f"layers={layers!r} for {spec.label}", f"{named} or numbers 0..{last}", "Choose layers of this network")
    if spec.family == "convnext" and min(chosen) < last:
        raise InputError(f"layers={layers} for {spec.label}", "stages of one stride", f"Choose {facts.name}{STAGE3}")
    return chosen


@lru_cache(maxsize=1)
def _load(spec: ModelSpec, path: Path, identity: Identity, device: str, precision: Literal["float32", "bfloat16"]) -> Network:
    """Read weights and build the network; the last one stays loaded, so that a second run starts at once."""
    checkpoint = read_checkpoint(path, spec)
    if checkpoint.identity != identity:
        raise FileFormatError(f"{path} changed while it was used", "the weights it held before", "Load the backbone again")
    return build_network(spec, checkpoint, device=device, precision=precision)
