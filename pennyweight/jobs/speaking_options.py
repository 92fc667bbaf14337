"""How a model that is to speak is loaded: what every verb that loads one takes from its options."""

from dataclasses import dataclass

USUAL_CONTEXT = 8192
"""Tokens of context where nobody asks for another, or the model's own where that is less: a chat, not a book."""

ALL_LAYERS = 999
"""More layers than any model has: all of them, as people write it to llama.cpp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakingOptions:
    """How to load a model that is to speak.

    Attributes:
        ctx: tokens of context; None for `USUAL_CONTEXT` or the model's own, whichever is less.
        engine: of `ENGINES`.
        gpu_layers: llama.cpp's `-ngl`: negative for what fits the cards, `ALL_LAYERS` for all, whatever fits.
        type_k, type_v: what keys and values are stored in.
        flash_attention: None leaves it to llama.cpp.
        threads: None takes the cores this process may use.
        slots: sequences side by side, each of `ctx` tokens.
    """

    ctx: int | None = None
    engine: str = "llama.cpp"
    gpu_layers: int = -1
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: bool | None = None
    threads: int | None = None
    slots: int = 1


def context_of(trained: int, asked: int | None) -> int:
    """Tokens of context to make for a model trained for `trained`."""
    return asked or min(trained, USUAL_CONTEXT)
