"""The PyTorch engine: plain transformers' own bits from every checkpoint, whole and block by block; its two hooks."""

import gc
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, FormatError, UnsupportedModel
from pennyweight.runtimes.torch_reference import Hooks, TorchLogits, TorchSettings
from tests.checkpoints.test_transformers_models import CASES, saved, written
from tests.tiny_gguf import write_tiny_gguf

pytestmark = [pytest.mark.slow, pytest.mark.torch]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SETTINGS = TorchSettings(n_ctx=100, abreast=2, device="cpu")  # beyond the original context of the stretched models
SCORED = slice(50, 99)
ROUNDED_ROPE = {"llama 3, tied, sharded", "qwen2, yarn with its own attention factor"}
"""Their rotary numbers pass through float32 in GGUF's metadata, so they are equal to rounding only."""


def random_chunks(count: int = 3, vocabulary: int = 300, n_ctx: int = SETTINGS.n_ctx) -> NDArray[np.int32]:
    return np.random.default_rng(3).integers(2, vocabulary, (count, n_ctx)).astype(np.int32)


def logits_of(engine: TorchLogits, chunks: NDArray[np.int32]) -> NDArray[np.float32]:
    return np.concatenate(list(engine.scored_logits(chunks)))


def plain(directory: Path, chunks: NDArray[np.int32], dtype: Any = torch.float32) -> NDArray[np.float32]:
    """What transformers itself computes, in the engine's groups."""
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
    kept = torch.arange(SCORED.start, SCORED.stop)
    with torch.inference_mode():
        groups = [torch.from_numpy(chunks[i : i + 2].astype(np.int64)) for i in range(0, len(chunks), 2)]
        found = [model(group, use_cache=False, logits_to_keep=kept).logits for group in groups]
    return torch.cat(found).float().numpy()


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers_bit_for_bit(case: str, tmp_path: Path) -> None:
    model_type, changes = CASES[case]
    directory = saved(tmp_path, model_type, dict(changes))
    expected, chunks = plain(directory, random_chunks()), random_chunks()
    for model in (directory, written(directory)):
        found = {}
        for blockwise in (False, True):
            with TorchLogits(open_checkpoint(str(model)), replace(SETTINGS, blockwise=blockwise)) as engine:
                found[blockwise] = logits_of(engine, chunks)
        np.testing.assert_array_equal(found[False], found[True])
        if case in ROUNDED_ROPE:
            assert np.abs(found[True] - expected).max() < 1e-5 * np.abs(expected).max()
        else:
            np.testing.assert_array_equal(found[True], expected)


def test_bfloat16_is_what_transformers_computes_in_it(tmp_path: Path) -> None:
    directory = saved(tmp_path, "qwen3", {})
    chunks = random_chunks()
    for blockwise in (False, True):
        settings = replace(SETTINGS, dtype="bfloat16", blockwise=blockwise)
        with TorchLogits(open_checkpoint(str(directory)), settings) as engine:
            assert "bfloat16" in engine.name
            np.testing.assert_array_equal(logits_of(engine, chunks), plain(directory, chunks, torch.bfloat16))


@pytest.mark.parametrize("abreast", [1, 3])
def test_chunks_abreast_and_chunks_carried_never_change_the_result(abreast: int, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(saved(tmp_path, "llama", {})))
    chunks = random_chunks(7)
    with TorchLogits(checkpoint, replace(SETTINGS, blockwise=False)) as engine:
        expected = logits_of(engine, chunks)
        twin = logits_of(engine.regrouped(), chunks)
    assert np.abs(twin - expected).max() < 1e-5 * np.abs(expected).max()
    with TorchLogits(checkpoint, replace(SETTINGS, blockwise=True, abreast=abreast)) as engine:
        engine.schedule = replace(engine.schedule, carried=2 * abreast)  # several walks through the blocks
        assert np.abs(logits_of(engine, chunks) - expected).max() < 1e-5 * np.abs(expected).max()


