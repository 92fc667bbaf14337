"""The walk over blocks: statistics by definition, resume, order, experts, and what is refused."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pennyweight import formats
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, BadWeights, DoesNotFit, FormatError
from pennyweight.methods.statistics import Statistics
from pennyweight.pipeline import blocks as walk_module
from pennyweight.pipeline.reports import notes_of
from pennyweight.pipeline.rounding import Rounding
from tests.pipeline.block_runs import as_format, block_bytes, run, tokens
from tests.tiny_forward import block_forward
from tests.tiny_gguf import TinyShape, tiny_tensors, write_tiny_gguf

pytestmark = [pytest.mark.torch, pytest.mark.slow]

Q4 = as_format("imatrix:Q4_K_S", "Q4_K")
SHAPE = TinyShape(layers=2, hidden=256, feed_forward=256, vocabulary=300, format="F32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    changes = {field: getattr(SHAPE, field) for field in ("layers", "hidden", "feed_forward", "vocabulary", "format")}
    return open_checkpoint(str(write_tiny_gguf(path, **changes)))


def _recording(seen: dict[str, Statistics]) -> Callable[[str], Rounding | None]:
    """Q4_K by its encoder, and a copy of every layer's statistics on the way."""

    def of(name: str) -> Rounding | None:
        rounding = Q4(name)
        if rounding is None:
            return None

        def recorded(weight, statistics):
            seen[name] = statistics
            return rounding.round(weight, None)

        return replace(rounding, round=recorded, needs_statistics=True, needs_hessian=True)

    return of


def test_statistics_are_those_of_a_model_whose_earlier_layers_are_quantized(model: Checkpoint, tmp_path: Path) -> None:
    calibration = tokens(300, samples=3, length=16)
    seen: dict[str, Statistics] = {}
    run(model, tmp_path / "work", _recording(seen), calibration, abreast=2)
    for name, wanted in _hessians_by_definition(calibration.tokens).items():
        statistics = seen[name]
        assert statistics.tokens == calibration.tokens.size
        assert statistics.hessian is not None
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(statistics.hessian.numpy() / scale, wanted / scale, atol=2e-5, err_msg=name)


def test_drift_is_that_of_a_quantized_model_from_one_that_is_not(model: Checkpoint, tmp_path: Path) -> None:
    calibration = tokens(300, samples=3, length=16)
    seen: dict[str, Statistics] = {}
    of = _recording(seen)
    run(model, tmp_path / "work", lambda name: _drifting(of(name)), calibration, abreast=2)
    quantized, unquantized = _inputs_by_definition(calibration.tokens), _inputs_by_definition(calibration.tokens, False)
    for name, inputs in quantized.items():
        wanted = sum((full - x).T @ x for full, x in zip(unquantized[name], inputs, strict=True))
        scale = np.abs(sum(x.T @ x for x in inputs)).max()
        np.testing.assert_allclose(seen[name].drift.numpy() / scale, wanted / scale, atol=2e-5, err_msg=name)
        if name != "blk.0.attn_q.weight":
            assert np.abs(wanted).max() > 1e-3 * scale, f"{name}: nothing drifted, so nothing was tested"


def _drifting(rounding: Rounding | None) -> Rounding | None:
    return rounding and replace(rounding, needs_drift=True)


def test_a_run_that_carries_both_models_resumes_with_the_same_bytes(model: Checkpoint, tmp_path: Path) -> None:
    calibration, gptaq = tokens(300), as_format("gptaq:Q4_K_S", "Q4_K")
    for transforms in ((), ("awq",)):
        work = tmp_path / "-".join(("work", *transforms))
        (_, last) = run(model, work, gptaq, calibration, transforms)
        assert {report.method for report in last.reports} == {"gptaq"}
        whole = block_bytes(work)
        (work / "block-00001.safetensors").unlink()
        run(model, work, gptaq, calibration, transforms)
        assert block_bytes(work) == whole
        run(model, tmp_path / f"{work.name}-gptq", as_format("gptq:Q4_K_S", "Q4_K"), calibration, transforms)
        assert block_bytes(tmp_path / f"{work.name}-gptq") != whole


