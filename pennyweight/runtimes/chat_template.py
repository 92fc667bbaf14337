"""Messages → the prompt a model was trained on, by the Jinja template in its own metadata.

A template is a program from a stranger. It runs in Jinja's immutable sandbox (as in transformers, whose templates these
are), with the deadline and the sizes below: nothing of Python, of files or of the network is in its reach.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import FrameType
from typing import Any

from pennyweight.core.errors import FormatError, Missing

MOST_TEMPLATE_LETTERS, MOST_PROMPT_LETTERS = 1 << 20, 1 << 28
DEADLINE_SECONDS = 5.0
"""Longest a template may compute; published ones take milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn: `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A model's template and the texts of the tokens it may name."""

    source: str
    bos_token: str
    eos_token: str

    def render(self, messages: Sequence[Message], *, thinking: bool = False) -> str:
        """The prompt, ending where the assistant is to speak.

        Args:
            thinking: passed to the template as `enable_thinking`, which Qwen3's and others' read.

        Raises: FormatError where the template is broken, refuses these messages, or takes more than it may.
        """
        values = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "add_generation_prompt": True,
            "enable_thinking": thinking,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "tools": None,
        }
        if len(self.source) > MOST_TEMPLATE_LETTERS:
            raise FormatError(f"the model's chat template has {len(self.source):,} letters; 1 Mi at most are read")
        try:
            with _Deadline(DEADLINE_SECONDS):
                return _joined(_compiled(self.source).generate(values))
        except Exception as error:  # a template can raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise FormatError(
                f"the model's chat template fails: {reason[:200]}; --no-template sends the text as it is"
            ) from error


def _joined(parts: Any) -> str:
    text, length = [], 0
    for part in parts:
        length += len(part)
        if length > MOST_PROMPT_LETTERS:
            raise ValueError("it writes without end")
        text.append(part)
    return "".join(text)


@lru_cache(maxsize=8)  # compiling takes twenty times as long as rendering, and a summary renders for every part
def _compiled(source: str) -> Any:
    return _environment().from_string(source)


def _environment() -> Any:
    try:
        from jinja2.exceptions import SecurityError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise Missing("chat templates need jinja2: pip install jinja2") from error

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            sequence = max((x for x in (left, right) if hasattr(x, "__len__")), key=len, default=None)
            numbers = [x for x in (left, right) if isinstance(x, int | float)]
            if operator == "**" or (sequence is not None and len(sequence) * max(numbers, default=0) > 1 << 20):
                raise SecurityError("powers and long repetitions are not allowed in a template")
            return super().call_binop(context, operator, left, right)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(reason: str) -> None:
    raise ValueError(reason)


class _Deadline:
    """Ends Python code of this thread after some seconds, by a trace function: a template has loops and no clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, 0.0

    def __enter__(self) -> None:
        self._before, self._until = sys.gettrace(), time.monotonic() + self._seconds
        sys.settrace(self._trace)

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if time.monotonic() > self._until:
            raise TimeoutError(f"it computes for more than {self._seconds:g} s")
        return self._trace
