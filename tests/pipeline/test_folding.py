"""Folded scales change no output of a block, whatever they are, in every family."""

from pathlib import Path

import numpy as np
import pytest

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.methods.statistics import nothing_seen
from pennyweight.models.linears import block_linears
from pennyweight.pipeline.block_weights import BlockWeights
from pennyweight.pipeline.folding import can_fold, fold
from pennyweight.runtimes.torch_reference.decoder import Decoder
from pennyweight.runtimes.torch_reference.hooks import Hooks
from tests.checkpoints.tiny_huggingface import write_huggingface
from tests.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

SHAPES = {
    "values of all heads": {"kv_heads": 4},
    "shared keys and values": {"kv_heads": 1},
    "biases": {"architecture": "qwen2", "kv_heads": 4},
    "experts": {"architecture": "qwen3moe", "experts": 4},
}


def _block(path: Path) -> tuple[Decoder, BlockWeights]:
    checkpoint = open_checkpoint(str(path))
    cpu = torch.device("cpu")
    decoder = Decoder(checkpoint, device=cpu, dtype=torch.float32, hooks=Hooks(), threads=1)
    return decoder, BlockWeights({tensor.name: tensor for tensor in checkpoint.tensors}, 0, cpu, 1)


def _outputs_before_and_after(decoder: Decoder, weights: BlockWeights, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((2, 12, decoder.config.embedding_length), np.float32))
    table = block_linears(decoder.config.family.model_type)
    folded = [pair for pair in table.pairs if can_fold(pair, weights)]
    with decoder.loaded("model.layers.0"):
        before = decoder.block("model.layers.0", x)
        for pair in folded:
            columns = weights.shape(pair.targets[0])[2]
            seen = dict.fromkeys([None, *range(8)], nothing_seen("", columns, hessian=False))
            fold(
                pair,
                weights,
                seen,
                lambda readers, s: torch.from_numpy(rng.uniform(0.2, 5, readers[0].shape[1]).astype(np.float32)),
                few_tokens=0,
            )
        for name, values in weights.changed.items():
            decoder.replace(weights.prefix + name, values.reshape(-1, values.shape[-1]).numpy())
        return [pair.source for pair in folded], before - x, decoder.block("model.layers.0", x) - x


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_scales_that_are_folded_change_no_output(shape: dict[str, object], tmp_path: Path) -> None:
    decoder, weights = _block(write_tiny_gguf(tmp_path / "model.gguf", vocabulary=300, layers=1, format="F32", **shape))
    folded, before, after = _outputs_before_and_after(decoder, weights)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
    wanted = {"attn_norm.weight", "ffn_norm.weight", "ffn_up_exps.weight" if "experts" in shape else "ffn_up.weight"}
    if shape.get("kv_heads", 2) == 4:
        wanted.add("attn_v.weight")
    assert set(folded) == wanted
    assert len(weights.changed) > 6


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe"])
def test_every_family_has_a_table_that_preserves_its_function(family: str, tmp_path: Path) -> None:
    decoder, weights = _block(write_huggingface(tmp_path / family, family))
    _, before, after = _outputs_before_and_after(decoder, weights)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
