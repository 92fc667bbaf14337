"""The order in which tensors are written, and the number of a tensor's block.

Source: llama.cpp b11549 llama-model-loader.h `weight_name_comparer`.
"""

import re
from collections.abc import Iterable

_BLOCK = re.compile(r"blk\.([+-]?[0-9]+)")


def block_number(name: str) -> int:
    """The 3 of `blk.3.attn_q.weight`; -1 for a tensor of no block."""
    match = _BLOCK.match(name)
    return int(match[1]) if match else -1


def output_order(names: Iterable[str]) -> list[str]:
    """Names in the order in which tensors are written: those of no block first, then block by block, by name."""
    return sorted(names, key=lambda name: (block_number(name), name.encode("utf-8", "surrogateescape")))
