"""Notes beside results: a context beyond the trained one with its rope scaling; a GPU that lay idle."""

from types import SimpleNamespace
from typing import Any

import pytest

from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.jobs import notes
from pennyweight.jobs.notes import context_note, run_notes


def model(*, tensors: tuple[str, ...] = (), **keys: float | str) -> Any:
    """A checkpoint of a header alone; `rope__type` is `llama.rope.scaling.type`."""
    metadata = {"general.architecture": GGUFValue.scalar(ValueType.STRING, "llama")}
    for key, value in keys.items():
        kind = ValueType.STRING if isinstance(value, str) else ValueType.FLOAT32
        metadata[f"llama.{key.replace('rope__', 'rope.scaling.')}"] = GGUFValue.scalar(kind, value)
    return SimpleNamespace(metadata=metadata, tensors=[SimpleNamespace(name=name) for name in tensors], inputs=None)


YARN: Any = {
    "context_length": 131_072,
    "rope__type": "yarn",
    "rope__factor": 4.0,
    "rope__original_context_length": 32_768,
}


def test_a_context_as_trained_is_not_remarked() -> None:
    assert context_note(model(context_length=4096), 4096) is None
    assert context_note(model(**YARN), 32_768) is None
    assert context_note(model(), 10**6) is None, "a header that does not say"


@pytest.mark.parametrize(
    ("keys", "tokens", "says"),
    [
        (
            {"context_length": 4096},
            8192,
            "8,192 tokens are more than the model's context of 4,096 (rope scaling: none)",
        ),
        (YARN, 65_536, "more than the 32,768 the model was trained on before its rope scaling (yarn × 4) stretched"),
        (YARN, 200_000, "more than the model's context of 131,072 (rope scaling: yarn × 4)"),
        ({"context_length": 10, "tensors": ("rope_freqs.weight",)}, 11, "(rope scaling: llama3)"),
    ],
)
def test_a_context_beyond_the_trained_one_is_remarked_with_the_scaling(keys: Any, tokens: int, says: str) -> None:
    note = context_note(model(**keys), tokens)
    assert note is not None
    assert says in note
    assert "\n" not in note


def test_an_idle_gpu_is_named_where_llama_cpp_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "unused_gpu", lambda: "a GPU lies idle")
    assert run_notes(model(), 512) == ("a GPU lies idle",)
    assert run_notes(model(), 512, in_llama_cpp=False) == ()
