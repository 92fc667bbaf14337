"""Bullets drawn from a model: each ends in pages that exist, because a grammar lets it end in nothing else.

    - The scales of the market were wrong by a third. [p. 3, 17]

A bullet has a budget of tokens. One that has not come to its pages by then is cut, marked …, and asked for them.
"""

import codecs
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import DoesNotFit
from pennyweight.jobs.speaking import Speaker
from pennyweight.runtimes.llama_cpp import Sampling
from pennyweight.runtimes.llama_cpp.sampler import Sampler
from pennyweight.runtimes.llama_cpp.session import Clock

OnText = Callable[[str], None]
Advance = Callable[[int], None]

OPENING, PAGES, MOST_PAGES = "- ", " [p. ", 3
_CLOSED = re.compile(r"^(.*) \[p\. (\d+(?:, \d+)*)\]$", re.DOTALL)
PAGES_TOKENS = 32
"""Room that a list of pages takes at most, brackets and a mark of a cut included, in a vocabulary of single letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullet:
    """One point of a summary, and the pages it names: in order, each once, all of them in the paper."""

    text: str
    pages: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.text}{PAGES}{', '.join(map(str, self.pages))}]"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a summary took so far, all prompts together."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    output_tokens: int = 0
    decode_tokens: int = 0
    decode_seconds: float = 0.0

    def add(self, clock: Clock) -> None:
        """One more clock's counts."""
        self.prompt_tokens += clock.prompt_tokens
        self.prompt_seconds += clock.prompt_seconds
        self.output_tokens += clock.output_tokens
        self.decode_tokens += clock.decode_tokens
        self.decode_seconds += clock.decode_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to draw: `count` bullets of at most `tokens` tokens each, naming pages of `pages`."""

    count: int
    tokens: int
    pages: tuple[int, ...]
    sampling: Sampling

    @property
    def room(self) -> int:
        """Tokens of context that the answer may take."""
        return self.count * (self.tokens + PAGES_TOKENS)


def page_grammar(pages: Iterable[int]) -> str:
    """GBNF rules `page` and `pages`: one to three of these numbers, told digit by digit, however many they are."""
    numbers = sorted({str(page) for page in pages})
    more = min(MOST_PAGES, len(numbers)) - 1
    return f'page ::= {_trie(numbers)}\npages ::= page (", " page){{0,{more}}} "]"\n'


def _trie(words: list[str]) -> str:
    """An expression that matches exactly `words`, which share no long list of alternatives."""
    branches = []
    for letter in sorted({word[0] for word in words if word}):
        rest = [word[1:] for word in words if word.startswith(letter)]
        tail = [word for word in rest if word]
        optional = "?" if "" in rest and tail else ""
        branches.append(f'"{letter}"' + (f" {_trie(tail)}{optional}" if tail else ""))
    return f"( {' | '.join(branches)} )"


def bullet_grammar(pages: Iterable[int]) -> str:
    """GBNF of a bullet after its dash: a line without brackets, then its pages."""
    return f'root ::= [^\\n\\r\\t \\[\\]-] [^\\n\\r\\t\\[\\]]+ "{PAGES}" pages\n{page_grammar(pages)}'


def read_prompt(
    speaker: Speaker, prompt: NDArray[np.int32], tally: Tally, advance: Advance = lambda tokens: None
) -> None:
    """Read what bullets are to be drawn after, and the dash of the first. Raises: DoesNotFit, BadRequest."""
    clock = Clock()
    speaker.session.read(np.concatenate([prompt, _tokens(speaker, OPENING)]), clock, advance)
    tally.add(clock)


def draw_bullets(
    speaker: Speaker, wanted: Wanted, tally: Tally, on_text: OnText = lambda text: None
) -> tuple[Bullet, ...]:
    """Draw bullets after the prompt that was read. Raises: DoesNotFit."""
    bullets = []
    for number in range(wanted.count):
        on_text(OPENING)
        bullet, last = _draw(speaker, wanted, tally, on_text)
        bullets.append(bullet)
        on_text("\n")
        if number + 1 < wanted.count:
            ending = PAGES.lstrip() + f"{wanted.pages[0]}]" if len(wanted.pages) == 1 else ""
            speaker.session.extend([last, *_tokens(speaker, f"{ending}\n{OPENING}")])
    return tuple(bullets)


def _draw(speaker: Speaker, wanted: Wanted, tally: Tally, on_text: OnText) -> tuple[Bullet, int]:
    """The bullet, and its last token, which the session has not read yet. Its pages are heard once, put in order."""
    text, last = _spoken(speaker, bullet_grammar(wanted.pages), wanted, tally, on_text)
    cut = "[" not in text
    if len(wanted.pages) == 1:  # nothing is left to be chosen, so nothing is computed
        pages = wanted.pages
    else:
        if cut:
            speaker.session.extend([last, *_tokens(speaker, f"…{PAGES}")])
            listed, last = _spoken(speaker, f"root ::= pages\n{page_grammar(wanted.pages)}", wanted, tally)
            text = f"{text}{PAGES}{listed}"
        found = _CLOSED.match(text)
        if not found:
            raise DoesNotFit(f"the context of {speaker.n_ctx:,} tokens was full inside a bullet; raise -c")
        pages = tuple(sorted({int(page) for page in found[2].split(", ")}))
    bullet = Bullet(text=_words(text, cut=cut), pages=pages)
    on_text(f"{'…' * cut}{str(bullet).removeprefix(bullet.text)}")
    return bullet, last


def _spoken(
    speaker: Speaker, grammar: str, wanted: Wanted, tally: Tally, on_text: OnText = lambda text: None
) -> tuple[str, int]:
    """Text drawn under `grammar` until its pages are closed, or its words have taken their tokens; and the last token.

    Words are heard as they come. A list that has begun is always told to its end: it is a few tokens long, for which
    `Wanted.room` has room.
    """
    clock, text, heard, last = Clock(), "", 0, -1
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    sampling = replace(wanted.sampling, seed=wanted.sampling.seed + tally.output_tokens)
    in_list = grammar.startswith("root ::= pages")
    with Sampler(speaker.vocabulary, sampling, grammar) as sampler:
        for token in speaker.session.answer(sampler, None, clock):
            text, last = text + decoder.decode(speaker.vocabulary.piece(token)), token
            words = text.split("[")[0].rstrip()  # white space waits for the word after it
            on_text(words[heard:])
            heard = max(heard, len(words))
            if text.endswith("]") or (len(wanted.pages) == 1 and "[" in text):
                break
            if clock.output_tokens >= wanted.tokens and "[" not in text and not in_list:
                break
    tally.add(clock)
    return text, last


def _words(text: str, *, cut: bool = False) -> str:
    return " ".join(text.split("[")[0].split()) + "…" * cut


def _tokens(speaker: Speaker, text: str) -> NDArray[np.int32]:
    return speaker.vocabulary.tokenize(text)
