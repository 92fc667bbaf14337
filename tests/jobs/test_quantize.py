"""Whole files: ours equal llama-quantize's byte for byte, and llama.cpp loads and runs every one of them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pennyweight import formats
from pennyweight.checkpoints.gguf import open_gguf_checkpoint
from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import BadRequest, BadWeights, OutputError, PennyweightError, UnknownName
from pennyweight.jobs.imatrix import imatrix
from pennyweight.jobs.quantize import QuantizeOptions, quantize
from pennyweight.recipes.file_types import ALL
from pennyweight.recipes.overrides import parse_overrides
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, generate
from tests.jobs.cases import MODELS, write_matching_imatrix, write_model
from tests.tiny_gguf import write_tiny_gguf

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "whole_files.json").read_text())["models"]
TYPES = [file_type.name for file_type in ALL]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    directory = tmp_path_factory.mktemp("model")
    path = write_model(request.param, directory)
    write_matching_imatrix(path, directory / "imatrix.gguf")
    assert _sha256(path) == GOLDEN[request.param]["input"], (
        "the generated input is another than the golden was made from"
    )
    return request.param, path


@pytest.mark.slow
@pytest.mark.parametrize("type", TYPES)
def test_whole_files_equal_llama_quantize_and_run(
    type: str, model: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, path = model
    monkeypatch.chdir(path.parent)  # the matrix's path goes into the file as it is given
    for kind, matrix in (("plain", None), ("imatrix", Path("imatrix.gguf"))):
        if type not in GOLDEN[name][kind]:
            with pytest.raises(BadRequest, match="needs an importance matrix"):
                quantize(str(path), type, tmp_path / "out.gguf", QuantizeOptions(imatrix=matrix))
            continue
        result = quantize(str(path), type, tmp_path / "out.gguf", QuantizeOptions(imatrix=matrix))
        assert _sha256(tmp_path / "out.gguf") == GOLDEN[name][kind][type]
        assert result.bytes == (tmp_path / "out.gguf").stat().st_size
    with Model.load(tmp_path / "out.gguf") as loaded, Context(loaded, ContextSettings(n_ctx=64)) as context:
        assert len(list(generate(context, [0, 5, 9], 4, ignore_eos=True))) == 4


def test_every_golden_type_has_been_compared() -> None:
    assert {name for model in GOLDEN.values() for name in model["imatrix"]} == set(TYPES)


@pytest.mark.slow
def test_a_dry_run_predicts_the_file_to_the_byte_and_writes_nothing(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    planned = quantize(str(path), "q4_k_m", None, dry_run=True)
    assert list(tmp_path.iterdir()) == [path]
    made = quantize(str(path), "q4_k_m", tmp_path / "out.gguf")
    assert (planned.bytes, planned.tensors, planned.bits_per_weight) == (made.bytes, made.tensors, made.bits_per_weight)
    assert planned.output is None


@pytest.mark.slow
def test_split_output_holds_the_same_tensors(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    quantize(str(path), "Q4_K_S", tmp_path / "whole.gguf")
    result = quantize(str(path), "Q4_K_S", tmp_path / "part.gguf", QuantizeOptions(split_max_size=200_000))
    parts = sorted(tmp_path.glob("part-*-of-*.gguf"))
    assert result.output == str(parts[0])
    assert len(parts) > 2
    whole, split = open_gguf_checkpoint(tmp_path / "whole.gguf"), open_gguf_checkpoint(parts[0])
    assert [t.name for t in whole.tensors] == [t.name for t in split.tensors]
    for a, b in zip(whole.tensors, split.tensors, strict=True):
        assert np.array_equal(a.raw_rows(0, a.rows), b.raw_rows(0, b.rows))
    with Model.load(parts[0]) as loaded:
        assert loaded.facts.n_layer == 2


@pytest.mark.slow
def test_a_quantized_model_is_rounded_again_only_when_asked(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    quantize(str(path), "Q8_0", tmp_path / "q8.gguf")
    with pytest.raises(BadRequest, match="--allow-requantize"):
        quantize(str(tmp_path / "q8.gguf"), "Q4_K_M", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
    quantize(str(tmp_path / "q8.gguf"), "Q4_K_M", tmp_path / "out.gguf", QuantizeOptions(allow_requantize=True))
    assert (tmp_path / "out.gguf").exists()


@pytest.mark.slow
def test_overrides_reach_the_file_and_never_pass_the_row_size_fallback(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", feed_forward=288)
    overrides = parse_overrides(tensor_types=["ffn_down=q6_k", "attn_v=q5_k"], output_tensor_type="q8_0")
    result = quantize(str(path), "Q4_K_M", tmp_path / "out.gguf", QuantizeOptions(overrides=overrides))
    assert result.tensors["blk.0.attn_v.weight"] == "Q5_K"
    assert result.tensors["output.weight"] == "Q8_0"
    assert result.tensors["blk.0.ffn_down.weight"] == "Q8_0", "288 columns are no whole blocks of Q6_K"
    assert any("ffn_down" in note for note in result.notes)


def _bad_model(path: Path, values: np.ndarray) -> Path:
    metadata = {"general.architecture": GGUFValue.scalar(ValueType.STRING, "llama")}
    for key, value in (("block_count", 1), ("embedding_length", 256), ("context_length", 64)):
        metadata[f"llama.{key}"] = GGUFValue.scalar(ValueType.UINT32, value)
    info = TensorInfo(name="blk.0.ffn_up.weight", shape=values.shape, format=formats.get("F32"))
    with GGUFWriter(path, metadata, [info]) as writer:
        writer.write_rows(info.name, 0, values.astype(np.float32).view(np.uint8))
    return path


def test_nan_in_a_weight_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    values = np.ones((8, 256), np.float32)
    values[3, 17] = np.nan
    path = _bad_model(tmp_path / "model.gguf", values)
    (tmp_path / "out.gguf").write_bytes(b"precious")
    with pytest.raises(BadWeights, match=r"blk\.0\.ffn_up\.weight holds nan at row 3, column 17"):
        quantize(str(path), "F16", tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_output_that_is_the_input_is_refused(tmp_path: Path) -> None:
    path = _bad_model(tmp_path / "model.gguf", np.ones((8, 256), np.float32))
    (tmp_path / "link.gguf").symlink_to(path)
    for output in (path, tmp_path / "link.gguf"):
        with pytest.raises(OutputError, match="is the input"):
            quantize(str(path), "F16", output)


def test_a_type_that_does_not_exist_lists_those_that_do(tmp_path: Path) -> None:
    path = _bad_model(tmp_path / "model.gguf", np.ones((8, 256), np.float32))
    with pytest.raises(UnknownName, match="Q4_K_M"):
        quantize(str(path), "Q4_K_X", tmp_path / "out.gguf")


def test_an_importance_matrix_of_another_model_is_refused(tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", hidden=512, heads=8)
    write_matching_imatrix(other, tmp_path / "imatrix.gguf")
    path = write_tiny_gguf(tmp_path / "model.gguf")
    with pytest.raises(BadRequest, match="importance matrix of another model"):
        quantize(str(path), "Q4_K_M", tmp_path / "out.gguf", QuantizeOptions(imatrix=tmp_path / "imatrix.gguf"))
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("name", ["nothing-here", "./missing.gguf", "/no/such/dir"])
def test_a_model_that_is_not_there_is_one_clear_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(PennyweightError, match="no model at") as caught:
        quantize(name, "Q8_0", tmp_path / "out.gguf")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_file_whole_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", layers=12, vocabulary=4096)
    output = tmp_path / "out.gguf"
    output.write_bytes(b"old")
    command = [sys.executable, "-c", "from pennyweight.cli.main import main; main()"]
    command += ["quantize", str(path), "Q6_K", "-o", str(output)]
    whole = None
    for delay in (0.3, 0.8, 1.2, 1.6, 2.0, 3.0):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if output.read_bytes() != b"old":
            whole = output.read_bytes()
            break
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert whole is None or whole == output.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.gguf", "out.gguf"], "leftovers of killed runs"


def test_nan_in_a_tensor_that_is_only_copied_is_named_too(tmp_path: Path) -> None:
    values = np.ones((8, 256), np.float32)
    values[7, 255] = np.nan
    path = _bad_model(tmp_path / "model.gguf", values)
    with pytest.raises(BadWeights, match=r"holds nan at row 7, column 255"):
        quantize(str(path), "F32", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.slow
@pytest.mark.parametrize("type", ["Q8_0", "Q4_0", "Q4_K_M", "F16"])
def test_weights_past_the_range_of_a_scale_are_refused(type: str, tmp_path: Path) -> None:
    values = np.ones((8, 256), np.float32)
    values[3, 17] = 1e9
    path = _bad_model(tmp_path / "model.gguf", values)
    with pytest.raises(BadWeights, match=r"blk\.0\.ffn_up\.weight has 1e\+09 in row 3, too large for"):
        quantize(str(path), type, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_no_file_that_is_read_is_written_over(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    matrix = write_matching_imatrix(path, tmp_path / "imatrix.gguf")
    (types := tmp_path / "types.gguf").write_text("attn_v=q8_0")
    options = QuantizeOptions(imatrix=matrix, other_inputs=(types,))
    for output in (path, matrix, types):
        with pytest.raises(OutputError, match="is the input"):
            quantize(str(path), "Q4_K_M", output, options)
    (text := tmp_path / "text.txt").write_text("text")
    for output in (path, text):
        with pytest.raises(OutputError, match="is the input"):
            imatrix(str(path), text, output)
    with pytest.raises(OutputError, match="there is no directory"):
        imatrix(str(path), text, tmp_path / "nowhere" / "imatrix.gguf")


def test_a_matrix_whose_names_are_of_another_model_is_refused(tmp_path: Path) -> None:
    deep = write_tiny_gguf(tmp_path / "deep.gguf", layers=8)
    matrix = write_matching_imatrix(deep, tmp_path / "imatrix.gguf")
    path = write_tiny_gguf(tmp_path / "model.gguf")
    with pytest.raises(BadRequest, match="another model: 42 of its 56 entries"):
        quantize(str(path), "Q4_K_M", None, QuantizeOptions(imatrix=matrix), dry_run=True)


def test_a_model_without_tensors_or_a_split_of_no_size_is_refused(tmp_path: Path) -> None:
    with GGUFWriter(tmp_path / "empty.gguf", {"general.architecture": GGUFValue.scalar(ValueType.STRING, "llama")}, []):
        pass
    with pytest.raises(BadRequest, match="holds no tensors"):
        quantize(str(tmp_path / "empty.gguf"), "Q8_0", tmp_path / "out.gguf")
    path = write_tiny_gguf(tmp_path / "model.gguf")
    with pytest.raises(BadRequest, match="split-max-size"):
        quantize(str(path), "Q8_0", tmp_path / "out.gguf", QuantizeOptions(split_max_size=0))
    assert not (tmp_path / "out.gguf").exists()
