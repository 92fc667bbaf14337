"""Bullets drawn from a model: each ends in pages that exist, because a grammar lets it end in nothing else.

    - The scales of the market were wrong by a third. [p. 3, 17]

A bullet has a budget of tokens. One that has not come to its pages by then is cut, marked …, and asked for them.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pennyweight.jobs.speaking import Speaker
from pennyweight.runtimes.chat_template import Message
from pennyweight.runtimes.llama_cpp import Sampling
from pennyweight.runtimes.llama_cpp.sampler import Sampler
from pennyweight.runtimes.llama_cpp.side_by_side import Answer

OnText = Callable[[str], None]

OPENING, PAGES, MOST_PAGES = "- ", " [p. ", 3
NOT_IN_A_LINE = r"\x00-\x1F\x7F-\x9F\u2028\u2029\[\]"
"""What no bullet's words hold, as GBNF writes it: control characters, all that ends a line, and brackets."""

PAGES_TOKENS = 32
"""Room that a list of pages takes at most, brackets and a mark of a cut included, in a vocabulary of single letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullet:
    """One point of a summary, and the pages it names: in order, each once, all of them in the paper."""

    text: str
    pages: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.text}{PAGES}{', '.join(map(str, self.pages))}]"


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
    return f'root ::= [^{NOT_IN_A_LINE} -] [^{NOT_IN_A_LINE}]+ "{PAGES}" pages\n{page_grammar(pages)}'


def bullets_after(
    messages: Sequence[Message], speaker: Speaker, wanted: Wanted, on_text: OnText = lambda text: None
) -> Answer[tuple[Bullet, ...]]:
    """Bullets drawn after `messages`, for `side_by_side`. Raises: DoesNotFit."""
    pen = _Pen(speaker, wanted, on_text)
    pen.row = yield np.concatenate([speaker.prompt(messages), pen.tokens(OPENING)])
    drawn = []
    for number in range(wanted.count):
        on_text(OPENING)
        drawn.append((yield from pen.bullet()))
        on_text("\n")
        if number + 1 < wanted.count:
            ending = PAGES.lstrip() + f"{wanted.pages[0]}]" if len(wanted.pages) == 1 else ""
            yield from pen.put(f"{ending}\n{OPENING}")
    return tuple(drawn)


class _Pen:
    """Where an answer stands: the row of its logits, the token that was drawn last and is not read yet.

    Every `yield` has tokens read and is sent the row of what follows them.
    """

    def __init__(self, speaker: Speaker, wanted: Wanted, on_text: OnText) -> None:
        self.row, self.last, self.drawn = -1, -1, 0
        self._speaker, self._wanted, self._on_text = speaker, wanted, on_text

    def tokens(self, text: str) -> NDArray[np.int32]:
        return self._speaker.vocabulary.tokenize(text)

    def put(self, text: str) -> Answer[None]:
        """Words of ours, as if the model had said them."""
        self.row = yield np.concatenate([np.array([self.last], np.int32), self.tokens(text)])

    def bullet(self) -> Answer[Bullet]:
        """A bullet; its pages are heard once, put in order."""
        pages = self._wanted.pages
        text = yield from self._spoken(bullet_grammar(pages), self._on_text)
        cut = "[" not in text
        if len(pages) > 1:  # else nothing is left to be chosen, so nothing is computed
            if cut:
                yield from self.put(f"…{PAGES}")
                listed = yield from self._spoken(f"root ::= pages\n{page_grammar(pages)}")
                text = f"{text}{PAGES}{listed}"
            pages = tuple(sorted({int(page) for page in re.findall(r"\d+", text.partition("[")[2])}))
        bullet = Bullet(text=_words(text, cut=cut), pages=pages)
        self._on_text(f"{'…' * cut}{str(bullet).removeprefix(bullet.text)}")
        return bullet

    def _spoken(self, grammar: str, on_text: OnText = lambda text: None) -> Answer[str]:
        """Text drawn under `grammar` until its pages are closed, or its words have taken their tokens.

        Words are heard as they come. A list that has begun is always told to its end: it is a few tokens long, for
        which `Wanted.room` has room. The grammar ends there, so that no end of the model's own comes before.
        """
        wanted, vocabulary, context = self._wanted, self._speaker.vocabulary, self._speaker.session.context
        text, heard, before = "", 0, self.drawn
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        sampling = replace(wanted.sampling, seed=wanted.sampling.seed + self.drawn)
        in_list = grammar.startswith("root ::= pages")
        with Sampler(vocabulary, sampling, grammar) as sampler:
            while True:
                self.last = sampler.sample(context, self.row)
                self.drawn += 1
                text += decoder.decode(vocabulary.piece(self.last))
                words = text.split("[")[0].rstrip()  # white space waits for the word after it
                on_text(words[heard:])
                heard = max(heard, len(words))
                if text.endswith("]") or (len(wanted.pages) == 1 and "[" in text):
                    return text
                if self.drawn - before >= wanted.tokens and "[" not in text and not in_list:
                    return text
                self.row = yield np.array([self.last], np.int32)


def _words(text: str, *, cut: bool = False) -> str:
    return " ".join(text.split("[")[0].split()) + "…" * cut
