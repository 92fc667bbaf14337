"""How a paper will be read, decided before the weights are loaded: at once where it fits, else in how many parts."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import DoesNotFit
from pennyweight.jobs.bullets import Wanted
from pennyweight.jobs.fit import Fit, Tokens
from pennyweight.jobs.summary_prompts import part_of_many, whole
from pennyweight.pipeline.paper.document import Paper
from pennyweight.pipeline.paper.parts import Part, parts_of
from pennyweight.planner.memory import MemoryPlan
from pennyweight.runtimes.chat_template import Message
from pennyweight.runtimes.llama_cpp import Model, Sampling
from pennyweight.runtimes.llama_cpp.prompt import chat_template, chat_tokens

CELLS = 256
"""llama.cpp rounds a context up to a multiple of this."""

BULLET_TOKENS = (28, 96)
"""Fewest and most tokens of a bullet's words; between them a 48th of the context."""

LEAST_TEXT = 64
"""Tokens of the paper that a prompt must have room for to be worth reading."""

LIST_TOKENS = 8
"""What a list of pages takes usually, for the prediction."""

FEWEST_SLOTS, MOST_SLOTS = 4, 8
"""Sequences that write notes side by side. Two or three take a processor longer than one after the other (llama.cpp has
fast products for one token and for many); beyond eight their attention, each over its own text, is what takes time."""

MARGIN = 8
"""Tokens kept free: BOS, and what a template adds around an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """How the paper will be read, decided before the weights are.

    Attributes:
        n_ctx: tokens of context.
        bullet_tokens: most of a bullet's words.
        notes: bullets noted of each part, where there are several; `slots` of the parts side by side.
        tokens: all prompts together; where there are several, what they take at most.
    """

    n_ctx: int
    parts: tuple[Part, ...]
    paper_tokens: int
    bullet_tokens: int
    notes: int
    slots: int
    tokens: Tokens


def outline(paper: Paper, vocabulary: Model, fit: Fit, asked: int | None, bullets: int) -> Outline:
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
    summary_tokens = bullets * (bullet_tokens + LIST_TOKENS)
    if at_once + answer + MARGIN <= n_ctx:
        return Outline(
            n_ctx=n_ctx,
            parts=(everything,),
            paper_tokens=paper_tokens,
            bullet_tokens=bullet_tokens,
            notes=0,
            slots=1,
            tokens=Tokens(prompt_tokens=at_once, output_tokens=summary_tokens),
        )
    frame = len(prompt(part_of_many(Part(pages=()), 999, 999, 9)))
    for notes in (3, 2, 1):  # fewer notes of each part where many parts share one summing-up
        note_room = Wanted(count=notes, tokens=bullet_tokens, pages=(1,), sampling=Sampling()).room
        budget = n_ctx - frame - note_room - MARGIN
        if budget < LEAST_TEXT or (notes > 1 and -(-paper_tokens // budget) * note_room > budget):
            continue  # so many parts have too many notes, however well they are filled
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
        slots=_slots(fit, n_ctx, len(parts)),
        tokens=Tokens(
            prompt_tokens=paper_tokens + len(parts) * (frame + notes * bullet_tokens),
            output_tokens=len(parts) * notes * (bullet_tokens + LIST_TOKENS) + summary_tokens,
            prompts=len(parts) + 1,
            alone_tokens=summary_tokens,
        ),
    )


def _slots(fit: Fit, n_ctx: int, parts: int) -> int:
    """Parts to read side by side: as many as fit with every layer where one has it, in twice the memory of one."""
    alone = fit.memory(n_ctx)
    if alone is None:  # then nobody knows what a sequence takes
        return 1

    def suits(together: MemoryPlan | None) -> bool:
        if together is None or not together.fits or _bytes(together) > 2 * _bytes(alone):
            return False
        return together.placement.gpu_layers == alone.placement.gpu_layers

    counts = range(min(MOST_SLOTS, parts), FEWEST_SLOTS - 1, -1)
    return next((slots for slots in counts if suits(replace(fit, slots=slots).memory(n_ctx))), 1)


def _bytes(plan: MemoryPlan) -> float:
    return plan.host_total.value + plan.card_total.value
