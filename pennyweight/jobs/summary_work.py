"""A summary's prompts: the paper at once, or notes of its parts, some side by side, and then bullets of the notes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pennyweight.core.progress import progress_bar
from pennyweight.jobs.bullets import Bullet, OnText, Wanted, bullets_after
from pennyweight.jobs.fit import Predicted
from pennyweight.jobs.speaking import Speaker
from pennyweight.jobs.summary_outline import FEWEST_SLOTS, MARGIN, Outline
from pennyweight.jobs.summary_prompts import from_notes, part_of_many, whole
from pennyweight.pipeline.paper.parts import Part
from pennyweight.runtimes.chat_template import Message
from pennyweight.runtimes.llama_cpp import Sampling
from pennyweight.runtimes.llama_cpp.side_by_side import Answer, Tally, side_by_side

SEEDS_APART = 1 << 16
"""Between the seeds of two answers: each draws with a seed of its own, whoever is drawn first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told what: `text` streams the bullets, `stage` says what is being done, `plan` what is about to be."""

    text: OnText = lambda text: None
    stage: Callable[[str], None] = lambda words: None
    plan: Callable[[Outline, Predicted | None, str], None] = lambda outline, predicted, placement: None


class Work:
    """Prompts and their answers, and the clock over them."""

    def __init__(self, loaded: Speaker, outline: Outline, sampling: Sampling, watch: Watch, started: float) -> None:
        self.tally = Tally()
        self.first_token: float | None = None
        self.first_bullet: float | None = None
        self.seconds = 0.0
        self._speaker, self._outline, self._sampling, self._watch = loaded, outline, sampling, watch
        self._started, self._asked = started, 0

    def summary(self, count: int) -> tuple[Bullet, ...]:
        """The bullets of the whole paper."""
        begun, parts = time.perf_counter(), self._outline.parts
        if len(parts) == 1:
            self._watch.stage("reading the paper at once")
            found = self._last(whole(parts[0], count), count, parts[0].numbers)
        else:
            found = self._reduce(self._notes(parts), count)
        self.seconds = time.perf_counter() - begun
        return found

    def _notes(self, parts: Sequence[Part]) -> list[Bullet]:
        count, together = self._outline.notes, self._outline.slots
        self._watch.stage(
            f"noting what matters in {len(parts)} parts" + (f", {together} side by side" if together > 1 else "")
        )
        return self._drawn(
            "noting",
            "parts",
            [
                self._answer(part_of_many(part, number, len(parts), count), count, part.numbers)
                for number, part in enumerate(parts, 1)
            ],
        )

    def _reduce(self, notes: list[Bullet], count: int) -> tuple[Bullet, ...]:
        """Notes → bullets; in rounds, each of which fewer notes leave, where the notes do not fit one prompt."""
        while True:
            groups = self._groups(notes, count)
            if len(groups) == 1:
                self._watch.stage(f"summing up {len(notes)} notes")
                return self._last(from_notes(notes, count), count, _pages(notes))
            # As many as fit one prompt afterwards, if notes stay as long as they are; at most half, or there is no end.
            room = max(len(group) for group in groups) // len(groups)
            fewer = [max(1, min(room, len(group) // 2)) for group in groups]
            self._watch.stage(
                f"{len(notes)} notes are too many for a prompt: {len(groups)} groups of them, {sum(fewer)} kept"
            )
            notes = self._drawn(
                "summing up",
                "groups",
                [
                    self._answer(from_notes(group, few), few, _pages(group))
                    for group, few in zip(groups, fewer, strict=True)
                ],
            )

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

    def _drawn(self, label: str, unit: str, answers: Sequence[Answer[tuple[Bullet, ...]]]) -> list[Bullet]:
        """The bullets of all `answers`, in their order."""
        sessions = self._speaker.sessions[: len(answers) if len(answers) >= FEWEST_SLOTS else 1]
        with progress_bar(label, len(answers), unit) as advance:
            drawn = side_by_side(sessions, answers, self.tally, advance)
        return [bullet for bullets in drawn for bullet in bullets]

    def _last(self, messages: list[Message], count: int, pages: tuple[int, ...]) -> tuple[Bullet, ...]:
        """The summary's own bullets, which are heard as they are drawn."""
        answer = self._answer(messages, count, pages, final=True)
        return side_by_side(self._speaker.sessions, [answer], self.tally)[0]

    def _answer(
        self, messages: list[Message], count: int, pages: tuple[int, ...], *, final: bool = False
    ) -> Answer[tuple[Bullet, ...]]:
        self._asked += 1
        wanted = self._wanted(count, pages)
        sampling = replace(wanted.sampling, seed=wanted.sampling.seed + self._asked * SEEDS_APART)
        wanted = replace(wanted, sampling=sampling)
        return bullets_after(messages, self._speaker, wanted, lambda text: self._hear(text, final))

    def _hear(self, text: str, final: bool) -> None:
        now = time.perf_counter() - self._started
        if self.first_token is None and self.tally.prompt_tokens:
            self.first_token = now
        if final:
            if text == "\n" and self.first_bullet is None:
                self.first_bullet = now
            self._watch.text(text)


def _pages(notes: Sequence[Bullet]) -> tuple[int, ...]:
    return tuple(sorted({page for note in notes for page in note.pages}))
