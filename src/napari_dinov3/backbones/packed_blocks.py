"""Transformer blocks for a processor that multiplies bfloat16 natively: the same numbers in half the time.

Each block of transformers' network is replaced by one that holds its weights once, packed for oneDNN in bfloat16: query, key and
value as one product, the layer scales and the attention's scale multiplied into the weights, the activation done by the product
that feeds it. The residual stream and the LayerNorms stay float32. PyTorch's fused attention uses bfloat16 products only where
there are tile registers (AMX); elsewhere attention is written out here, some queries at a time, so that the scores stay in the
processor's cache. Scores are logarithms to base 2, and their exponentials are taken as they are, without the maximum of each row
that softmax takes away first: that is two passes less, and where a sum then leaves the range of numbers, the maximum is taken.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from napari_dinov3.backbones.device import has_tiles

if TYPE_CHECKING:
    from torch import Tensor, nn

_SCORES = 1 << 19  # of one head at a time: fewer make the products inefficient, more leave the caches
_FEW_TOKENS = 512  # up to here all heads at once are quicker than one after the other
_SAFE_SUMS = 1e-30, 1e30  # of exponentials: far from where bfloat16 ends, 1e-38 and 3e38
_TYPICAL_TOKENS = 1029  # of a 512-pixel tile; what the packing is laid out for, any other number works


@lru_cache(maxsize=1)
def can_pack() -> bool:
    """Ask whether this PyTorch packs weights for oneDNN, by trying a small product."""
    generator = torch.Generator().manual_seed(0)
    weight, rows = (torch.randn(32, 32, generator=generator).bfloat16() for _ in range(2))
    try:
        with torch.inference_mode():
            got = _Product(weight, None)(rows)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool(torch.allclose(got.float(), rows.float() @ weight.float().T, atol=0.2))


class _Product:
    """``x @ weight.T + bias`` in bfloat16, with an activation where one is named."""

    __slots__ = ("_activation", "_algorithm", "_bias", "_weight")

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none") -> None:
        packed: Any = torch.ops.mkldnn._reorder_linear_weight
        self._weight = packed(weight.bfloat16().contiguous(), _TYPICAL_TOKENS)
        self._bias = None if bias is None else bias.bfloat16()
        self._activation, self._algorithm = activation, "none" if activation == "gelu" else ""

    def __call__(self, tokens: Tensor) -> Tensor:
        product: Any = torch.ops.mkldnn._linear_pointwise
        result: Tensor = product(tokens, self._weight, self._bias, self._activation, [], self._algorithm)
        return result


class Rotation:
    """Turn queries and keys by their position, with tables that are made once a pass."""

    def __init__(self) -> None:
        self._made_of: Tensor | None = None
        self._cos = self._sin = torch.empty(0)

    def __call__(self, vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Turn ``(n, heads, tokens, dim)``; `cos` and `sin` are ``(patches, dim)``, tokens before the patches stay."""
        half = vectors.shape[-1] // 2
        if self._made_of is not cos:
            prefix = vectors.shape[-2] - len(cos)
            signed = torch.cat([-sin[:, :half], sin[:, half:]], dim=-1)
            self._cos = functional.pad(cos, (0, 0, prefix, 0), value=1.0).bfloat16()
            self._sin = functional.pad(signed, (0, 0, prefix, 0)).bfloat16()
            self._made_of = cos
        swapped = torch.cat([vectors[..., half:], vectors[..., :half]], dim=-1)
        return torch.addcmul(vectors * self._cos, swapped, self._sin)


