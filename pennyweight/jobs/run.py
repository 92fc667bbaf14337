"""run: a model speaks: one answer to a prompt, or a conversation that goes on; text is handed out as it is made."""

import codecs
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest
from pennyweight.core.progress import progress_bar
from pennyweight.jobs.cost import peak_memory_bytes
from pennyweight.jobs.fit import Fit
from pennyweight.jobs.speaking import Speaker, SpeakingOptions, speaker
from pennyweight.runtimes.chat_template import Message
from pennyweight.runtimes.llama_cpp import Sampling
from pennyweight.runtimes.llama_cpp.sampler import Sampler
from pennyweight.runtimes.llama_cpp.session import Clock, Stop

OnText = Callable[[str], None]

LLAMA_CPP_SAMPLING = Sampling(temperature=0.8)
"""llama.cpp's defaults: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What to say and how.

    Attributes:
        system: the system message; None for none.
        tokens: most tokens of an answer; None until the model ends or the context is full.
        sampling: its seed counts where `seed` is given.
        seed: None draws one, which the result names.
        template: whether a chat template of the model is used.
        thinking: asks models that can think aloud first to do so.
        ignore_eos: go on after the model's end.
    """

    system: str | None = None
    tokens: int | None = None
    sampling: Sampling = LLAMA_CPP_SAMPLING
    seed: int | None = None
    template: bool = True
    thinking: bool = False
    ignore_eos: bool = False


USUAL, LOADING = RunOptions(), SpeakingOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One answer and what it took.

    Attributes:
        prompt_tokens, cached_tokens: of the prompt, read now and found in the cache of earlier turns.
        prompt_tok_s, decode_tok_s: tokens per second of reading, and of writing after the first token; None where there
            was nothing to time.
        seconds_to_first_token: from the start of reading; the model is loaded by then.
        stop: `end`, `length`, `context` or `interrupted`.
        placement: where the layers live.
        memory_bytes: the most this process has held, mapped weights included.
    """

    model: str
    text: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    prompt_tok_s: float | None
    decode_tok_s: float | None
    seconds_to_first_token: float | None
    stop: str
    seed: int
    n_ctx: int
    engine: str
    placement: str
    memory_bytes: int
    notes: tuple[str, ...]


def run(
    model: str,
    prompt: str,
    options: RunOptions = USUAL,
    loading: SpeakingOptions = LOADING,
    *,
    on_text: OnText = lambda text: None,
) -> RunResult:
    """Answer one prompt. Raises: BadRequest, DoesNotFit, FormatError (chat template), and what loading MODEL raises."""
    with conversation(model, options, loading) as talk:
        return talk.say(prompt, on_text)


@contextmanager
def conversation(
    model: str, options: RunOptions = USUAL, loading: SpeakingOptions = LOADING
) -> "Iterator[Conversation]":
    """MODEL, loaded, for `Conversation.say` after `say`. Raises: as `run`."""
    if options.tokens is not None and options.tokens < 0:
        raise BadRequest(f"-n is {options.tokens}; a number of tokens is wanted")
    if loading.ctx is not None and loading.engine == "llama.cpp":  # llama.cpp itself would take what there is, and die
        Fit.of(model, loading).require_room(loading.ctx)
    with speaker(model, loading) as loaded:
        talk = Conversation(model, loaded, options)
        try:
            yield talk
        finally:
            talk.close()


class Conversation:
    """Turns that remember each other.

    Attributes:
        speaker: the loaded model.
        messages: what was said so far, the system message first.
    """

    def __init__(self, name: str, loaded: Speaker, options: RunOptions) -> None:
        self.speaker = loaded if options.template else replace(loaded, template=None)
        self.seed = secrets.randbits(32) if options.seed is None else options.seed
        self.messages = [] if options.system is None else [Message(role="system", content=options.system)]
        self._name, self._options = name, options
        self._sampler = Sampler(loaded.vocabulary, replace(options.sampling, seed=self.seed))
        self._spoken = np.empty(0, np.int32)  # of a model without a template: everything so far

    def say(self, text: str, on_text: OnText = lambda text: None) -> RunResult:
        """The model's answer to `text`; Ctrl-C ends the answer, not the conversation. Raises: as `run`."""
        prompt, clock = self._prompt(text), Clock()
        answer, tokens = [], []
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a token may be part of a letter
        session = self.speaker.session
        try:
            with progress_bar("reading", len(prompt), "tokens") as advance:
                session.read(prompt, clock, advance)
            for token in session.answer(
                self._sampler, self._options.tokens, clock, ignore_eos=self._options.ignore_eos
            ):
                tokens.append(token)
                answer.append(decoder.decode(self.speaker.vocabulary.piece(token)))
                on_text(answer[-1])
        except KeyboardInterrupt:
            clock.stop = Stop.INTERRUPTED
        answer.append(decoder.decode(b"", final=True))
        on_text(answer[-1])
        self._remember(text, "".join(answer), prompt, tokens)
        return self._result("".join(answer), clock)

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def _prompt(self, text: str) -> NDArray[np.int32]:
        vocabulary = self.speaker.vocabulary
        if self.speaker.template is None:
            first = not self._spoken.size
            before = "".join(f"{m.content}\n\n" for m in self.messages) if first else ""
            more = vocabulary.tokenize(before + text, add_special=first)
            return np.concatenate([self._spoken, more])
        return self.speaker.prompt(
            [*self.messages, Message(role="user", content=text)], thinking=self._options.thinking
        )

    def _remember(self, text: str, answer: str, prompt: NDArray[np.int32], tokens: list[int]) -> None:
        self._spoken = np.concatenate([prompt, np.array(tokens, np.int32)])
        if self.speaker.template:
            self.messages += [Message(role="user", content=text), Message(role="assistant", content=answer)]

    def _result(self, answer: str, clock: Clock) -> RunResult:
        return RunResult(
            model=self._name,
            text=answer,
            prompt_tokens=clock.prompt_tokens,
            cached_tokens=clock.cached_tokens,
            output_tokens=clock.output_tokens,
            prompt_tok_s=clock.prompt_tok_s,
            decode_tok_s=clock.decode_tok_s,
            seconds_to_first_token=clock.seconds_to_first_token,
            stop=clock.stop.value,
            seed=self.seed,
            n_ctx=self.speaker.n_ctx,
            engine=self.speaker.engine,
            placement=self.speaker.placement,
            memory_bytes=peak_memory_bytes(),
            notes=self.speaker.notes,
        )
