"""Messages → token ids, by a model's chat template; text that spells a control token stays text.

A paper that says `<|im_end|>` must not end the user's turn: where a content names control tokens, it is tokenized apart
from the template around it, as plain text. All other prompts are tokenized whole, as llama.cpp does.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pennyweight.runtimes.chat_template import ChatTemplate, Message
from pennyweight.runtimes.llama_cpp.model import Model

_SEAL = "\uf8ff"  # a private-use letter, which no tokenizer or template treats specially


def chat_template(model: Model) -> ChatTemplate | None:
    """The template in the model's metadata; None where it has none."""
    source = model.metadata("tokenizer.chat_template")
    if not source:
        return None
    return ChatTemplate(source=source, bos_token=_text(model, model.facts.bos), eos_token=_text(model, model.facts.eos))


def chat_tokens(
    model: Model, template: ChatTemplate, messages: Sequence[Message], *, thinking: bool = False
) -> NDArray[np.int32]:
    """The prompt of `messages`, int32 (tokens,), BOS once where the model wants it. Raises: FormatError."""
    if any(_names_control_tokens(model, message.content) for message in messages):
        sealed = [replace(m, content=f"{_SEAL}{i}{_SEAL}") for i, m in enumerate(messages)]
        parts = re.split(rf"{_SEAL}(\d+){_SEAL}", template.render(sealed, thinking=thinking))
    else:
        parts = [template.render(messages, thinking=thinking)]
    if model.facts.add_bos:  # which templates write too
        parts[0] = parts[0].removeprefix(template.bos_token)
    tokens = [model.tokenize(parts[0], add_special=True, parse_special=True)]
    for number, after in zip(parts[1::2], parts[2::2], strict=True):
        tokens.append(model.tokenize(messages[int(number)].content))
        tokens.append(model.tokenize(after, parse_special=True))
    return np.concatenate(tokens)


def _names_control_tokens(model: Model, text: str) -> bool:
    return not np.array_equal(model.tokenize(text), model.tokenize(text, parse_special=True))


def _text(model: Model, token: int) -> str:
    return "" if token < 0 else model.piece(token, special=True).decode("utf-8", "replace")
