"""Tiny random GGUF models with a real byte-level BPE vocabulary, valid down to the metadata; milliseconds to run.

Written with the gguf package alone, so that a test of our own reader or writer has somebody else's file to meet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from numpy.typing import NDArray

PRE_TOKENIZER = {"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2", "qwen3moe": "qwen2"}
"""Architectures that `write_tiny_gguf` can write; a mixtral is a `llama` with experts."""

BOS, EOS = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyShape:
    """The model to write; every row is a multiple of 256 unless asked otherwise, so that K-quants apply.

    Attributes:
        format: what matrices are stored in, of those the gguf package encodes (F32, F16, BF16, Q8_0, Q4_0 …).
        experts: 0 for a dense model; otherwise each layer has this many, of which two are used.
        sharpness: standard deviation of the logits, about; 3 gives text-like, peaked distributions.
    """

    architecture: str = "qwen3"
    layers: int = 2
    hidden: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    feed_forward: int = 512
    vocabulary: int = 512
    context: int = 1024
    experts: int = 0
    tied: bool = False
    add_bos: bool = True
    format: str = "F16"
    sharpness: float = 3.0
    seed: int = 0


def byte_letters() -> list[str]:
    """The 256 visible letters that GPT-2's byte-level BPE writes bytes with, in byte order."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in visible else chr(next(hidden)) for byte in range(256)]


def vocabulary(size: int) -> tuple[list[str], list[str]]:
    """`size` tokens (two control tokens, 256 bytes, then merges) and the merges that make them."""
    tokens, merges = ["<s>", "</s>", *byte_letters()], []
    stems = [byte_letters()[32], *"etaoinshrdlucmfwypvbgkjqxz"]
    for stem in stems:  # grows while it is walked: letters, then pairs, then triples
        for letter in stems[1:27]:
            if len(tokens) >= size:
                return tokens, merges
            tokens.append(stem + letter)
            stems.append(stem + letter)
            merges.append(f"{stem} {letter}")
    return tokens, merges


def write_tiny_gguf(path: Path, **changes: object) -> Path:
    """Write the `TinyShape(**changes)` to `path` and return it; equal arguments give equal bytes."""
    shape = TinyShape(**changes)  # type: ignore[arg-type]
    writer = GGUFWriter(path, shape.architecture)
    _add_metadata(writer, shape)
    _add_vocabulary(writer, shape)
    for name, weights in tiny_tensors(shape):
        _add_tensor(writer, name, weights, GGMLQuantizationType[shape.format])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_tensors(shape: TinyShape) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Names and float32 weights, NumPy order (out, in), in the order of the file."""
    rng = np.random.default_rng(shape.seed)

    def matrix(*dims: int, gain: float = 1.0) -> NDArray[np.float32]:
        return (rng.standard_normal(dims, np.float32) * np.float32(gain / np.sqrt(dims[-1]))).astype(np.float32)

    def norm(width: int) -> NDArray[np.float32]:
        return (1 + 0.1 * rng.standard_normal(width, np.float32)).astype(np.float32)

    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "token_embd.weight", matrix(shape.vocabulary, shape.hidden, gain=shape.sharpness if shape.tied else 8.0)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        yield prefix + "attn_norm.weight", norm(shape.hidden)
        yield prefix + "attn_q.weight", matrix(queries, shape.hidden)
        yield prefix + "attn_k.weight", matrix(keys, shape.hidden)
        yield prefix + "attn_v.weight", matrix(keys, shape.hidden)
        yield prefix + "attn_output.weight", matrix(shape.hidden, queries)
        if shape.architecture.startswith("qwen3"):
            yield prefix + "attn_q_norm.weight", norm(shape.head_dim)
            yield prefix + "attn_k_norm.weight", norm(shape.head_dim)
        if shape.architecture == "qwen2":
            for part, width in (("q", queries), ("k", keys), ("v", keys)):
                yield f"{prefix}attn_{part}.bias", norm(width) - 1
        yield prefix + "ffn_norm.weight", norm(shape.hidden)
        if shape.experts:
            yield prefix + "ffn_gate_inp.weight", matrix(shape.experts, shape.hidden)
        suffix, many = ("_exps", (shape.experts,)) if shape.experts else ("", ())
        yield f"{prefix}ffn_gate{suffix}.weight", matrix(*many, shape.feed_forward, shape.hidden)
        yield f"{prefix}ffn_up{suffix}.weight", matrix(*many, shape.feed_forward, shape.hidden)
        yield f"{prefix}ffn_down{suffix}.weight", matrix(*many, shape.hidden, shape.feed_forward)
    yield "output_norm.weight", norm(shape.hidden)
    if not shape.tied:
        yield "output.weight", matrix(shape.vocabulary, shape.hidden, gain=shape.sharpness)


def _add_metadata(writer: GGUFWriter, shape: TinyShape) -> None:
    writer.add_name(f"tiny {shape.architecture}")
    writer.add_file_type({"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "BF16": 32}.get(shape.format, 1024))
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(shape.feed_forward)


def _add_vocabulary(writer: GGUFWriter, shape: TinyShape) -> None:
    tokens, merges = vocabulary(shape.vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER[shape.architecture])
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * 2 + [TokenType.NORMAL] * (len(tokens) - 2))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(shape.add_bos)


def _add_tensor(writer: GGUFWriter, name: str, weights: NDArray[np.float32], wanted: GGMLQuantizationType) -> None:
    # As llama.cpp's converter: vectors and the router stay F32, whatever the matrices are.
    keep = weights.ndim == 1 or "ffn_gate_inp" in name
    stored = GGMLQuantizationType.F32 if keep else wanted
    writer.add_tensor(name, gguf.quants.quantize(weights, stored), raw_dtype=stored)


TINY_TEXT = "".join(
    f"In the year {1800 + i}, the {noun} of the {place} weighed {i * 7 % 90} pounds; nobody knew why.\n"
    for i in range(60)
    for noun, place in (("keeper", "harbour"), ("scales", "market"), ("letters", "post office"))
)
"""About 15 kB of English prose to tokenize and score."""