def live_weight_bytes() -> int:
    """Bytes of every parameter alive in this process, by the garbage collector's books, not the engine's."""
    alive = [thing for thing in gc.get_objects() if type(thing) is torch.nn.Parameter and not thing.is_meta]
    return sum(size for _, size in {(p.untyped_storage().data_ptr(), p.untyped_storage().nbytes()) for p in alive})


def test_blockwise_memory_does_not_grow_with_the_number_of_blocks(tmp_path: Path) -> None:
    peaks: dict[tuple[int, bool], int] = {}
    for blocks in (3, 12):
        path = write_tiny_gguf(tmp_path / f"{blocks}.gguf", layers=blocks, feed_forward=1024)
        for blockwise in (True, False):
            seen: list[int] = []

            def look(name: str, expert: int | None, x: Any, seen: list[int] = seen) -> Any:
                if name.endswith("ffn_down.weight"):
                    seen.append(live_weight_bytes())
                return x

            settings = replace(SETTINGS, blockwise=blockwise)
            with TorchLogits(open_checkpoint(str(path)), settings, Hooks(linear_input=look)) as engine:
                logits_of(engine, random_chunks(2))
                assert len(seen) == blocks
                assert max(seen) <= engine.decoder.peak_weight_bytes
            peaks[blocks, blockwise] = max(seen)
    assert peaks[12, True] == peaks[3, True]
    assert peaks[12, False] > 3 * peaks[3, False] - 2 * peaks[3, True]
    assert live_weight_bytes() == 0


