"""Which runtime loads what, as a table: each line tried here, or documented by the runtime, with versions.

What was tried stands in docs/interop.md with the largest difference in log-probability.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pennyweight.checkpoints.layout import PackedModule
from pennyweight.checkpoints.scheme import Kind, Scheme

TRIED = "tried, see docs/interop.md"
TESTED = "tried in `make test`"
DOCUMENTED = "its documentation; not tried"
VLLM_CPU = "on a CPU with AVX-512: its other build has no 4-bit kernel"
SOURCE_CODE = "its source code; not tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """One line of the table.

    Attributes:
        loads: `yes`, `no`, or `GPU` where only a GPU kernel does.
        why: what decides it.
        source: how we know.
    """

    runtime: str
    version: str
    loads: str
    why: str
    source: str


def support(quantization: Mapping[str, Any], modules: Sequence[PackedModule], act_ordered: bool) -> tuple[Support, ...]:
    """The table for one directory."""
    method = quantization.get("quant_method") if quantization else "none"
    schemes = {module.scheme for module in modules}
    packed = all(not module.tensors[0].name.endswith(".weight") for module in modules)
    found = _ROWS.get(str(method), _unknown)(schemes, packed, act_ordered)
    return (*found, _row("llama.cpp", "b11549", "no", "reads GGUF: pennyweight quantize makes one", TESTED))


GGUF = (
    Support(runtime="llama.cpp", version="b11549", loads="yes", why="its own format", source=TESTED),
    Support(
        runtime="vLLM", version="0.32.0", loads="GPU", why="through the plugin vllm-gguf-plugin", source=DOCUMENTED
    ),
    Support(
        runtime="transformers",
        version="5.24",
        loads="yes",
        why="turned back into float32 on loading",
        source=DOCUMENTED,
    ),
    Support(runtime="SGLang", version="0.5", loads="GPU", why="--quantization gguf", source=DOCUMENTED),
    Support(runtime="TGI", version="3.3", loads="no", why="its llama.cpp backend alone reads GGUF", source=DOCUMENTED),
)


def _row(runtime: str, version: str, loads: str, why: str, source: str) -> Support:
    return Support(runtime=runtime, version=version, loads=loads, why=why, source=source)


def _plain(schemes: set[Scheme], packed: bool, act_ordered: bool) -> list[Support]:
    del schemes, packed, act_ordered
    return [
        _row("transformers", "5.24", "yes", "not quantized", TESTED),
        _row("vLLM", "0.32.0", "yes", "not quantized", DOCUMENTED),
        _row("SGLang", "0.5", "yes", "not quantized", DOCUMENTED),
        _row("TGI", "3.3", "yes", "not quantized", DOCUMENTED),
    ]


def _gptq(schemes: set[Scheme], packed: bool, act_ordered: bool) -> list[Support]:
    del packed
    symmetric = all(scheme.symmetric for scheme in schemes)
    bits = {scheme.bits for scheme in schemes}
    if act_ordered:
        vllm = ("no", "act-order (g_idx) is no longer supported", SOURCE_CODE)
    elif not symmetric or not bits <= {4, 8}:
        vllm = ("no", "symmetric codes of 4 or 8 bits only", SOURCE_CODE)
    else:
        vllm = ("yes", VLLM_CPU, TRIED) if bits == {4} else ("GPU", "8 bits by Marlin alone", SOURCE_CODE)
    return [
        _row("transformers", "5.24", "yes", "through GPTQModel 7.7, which must be installed", TRIED),
        _row("vLLM", "0.32.0", *vllm),
        _row("SGLang", "0.5", "GPU" if vllm[0] != "no" else "no", "--quantization gptq_marlin", DOCUMENTED),
        _row("TGI", "3.3", "GPU" if symmetric and bits <= {4, 8} else "no", "--quantize gptq", DOCUMENTED),
    ]


def _awq(schemes: set[Scheme], packed: bool, act_ordered: bool) -> list[Support]:
    del schemes, packed, act_ordered
    return [
        _row("transformers", "5.24", "yes", "through GPTQModel 7.7, which must be installed", TRIED),
        _row("vLLM", "0.32.0", "yes", VLLM_CPU, TRIED),
        _row("SGLang", "0.5", "GPU", "--quantization awq_marlin", DOCUMENTED),
        _row("TGI", "3.3", "GPU", "--quantize awq", DOCUMENTED),
    ]


def _compressed_tensors(schemes: set[Scheme], packed: bool, act_ordered: bool) -> list[Support]:
    bits = {scheme.bits for scheme in schemes if scheme.kind is Kind.INTEGER} if packed else set[int]()
    asymmetric = any(not scheme.symmetric for scheme in schemes)
    static = any(scheme.static_input for scheme in schemes)
    loading = "with CompressedTensorsConfig(dequantize=True): without it the zero points' shape is refused"
    transformers = _row("transformers", "5.24", "yes", loading if asymmetric else "with compressed-tensors", TRIED)
    vllm = _row("vLLM", "0.32.0", "yes", VLLM_CPU if bits else "", TRIED)
    if act_ordered:
        transformers = _row("transformers", "5.24", "no", "compressed-tensors 0.20 refuses weight_g_idx", SOURCE_CODE)
        vllm = _row("vLLM", "0.32.0", "no", "act-order by group is refused", SOURCE_CODE)
    elif bits and not bits <= {4, 8}:
        vllm = _row("vLLM", "0.32.0", "no", "kernels are for 4 and 8 bits", SOURCE_CODE)
    elif bits == {8}:
        vllm = _row("vLLM", "0.32.0", "GPU", "no CPU kernel for 8-bit weights alone", SOURCE_CODE)
    elif static:
        vllm = _row("vLLM", "0.32.0", "GPU", "static FP8 activations have no CPU kernel", SOURCE_CODE)
    other = "no" if vllm.loads == "no" else "GPU"
    return [
        transformers,
        vllm,
        _row("SGLang", "0.5", other, vllm.why if other == "no" else "", DOCUMENTED),
        _row("TGI", "3.3", other, vllm.why if other == "no" else "--quantize compressed-tensors", DOCUMENTED),
    ]


def _bitsandbytes(schemes: set[Scheme], packed: bool, act_ordered: bool) -> list[Support]:
    del schemes, packed, act_ordered
    return [
        _row("transformers", "5.24", "yes", "with bitsandbytes", TRIED),
        _row("vLLM", "0.32.0", "GPU", "not in the CPU build", SOURCE_CODE),
        _row("SGLang", "0.5", "GPU", "--load-format bitsandbytes", DOCUMENTED),
        _row("TGI", "3.3", "GPU", "--quantize bitsandbytes", DOCUMENTED),
    ]


def _spqr(schemes: set[Scheme], packed: bool, act_ordered: bool) -> list[Support]:
    del schemes, packed, act_ordered
    broken = "calls create_placeholder, which spqr_quant 0.2.0 spells create_placehodler; CUDA only"
    return [
        _row("transformers", "5.24", "no", broken, SOURCE_CODE),
        _row("vLLM", "0.32.0", "no", "not supported", SOURCE_CODE),
        _row("SGLang", "0.5", "no", "not supported", DOCUMENTED),
        _row("TGI", "3.3", "no", "not supported", DOCUMENTED),
    ]


def _spqr_dense(schemes: set[Scheme], packed: bool, act_ordered: bool) -> list[Support]:
    del schemes, packed, act_ordered
    names = (("transformers", "5.24"), ("vLLM", "0.32.0"), ("SGLang", "0.5"), ("TGI", "3.3"))
    return [_row(*name, "no", "a layout of pennyweight's own, for research", SOURCE_CODE) for name in names]


def _unknown(schemes: set[Scheme], packed: bool, act_ordered: bool) -> list[Support]:
    del schemes, packed, act_ordered
    return []


_ROWS = {
    "none": _plain,
    "gptq": _gptq,
    "awq": _awq,
    "compressed-tensors": _compressed_tensors,
    "bitsandbytes": _bitsandbytes,
    "spqr": _spqr,
    "pennyweight-spqr": _spqr_dense,
}
