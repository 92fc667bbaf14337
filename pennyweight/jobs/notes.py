"""What a person should know beside a result: a GPU that lay idle, a context longer than the model was trained for."""

from typing import Any

from pennyweight.checkpoints.activations import Inputs
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.models.tensors import ROPE_FREQUENCIES
from pennyweight.runtimes.unused_gpu import unused_gpu


def run_notes(checkpoint: Checkpoint, tokens: int, *, in_llama_cpp: bool = True) -> tuple[str, ...]:
    """Of a model that reads `tokens` at a time, in this process' llama.cpp or elsewhere; each is one line."""
    idle = unused_gpu() if in_llama_cpp else None
    inputs = inputs_note(checkpoint, in_llama_cpp=in_llama_cpp)
    return tuple(note for note in (idle, context_note(checkpoint, tokens), inputs) if note)


def inputs_note(checkpoint: Checkpoint, *, in_llama_cpp: bool) -> str | None:
    """One line where the checkpoint's runtimes round the inputs of layers, and whether that was done here."""
    if checkpoint.inputs is None:
        return None
    kind = checkpoint.inputs.kind
    if in_llama_cpp or kind is Inputs.OTHER:
        return f"its configuration wants the inputs of layers {kind.value}; here they are not, which flatters it"
    return f"the inputs of its quantized layers are {kind.value}, as its configuration wants"


def context_note(checkpoint: Checkpoint, tokens: int) -> str | None:
    """One line where `tokens` are more than the model was trained for, its rope scaling named; None where not."""
    context = _number(checkpoint, "context_length")
    trained = _number(checkpoint, "rope.scaling.original_context_length") or context
    if context is None or trained is None or tokens <= min(trained, context):
        return None
    scaling = _scaling(checkpoint)
    if tokens <= context:
        return (
            f"{tokens:,} tokens are more than the {trained:,.0f} the model was trained on before its rope scaling "
            f"({scaling}) stretched them to {context:,.0f}"
        )
    return (
        f"{tokens:,} tokens are more than the model's context of {context:,.0f} (rope scaling: {scaling}); what it "
        "predicts beyond means little"
    )


def _scaling(checkpoint: Checkpoint) -> str:
    """`yarn × 4`, as the metadata has it."""
    kind, factor = _value(checkpoint, "rope.scaling.type"), _number(checkpoint, "rope.scaling.factor")
    if kind not in (None, "none"):
        return f"{kind} × {factor:g}" if factor else str(kind)
    return "llama3" if any(tensor.name == ROPE_FREQUENCIES for tensor in checkpoint.tensors) else "none"


def _number(checkpoint: Checkpoint, key: str) -> float | None:
    value = _value(checkpoint, key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _value(checkpoint: Checkpoint, key: str) -> Any:
    """Of a key of the model's architecture; None where the metadata lacks it."""
    architecture = checkpoint.metadata.get("general.architecture")
    found = checkpoint.metadata.get(f"{architecture.value}.{key}") if architecture else None
    return found.value if found else None
