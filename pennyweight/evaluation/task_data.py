"""What is asked of a run of downstream tasks, and what it gives."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChoice:
    """What to run.

    Attributes:
        names: tasks, groups or tags of the harness, in any case.
        limit: first questions of each task only; None for all.
        shots: examples before each question; None takes the task's own number.
        include: a directory of one's own task files (YAML); Python functions they name are run.
        allow_code: let tasks run the code that the model writes, on this machine, in no sandbox.
    """

    names: tuple[str, ...]
    limit: int | None = None
    shots: int | None = None
    include: Path | None = None
    allow_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingSettings:
    """How the model reads.

    Attributes:
        ctx: most tokens of a text; None takes what the model was trained for. A context is no larger than needed.
        parallel: texts read side by side.
        threads: None takes every core.
        seed: of sampled answers; question i draws from seed + i.
    """

    ctx: int | None = None
    parallel: int = 8
    threads: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """One metric of one task or group.

    Attributes:
        filter: how answers were read from the text, `none` where there is nothing to choose.
        stderr: the harness's; None where it knows none.
        low, high: 95 % confidence: Wilson's interval where every sample is right or wrong, else value ± 1.96 stderr.
        interval: `wilson`, `normal` or None, which of them it is.
        samples: questions.
        shots: examples before each question; None for a group of different numbers.
    """

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    low: float | None
    high: float | None
    interval: str | None
    samples: int
    shots: int | None
    higher_is_better: bool | None
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScores:
    """All metrics of all tasks, and how they came about.

    Attributes:
        harness: its version.
        questions_hash: SHA-256 over every question and prompt: equal where two models saw the same.
        n_ctx: tokens of the longest text that was read.
        truncated: texts that lost their beginning, because the context was too small.
    """

    scores: tuple[TaskScore, ...]
    harness: str
    questions_hash: str
    n_ctx: int
    truncated: int
