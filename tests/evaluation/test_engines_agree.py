"""llama.cpp and PyTorch on one file: the same perplexity to 0.5 %, and where they differ, why.

llama.cpp on a CPU rounds the inputs of a product to suit the weights: to 16 bits under F16, to 8 bits in blocks of 32
under Q8_0. The PyTorch engine does not. Rounding its inputs so, through its hook, moves its logits as far as those of
llama.cpp are away, and in a like direction; not to the same bits, as a rounding that falls the other way in one block
changes all that follow.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest
from pennyweight.evaluation.engine import LogitsEngine, cut, read_text, with_bos
from pennyweight.evaluation.perplexity import Perplexity, perplexity_of_chunks
from pennyweight.jobs.compare import compare
from pennyweight.jobs.perplexity import perplexity
from pennyweight.jobs.quantize import quantize
from pennyweight.jobs.scoring import ENGINES, EvaluationOptions
from pennyweight.models.embedded import SURVEY
from pennyweight.runtimes.llama_cpp import LlamaCppLogits, Model
from pennyweight.runtimes.torch_reference import Hooks, TorchLogits, TorchSettings

pytestmark = [pytest.mark.slow, pytest.mark.torch]
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

CHUNKS, N_CTX = 6, 256
SETTINGS = TorchSettings(n_ctx=N_CTX, device="cpu")
TYPES = ("F16", "Q8_0")
NO_HOOKS = Hooks()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("levels")
    for file_type in TYPES:
        quantize("embedded", file_type, directory / f"{file_type}.gguf")
    return {file_type: directory / f"{file_type}.gguf" for file_type in TYPES}


def text_chunks(engine: LogitsEngine) -> NDArray[np.int32]:
    return cut(engine.tokenize(read_text(SURVEY)), N_CTX, CHUNKS)


def by_llama_cpp(path: Path) -> tuple[Perplexity, NDArray[np.float32]]:
    with Model.load(path) as model, LlamaCppLogits(model, n_ctx=N_CTX, threads=1) as engine:
        return scores(engine)


def by_torch(path: Path, hooks: Hooks = NO_HOOKS) -> tuple[Perplexity, NDArray[np.float32]]:
    with TorchLogits(open_checkpoint(str(path)), SETTINGS, hooks) as engine:
        return scores(engine)


def scores(engine: LogitsEngine) -> tuple[Perplexity, NDArray[np.float32]]:
    """Perplexity of all chunks and the logits of the first."""
    chunks = text_chunks(engine)
    logits = next(engine.scored_logits(with_bos(chunks[:1], engine.bos))).copy()
    return perplexity_of_chunks(engine, chunks), logits


@pytest.mark.parametrize("file_type", TYPES)
def test_the_two_engines_find_the_same_perplexity(file_type: str, files: dict[str, Path]) -> None:
    expected, _ = by_llama_cpp(files[file_type])
    found, _ = by_torch(files[file_type])
    assert found.perplexity == pytest.approx(expected.perplexity, rel=0.005)
    assert found.tokens == expected.tokens == CHUNKS * 127
    assert (found.bos, found.n_ctx, found.chunks) == (expected.bos, expected.n_ctx, expected.chunks)
    assert found.engine.startswith("torch")
    assert expected.engine.startswith("llama.cpp")


def test_the_two_engines_read_the_same_tokens(files: dict[str, Path]) -> None:
    with (
        Model.load(files["F16"]) as model,
        LlamaCppLogits(model, n_ctx=N_CTX) as expected,
        TorchLogits(open_checkpoint("embedded"), SETTINGS) as from_directory,
        TorchLogits(open_checkpoint(str(files["F16"])), SETTINGS) as from_file,
    ):
        for engine in (from_directory, from_file):
            np.testing.assert_array_equal(text_chunks(engine), text_chunks(expected))
            assert engine.vocabulary_hash == expected.vocabulary_hash
            assert (engine.bos, engine.n_vocab) == (expected.bos, expected.n_vocab)


def test_what_is_left_between_the_engines_is_llama_cpps_rounding_of_activations(files: dict[str, Path]) -> None:
    q8_0 = formats.get("Q8_0")

    def as_llama_cpp(name: str, expert: int | None, x: Any) -> Any:
        rows = x.reshape(-1, x.shape[-1]).numpy()
        return torch.from_numpy(q8_0.decode(q8_0.encode(rows))).reshape(x.shape)

    moved = {}
    for file_type in TYPES:
        _, exact = by_torch(files[file_type])
        moved[file_type] = by_llama_cpp(files[file_type])[1] - exact
    rounded = by_torch(files["Q8_0"], Hooks(linear_input=as_llama_cpp))[1] - by_torch(files["Q8_0"])[1]
    assert rms(rounded) == pytest.approx(rms(moved["Q8_0"]), rel=0.15)
    assert np.corrcoef(rounded.ravel(), moved["Q8_0"].ravel())[0, 1] > 0.3
    assert rms(moved["F16"]) < 0.1 * rms(moved["Q8_0"])


def test_the_job_scores_with_the_engine_that_was_asked_for(files: dict[str, Path]) -> None:
    found = {}
    for engine in ENGINES:
        options = EvaluationOptions(ctx=N_CTX, chunks=2, engine=engine)
        found[engine] = perplexity(str(files["F16"]), SURVEY, options)
        assert found[engine].engine.startswith(engine)
        same = compare(str(files["F16"]), str(files["F16"]), SURVEY, options).divergence
        assert same.kld_mean == pytest.approx(0, abs=1e-9)
    assert found["torch"].perplexity == pytest.approx(found["llama.cpp"].perplexity, rel=0.005)
    assert found["torch"].tokens == found["llama.cpp"].tokens


def test_layers_on_the_gpu_are_refused_by_the_engine_that_has_none_to_count() -> None:
    with pytest.raises(BadRequest, match="-ngl is llama"):
        perplexity("embedded", SURVEY, EvaluationOptions(engine="torch", gpu_layers=3))


def rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))