def test_experts_have_no_partner_in_the_unquantized_model_and_say_so(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", architecture="qwen3moe", experts=2, vocabulary=300, layers=1)
    gptaq = as_format("gptaq:Q4_K_S", "Q4_K")
    (block,) = run(open_checkpoint(str(path)), tmp_path / "work", gptaq, tokens(300, samples=8, length=64))
    methods = {report.name.split(".")[2]: report.method for report in block.reports}
    assert {name for name, method in methods.items() if method == "gptaq"} == {
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
    }
    assert {method for name, method in methods.items() if name.endswith("_exps")} == {"gptq"}
    assert any("rounded by gptq: an expert's tokens may go elsewhere" in note for note in notes_of(block.reports))


def _hessians_by_definition(chunks: np.ndarray) -> dict[str, np.ndarray]:
    """Σ x xᵀ of every group's first layer."""
    return {name: sum(x.T @ x for x in inputs) for name, inputs in _inputs_by_definition(chunks).items()}


def _inputs_by_definition(chunks: np.ndarray, quantized: bool = True) -> dict[str, list[np.ndarray]]:
    """What enters every group's first layer: float64 NumPy, each layer replaced before the next is seen."""
    weights = {name: values.astype(np.float64) for name, values in tiny_tensors(SHAPE)}
    found = {}
    hidden = [weights["token_embd.weight"][chunk] for chunk in chunks]
    for layer in range(SHAPE.layers):
        prefix = f"blk.{layer}."
        part = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        for group in (("attn_q", "attn_k", "attn_v"), ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",)):
            found[f"{prefix}{group[0]}.weight"] = [block_forward(SHAPE, part, x)[1][group[0]] for x in hidden]
            for name in group if quantized else ():
                rounded = formats.get("Q4_K").decode(
                    formats.get("Q4_K").encode(part[f"{name}.weight"].astype(np.float32))
                )
                part[f"{name}.weight"] = rounded.astype(np.float64)
        hidden = [block_forward(SHAPE, part, x)[0] for x in hidden]
    return found


def test_all_at_once_sees_a_block_before_any_of_it_is_quantized(model: Checkpoint, tmp_path: Path) -> None:
    calibration = tokens(300, samples=3, length=16)
    sequential: dict[str, Statistics] = {}
    at_once: dict[str, Statistics] = {}
    run(model, tmp_path / "a", _recording(sequential), calibration)
    run(model, tmp_path / "b", _recording(at_once), calibration, true_sequential=False)
    first, last = "blk.0.attn_q.weight", "blk.0.ffn_down.weight"
    np.testing.assert_array_equal(sequential[first].sum_square.numpy(), at_once[first].sum_square.numpy())
    assert not np.array_equal(sequential[last].sum_square.numpy(), at_once[last].sum_square.numpy())
    unrounded = {name: w.astype(np.float64) for name, w in tiny_tensors(SHAPE) if name.startswith("blk.0.")}
    part = {name.removeprefix("blk.0."): w for name, w in unrounded.items()}
    embedding = dict(tiny_tensors(SHAPE))["token_embd.weight"].astype(np.float64)
    wanted = sum((block_forward(SHAPE, part, embedding[c])[1]["ffn_down"] ** 2).sum(0) for c in calibration.tokens)
    np.testing.assert_allclose(at_once[last].sum_square.numpy(), wanted, rtol=1e-4)


def test_a_run_resumes_behind_its_last_block_with_the_same_bytes(model: Checkpoint, tmp_path: Path) -> None:
    calibration = tokens(300)
    run(model, tmp_path / "whole", Q4, calibration)
    run(model, tmp_path / "resumed", Q4, calibration)
    whole = block_bytes(tmp_path / "whole")
    assert block_bytes(tmp_path / "resumed") == whole
    (tmp_path / "resumed" / "block-00001.safetensors").unlink()
    asked: list[str] = []

    def noted(name: str) -> Rounding | None:
        asked.append(name)
        return Q4(name)

    run(model, tmp_path / "resumed", noted, calibration)
    assert block_bytes(tmp_path / "resumed") == whole
    assert {name.split(".")[1] for name in asked} == {"1"}, "block 0 came from the journal"


def test_a_finished_walk_is_not_walked_again(
    model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(model, tmp_path, Q4, tokens(300))
    monkeypatch.setattr(walk_module, "Hidden", lambda *room: pytest.fail("chunks are carried again"))
    again = run(model, tmp_path, Q4, tokens(300))
    assert [result.reports for result in again] == [result.reports for result in first]


KILLED = """
import os, sys
from pathlib import Path
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.pipeline.journal import BlockJournal
from tests.pipeline.block_runs import as_format, run, tokens
add = BlockJournal.add
def add_then_die(self, block, result):
    add(self, block, result)
    os.kill(os.getpid(), 9)
BlockJournal.add = add_then_die
run(open_checkpoint(sys.argv[1]), Path(sys.argv[2]), as_format("imatrix:Q4_K_S", "Q4_K"), tokens(300))
"""


def test_a_killed_process_leaves_what_the_next_one_goes_on_from(model: Checkpoint, tmp_path: Path) -> None:
    run(model, tmp_path / "whole", Q4, tokens(300))
    command = [sys.executable, "-W", "ignore", "-c", KILLED, model.source, str(tmp_path / "killed")]
    assert subprocess.run(command, check=False).returncode == -9
    assert list(block_bytes(tmp_path / "killed")) == ["block-00000.safetensors"]
    run(model, tmp_path / "killed", Q4, tokens(300))
    assert block_bytes(tmp_path / "killed") == block_bytes(tmp_path / "whole")


def test_another_runs_directory_is_refused_and_says_what_differs(model: Checkpoint, tmp_path: Path) -> None:
    run(model, tmp_path / "work", Q4, tokens(300))
    with pytest.raises(BadRequest, match=r"was begun with calibration .* remove it, or name another --work"):
        run(model, tmp_path / "work", Q4, tokens(300, seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(BadRequest, match=r"holds thesis\.tex and no journal"):
        run(model, tmp_path / "other", Q4, tokens(300))


def test_a_damaged_block_is_named(model: Checkpoint, tmp_path: Path) -> None:
    run(model, tmp_path / "work", Q4, tokens(300))
    (tmp_path / "work" / "block-00000.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(FormatError, match=r"block-00000.safetensors is damaged .*remove it"):
        run(model, tmp_path / "work", Q4, tokens(300))


def test_spilling_changes_nothing(model: Checkpoint, tmp_path: Path) -> None:
    run(model, tmp_path / "memory", Q4, tokens(300))
    run(model, tmp_path / "disk", Q4, tokens(300), spill=tmp_path)
    assert block_bytes(tmp_path / "memory") == block_bytes(tmp_path / "disk")
    assert not [path for path in tmp_path.iterdir() if path.is_file()], "the spill file is gone"


def test_chunks_abreast_change_sums_only_by_rounding(model: Checkpoint, tmp_path: Path) -> None:
    one: dict[str, Statistics] = {}
    six: dict[str, Statistics] = {}
    run(model, tmp_path / "one", _recording(one), tokens(300), abreast=1)
    run(model, tmp_path / "six", _recording(six), tokens(300), abreast=6)
    for name, statistics in one.items():
        np.testing.assert_allclose(statistics.sum_square, six[name].sum_square, rtol=1e-4, err_msg=name)
        assert statistics.tokens == six[name].tokens


def test_nan_in_the_activations_names_the_layer(tmp_path: Path) -> None:
    broken = open_checkpoint(str(write_tiny_gguf(tmp_path / "model.gguf", layers=1, vocabulary=300)))

    def spoiled(tensor):
        if tensor.name != "blk.0.attn_norm.weight":
            return tensor
        return replace(tensor, read_rows=lambda start, stop: np.full((stop - start, 256), np.nan, np.float32))

    broken = replace(broken, tensors=tuple(map(spoiled, broken.tensors)))
    with pytest.raises(BadWeights, match=r"blk\.0\.attn_q\.weight: its inputs hold NaN"):
        run(broken, tmp_path / "work", Q4, tokens(300))


def test_experts_that_saw_too_few_tokens_fall_back_and_are_reported(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", architecture="qwen3moe", experts=8, vocabulary=300, layers=1)
    calibration = tokens(300, samples=4, length=32)
    (block,) = run(open_checkpoint(str(path)), tmp_path / "work", Q4, calibration, few_tokens=30)
    down = [report for report in block.reports if report.name == "blk.0.ffn_down_exps.weight"]
    assert [report.expert for report in down] == list(range(8))
    assert sum(report.tokens for report in down) == 2 * calibration.tokens.size, "every token goes to two experts"
    assert {report.method for report in down} == {"imatrix", "rtn"}
    for report in down:
        assert report.method == ("rtn" if report.tokens < 30 else "imatrix")
    assert "experts' matrices were rounded without statistics" in notes_of(block.reports)[0]
    gate = {report.expert: report.tokens for report in block.reports if report.name == "blk.0.ffn_up_exps.weight"}
    assert gate == {report.expert: report.tokens for report in down}, "gate, up and down of an expert see its tokens"


def test_a_gpu_out_of_memory_halves_the_batch_once_then_says_so(
    model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    block, most = walk_module.Decoder.block, [4]

    def short_of_memory(self, stage, hidden):
        if len(hidden) > most[0]:
            raise torch.OutOfMemoryError
        return block(self, stage, hidden)

    run(model, tmp_path / "plenty", Q4, tokens(300), abreast=3)
    monkeypatch.setattr(walk_module.Decoder, "block", short_of_memory)
    run(model, tmp_path / "short", Q4, tokens(300), abreast=6)
    assert block_bytes(tmp_path / "short") == block_bytes(tmp_path / "plenty"), "a repeated batch counts once"
    most[0] = 2
    with pytest.raises(DoesNotFit, match=r"out of memory with 3 chunk\(s\) at once"):
        run(model, tmp_path / "shorter", Q4, tokens(300), abreast=6)
