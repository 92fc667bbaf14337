"""Every layout, from the embedded model, through a loader nobody here wrote: our own engine's log-probabilities."""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pennyweight.checkpoints import layouts
from pennyweight.checkpoints.calibrated_writer import open_writer
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.runtimes.torch_reference import TorchLogits, TorchSettings
from tests.checkpoints.nearest_codes import nearest
from tests.checkpoints.test_calibrated import linear
from tests.checkpoints.tiny_huggingface import tensors, write_huggingface
from tests.interop.cases import CASES, Case
from tests.interop.conftest import ASKED
from tests.interop.table import Row, write_table

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.torch]

HERE = Path(__file__).parent
TEXT = (
    "The river ran past the old mill, and the children who lived there counted the boats every morning before school."
)
TOKENS = 96
PACKAGES = {"hf": "compressed-tensors", "bnb": "bitsandbytes", "gptq": "gptqmodel"}
ENVIRONMENTS = {"bnb": "hf"}
"""bitsandbytes lives in the environment of compressed-tensors."""


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    """What was measured; the table in docs/interop.md is written when all are done."""
    found: list[Row] = []
    yield found
    if len(found) == len(CASES):
        write_table(found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.loader}, {case.name}")
def test_a_foreign_loader_computes_what_our_engine_does(case: Case, tmp_path: Path, rows: list[Row]) -> None:
    source, directory = open_checkpoint(model(case.source, tmp_path)), tmp_path / "checkpoint"
    with open_writer(layouts.get(case.layout), directory, source) as writer:
        for tensor in filter(linear, source.tensors):
            matrices = tensor.read_rows(0, tensor.rows).reshape(-1, *tensor.shape[-2:])
            for expert, matrix in enumerate(matrices):
                codes = nearest(matrix, case.layout, case.wish)
                writer.write(tensor.name, codes, expert if len(tensor.shape) == 3 else None)
    tokens, ours = own_answer(str(directory))
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    theirs, versions = foreign_answer(case, directory, tmp_path)
    difference = np.abs(ours - theirs)
    row = Row(case=case.name, loader=versions, largest=float(difference.max()), mean=float(difference.mean()))
    rows.append(row)
    print(f"{row.case} | {row.loader} | {row.largest:.2g} | {row.mean:.2g} | {date.today()}")
    assert row.largest <= case.most, f"explained by {case.why}: {case.most}"


def model(source: str, work: Path) -> str:
    """The embedded model, or a tiny one of a family, its matrices small enough for logits of a usual size."""
    if source == "embedded":
        return source
    stored = {name: array * (0.2 if array.ndim == 2 else 1) for name, array in tensors(source).items()}
    return str(write_huggingface(work / "source", source, stored=stored))


def own_answer(directory: str) -> tuple[list[int], np.ndarray]:
    """Token ids, and the log-probability of each but the first in float32 by the reference engine."""
    import torch

    with TorchLogits(open_checkpoint(directory), TorchSettings(n_ctx=TOKENS)) as engine:
        tokens = engine.tokenize((TEXT * 8).encode())[:TOKENS]
        decoder = engine.decoder
        for stage in decoder.stages:
            decoder.load(stage)
        hidden = decoder.embed(torch.from_numpy(tokens.astype(np.int64))[None])
        for block in decoder.stages[1:-1]:
            hidden = decoder.block(block, hidden)
        logits = decoder.head(hidden, slice(0, TOKENS - 1)).detach().float()[0]
    chosen = torch.log_softmax(logits, -1).numpy()[np.arange(TOKENS - 1), tokens[1:]]
    return tokens.tolist(), chosen


def foreign_answer(case: Case, directory: Path, work: Path) -> tuple[np.ndarray, str]:
    """The same log-probabilities by the loader, and its versions."""
    environment = ENVIRONMENTS.get(case.loader, case.loader)
    python = Path(os.environ[ASKED]) / f".venv-interop-{environment}" / "bin" / "python"
    script = HERE / ("load_vllm.py" if case.loader == "vllm" else "load_transformers.py")
    last = [] if case.loader == "vllm" else [PACKAGES[case.loader]]
    command = [str(python), str(script), str(directory), "tokens.json", "out.npy", case.mode, *last]
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(work / "out.npy"), done.stdout.strip().splitlines()[-1]
