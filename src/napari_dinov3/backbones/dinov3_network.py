"""The network itself: transformers' modules with a checkpoint's weights, read at any layer.

Outputs are read by hooks on the blocks, because what transformers calls ``hidden_states`` has changed its meaning between
versions; the last layer is ``last_hidden_state``, which has always had the final LayerNorm.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_dinov3.backbones.checkpoints import Checkpoint, fill
from napari_dinov3.backbones.dinov3_models import PATCH, REGISTERS, ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A loaded network on its device.

    Parameters
    ----------
    spec : ModelSpec
        Which one.
    module : DINOv3ViTModel or DINOv3ConvNextModel
        In evaluation mode: in training mode the rotary coordinates are randomly rescaled.
    device : str
        Where it is.
    precision : {"float32", "bfloat16"}
        Of matrix products and convolutions; everything else is float32.
    packed : bool
        Whether the blocks do their own bfloat16, see :mod:`napari_dinov3.backbones.packed_blocks`.
    """

    spec: ModelSpec
    module: nn.Module
    device: str
    precision: Literal["float32", "bfloat16"]
    packed: bool = False

    def blocks(self) -> Any:
        """List the transformer blocks, or the stages of a ConvNeXt."""
        inner: Any = getattr(self.module, "model", self.module)  # transformers 5 put an encoder in between
        return inner.layer if self.spec.family == "vit" else inner.stages

    def run(self, pixels: Tensor, layers: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Pass a batch through the network.

        Parameters
        ----------
        pixels : (n, 3, H, W) float32 tensor
            On the device, already centred and scaled; sides whole multiples of the stride.
        layers : tuple of int
            0-based blocks (stages) to read on the way.

        Returns
        -------
        cls : (n, width) float32
            CLS token after the final LayerNorm; of a ConvNeXt the mean of the last stage, normalised the same way.
        patches : (n, rows, cols, width) float32
            Last layer after the final LayerNorm.
        read : list of (n, rows, cols, width) float32
            The chosen layers; a transformer's through the final LayerNorm, as in the original evaluation.
        """
        import torch

        with torch.inference_mode(), self._autocast(), _reading(self.blocks(), layers) as seen:
            tokens = self.module(pixel_values=pixels).last_hidden_state.float()
            read = [self._grid(seen[layer], pixels) for layer in layers]
        prefix = 1 + REGISTERS if self.spec.family == "vit" else 1
        rows, cols = (side // self.spec.stride for side in pixels.shape[2:])
        return tokens[:, 0], tokens[:, prefix:].unflatten(1, (rows, cols)), read

    def _grid(self, output: Tensor, pixels: Tensor) -> Tensor:
        if self.spec.family == "convnext":
            return output.float().permute(0, 2, 3, 1)
        norm: Any = self.module.norm
        rows, cols = (side // PATCH for side in pixels.shape[2:])
        normed: Tensor = norm(output.float())[:, 1 + REGISTERS :].float()
        return normed.unflatten(1, (rows, cols))

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        if self.precision == "float32" or self.packed:
            return contextlib.nullcontext()
        autocast: contextlib.AbstractContextManager[Any] = torch.autocast(self.device.partition(":")[0], dtype=torch.bfloat16)
        return autocast


@contextlib.contextmanager
def _reading(blocks: Any, layers: tuple[int, ...]) -> Iterator[dict[int, Tensor]]:
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        def hook(module: object, inputs: object, output: Any) -> None:
            seen[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def build_module(spec: ModelSpec) -> nn.Module:
    """Build transformers' module of a network without weights (on the meta device, so at no cost)."""
    from napari_dinov3.backbones.triton_guard import keep_triton_out

    keep_triton_out()
    import torch
    import transformers

    if spec.family == "convnext":
        config: Any = transformers.DINOv3ConvNextConfig(**spec.config_options())
        with torch.device("meta"):
            module: Any = transformers.DINOv3ConvNextModel(config)
        return module
    config = transformers.DINOv3ViTConfig(**spec.config_options())
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        module = transformers.DINOv3ViTModel(config)
    # the only buffer, not kept in checkpoints, has to be computed for real
    module.rope_embeddings = type(module.rope_embeddings)(config)
    return module


def build_network(spec: ModelSpec, checkpoint: Checkpoint, *, device: str, precision: Literal["float32", "bfloat16"]) -> Network:
    """Build a network and fill it with a checkpoint.

    Parameters
    ----------
    spec, checkpoint
        Which network, and its weights.
    device, precision
        From :mod:`napari_dinov3.backbones.device`.

    Raises
    ------
    FileFormatError
        If the checkpoint does not fit.
    """
    import torch

    module = build_module(spec)
    linear_dtype: torch.dtype | None = torch.bfloat16 if precision == "bfloat16" else None
    fill(module, checkpoint, spec, linear_dtype=linear_dtype)
    module.requires_grad_(False).eval().to(device)
    network = Network(spec, module, device, precision, packed=_packs(spec, device, precision))
    if network.packed:
        from napari_dinov3.backbones.packed_blocks import pack_blocks

        pack_blocks(network.blocks(), spec.heads)
    return network


def _packs(spec: ModelSpec, device: str, precision: str) -> bool:
    """Whether the blocks are to be packed: vision transformers in bfloat16 on a processor."""
    if spec.family != "vit" or device != "cpu" or precision != "bfloat16":
        return False
    from napari_dinov3.backbones.packed_blocks import can_pack

    return can_pack()
