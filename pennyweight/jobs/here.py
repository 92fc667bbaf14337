"""The memory that a model will really meet: this machine's, and that of the GPUs this llama.cpp can use."""

import os
from dataclasses import replace
from pathlib import Path

from pennyweight.core.errors import PennyweightError
from pennyweight.core.parallel import default_threads
from pennyweight.planner.card_names import find_card
from pennyweight.planner.cards import Card, custom
from pennyweight.planner.host import Host
from pennyweight.planner.memory import Budget
from pennyweight.runtimes.llama_cpp.placement import Gpu, gpus
from pennyweight.store.machine import total_memory_bytes

UNKNOWN_BANDWIDTH = 300e9
"""Bytes/s assumed of a GPU that the table of cards does not know; only speeds hang on it."""


def budget_here(gpu_layers: int) -> Budget:
    """Cards that llama.cpp will use with `-ngl` (none for 0), with what other programs hold of them, and the host."""
    found = gpus() if gpu_layers else []
    return Budget(
        cards=tuple(map(_card, found)),
        host=Host(memory_bytes=memory_limit_bytes(), available_bytes=available_memory_bytes(), cores=default_threads()),
        used_bytes=max((gpu.total_bytes - gpu.free_bytes for gpu in found), default=0),
        measured=bool(found),
    )


def available_memory_bytes() -> int:
    """What a new program may take without swapping; 0 where the system does not say."""
    information = Path("/proc/meminfo")
    if not information.exists():
        return 0
    fields = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
    free = int(fields.get("MemAvailable", "0 kB").split()[0]) * 1024
    limit, used = _group("memory.max"), _group("memory.current")
    return min(free, limit - used + _group_cache()) if limit else free


def memory_limit_bytes() -> int:
    """Physical memory, or less where this process' control group may have less."""
    return min(total_memory_bytes(), _group("memory.max") or total_memory_bytes())


def _group(name: str) -> int:
    """A number of the control group (version 2); 0 where there is none, or no limit."""
    try:
        text = Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def _group_cache() -> int:
    """Of what the control group uses, file pages that give way."""
    try:
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))


def _card(gpu: Gpu) -> Card:
    try:
        return replace(find_card(gpu.description), memory_bytes=gpu.total_bytes)
    except PennyweightError:
        return custom(gpu.total_bytes, UNKNOWN_BANDWIDTH, gpu.description or os.fspath(gpu.name))
