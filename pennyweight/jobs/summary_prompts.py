"""What the model is told: plain words, the rules before the paper, the question after it.

The rules come first and never change, so that the cache keeps them from part to part.
"""

from collections.abc import Sequence

from pennyweight.jobs.bullets import Bullet
from pennyweight.pipeline.paper.parts import Part
from pennyweight.runtimes.chat_template import Message

RULES = (
    "You summarize papers. Answer with bullet points only: one sentence each, in the paper's language, about what the "
    "paper did, found and claims. End each with the pages it rests on, like [p. 3] or [p. 3, 7]."
)


def whole(part: Part, bullets: int) -> list[Message]:
    """The paper at once."""
    return _asked(part.text, f"Summarize the paper above in exactly {bullets} bullet points.")


def part_of_many(part: Part, number: int, of: int, bullets: int) -> list[Message]:
    """One part, of which notes are wanted."""
    points = "the most important point" if bullets == 1 else f"the {bullets} most important points"
    return _asked(part.text, f"Above is part {number} of {of} of a paper. Note {points} of it as bullet points.")


def from_notes(notes: Sequence[Bullet], bullets: int) -> list[Message]:
    """Notes of all parts, of which the summary is made."""
    listed = "\n".join(f"- {note}" for note in notes)
    return _asked(listed, f"Above are notes on a paper. Summarize them in exactly {bullets} bullet points.")


def _asked(text: str, question: str) -> list[Message]:
    return [Message(role="system", content=RULES), Message(role="user", content=f"{text}\n\n{question}")]
