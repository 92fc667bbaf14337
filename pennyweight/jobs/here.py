"""The memory that a model will really meet: this machine's, and that of the GPUs this llama.cpp can use."""

import os
from dataclasses import replace

from pennyweight.core.errors import PennyweightError
from pennyweight.planner.card_names import find_card
from pennyweight.planner.cards import Card, custom
from pennyweight.planner.detect_host import detect_host
from pennyweight.planner.memory import Budget
from pennyweight.planner.probe import Probe
from pennyweight.runtimes.llama_cpp.placement import Gpu, gpus

UNKNOWN_BANDWIDTH = 300e9
"""Bytes/s assumed of a GPU that the table of cards does not know; only speeds hang on it."""


def budget_here(gpu_layers: int) -> Budget:
    """Cards that llama.cpp will use with `-ngl` (none for 0), with what other programs hold of them, and the host."""
    found = gpus() if gpu_layers else []
    return Budget(
        cards=tuple(map(_card, found)),
        host=detect_host(Probe()),
        used_bytes=max((gpu.total_bytes - gpu.free_bytes for gpu in found), default=0),
        measured=bool(found),
    )


def _card(gpu: Gpu) -> Card:
    try:
        return replace(find_card(gpu.description), memory_bytes=gpu.total_bytes)
    except PennyweightError:
        card = custom(gpu.total_bytes, UNKNOWN_BANDWIDTH, gpu.description or os.fspath(gpu.name))
        return replace(card, source="a card that the table has not", bandwidth_source="assumed")
