"""summarize: a paper in N bullets that name their pages, in one prompt where it fits, else part by part."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.core.progress import progress_bar
from pennyweight.jobs.bullets import Bullet, OnText, Tally, Wanted, draw_bullets, read_prompt
from pennyweight.jobs.cost import MemoryMeter
from pennyweight.jobs.fit import Fit, Predicted
from pennyweight.jobs.scoring import Metric, Reading, identify, record, text_hash
from pennyweight.jobs.speaking import (
    Speaker,
    SpeakingOptions,
    speaker,
    vocabulary_of,
)
from pennyweight.jobs.summary_prompts import from_notes, part_of_many, whole
from pennyweight.models.catalogue import find
from pennyweight.pipeline.paper.document import Paper
from pennyweight.pipeline.paper.parts import Part, parts_of
from pennyweight.pipeline.paper.read import read_paper
from pennyweight.runtimes.chat_template import Message
from pennyweight.runtimes.llama_cpp import Model, Sampling
from pennyweight.runtimes.llama_cpp.prompt import chat_template, chat_tokens
from pennyweight.store.database import open_store

MOST_BULLETS = 50
CELLS = 256
"""llama.cpp rounds a context up to a multiple of this."""

BULLET_TOKENS = (28, 96)
"""Fewest and most tokens of a bullet's words; between them a 48th of the context."""

LEAST_TEXT = 64
"""Tokens of the paper that a prompt must have room for to be worth reading."""

LIST_TOKENS = 8
"""What a list of pages takes usually, for the prediction."""

