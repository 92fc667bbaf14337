"""Layers as calibration leaves them: correlated inputs, a few large channels, heavy-tailed weights."""

import numpy as np
import torch

from pennyweight.methods.statistics import Statistics, accumulate, nothing_seen


def inputs(columns: int, tokens: int = 600, seed: int = 0) -> torch.Tensor:
    """float32 (tokens, columns), correlated, with channels of very different sizes."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((tokens, columns // 4)) @ rng.standard_normal((columns // 4, columns))
    x = mixed * np.exp(rng.standard_normal(columns)) + rng.standard_normal((tokens, columns))
    return torch.from_numpy(x.astype(np.float32))


def layer(rows: int = 24, columns: int = 512, seed: int = 0, **also: int) -> tuple[torch.Tensor, Statistics]:
    """A weight (rows, columns) and what 600 inputs say of it."""
    rng = np.random.default_rng(seed + 1)
    weight = torch.from_numpy(rng.standard_t(5, (rows, columns)).astype(np.float32) * 0.02)
    return weight, accumulate(nothing_seen("blk.0.ffn_up.weight", columns), inputs(columns, seed=seed, **also))
