"""Models scaled down to a few rows, their depth, heads, experts and names real: what file types decide by.

Shared by the tests and by `make_golden`, which runs llama-quantize on them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from pennyweight.models.shape import ModelShape

ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
DENSE = (*ATTENTION, "ffn_gate", "ffn_up", "ffn_down")
EXPERTS = (*ATTENTION, "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
SHARED = ("ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp")
FUSED = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
NO_BLOCK = ("token_embd", "output")
RWKV = (
    *("first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2", "decay_w1", "decay_w2", "lerp_fused"),
    *("key", "w", "lerp_w"),  # these are quantized
)
KEPT_IN_BLOCKS = (
    *(f"time_mix_{part}" for part in RWKV),
    *("ffn_gate_tid2eid", "ffn_gate_inp_shexp", "ffn_gate_up_exps", "altup_proj", "laurel_l"),
    *("ssm_conv1d", "shortconv.conv", "indexer.k_proj", "indexer.q_proj", "attn_rel_b"),
    *("attn_q_norm", "cross_attn_v", "attn_kv_b", "post_ffw"),
)
KEPT_OUTSIDE = (
    *("per_layer_token_embd", "per_layer_model_proj", "position_embd", "token_types", "v.position_embd", "a.rel_pos"),
    *("v.sam.pos_embd", "v.sam.neck.0", "v.sam.net_2", "v.patch_embd", "v.patch_merger", "a.rvq.codebook"),
    *("mm.a.code_embd", "output_norm", "cls", "a.token_types"),
)
GLM5_NEXT = (
    *("hc_attn_fn", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate"),
    *("indexer_compressor_ape", "ssm_f_a", "ssm_f_b", "ssm_g_a", "ssm_g_b", "ssm_beta", "attn_kv_a_mqa"),
    *("attn_k_b", "attn_v_b", "attn_q_a", "attn_q_b", "nextn.eh_proj"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor that is only planned: name, NumPy shape, stored format."""

    name: str
    shape: tuple[int, ...]
    format: str = "F16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model.

    Attributes:
        block: names of the matrices of each block, without `blk.N.` and `.weight`.
        leading: names of the matrices of the first block, where it differs.
        outside: names of the matrices of no block, without `.weight`.
        columns: rows' length, by name; 256 for all others.
        kv_heads: of all blocks, or one for each.
    """

    architecture: str = "llama"
    blocks: int = 32
    heads: int = 32
    kv_heads: int | tuple[int, ...] = 8
    experts: int = 0
    block: tuple[str, ...] = DENSE
    leading: tuple[str, ...] = ()
    outside: tuple[str, ...] = NO_BLOCK
    columns: tuple[tuple[str, int], ...] = ()

    @property
    def shape(self) -> ModelShape:
        """What `assign` is told of the model."""
        kv_heads = self.kv_heads if isinstance(self.kv_heads, tuple) else (self.kv_heads,) * self.blocks
        return ModelShape(
            architecture=self.architecture,
            name="a case",
            block_count=self.blocks,
            context_length=64,
            embedding_length=256,
            feed_forward_lengths=(256,) * self.blocks,
            head_counts=(self.heads,) * self.blocks,
            head_counts_kv=kv_heads,
            key_length=8,
            value_length=8,
            expert_count=self.experts,
            expert_used_count=min(self.experts, 2),
            expert_feed_forward_length=0,
            vocabulary_size=4,
        )

    def tensors(self) -> Iterator[Tensor]:
        """In a converter's order, which is not the order they are written in: blocks first, vectors between."""
        for number in range(self.blocks):
            prefix = f"blk.{number}."
            yield Tensor(name=f"{prefix}attn_norm.weight", shape=(256,), format="F32")
            for name in self.leading if self.leading and number == 0 else self.block:
                yield self._matrix(name, prefix)
        for name in self.outside:
            yield self._matrix(name, "")

    def _matrix(self, name: str, prefix: str) -> Tensor:
        many = (self.experts,) if name.endswith("_exps") else ()
        format = "F32" if name == "ffn_gate_inp" else "F16"
        columns = dict(self.columns).get(name, 256)
        return Tensor(name=f"{prefix}{name}.weight", shape=(*many, 2, columns), format=format)


