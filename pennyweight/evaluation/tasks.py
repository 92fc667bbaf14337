"""Downstream tasks (MMLU, GSM8K, HellaSwag, HumanEval, …) through lm-evaluation-harness, with confidence intervals.

The harness owns prompts, data sets and metrics, so that a number here means what it means elsewhere; ours are the model
under it (`harness_model`), the 95 % interval, and the gate before code that a model wrote is run.
"""

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pennyweight.core.errors import BadRequest, Missing, UnknownName
from pennyweight.evaluation.harness_quiet import CODE_SWITCH, harness_quiet
from pennyweight.evaluation.intervals import Interval, normal, wilson
from pennyweight.evaluation.task_data import ReadingSettings, TaskChoice, TaskScore, TaskScores
from pennyweight.runtimes.llama_cpp import Model

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports] -- the extra [tasks]

FIRST_VERSION = (0, 4, 12)
"""The first harness with `TaskManager.load`; PyTorch has not been needed since 0.4.10."""

CODE_TASKS = ("humaneval", "mbpp", "cruxeval", "longproc")
"""Families whose files run code already when they are loaded; others are known by the harness's mark once loaded."""

FEWSHOT_SEED = 1234
"""Which examples are shown before a question: the seed of the harness's own command."""

BOOTSTRAP_DRAWS = 1000
"""For metrics without a closed form: the stderr is then known to about 2 %."""


def require_harness() -> str:
    """The harness's version. Raises: Missing."""
    way = "pip install 'pennyweight[tasks]'"
    if importlib.util.find_spec("lm_eval") is None:
        raise Missing(f"tasks need lm-evaluation-harness, which is not installed; {way}")
    version = importlib.metadata.version("lm_eval")
    if tuple(int(part) for part in version.split(".")[:3]) < FIRST_VERSION:
        raise Missing(f"lm-eval {version} is installed, {'.'.join(map(str, FIRST_VERSION))} or later is wanted; {way}")
    return version


def check_choice(choice: TaskChoice) -> None:
    """What can be told before anything is loaded. Raises: BadRequest, Missing."""
    if not choice.names:
        raise BadRequest("no task named; write --tasks mmlu,gsm8k,hellaswag,humaneval")
    if choice.limit is not None and choice.limit < 1:
        raise BadRequest(f"a limit of {choice.limit} asks no question; at least 1 is wanted")
    if choice.include and not choice.include.is_dir():
        raise BadRequest(f"{choice.include} is no directory of task files")
    for name in choice.names:
        if name.lower().startswith(CODE_TASKS):
            _require_code_allowed(name, choice)
    require_harness()


def run_tasks(model: Model, choice: TaskChoice, settings: ReadingSettings) -> TaskScores:
    """Ask `model` every question of `choice` and score its answers.

    Raises: UnknownName for a task; BadRequest for data that cannot be fetched, a broken task file, or code to run
    without leave; Missing; what the model's runtime raises.
    """
    check_choice(choice)
    with harness_quiet(allow_code=choice.allow_code):
        from lm_eval.evaluator import evaluate  # pyright: ignore[reportMissingImports] -- the extra [tasks]

        from pennyweight.evaluation.harness_model import HarnessModel

        loaded = _load(choice)
        reader = HarnessModel(model, settings)
        found: Any = evaluate(
            reader,
            loaded,
            limit=choice.limit,
            bootstrap_iters=BOOTSTRAP_DRAWS,
            log_samples=True,  # the intervals and the hash are made from them
            confirm_run_unsafe_code=choice.allow_code,
        )
    return TaskScores(
        scores=tuple(_scores(found)),
        harness=require_harness(),
        questions_hash=_questions_hash(found["samples"]),
        n_ctx=reader.longest,
        truncated=reader.truncated,
    )


