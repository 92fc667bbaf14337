"""tasks: a model's accuracy on benchmarks people name (MMLU, GSM8K, HellaSwag, HumanEval), by lm-evaluation-harness."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.evaluation.task_data import ReadingSettings, TaskChoice, TaskScore, TaskScores
from pennyweight.evaluation.tasks import check_choice, run_tasks
from pennyweight.jobs.notes import run_notes
from pennyweight.jobs.runnable import runnable
from pennyweight.jobs.scoring import Metric, Reading, identify, record
from pennyweight.runtimes.llama_cpp import BUILD, Model
from pennyweight.store.database import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksOptions:
    """How to run tasks.

    Attributes:
        limit: first questions of each task only.
        shots: examples before each question; None takes the task's own number.
        ctx: most tokens of a prompt and its answer; None takes what the model was trained for.
        parallel: texts read side by side.
        include: a directory of one's own task files; Python functions they name are run.
        allow_code_execution: let tasks like HumanEval run what the model writes; there is no sandbox.
        seed: of sampled answers.
    """

    limit: int | None = None
    shots: int | None = None
    ctx: int | None = None
    parallel: int = 8
    threads: int | None = None
    gpu_layers: int = 0
    include: Path | None = None
    allow_code_execution: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksResult:
    """Scores with their 95 % intervals, and how they were found.

    Attributes:
        seconds: wall time of loading data, reading and answering.
        notes: what a reader of the scores should know.
    """

    model: str
    rows: tuple[TaskScore, ...]
    engine: str
    harness: str
    questions_hash: str
    n_ctx: int
    seconds: float
    notes: tuple[str, ...]


USUAL = TasksOptions()


def tasks(model: str, names: Sequence[str] | str, options: TasksOptions = USUAL) -> TasksResult:
    """Run the tasks `names` (a sequence, or one string with commas) on MODEL; scores go into the measurement store too.

    Raises: UnknownName, BadRequest, Missing (see `evaluation.tasks.run_tasks`), and what opening MODEL raises.
    """
    choice = _choice(names, options)
    check_choice(choice)
    open_store().close()  # a store that cannot be written is found out before hours of answering
    identity = identify(model)
    settings = ReadingSettings(ctx=options.ctx, parallel=options.parallel, threads=options.threads, seed=options.seed)
    started = time.perf_counter()
    with runnable(model) as gguf, Model.load(gguf, n_gpu_layers=options.gpu_layers) as loaded:
        found = run_tasks(loaded, choice, settings)
    seconds = time.perf_counter() - started
    for score in found.scores:
        record(identity, [_metric(score)], _reading(score, found, options), seed=options.seed)
    return TasksResult(
        model=identity.model,
        rows=found.scores,
        engine=f"llama.cpp {BUILD}",
        harness=f"lm-evaluation-harness {found.harness}",
        questions_hash=found.questions_hash,
        n_ctx=found.n_ctx,
        seconds=seconds,
        notes=(*_notes(found, options), *run_notes(open_checkpoint(model), found.n_ctx)),
    )


def _choice(names: Sequence[str] | str, options: TasksOptions) -> TaskChoice:
    listed = names.split(",") if isinstance(names, str) else names
    return TaskChoice(
        names=tuple(name.strip() for name in listed if name.strip()),
        limit=options.limit,
        shots=options.shots,
        include=options.include,
        allow_code=options.allow_code_execution,
    )


def _metric(score: TaskScore) -> Metric:
    """`hellaswag.acc_norm`, `gsm8k.exact_match.strict-match`."""
    parts = [score.task, score.metric, *([] if score.filter == "none" else [score.filter])]
    return Metric(name=".".join(parts), value=score.value, stderr=score.stderr)


def _reading(score: TaskScore, found: TaskScores, options: TasksOptions) -> Reading:
    version = f" version {score.version}" if score.version else ""
    shots = "its own examples" if score.shots is None else f"{score.shots}-shot"
    first = f", the first {options.limit} questions of each task" if options.limit else ""
    return Reading(
        text_hash=found.questions_hash,
        protocol=f"lm-evaluation-harness {found.harness}: {score.task}{version}, {shots}{first}; no chat template",
        n_ctx=found.n_ctx,
        chunks=score.samples,
        engine=f"llama.cpp {BUILD}",
    )


def _notes(found: TaskScores, options: TasksOptions) -> list[str]:
    notes = []
    if found.truncated:
        notes.append(f"{found.truncated} texts were longer than the context and lost their beginning; raise -c")
    if options.limit:
        notes.append(f"only the first {options.limit} questions of each task were asked")
    if options.allow_code_execution:
        notes.append("code that the model wrote may have been run on this machine")
    return notes