CASES = {
    "llama, GQA 4": Case(),
    "llama, no GQA": Case(kv_heads=32),
    "llama, GQA 8, 7 blocks": Case(blocks=7, heads=64),
    "llama, 1 block": Case(blocks=1),
    "llama 65B": Case(blocks=80, heads=64, kv_heads=64),
    "llama 70B": Case(blocks=80, heads=64),
    "llama 70B, GQA 2": Case(blocks=80, heads=16),
    "qwen2 72B": Case(architecture="qwen2", blocks=80, heads=64),
    "mixtral 8x7B": Case(experts=8, block=EXPERTS),
    "mixtral of 80 blocks": Case(experts=8, blocks=80, heads=64, block=EXPERTS),
    "mixtral, experts apart": Case(
        experts=8,
        block=(*ATTENTION, "ffn_gate_inp", *(f"ffn_{p}.{e}" for e in range(8) for p in ("gate", "up", "down"))),
    ),
    "qwen3, tied": Case(architecture="qwen3", blocks=28, heads=16, outside=("token_embd",)),
    "qwen3moe, 16 experts": Case(architecture="qwen3moe", blocks=24, kv_heads=4, experts=16, block=EXPERTS),
    "64 experts, shared ones, low-rank KV, a dense first block": Case(
        blocks=27,
        kv_heads=32,
        experts=64,
        leading=("attn_q", "attn_kv_a_mqa", "attn_kv_b", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
        block=("attn_q", "attn_kv_a_mqa", "attn_kv_b", "attn_output", *EXPERTS[4:], *SHARED),
    ),
    "falcon": Case(architecture="falcon", heads=71, kv_heads=1, block=FUSED),
    "falcon, ragged": Case(
        architecture="falcon", heads=71, kv_heads=1, block=FUSED, columns=(("token_embd", 288), ("output", 288))
    ),
    "phi3, fused QKV": Case(architecture="phi3", kv_heads=32, block=FUSED),
    "rows of 288": Case(blocks=8, columns=tuple((name, 288) for name in (*DENSE, *NO_BLOCK))),
    "rows of 288, tied": Case(blocks=8, outside=("token_embd",), columns=(("token_embd", 288), ("ffn_down", 288))),
    "rows of 100": Case(blocks=8, columns=tuple((name, 100) for name in (*DENSE, *NO_BLOCK))),
    "rows of 288 in a mixtral": Case(blocks=8, experts=8, block=EXPERTS, columns=tuple((n, 288) for n in EXPERTS)),
    "32 blocks, rows of 288 in ffn_down": Case(columns=(("ffn_down", 288),)),
    "mamba": Case(
        architecture="mamba",
        blocks=16,
        heads=0,
        kv_heads=0,
        block=("ssm_conv1d", "ssm_in", "ssm_x", "ssm_dt", "ssm_out"),
        columns=(("ssm_conv1d", 4), ("ssm_dt", 16)),
    ),
    "a first block without attention": Case(blocks=16, kv_heads=(0, *(8,) * 15)),
    "tensors that are kept": Case(
        blocks=2, experts=4, block=(*EXPERTS, *KEPT_IN_BLOCKS), outside=(*NO_BLOCK, *KEPT_OUTSIDE)
    ),
    "glm5-next": Case(architecture="glm5-next", blocks=3, experts=4, block=(*EXPERTS, *KEPT_IN_BLOCKS, *GLM5_NEXT)),
    "the names of glm5-next elsewhere": Case(blocks=3, experts=4, block=(*EXPERTS, *GLM5_NEXT)),
}

OPTIONS = (
    ("llama, GQA 4", "Q4_K_M", ("--pure",)),
    ("mixtral 8x7B", "Q3_K_M", ("--pure",)),
    ("rows of 288", "IQ4_XS", ("--pure",)),
    ("llama, GQA 4", "Q4_K_M", ("--leave-output-tensor",)),
    ("qwen3, tied", "Q4_K_M", ("--leave-output-tensor",)),
    ("llama, GQA 4", "Q4_K_M", ("--output-tensor-type", "q8_0", "--token-embedding-type", "F16")),
    ("qwen3, tied", "Q4_K_M", ("--output-tensor-type", "Q8_0")),
    ("qwen3, tied", "Q4_K_M", ("--output-tensor-type", "Q8_0", "--pure")),
    ("qwen3, tied", "Q4_K_M", ("--output-tensor-type", "Q8_0", "--token-embedding-type", "Q5_K")),
    ("rows of 288, tied", "Q4_K_M", ("--output-tensor-type", "Q6_K")),
    ("llama, GQA 4", "F16", ("--output-tensor-type", "Q6_K", "--token-embedding-type", "Q8_0", "--pure")),
    # A tensor that is named does not pass through the rules, so those after it count differently.
    ("llama, GQA 4", "Q4_K_M", ("--tensor-type", r"blk\.[0-3]\.attn_v=Q8_0")),
    ("llama, GQA 4", "Q4_K_S", ("--tensor-type", r"blk\.(0|2)\.(attn_v|ffn_down)=Q3_K")),
    (
        "llama, GQA 4",
        "Q4_K_M",
        ("--tensor-type", "ffn_down=Q4_K", "--tensor-type", "down=Q2_K", "--tensor-type", "k=Q6_K"),
    ),
    ("llama, GQA 4", "Q4_K_M", ("--tensor-type", r"BLK\.\D\.ATTN_Q=q5_0", "--tensor-type", "^output$=Q2_K")),
    ("llama, GQA 4", "Q4_K_M", ("--tensor-type", "output=Q5_K", "--output-tensor-type", "Q8_0")),
    ("qwen3, tied", "Q4_K_M", ("--tensor-type", "token_embd=Q5_K", "--output-tensor-type", "Q8_0")),
    ("rows of 288", "Q4_K_M", ("--tensor-type", "attn=Q6_K", "--tensor-type", "ffn=IQ4_XS", "--pure")),
    ("rows of 100", "Q4_K_M", ("--tensor-type", "attn=Q8_0", "--tensor-type", "ffn_down=F32")),
    ("tensors that are kept", "Q4_K_M", ("--tensor-type", "attn_norm=Q8_0", "--tensor-type", "laurel=Q8_0")),
    ("tensors that are kept", "Q4_K_M", ("--token-embedding-type", "Q8_0")),
    ("tensors that are kept", "Q4_K_M", ("--token-embedding-type", "Q8_0", "--tensor-type", "token_embd=Q2_K")),
    (
        "tensors that are kept",
        "Q4_K_M",
        ("--token-embedding-type", "Q8_0", "--tensor-type", "^token_embd=Q2_K", "--leave-output-tensor"),
    ),
)
"""Case, file type and llama-quantize's options: what goes before what."""

LAYOUT_CASE = "qwen3, tied"
"""Of which the golden keeps the order of tensors and keys: 28 blocks, so that `blk.10` could stand before `blk.2`."""


def compact_formats(formats: Iterable[tuple[str, str]]) -> str:
    """`attn_v=Q6_K*4,Q4_K*3,Q6_K ffn_up=Q4_K …`: by name without block and `.weight`, in the order of the file."""
    by_name: dict[str, list[str]] = {}
    for name, format in formats:
        by_name.setdefault(re.sub(r"^blk\.\d+\.", "", name).removesuffix(".weight"), []).append(format)
    return " ".join(f"{name}={_runs(each)}" for name, each in by_name.items())


def _runs(formats: list[str]) -> str:
    runs = [(format, len(list(group))) for format, group in groupby(formats)]
    return runs[0][0] if len(runs) == 1 else ",".join(f if n == 1 else f"{f}*{n}" for f, n in runs)