def _load(choice: TaskChoice) -> Any:
    """The harness's task objects, their data sets fetched and their examples settled."""
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports] -- the extra [tasks]

    manager = TaskManager(include_path=str(choice.include) if choice.include else None)
    names = [_known(name, manager) for name in choice.names]
    try:
        loaded = manager.load(list(dict.fromkeys(names)))
    except OSError as error:  # what `datasets` raises, offline or for a data set that is not there
        raise BadRequest(
            f"the data of {', '.join(names)} cannot be loaded: {_one_line(error)}; it is fetched from the Hugging Face "
            "Hub once, then kept in its cache"
        ) from error
    except ImportError as error:
        raise Missing(f"{', '.join(names)}: {_one_line(error)}; install what this task needs beside lm-eval") from error
    except (ValueError, KeyError, TypeError) as error:
        if CODE_SWITCH in str(error):
            _require_code_allowed(", ".join(names), choice)
        raise BadRequest(f"{', '.join(names)}: the harness cannot load it: {_one_line(error)}") from error
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            _require_code_allowed(name, choice)
        if getattr(task, "MULTIMODAL", False):
            raise BadRequest(f"{name} shows pictures; only text can be read here")
        _settle_examples(task, choice.shots)
    return loaded


def _settle_examples(task: Any, shots: int | None) -> None:
    """How many examples come before a question, and which; a task that is made for none (0) keeps none."""
    own = task.get_config("num_fewshot")
    if own is None or (shots is not None and own != 0):
        task.set_config(key="num_fewshot", value=shots or 0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)


def _known(name: str, manager: "TaskManager") -> str:
    """The harness's spelling of `name`. Raises: UnknownName with the nearest of its 14,000 names."""
    for spelling in (name, name.lower()):
        if spelling in manager.task_index:
            return spelling
    near = get_close_matches(name.lower(), manager.all_tasks, n=5)
    hint = f"did you mean {', '.join(near)}?" if near else "MMLU is mmlu, GSM8K gsm8k"
    raise UnknownName(f"lm-evaluation-harness has no task named {name!r}; {hint} (all: lm-eval ls tasks)")


def _require_code_allowed(name: str, choice: TaskChoice) -> None:
    if not choice.allow_code:
        raise BadRequest(
            f"{name} runs the code that the model writes, on this machine and in no sandbox; "
            "if that is what you want, add --allow-code-execution"
        )


def _scores(found: Any) -> Iterator[TaskScore]:
    """Every `metric,filter` of every task and group."""
    for task, metrics in found["results"].items():
        leaves = _leaves(task, found["group_subtasks"])
        samples = [sample for leaf in leaves for sample in found["samples"].get(leaf, ())]
        better = found["higher_is_better"].get(task) or {}
        for key, value in metrics.items():
            metric, separator, chosen = key.partition(",")
            if not separator or metric.endswith("_stderr") or not _is_number(value):
                continue
            stderr = metrics.get(f"{metric}_stderr,{chosen}")
            stderr = float(stderr) if _is_number(stderr) else None
            values = [sample[metric] for sample in samples if sample["filter"] == chosen and metric in sample]
            kind, interval = _interval(float(value), stderr, values)
            yield TaskScore(
                task=task,
                metric=metric,
                filter=chosen,
                value=float(value),
                stderr=stderr,
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                interval=kind,
                samples=len(values),
                shots=found["n-shot"].get(task),
                higher_is_better=better.get(metric),
                version=str(found["versions"].get(task) or ""),
            )


def _interval(value: float, stderr: float | None, values: Sequence[Any]) -> tuple[str | None, Interval | None]:
    """Wilson's where the score is the share of samples that are 1 rather than 0, in groups too if weighted by size."""
    binary = bool(values) and all(_is_number(one) and one in (0, 1) for one in values)
    if binary and abs(sum(values) / len(values) - value) < 1e-9:
        return "wilson", wilson(round(sum(values)), len(values))
    return ("normal", normal(value, stderr)) if stderr is not None else (None, None)


def _leaves(name: str, children: dict[str, list[str]]) -> list[str]:
    """The tasks below a group, each once; a task is its own leaf."""
    if name not in children:
        return [name]
    return list(dict.fromkeys(leaf for child in children[name] for leaf in _leaves(child, children)))


def _questions_hash(samples: dict[str, list[dict[str, Any]]]) -> str:
    digest = hashlib.sha256()
    for task in sorted(samples):
        asked = {(one["doc_id"], one["doc_hash"], one["prompt_hash"]) for one in samples[task]}
        digest.update(f"{task} {sorted(asked)}\n".encode())
    return digest.hexdigest()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or hasattr(value, "__float__")


def _one_line(error: BaseException) -> str:
    lines = [line.strip(" #") for line in str(error).splitlines() if line.strip(" #")]
    return lines[0] if lines else type(error).__name__