class PackedBlock(torch.nn.Module):
    """One transformer block, called as transformers calls its own.

    Parameters
    ----------
    block : DINOv3ViTLayer
        Whose weights are packed.
    heads : int
        Of the attention.
    turn : callable
        Turns queries and keys by their position; one for all blocks of a network.
    """

    def __init__(self, block: Any, heads: int, turn: Rotation) -> None:
        super().__init__()
        self._turn = turn
        self.norm1, self.norm2, self.heads = block.norm1, block.norm2, heads
        self._query_key_value = _fused_attention_input(block.attention, heads)
        self._out = _scaled(block.attention.o_proj, block.layer_scale1.lambda1)
        self._down = _scaled(block.mlp.down_proj, block.layer_scale2.lambda1)
        self.gated = hasattr(block.mlp, "gate_proj")
        up, gate = block.mlp.up_proj, getattr(block.mlp, "gate_proj", None)
        if gate is None:
            self._up = _Product(up.weight, up.bias, "gelu")
        else:
            bias = None if up.bias is None else torch.cat([gate.bias, up.bias])
            self._up = _Product(torch.cat([gate.weight, up.weight]), bias)

    def forward(self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **options: Any) -> Tensor:
        """Pass ``(n, tokens, width)`` float32 through attention and feed-forward layer."""
        attended = self._attend(self.norm1(hidden_states).bfloat16(), *position_embeddings)
        hidden_states = hidden_states + self._out(attended)
        inner = self._up(self.norm2(hidden_states).bfloat16())
        if self.gated:
            gate, up = inner.chunk(2, dim=-1)
            inner = functional.silu(gate) * up
        return hidden_states.add_(self._down(inner))

    def _attend(self, tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        count, length, width = tokens.shape
        parts = self._query_key_value(tokens).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).contiguous()
        query, key = self._turn(query, cos, sin), self._turn(key, cos, sin)
        if has_tiles():
            output = functional.scaled_dot_product_attention(query, key, value, scale=math.log(2))
        else:
            output = attend(query, key, value)
        return output.transpose(1, 2).reshape(count, length, width)


def pack_blocks(blocks: nn.ModuleList, heads: int) -> None:
    """Replace blocks one by one, so that the network is never in memory twice."""
    turn = Rotation()
    with torch.inference_mode():
        for index, block in enumerate(blocks):
            blocks[index] = PackedBlock(block, heads, turn)


def _fused_attention_input(attention: Any, heads: int) -> _Product:
    layers = attention.q_proj, attention.k_proj, attention.v_proj
    scale = (layers[0].weight.shape[0] // heads) ** -0.5 / math.log(2)  # scores to base 2
    weight = torch.cat([layers[0].weight * scale, layers[1].weight, layers[2].weight])
    if all(layer.bias is None for layer in layers):
        return _Product(weight, None)
    biases = [torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias for layer in layers]
    return _Product(weight, torch.cat([biases[0] * scale, *biases[1:]]))


def _scaled(layer: Any, scale: Tensor) -> _Product:
    """Multiply a layer's output scale into its weights."""
    bias = None if layer.bias is None else layer.bias * scale
    return _Product(layer.weight * scale[:, None], bias)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Average values with weights ``2 ** (query @ key.T)``, each row of weights brought to sum 1.

    Parameters
    ----------
    query, key, value : (n, heads, tokens, dim) bfloat16
        The scale is in the queries already.

    Returns
    -------
    output : (n, heads, tokens, dim) bfloat16
        Of attention.
    """
    output, sums = _weighted(query, key, value, from_maximum=False)
    low, high = (float(end) for end in torch.aminmax(sums))
    if not (low > _SAFE_SUMS[0] and high < _SAFE_SUMS[1]):  # not a number too
        output, sums = _weighted(query, key, value, from_maximum=True)
    return output.div_(sums)


def _weighted(query: Tensor, key: Tensor, value: Tensor, *, from_maximum: bool) -> tuple[Tensor, Tensor]:
    """Sum values by their weights, and the weights; some queries at a time, of as many heads as there are threads."""
    length, output = query.shape[-2], torch.empty_like(query)
    sums = query.new_empty((*query.shape[:-1], 1))
    rows = -(-length // max(1, round(length**2 / _SCORES)))
    step = query.shape[1] if length <= _FEW_TOKENS else torch.get_num_threads()
    for image in range(len(query)):
        for head in range(0, query.shape[1], step):
            part = image, slice(head, head + step)
            keys, values = key[part].transpose(-1, -2), value[part]
            for start in range(0, length, rows):
                block = (*part, slice(start, start + rows))
                weights = torch.bmm(query[block], keys)
                if from_maximum:
                    weights -= weights.amax(dim=-1, keepdim=True)
                torch.sum(weights.exp2_(), dim=-1, keepdim=True, out=sums[block])
                torch.bmm(weights, values, out=output[block])
    return output, sums
