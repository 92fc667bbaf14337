"""Warnings of a plan: contexts beyond what a model was trained on, work that a context does not hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.workloads import Workload


@dataclass(slots=True)
class Notes:
    """Warnings, collected on the way, each once."""

    said: list[str] = field(default_factory=list)

    def add(self, words: str) -> None:
        if words not in self.said:
            self.said.append(words)


def warn(work: Workload, context: int, anatomies: Sequence[Anatomy], notes: Notes) -> None:
    for anatomy in anatomies:
        trained = anatomy.shape.context_length
        if trained and context > trained:
            stretched = (
                f"already stretched by {anatomy.rope_scaling}" if anatomy.rope_scaling else "without rope scaling"
            )
            notes.add(
                f"{anatomy.name} was trained on {trained:,} tokens, {stretched}; {context:,} need YaRN rope scaling "
                f"×{context / trained:.3g}, which costs quality that no number here shows"
            )
    if work.tokens > context:
        notes.add(
            f"the work takes {work.tokens:,} tokens and the context has {context:,}: it must be split, or cut; "
            f"-c {-(-work.tokens // 1024)}k holds it"
        )
    elif work.dense_prompt_tokens and work.dense_prompt_tokens + work.output_tokens > context:
        notes.add(
            f"pages in two columns of small print would be {work.dense_prompt_tokens:,} tokens, more than the context: "
            "`summarize` counts them and splits"
        )