MARGIN = 8
"""Tokens kept free: BOS, and what a template adds around an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryOptions:
    """What to make of the paper.

    Attributes:
        bullets: exactly so many.
        references: read the list of references too.
        temperature: 0 takes the likeliest tokens. seed: None draws one.
    """

    bullets: int = 5
    references: bool = False
    temperature: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What it took, beside what was predicted.

    Attributes:
        seconds: of reading and writing, loading not included.
        memory_bytes: what this process held at its peak beyond what it held before the model was loaded.
    """

    seconds: float
    memory_bytes: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryResult:
    """The bullets and what they cost.

    Attributes:
        pages: of the paper; `paper_tokens`: of its text.
        parts: prompts that the text took; 1 where it fitted.
        prompt_tok_s, decode_tok_s: over all prompts.
        seconds_to_first_token, seconds_to_first_bullet: from the call, loading included: of the first note or bullet,
            and of the summary's own first bullet, complete.
        predicted: None where nothing can be said of this architecture.
        notes: what was left out, and what a person should know.
    """

    paper: str
    pages: int
    paper_tokens: int
    model: str
    bullets: tuple[Bullet, ...]
    parts: int
    n_ctx: int
    prompt_tokens: int
    output_tokens: int
    prompt_tok_s: float | None
    decode_tok_s: float | None
    seconds_to_first_token: float
    seconds_to_first_bullet: float
    seconds_in_all: float
    predicted: Predicted | None
    measured: Measured
    engine: str
    placement: str
    seed: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """How the paper will be read, decided before the weights are.

    Attributes:
        n_ctx: tokens of context.
        bullet_tokens: most of a bullet's words.
        notes: bullets noted of each part, where there are several.
        prompt_tokens, output_tokens: all prompts together; where there are several, what they take at most.
    """

    n_ctx: int
    parts: tuple[Part, ...]
    paper_tokens: int
    bullet_tokens: int
    notes: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told what: `text` streams the bullets, `stage` says what is being done, `plan` what is about to be."""

    text: OnText = lambda text: None
    stage: Callable[[str], None] = lambda words: None
    plan: Callable[[Outline, Predicted | None, str], None] = lambda outline, predicted, placement: None


USUAL, LOADING, UNWATCHED = SummaryOptions(), SpeakingOptions(), Watch()


def summarize(
    paper: str | Path | Paper,
    model: str,
    options: SummaryOptions = USUAL,
    loading: SpeakingOptions = LOADING,
    watch: Watch = UNWATCHED,
) -> SummaryResult:
    """Summarize PAPER (a file, or one that was read) with MODEL; predicted and measured go into the measurement store.

    Raises: BadRequest, FormatError for a paper that cannot be read; DoesNotFit, before anything is loaded, for a
        context that this machine or this model has no room for; and what loading MODEL raises.
    """
    started = time.perf_counter()
    _check(options, loading)
    _require_file(model)
    fit = Fit.of(model, loading, splits=True)
    if loading.ctx is not None:
        fit.require(loading.ctx)
    read = paper if isinstance(paper, Paper) else read_paper(paper, references=options.references)
    open_store().close()  # a store that cannot be written is found out before the minutes of reading
    with vocabulary_of(open_checkpoint(model)) as vocabulary:
        outline = _outline(read, vocabulary, fit, loading.ctx, options.bullets)
    predicted = fit.predict(outline.n_ctx, outline.prompt_tokens, outline.output_tokens, len(outline.parts) + 1)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    meter = MemoryMeter()
    with speaker(model, replace(loading, ctx=outline.n_ctx, gpu_layers=fit.gpu_layers(outline.n_ctx))) as loaded:
        watch.plan(outline, predicted, f"{loaded.engine}: {loaded.placement}")
        work = _Work(loaded, outline, Sampling(temperature=options.temperature, seed=seed), watch, started)
        bullets = work.summary(options.bullets)
        result = SummaryResult(
            paper=read.source,
            pages=read.page_count,
            paper_tokens=outline.paper_tokens,
            model=model,
            bullets=bullets,
            parts=len(outline.parts),
            n_ctx=loaded.n_ctx,
            prompt_tokens=work.tally.prompt_tokens,
            output_tokens=work.tally.output_tokens,
            prompt_tok_s=_rate(work.tally.prompt_tokens, work.tally.prompt_seconds),
            decode_tok_s=_rate(work.tally.decode_tokens, work.tally.decode_seconds),
            seconds_to_first_token=work.first_token or 0.0,
            seconds_to_first_bullet=work.first_bullet or 0.0,
            seconds_in_all=time.perf_counter() - started,
            predicted=predicted,
            measured=Measured(
                seconds=work.seconds,
                memory_bytes=meter.more_bytes,
                prompt_tokens=work.tally.prompt_tokens,
                output_tokens=work.tally.output_tokens,
            ),
            engine=loaded.engine,
            placement=loaded.placement,
            seed=seed,
            notes=(*read.notes, *loaded.notes, *fit.notes),
        )
    _keep(result, read, loading)
    return result


class _Work:
    """Prompts one after another, and the clock over them."""

    def __init__(self, loaded: Speaker, outline: Outline, sampling: Sampling, watch: Watch, started: float) -> None:
        self.tally = Tally()
        self.first_token: float | None = None
        self.first_bullet: float | None = None
        self.seconds = 0.0
        self._speaker, self._outline, self._sampling, self._watch = loaded, outline, sampling, watch
        self._started = started

    def summary(self, count: int) -> tuple[Bullet, ...]:
        """The bullets of the whole paper."""
        begun, parts = time.perf_counter(), self._outline.parts
        if len(parts) == 1:
            self._watch.stage("reading the paper at once")
            found = self._ask(whole(parts[0], count), count, parts[0].numbers, final=True)
        else:
            found = self._reduce(self._notes(parts), count)
        self.seconds = time.perf_counter() - begun
        return found

    def _notes(self, parts: Sequence[Part]) -> list[Bullet]:
        notes: list[Bullet] = []
        self._watch.stage(f"noting what matters in {len(parts)} parts")
        with progress_bar("noting", len(parts), "parts") as advance:
            for number, part in enumerate(parts, 1):
                asked = part_of_many(part, number, len(parts), self._outline.notes)
                notes += self._ask(asked, self._outline.notes, part.numbers, final=False)
                advance(1)
        return notes

    def _reduce(self, notes: list[Bullet], count: int) -> tuple[Bullet, ...]:
        """Notes → bullets; in rounds, each of which fewer notes leave, where the notes do not fit one prompt."""
        while True:
            groups = self._groups(notes, count)
            if len(groups) == 1:
                self._watch.stage(f"summing up {len(notes)} notes")
                return self._ask(from_notes(notes, count), count, _pages(notes), final=True)
            # As many as fit one prompt afterwards, if notes stay as long as they are; at most half, or there is no end.
            room = max(len(group) for group in groups) // len(groups)
            fewer = [max(1, min(room, len(group) // 2)) for group in groups]
            self._watch.stage(
                f"{len(notes)} notes are too many for a prompt: {len(groups)} groups of them, {sum(fewer)} kept"
            )
            notes = [
                bullet
                for group, few in zip(groups, fewer, strict=True)
                for bullet in self._ask(from_notes(group, few), few, _pages(group), final=False)
            ]

    def _groups(self, notes: Sequence[Bullet], count: int) -> list[list[Bullet]]:
        """Consecutive notes that fit a prompt together; all of them, or at least two, or there would be no end."""
        if self._fits(notes, count):
            return [list(notes)]
        groups: list[list[Bullet]] = [[]]
        for note in notes:
            longer = [*groups[-1], note]
            if len(groups[-1]) >= 2 and not self._fits(longer, max(1, len(longer) // 2)):
                groups.append([note])
            else:
                groups[-1] = longer
        return groups

    def _fits(self, notes: Sequence[Bullet], count: int) -> bool:
        prompt = self._speaker.prompt(from_notes(notes, count))
        return len(prompt) + self._wanted(count, (1,)).room + MARGIN <= self._speaker.n_ctx

    def _wanted(self, count: int, pages: tuple[int, ...]) -> Wanted:
        return Wanted(count=count, tokens=self._outline.bullet_tokens, pages=pages, sampling=self._sampling)

    def _ask(self, messages: list[Message], count: int, pages: tuple[int, ...], *, final: bool) -> tuple[Bullet, ...]:
        prompt, wanted = self._speaker.prompt(messages), self._wanted(count, pages)
        with progress_bar("reading", len(prompt), "tokens") as advance:  # and off the screen before a word is shown
            read_prompt(self._speaker, prompt, self.tally, advance)
        return draw_bullets(self._speaker, wanted, self.tally, lambda text: self._hear(text, final))

    def _hear(self, text: str, final: bool) -> None:
        now = time.perf_counter() - self._started
        if self.first_token is None and self.tally.prompt_tokens:
            self.first_token = now
        if final:
            if text == "\n" and self.first_bullet is None:
                self.first_bullet = now
            self._watch.text(text)


def _outline(paper: Paper, vocabulary: Model, fit: Fit, asked: int | None, bullets: int) -> Outline:
    """How to read `paper`: at once where that fits. Raises: DoesNotFit where not even the question does."""
    template = chat_template(vocabulary)

    def prompt(messages: list[Message]) -> NDArray[np.int32]:
        if template:
            return chat_tokens(vocabulary, template, messages)
        return vocabulary.tokenize("\n\n".join(m.content for m in messages), add_special=True)

    @cache  # pages are counted anew for each number of notes that is tried
    def count(text: str) -> int:
        return len(vocabulary.tokenize(text))

    everything, most = Part(pages=paper.pages), asked or fit.largest_context()
    paper_tokens = count(everything.text)
    at_once = paper_tokens + len(prompt(whole(Part(pages=()), bullets)))
    if at_once <= most:  # a book need not be tokenized again to know that it does not fit
        at_once = len(prompt(whole(everything, bullets)))
    needed = at_once + bullets * (BULLET_TOKENS[1] + 32) + MARGIN
    n_ctx = asked or min(-(-needed // CELLS) * CELLS, most)
    bullet_tokens = min(BULLET_TOKENS[1], max(BULLET_TOKENS[0], n_ctx // 48))
    answer = Wanted(count=bullets, tokens=bullet_tokens, pages=(1,), sampling=Sampling()).room
    if at_once + answer + MARGIN <= n_ctx:
        return Outline(
            n_ctx=n_ctx,
            parts=(everything,),
            paper_tokens=paper_tokens,
            bullet_tokens=bullet_tokens,
            notes=0,
            prompt_tokens=at_once,
            output_tokens=bullets * (bullet_tokens + LIST_TOKENS),
        )
    frame = len(prompt(part_of_many(Part(pages=()), 999, 999, 9)))
    for notes in (3, 2, 1):  # fewer notes of each part where many parts share one summing-up
        note_room = Wanted(count=notes, tokens=bullet_tokens, pages=(1,), sampling=Sampling()).room
        budget = n_ctx - frame - note_room - MARGIN
        if budget < LEAST_TEXT:
            continue
        parts = parts_of(paper.pages, budget, count)
        if notes == 1 or len(parts) * note_room <= budget:
            break
    else:
        raise DoesNotFit(
            f"a context of {n_ctx:,} tokens has no room for the question ({frame:,}), an answer and some of the paper; "
            f"ask for fewer bullets, or for -c {-(-(frame + answer + 512) // CELLS) * CELLS}"
        )
    least = frame + answer + LEAST_TEXT
    if least > n_ctx:
        raise DoesNotFit(
            f"{bullets} bullets take {answer:,} tokens, which a context of {n_ctx:,} has no room for beside the "
            f"question; ask for fewer (-n), or for a context of at least {-(-least // CELLS) * CELLS:,} (-c)"
        )
    return Outline(
        n_ctx=n_ctx,
        parts=parts,
        paper_tokens=paper_tokens,
        bullet_tokens=bullet_tokens,
        notes=notes,
        prompt_tokens=paper_tokens + len(parts) * (frame + notes * bullet_tokens),
        output_tokens=(len(parts) * notes + bullets) * (bullet_tokens + LIST_TOKENS),
    )


def _check(options: SummaryOptions, loading: SpeakingOptions) -> None:
    if not 1 <= options.bullets <= MOST_BULLETS:
        raise BadRequest(f"{options.bullets} bullets; 1 to {MOST_BULLETS} are wanted")
    if loading.engine != "llama.cpp":
        raise BadRequest("summarize runs in llama.cpp; the torch engine is for `run`")


def _require_file(model: str) -> None:
    """Raises: BadRequest for a published name, which says which model and not which file."""
    known = find(model) if "/" not in model and not Path(model).exists() else None
    if known:
        raise BadRequest(
            f"{model} is a published name and no file; --auto plans for this machine and finds or makes the file, "
            f"or give one yourself: a .gguf, or hf.co/{known.repository}-GGUF:Q4_K_M"
        )


def _pages(notes: Sequence[Bullet]) -> tuple[int, ...]:
    return tuple(sorted({page for note in notes for page in note.pages}))


def _rate(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if tokens and seconds else None


def _keep(result: SummaryResult, paper: Paper, loading: SpeakingOptions) -> None:
    """What was measured, and beside it what was predicted."""
    measured = {
        "summary_seconds": result.measured.seconds,
        "summary_memory_bytes": float(result.measured.memory_bytes),
        "summary_prompt_tok_s": result.prompt_tok_s,
        "summary_decode_tok_s": result.decode_tok_s,
    }
    if result.predicted:
        measured |= {
            "summary_seconds_predicted": result.predicted.seconds,
            "summary_memory_bytes_predicted": float(result.predicted.memory_bytes),
            "summary_prompt_tok_s_predicted": result.predicted.prompt_tok_s,
            "summary_decode_tok_s_predicted": result.predicted.decode_tok_s,
        }
    reading = Reading(
        text_hash=text_hash("\f".join(page.text for page in paper.pages).encode()),
        protocol=(
            f"summarize: {result.prompt_tokens} prompt and {result.output_tokens} output tokens, "
            f"{result.parts} parts, cache {loading.type_k}/{loading.type_v}, {result.placement}"
        ),
        n_ctx=result.n_ctx,
        chunks=result.parts,
        engine=result.engine,
    )
    metrics = [Metric(name=name, value=value) for name, value in measured.items() if value is not None]
    record(identify(result.model), metrics, reading, seed=result.seed)
