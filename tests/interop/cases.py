"""What is loaded by whom, and how far the log-probabilities may be from our own engine's float32."""

from dataclasses import dataclass

from tests.checkpoints.nearest_codes import Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One checkpoint and one loader.

    Attributes:
        layout, wish: what is written.
        source: of which model: the embedded one, or a family whose tiny one is made.
        loader: the environment, `.venv-interop-<loader>`.
        mode: how the loader is asked (`dequantize`, `plain`, or a dtype of vLLM's).
        most: largest |Δ log-probability| of a token that its arithmetic explains.
        why: which arithmetic that is.
    """

    layout: str
    wish: Wish
    loader: str
    mode: str
    most: float
    why: str
    source: str = "embedded"

    @property
    def name(self) -> str:
        """For a table and a test's id."""
        bits = 8 if self.layout in ("int-quantized", "float-quantized", "bitsandbytes") else self.wish.bits
        group = f" g{self.wish.group_size}" if bits == self.wish.bits and self.wish.group_size else ""
        kind = "" if self.wish.symmetric else " asym"
        static = " static" if self.wish.input_scale else ""
        tensor = " per tensor" if self.wish.per_tensor else ""
        family = "" if self.source == "embedded" else f", {self.source}"
        return f"{self.layout} {bits} bit{group}{kind}{tensor}{static}{family}"


HALF, BF16 = 0.03, 0.25
INT_ACTIVATIONS = 0.4
EXPERTS = ("qwen3_moe", "mixtral")
_SYM, _ASYM = Wish(bits=4, group_size=128), Wish(bits=4, group_size=128, symmetric=False)


def _half(layout: str, wish: Wish, loader: str, mode: str = "plain", source: str = "embedded") -> Case:
    return Case(layout=layout, wish=wish, loader=loader, mode=mode, most=HALF, why="float16", source=source)


def _vllm(layout: str, wish: Wish = _SYM, most: float = BF16, why: str = "bfloat16") -> Case:
    return Case(layout=layout, wish=wish, loader="vllm", mode="bfloat16", most=most, why=why)


CASES = (
    _half("pack-quantized", _SYM, "hf", "dequantize"),
    _half("pack-quantized", _ASYM, "hf", "dequantize"),
    _half("pack-quantized", Wish(bits=3, group_size=128), "hf", "dequantize"),
    _half("pack-quantized", Wish(bits=2, group_size=64), "hf", "dequantize"),
    _half("pack-quantized", Wish(bits=8, group_size=0), "hf", "dequantize"),
    _half("int-quantized", _SYM, "hf", "dequantize"),
    _half("float-quantized", _SYM, "hf", "dequantize"),
    _half("float-quantized", Wish(per_tensor=True, input_scale=0.03125), "hf", "dequantize"),
    _half("float-quantized", Wish(input_scale=0.03125), "hf", "dequantize"),
    *(_half("pack-quantized", Wish(bits=4, group_size=8), "hf", "dequantize", family) for family in EXPERTS),
    *(_half("float-quantized", Wish(), "hf", "dequantize", family) for family in EXPERTS),
    Case(
        layout="bitsandbytes",
        wish=_SYM,
        loader="bnb",
        mode="plain",
        most=INT_ACTIVATIONS,
        why="activations in 8 bits",
    ),
    *(_half("gptq", Wish(bits=bits, group_size=128), "gptq") for bits in (2, 3, 4, 8)),
    _half("gptq_v2", _ASYM, "gptq"),
    _half("gptq_v2", Wish(bits=3, group_size=64, symmetric=False), "gptq"),
    _half("awq", _ASYM, "gptq"),
    _vllm("gptq"),
    _vllm("awq", _ASYM),
    _vllm("pack-quantized"),
    _vllm("pack-quantized", _ASYM),
    _vllm("int-quantized", most=INT_ACTIVATIONS, why="bfloat16, activations in 8 bits"),
    _vllm("float-quantized", most=INT_ACTIVATIONS, why="bfloat16, activations in FP8"),
)
