"""The commands to run next: ours to make the file, then the server that the plan is for, with its settings."""

import shlex
from collections.abc import Iterator

from pennyweight.models import families
from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.candidate import Candidate
from pennyweight.planner.served_types import get as get_served

OFFLOAD_ALL = 99
"""What people write for `all layers`; llama.cpp takes the count of the model."""


READY = {f"openai/gpt-oss-{size}": f"ggml-org/gpt-oss-{size}-GGUF" for size in ("20b", "120b")}
"""Where llama.cpp's developers publish the file of a model that is published quantized."""

CONVERTED = frozenset(family.architecture for family in families.ALL)
"""Architectures of which `quantize` reads a Hugging Face checkpoint; of any other it reads a GGUF."""


def llama_cpp_commands(candidate: Candidate, anatomy: Anatomy, model: str) -> tuple[str, ...]:
    """Make the file where it is not one yet, then serve it. `model` is what the operator called it.

    None for a model of unknown architecture that is no GGUF yet: nobody here can make one of it.
    """
    if not anatomy.known and anatomy.file_type is None and not model.endswith(".gguf"):
        return ()
    return tuple(_llama_cpp(candidate, anatomy, model))


def _llama_cpp(candidate: Candidate, anatomy: Anatomy, model: str) -> Iterator[str]:
    file = model if model.endswith(".gguf") else f"{anatomy.name}-{candidate.choice.type}.gguf"
    if anatomy.file_type is None:
        file = f"{anatomy.name}-{candidate.choice.type}.gguf"
        source = anatomy.repository or model
        if anatomy.shape.architecture not in CONVERTED and not model.endswith(".gguf"):
            whole_file = f"{anatomy.name}-BF16.gguf"
            yield _convert(source, whole_file, remote=bool(anatomy.repository))
            source = whole_file
        yield f"pennyweight quantize {shlex.quote(source)} {candidate.choice.type} -o {shlex.quote(file)}"
    settings, choice = candidate.settings, candidate.choice
    is_on_hub = model.startswith("hf.co/") and anatomy.file_type is not None
    published = model.removeprefix("hf.co/") if is_on_hub else READY.get(anatomy.repository)
    given = ["-hf", published] if published and not model.endswith(".gguf") else ["-m", file]
    words = ["llama-server", given[0], shlex.quote(given[1]), "-c", str(choice.context * settings.slots)]
    whole = candidate.layers_on_gpu >= candidate.layers
    words += ["-ngl", str(OFFLOAD_ALL if whole else candidate.layers_on_gpu)]
    words += ["-fa", "on" if settings.flash_attention else "off"]
    if (choice.key_type, choice.value_type) != ("F16", "F16"):
        words += ["-ctk", choice.key_type.lower(), "-ctv", choice.value_type.lower()]
    words += ["-np", str(settings.slots)] if settings.slots > 1 else []
    words += ["-ub", str(settings.micro_batch)] if settings.micro_batch != 512 else []
    words += ["--n-cpu-moe", str(settings.cpu_moe_layers)] if settings.cpu_moe_layers else []
    words += _rope(choice.context, anatomy)
    yield " ".join(words)


def _convert(source: str, file: str, *, remote: bool) -> str:
    """llama.cpp's own script, where a checkpoint's family is planned here and not converted."""
    words = ["python", "convert_hf_to_gguf.py", *(["--remote"] if remote else []), shlex.quote(source)]
    return " ".join([*words, "--outtype", "bf16", "--outfile", shlex.quote(file)])


def _rope(context: int, anatomy: Anatomy) -> list[str]:
    """YaRN, where the context is longer than what the model was trained on."""
    trained = anatomy.shape.context_length
    if not trained or context <= trained:
        return []
    return ["--rope-scaling", "yarn", "--rope-scale", f"{context / trained:.4g}", "--yarn-orig-ctx", str(trained)]


def vllm_commands(
    candidate: Candidate, anatomy: Anatomy, model: str, utilization: float, parallel: int
) -> tuple[str, ...]:
    """Make the checkpoint where it is a quantized one, then serve it; none where vLLM does not load it."""
    return tuple(_vllm(candidate, anatomy, model, utilization, parallel))


def _vllm(candidate: Candidate, anatomy: Anatomy, model: str, utilization: float, parallel: int) -> Iterator[str]:
    kind = get_served(candidate.choice.type)
    if "vLLM" not in kind.loads:
        return
    source = anatomy.repository or model
    checkpoint = source if not kind.recipe else f"{anatomy.name}-{kind.name}"
    if kind.recipe:
        text = " --text self" if kind.calibrated else ""
        yield f"pennyweight quantize {shlex.quote(source)} --recipe {kind.recipe}{text} -o {shlex.quote(checkpoint)}"
    words = ["vllm", "serve", shlex.quote(checkpoint), "--max-model-len", str(candidate.choice.context)]
    words += ["--gpu-memory-utilization", f"{utilization:g}", "--max-num-seqs", str(max(candidate.requests or 1, 1))]
    words += ["-tp", str(parallel)] if parallel > 1 else []
    words += ["--kv-cache-dtype", "fp8"] if candidate.choice.key_type == "fp8" else []
    yield " ".join(words)
