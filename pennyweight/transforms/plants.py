"""Plants: a small model given the outliers of a large one, so that methods named for outliers can be tried.

    A  a norm's gain × f on some channels, its readers' columns ÷ f      breaks rounded activations; undone by folding
       the norm, AWQ, SmoothQuant
    B  rows of keys × f on a rotary pair, rows of queries ÷ f            breaks rounded keys; undone by smoothing
    C  a producer's rows × f, its reader's columns ÷ f (v/o, up/down)    breaks rounded values and down_proj's inputs
    T  a constant in some channels of the embedding                      breaks all that rounds activations; undone by
       rotation, smoothing
    G  a random share of single weights × f                              breaks rounded weights; outliers stored apart

A, B and C keep the model's function; T and G make a new model, which needs a reference of its own.
A and C are the same rewrite, between different layers. Everything returns new tensors.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pennyweight.core.errors import BadRequest
from pennyweight.transforms.scaling import divide_outputs, scale_columns

if TYPE_CHECKING:
    import torch


def enlarge_channels(
    producer: "torch.Tensor", consumers: Sequence["torch.Tensor"], channels: Sequence[int], factor: float
) -> "tuple[torch.Tensor, list[torch.Tensor]]":
    """Plants A and C: what passes between producer and consumers is `factor` times as large on `channels`.

    Args:
        producer: a norm's gain (columns,) or a weight (columns, inputs).
        consumers: weights (rows, columns).
    """
    import torch

    scale = torch.ones(producer.shape[0], device=producer.device)
    scale[list(channels)] = 1 / factor
    return divide_outputs(producer, scale), [scale_columns(weight, scale) for weight in consumers]


def enlarge_keys(
    query: "torch.Tensor", key: "torch.Tensor", heads: tuple[int, int], pair: int, factor: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Plant B: both channels of rotary pair `pair` of every key head × factor, those of the query heads ÷ factor.

    Args:
        query, key: weights (heads · head_length, columns) whose heads rotate in halves, without head norms.
        heads: query heads, key-value heads.
    """
    import torch

    length = key.shape[0] // heads[1]
    if not 0 <= pair < length // 2:
        raise BadRequest(f"plant B: rotary pairs are 0 to {length // 2 - 1}, got {pair}")
    of_head = torch.ones(length, device=key.device)
    of_head[[pair, pair + length // 2]] = factor
    return divide_outputs(query, of_head.repeat(heads[0])), divide_outputs(key, 1 / of_head.repeat(heads[1]))


def offset_embedding(embedding: "torch.Tensor", channels: Sequence[int], offset: float) -> "torch.Tensor":
    """Plant T without training: `offset` added, with alternating sign, to `channels` of every row (tokens, hidden)."""
    planted = embedding.clone()
    for place, channel in enumerate(channels):
        planted[:, channel] += offset * (-1) ** place
    return planted


def enlarge_weights(weight: "torch.Tensor", share: float, factor: float, seed: int) -> "torch.Tensor":
    """Plant G: a random `share` of single weights × factor."""
    import torch

    chosen = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < share
    return torch.where(chosen.to(weight.device), weight * factor, weight)
