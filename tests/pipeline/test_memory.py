"""Memory of a walk: one block and its activations, however many blocks there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(), reason="only Linux says what a process held at most"
    ),
]

HIDDEN, FEED_FORWARD = 512, 1536
BLOCK_BYTES = 4 * HIDDEN * (3 * HIDDEN + 3 * FEED_FORWARD)
"""Of a block's matrices as float32: queries, output, and keys with values of half the heads; gate, up and down."""

MAIN = "from pennyweight.cli.main import main; main()"
FREED_IS_GIVEN_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc keeps pieces of freed arrays, a different sum in every run; with these what is freed leaves the process, and
its peak is what was held at once."""


def peak(directory: Path, blocks: int) -> int:
    """The most bytes that `quantize --recipe` held, in a process of its own."""
    model, text = directory / f"{blocks}.gguf", directory / "text.txt"
    text.write_text(TINY_TEXT)
    if not model.exists():
        write_tiny_gguf(
            model, layers=blocks, hidden=HIDDEN, heads=8, kv_heads=4, feed_forward=FEED_FORWARD, format="F16"
        )
    asked = ["--recipe", "gptq:Q4_K_S", "--samples", "8", "--sample-length", "64", "--device", "cpu", "--text"]
    out = directory / f"{blocks}-out.gguf"
    command = [sys.executable, "-c", MAIN, "quantize", str(model), *asked, str(text), "-o", str(out), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, env=os.environ | FREED_IS_GIVEN_BACK)
    return json.loads(done.stdout)["peak_memory_bytes"]


def test_peak_memory_does_not_grow_with_the_number_of_blocks(tmp_path: Path) -> None:
    peak(tmp_path, 2)  # what is compiled for the first time is compiled here
    four, twelve = peak(tmp_path, 4), peak(tmp_path, 12)
    assert twelve - four < BLOCK_BYTES / 2, f"{four:,} bytes with 4 blocks, {twelve:,} with 12"
