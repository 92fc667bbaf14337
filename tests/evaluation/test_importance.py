"""Importance matrices collected in llama.cpp equal llama-imatrix's own."""

import json
from pathlib import Path

import numpy as np
import pytest

from pennyweight.checkpoints.imatrix import Imatrix, read_imatrix
from pennyweight.jobs.imatrix import ImatrixOptions, imatrix
from tests.evaluation.make_imatrix_golden import GOLDEN, MODELS
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf


def _collect(directory: Path, name: str, **options: object) -> Imatrix:
    model = write_tiny_gguf(directory / "model.gguf", **MODELS[name])
    (directory / "text.txt").write_text(TINY_TEXT)
    settings = ImatrixOptions(threads=1, **options)  # type: ignore[arg-type]
    imatrix(str(model), directory / "text.txt", directory / "imatrix.gguf", settings)
    return read_imatrix(directory / "imatrix.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MODELS))
def test_sums_and_counts_equal_llama_imatrix(name: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    found = _collect(tmp_path, name)
    assert found.chunk_count == golden[name]["chunks"]
    assert found.entries.keys() == golden[name]["entries"].keys()
    for tensor, wanted in golden[name]["entries"].items():
        entry = found.entries[tensor]
        # Another instruction set rounds a router's score differently: a token in thousands may go to another expert.
        np.testing.assert_allclose(entry.counts, wanted["counts"], atol=2)
        tolerance = 1e-3 if name == "dense" else 0.03
        np.testing.assert_allclose(entry.sums.ravel()[:: golden["stride"]], wanted["sums"], rtol=tolerance)


@pytest.mark.slow
def test_every_expert_counts_only_the_tokens_it_was_sent(tmp_path: Path) -> None:
    found = _collect(tmp_path, "experts", chunks=2)
    for tensor, entry in found.entries.items():
        used = 2 if "_exps" in tensor else 1
        assert entry.counts.sum() == 2 * 512 * used, tensor


@pytest.mark.slow
def test_the_output_is_collected_only_when_asked(tmp_path: Path) -> None:
    assert "output.weight" not in _collect(tmp_path, "dense", chunks=1).entries
    assert "output.weight" in _collect(tmp_path, "dense", chunks=1, process_output=True).entries
