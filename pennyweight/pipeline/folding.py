"""Scales of a transform, found from statistics and folded between the tensors of a block: the function stays the same.

    y = W (s · (x / s)),  x / s folded into whatever gives x, W · s into the columns of what reads it

A pair that cannot be folded (values and output under grouped-query attention) is left alone.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pennyweight.methods.statistics import Statistics
from pennyweight.models.linears import ScalePair
from pennyweight.pipeline.block_weights import BlockWeights
from pennyweight.pipeline.scales import FindScale

if TYPE_CHECKING:
    import torch


def can_fold(pair: ScalePair, weights: BlockWeights) -> bool:
    """Whether the block has the pair, and shapes that let scales through."""
    if pair.source not in weights or any(name not in weights for name in pair.targets):
        return False
    _, source_rows, source_columns = weights.shape(pair.source)
    outputs = source_columns if pair.source.endswith("_norm.weight") else source_rows
    return not pair.equal_shapes or outputs == weights.shape(pair.targets[0])[2]


def fold(
    pair: ScalePair,
    weights: BlockWeights,
    seen: Mapping[int | None, Statistics],
    find: FindScale,
    few_tokens: int,
) -> None:
    """Find the pair's scales and fold them.

    Args:
        seen: expert (None for none) → statistics of the targets' input.
        find: (target matrices, statistics) → scale of each column, or None for no scale.
        few_tokens: an expert that saw fewer keeps its scales.
    """
    matrices = weights.shape(pair.source)[0]  # 1, or one for each expert where experts follow on themselves
    scales = []
    for matrix in range(matrices):
        expert = matrix if matrices > 1 else None
        statistics = seen.get(expert)
        if statistics is None or (expert is not None and statistics.tokens < few_tokens):
            scales.append(None)
            continue
        stacks = [weights.get(name) for name in pair.targets]
        readers = [stack[expert] for stack in stacks] if expert is not None else [m for stack in stacks for m in stack]
        scales.append(find(readers, statistics))
    if all(scale is None for scale in scales):
        return
    import torch

    width = weights.shape(pair.targets[0])[2]
    ones = torch.ones(width)
    s = torch.stack([ones if scale is None else scale.cpu() for scale in scales]).to(weights.device)
    _divide(pair.source, weights, s)
    for name in (*pair.targets, *pair.followers):
        weights.change(name, weights.get(name) * s[:, None, :])


def _divide(source: str, weights: BlockWeights, s: "torch.Tensor") -> None:
    """Divide the outputs of `source` by s (matrices, outputs): a norm's numbers, or a layer's rows and its bias."""
    if source.endswith("_norm.weight"):
        weights.change(source, weights.get(source) / s[0])
        return
    weights.change(source, weights.get(source) / s[:, :, None])
    bias = source.removesuffix(".weight") + ".bias"
    if bias in weights:
        weights.change(bias, weights.get(bias) / s[0])
