"""The embedded model in every file type: quantized, run by llama.cpp, and its text tokenized as it was in training."""

from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pennyweight.jobs.quantize import QuantizeOptions, quantize
from pennyweight.jobs.sweep import SweepOptions, sweep
from pennyweight.models.embedded import EMBEDDED, SURVEY
from pennyweight.recipes.file_types import ALL
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, generate
from tests.jobs.cases import write_matching_imatrix


@pytest.fixture(scope="module")
def unrounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("embedded") / "embedded-BF16.gguf"
    quantize("embedded", "BF16", path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("type", [file_type.name for file_type in ALL])
def test_every_file_type_loads_and_writes(type: str, unrounded: Path, tmp_path: Path) -> None:
    imatrix = write_matching_imatrix(unrounded, tmp_path / "imatrix.gguf") if type == "Q2_K_S" else None
    quantize("embedded", type, tmp_path / "out.gguf", QuantizeOptions(imatrix=imatrix))
    with Model.load(tmp_path / "out.gguf") as model, Context(model, ContextSettings(n_ctx=64, threads=1)) as context:
        prompt = model.tokenize("It was a", add_special=True)
        text = model.detokenize(generate(context, prompt, 12))
    assert len(text.split()) >= 3, "twelve greedy tokens of trained English are words"


@pytest.mark.slow
def test_llama_cpp_cuts_the_survey_into_the_tokens_of_training(unrounded: Path) -> None:
    text = SURVEY.read_text(encoding="utf-8")
    with Model.load(unrounded, vocabulary_only=True) as model:
        found = model.tokenize(text, add_special=True).tolist()
    assert found == Tokenizer.from_file(str(EMBEDDED / "tokenizer.json")).encode(text).ids


@pytest.mark.slow
def test_the_seven_levels_order_as_the_field_expects_with_error_bars(tmp_path: Path) -> None:
    result = sweep("embedded", SURVEY, tmp_path / "sweep", SweepOptions(speed=None, keep_files=False))
    rows = {row.type: row for row in result.rows}
    order = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_S", "Q2_K"]
    assert list(rows) == order
    for better, worse in pairwise(order):
        gap = rows[worse].kld_mean - rows[better].kld_mean
        assert gap > 3 * (rows[worse].kld_stderr + rows[better].kld_stderr), f"{better} and {worse} are not told apart"
    # The knee: down to four bits this text cannot see the loss, below it can; two bits are clearly worse.
    assert not rows["Q4_K_M"].is_distinguishable
    assert rows["Q3_K_S"].is_distinguishable
    assert rows["Q2_K"].delta_ln_ppl > 5 * rows["Q2_K"].delta_ln_ppl_stderr
    assert rows["Q3_K_S"].kld_mean > 3 * rows["IQ4_XS"].kld_mean
