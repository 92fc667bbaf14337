"""llama.cpp's `-ngl N|auto|all`, as every verb that loads a model to speak takes it."""

from pennyweight.core.errors import BadRequest

LAYERS_HELP = "Layers on the GPU: a number, `all`, or `auto`, what fits."
WORDS = {"auto": -1, "all": 999, "-1": -1, "-2": 999}
"""Words, and the numbers that llama.cpp itself has for them."""


def layers(text: str) -> int:
    """Layers as the jobs take them: -1 what fits, 999 all. Raises: BadRequest."""
    word = text.strip().lower()
    if word in WORDS:
        return WORDS[word]
    if not word.isdecimal() or len(word) > 6:
        raise BadRequest(f"-ngl is {text!r}; a number of layers, auto or all is wanted")
    return int(word)