PEAK = """
import re, sys
from pathlib import Path
import numpy as np
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.runtimes.torch_reference import Hooks, TorchLogits, TorchSettings

def own_memory(name=None, expert=None, x=None):  # MiB, files that are mapped not counted
    seen.append(int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
    return x

seen = []
settings = TorchSettings(n_ctx=64, abreast=2, blockwise=True, device="cpu")
with TorchLogits(open_checkpoint(sys.argv[1]), settings, Hooks(linear_input=own_memory)) as engine:
    own_memory()
    for _ in engine.scored_logits(np.zeros((2, 64), np.int32)):
        pass
print(max(seen) - seen[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_blockwise_memory_of_the_whole_process_does_not_grow_with_the_number_of_blocks(tmp_path: Path) -> None:
    """What the allocator really takes: memory that is freed but never reused shows here and nowhere else."""
    peaks = {}
    for blocks in (3, 12):
        path = write_tiny_gguf(tmp_path / "model.gguf", layers=blocks, hidden=768, feed_forward=2048, format="BF16")
        run = [sys.executable, "-c", PEAK, str(path)]
        # One thread of PyTorch and several that decode is where glibc was seen to take 150 MiB more than it needs.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        found = subprocess.check_output(run, text=True, cwd=Path(__file__).parents[2], env=environment)
        peaks[blocks] = float(found)
    one_block = 4 * (768 * 2048 * 3 + 768 * 256 * 2 + 768 * 128 * 2) / 2**20
    assert one_block > 20
    assert peaks[12] < peaks[3] + one_block, peaks


def test_a_budget_smaller_than_the_model_makes_it_go_block_by_block(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", layers=12, feed_forward=1024)
    checkpoint, chunks = open_checkpoint(str(path)), random_chunks(2)
    with TorchLogits(checkpoint, SETTINGS) as engine:
        assert not engine.schedule.blockwise
        expected = logits_of(engine, chunks)
        weights = engine.decoder.peak_weight_bytes
    with TorchLogits(checkpoint, replace(SETTINGS, memory_bytes=weights // 2)) as engine:
        assert engine.schedule.blockwise
        np.testing.assert_array_equal(logits_of(engine, chunks), expected)
        assert engine.decoder.peak_weight_bytes < weights // 4


@pytest.mark.parametrize("case", ["llama, biases", "mixtral, sharded", "qwen2", "qwen3_moe, sharded"])
def test_the_hook_of_linear_layers_meets_every_matrix_by_its_canonical_name(case: str, tmp_path: Path) -> None:
    model_type, changes = CASES[case]
    checkpoint = open_checkpoint(str(saved(tmp_path, model_type, dict(changes))))
    rows: dict[str, int] = {}
    experts: dict[str, set[int | None]] = {}

    def note(name: str, expert: int | None, x: Any) -> Any:
        rows[name] = rows.get(name, 0) + x.numel() // x.shape[-1]
        experts.setdefault(name, set()).add(expert)
        return x

    chunks = random_chunks(2)
    with TorchLogits(checkpoint, replace(SETTINGS, blockwise=True)) as engine:
        expected = logits_of(engine, chunks)
    with TorchLogits(checkpoint, replace(SETTINGS, blockwise=True), Hooks(linear_input=note)) as engine:
        assert np.abs(logits_of(engine, chunks) - expected).max() < 1e-5 * np.abs(expected).max()
    matrices = {tensor.name: tensor for tensor in checkpoint.tensors if len(tensor.shape) > 1}
    fused = {name for name in matrices if "ffn_up_exps" in name}  # transformers 4 calls for them, 5 does not
    assert rows.keys() | fused == matrices.keys() - {"token_embd.weight"}
    for name, count in rows.items():
        used = engine.decoder.config.expert_used_count if "_exps" in name else 1
        assert count == (98 if name == "output.weight" else 200 * used), name
        wanted = set(range(matrices[name].shape[0])) if "_exps" in name else {None}
        assert experts[name] <= wanted
        assert len(experts[name]) > 1 or wanted == {None}


@pytest.mark.parametrize("case", ["llama", "qwen3_moe, sharded"])
def test_what_the_hook_of_linear_layers_returns_is_what_they_read(case: str, tmp_path: Path) -> None:
    """Twice the input is twice the weights; a power of two rounds nothing, so the bits must be equal."""
    model_type, changes = CASES[case]
    checkpoint = open_checkpoint(str(saved(tmp_path, model_type, dict(changes))))
    down = next(tensor.name for tensor in checkpoint.tensors if tensor.name.startswith("blk.1.ffn_down"))

    def twice(name: str, expert: int | None, x: Any) -> Any:
        return 2 * x if name == down and expert in (None, 3) else x

    hooked = Hooks(linear_input=twice)
    same = Hooks(linear_input=lambda name, expert, x: x)
    size = 64  # rows of one expert, or of the dense matrix
    rows = slice(3 * size, 4 * size) if "exps" in down else slice(None)
    expected = logits_of(TorchLogits(scaled(checkpoint, down, rows), SETTINGS, same), random_chunks())
    np.testing.assert_array_equal(logits_of(TorchLogits(checkpoint, SETTINGS, hooked), random_chunks()), expected)
    untouched = logits_of(TorchLogits(checkpoint, SETTINGS, same), random_chunks())
    assert np.abs(untouched - expected).max() > 1e-3


@pytest.mark.parametrize(("which", "name"), [(0, "blk.2.attn_k.weight"), (1, "blk.2.attn_v.weight")])
@pytest.mark.parametrize("blockwise", [False, True])
def test_what_the_hook_of_keys_and_values_returns_is_what_attention_sees(
    which: int, name: str, blockwise: bool, tmp_path: Path
) -> None:
    checkpoint = open_checkpoint(str(saved(tmp_path, "llama", {})))
    shapes = []

    def twice(block: int, keys: Any, values: Any) -> tuple[Any, Any]:
        shapes.append((keys.shape, values.shape))
        pair = [keys, values]
        pair[which] = pair[which] * (2 if block == 2 else 1)
        return pair[0], pair[1]

    settings = replace(SETTINGS, blockwise=blockwise)
    found = logits_of(TorchLogits(checkpoint, settings, Hooks(keys_values=twice)), random_chunks(2))
    expected = logits_of(TorchLogits(scaled(checkpoint, name), settings), random_chunks(2))
    np.testing.assert_array_equal(found, expected)
    assert shapes == [((2, 2, 100, 8), (2, 2, 100, 8))] * 3


def scaled(checkpoint: Checkpoint, name: str, rows: slice = slice(None)) -> Checkpoint:
    """The checkpoint with rows of one tensor doubled."""

    def change(tensor: Any) -> Any:
        if tensor.name != name:
            return tensor
        weights = tensor.read_rows(0, tensor.rows)
        weights[rows] *= 2
        return replace(tensor, read_rows=lambda start, stop: weights[start:stop])

    return replace(checkpoint, tensors=tuple(change(tensor) for tensor in checkpoint.tensors))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(str(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")))


def test_a_checkpoint_without_one_of_its_tensors_is_refused_by_name(tiny: Checkpoint) -> None:
    kept = tuple(tensor for tensor in tiny.tensors if tensor.name != "blk.1.ffn_up.weight")
    with pytest.raises(FormatError, match=r"lacks blk\.1\.ffn_up\.weight, which a qwen3 model has"):
        TorchLogits(replace(tiny, tensors=kept), SETTINGS)


def test_a_tensor_that_the_model_has_no_place_for_is_refused_by_name(tiny: Checkpoint) -> None:
    more = (*tiny.tensors, replace(tiny.tensors[0], name="blk.0.attn_sinks.weight"))
    with pytest.raises(UnsupportedModel, match=r"no place for blk\.0\.attn_sinks\.weight"):
        TorchLogits(replace(tiny, tensors=more), SETTINGS)


def test_a_tensor_of_another_shape_than_the_metadata_says_is_refused(tiny: Checkpoint) -> None:
    wrong = tuple(replace(t, shape=(t.shape[0] + 1, *t.shape[1:])) for t in tiny.tensors)
    with pytest.raises(FormatError, match=r"has shape \(513, 256\), the metadata implies \(512, 256\)"):
        TorchLogits(replace(tiny, tensors=wrong), SETTINGS)


def test_frequency_factors_of_another_length_are_refused(tmp_path: Path) -> None:
    model_type, changes = CASES["llama 3, tied, sharded"]
    checkpoint = open_checkpoint(str(saved(tmp_path, model_type, dict(changes))))
    assert checkpoint.tensors[0].name == "rope_freqs.weight"
    wrong = (replace(checkpoint.tensors[0], shape=(3,)), *checkpoint.tensors[1:])
    with pytest.raises(FormatError, match=r"rope_freqs\.weight has shape \(3,\), the metadata implies \(4,\)"):
        TorchLogits(replace(checkpoint, tensors=wrong), SETTINGS)


def test_tokens_outside_the_vocabulary_are_refused_before_the_embedding_is_read(tiny: Checkpoint) -> None:
    with TorchLogits(tiny, SETTINGS) as engine, pytest.raises(BadRequest, match="outside the vocabulary of 512"):
        logits_of(engine, random_chunks() + 300)


@pytest.mark.parametrize("stored", ["Q8_0", "Q4_0", "BF16"])
def test_quantized_tensors_are_decoded_on_the_way(stored: str, tmp_path: Path) -> None:
    """A file of quantized tensors and the float32 checkpoint of what they decode to are one model."""
    path = write_tiny_gguf(tmp_path / "quantized.gguf", format=stored, architecture="llama", experts=4)
    quantized = open_checkpoint(str(path))
    decoded = tuple(replace(tensor, read_rows=whole_reader(tensor)) for tensor in quantized.tensors)
    found = logits_of(TorchLogits(quantized, SETTINGS), random_chunks())
    expected = logits_of(TorchLogits(replace(quantized, tensors=decoded), SETTINGS), random_chunks())
    np.testing.assert_array_equal(found, expected)


def whole_reader(tensor: Any) -> Any:
    raw = tensor.raw_rows(0, tensor.rows)
    weights = formats.get(tensor.format).decode(raw)
    return lambda start, stop: weights[start:stop].copy()
