"""Downstream tasks: what the harness reports equals an independent computation from logits; code only if allowed."""

import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pennyweight.cli.main import main
from pennyweight.core.errors import BadRequest, Missing
from pennyweight.evaluation import tasks
from pennyweight.evaluation.intervals import wilson
from pennyweight.evaluation.task_data import ReadingSettings, TaskChoice, TaskScore
from pennyweight.evaluation.tasks import run_tasks
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, generate
from tests.evaluation.local_tasks import choice_questions, stand_in_code_eval, stand_in_data, write_tasks
from tests.tiny_forward import forward
from tests.tiny_gguf import BOS, TinyShape, write_tiny_gguf

SHAPE = TinyShape(format="F32")
READING = ReadingSettings(threads=1)
needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-evaluation-harness (the extra [tasks]) is not installed: 0.6 GB of packages, minutes to install",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", format="F32")


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Model]:
    with Model.load(path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks") / "own")


@pytest.fixture(autouse=True)
def own_tasks_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the harness's own 14,000 task files out of the index (5 s), but where a test is about them."""
    if "model" in request.fixturenames:
        from lm_eval import tasks as harness_tasks

        whole = harness_tasks.TaskManager
        monkeypatch.setattr(
            harness_tasks, "TaskManager", lambda include_path: whole(include_path=include_path, include_defaults=False)
        )


def tokens_of(model: Model, text: str) -> list[int]:
    return [BOS, *model.tokenize(text).tolist()]


def log_likelihood(model: Model, context: str, ending: str) -> float:
    """log p(ending | context) by definition: float64, the whole text read at once, nothing shared or cached."""
    whole = tokens_of(model, context + ending)
    first = len(tokens_of(model, context))
    rows = forward(SHAPE, whole)
    log_p = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return float(sum(log_p[i - 1, whole[i]] for i in range(first, len(whole))))


def find(scores: tuple[TaskScore, ...], task: str, metric: str) -> TaskScore:
    return next(score for score in scores if (score.task, score.metric) == (task, metric))


@pytest.mark.slow
@needs_harness
def test_accuracies_are_those_computed_from_raw_logits(model: Model, directory: Path) -> None:
    """Both accuracies, their standard errors and intervals, of two tasks and of the group that pools them."""
    asked = choice_questions()
    likelihoods = np.array([[log_likelihood(model, q.question, " " + c) for c in q.choices] for q in asked])
    lengths = np.array([[len(c) for c in q.choices] for q in asked])
    gold = np.array([q.gold for q in asked])
    for values in (likelihoods, likelihoods / lengths):
        top = np.sort(values, axis=1)
        assert (top[:, -1] - top[:, -2]).min() > 0.05, "the questions leave no choice to rounding"

    found = run_tasks(model, TaskChoice(names=("tiny_both",), include=directory), READING)

    right = likelihoods.argmax(axis=1) == gold
    right_by_length = (likelihoods / lengths).argmax(axis=1) == gold
    for metric, wanted in (("acc", right), ("acc_norm", right_by_length)):
        score = find(found.scores, "tiny_choice", metric)
        assert 0 < score.value < 1
        assert score.value == pytest.approx(wanted.mean())
        assert score.stderr == pytest.approx(wanted.std(ddof=1) / np.sqrt(len(wanted)))
        interval = wilson(int(wanted.sum()), len(wanted))
        assert (score.interval, score.low, score.high) == ("wilson", interval.low, interval.high)
        assert (score.samples, score.shots, score.higher_is_better) == (20, 0, True)
    both = find(found.scores, "tiny_both", "acc")
    assert both.value == pytest.approx((right.sum() + right[:5].sum()) / 25)
    assert (both.samples, both.interval) == (25, "wilson")
    assert found.truncated == 0
    assert found.n_ctx < 64, "a context is no larger than the longest question needs"


@pytest.mark.slow
@needs_harness
def test_a_text_s_perplexity_is_that_of_its_log_likelihood(model: Model, directory: Path) -> None:
    texts = [q.question for q in choice_questions(4)]
    total = sum(log_likelihood(model, "", text) for text in texts)
    wanted = np.exp(-total / sum(len(text.encode()) for text in texts))
    found = run_tasks(model, TaskChoice(names=("tiny_text",), include=directory), READING)
    assert find(found.scores, "tiny_text", "byte_perplexity").value == pytest.approx(wanted, rel=1e-3)
    short = run_tasks(model, TaskChoice(names=("tiny_text",), include=directory), replace(READING, ctx=16))
    value = find(short.scores, "tiny_text", "byte_perplexity").value
    assert value == pytest.approx(wanted, rel=0.5), "windows of 16 tokens score every token too"
    assert value != pytest.approx(wanted, rel=1e-3), "but from less context"


@pytest.mark.slow
@needs_harness
def test_rolling_windows_are_the_harness_s_own() -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    from pennyweight.evaluation.continuations import rolling

    for length in (1, 15, 16, 17, 32, 41):
        tokens = np.arange(100, 100 + length, dtype=np.int32)
        theirs = [make_disjoint_window(w) for w in get_rolling_token_windows(tokens.tolist(), 7, 16, 1)]
        ours = [(window.context.tolist(), window.tokens.tolist()) for window in rolling(tokens, 7, 16)]
        assert ours == theirs


@pytest.mark.slow
@needs_harness
def test_answers_are_the_greedy_ones_cut_at_the_task_s_stops(model: Model, directory: Path) -> None:
    from lm_eval.api.instance import Instance

    from pennyweight.evaluation.harness_model import HarnessModel

    options = {"until": ["e", "\n"], "do_sample": False, "temperature": 0.0, "max_gen_toks": 12}
    asked = [q.question for q in choice_questions(5)]
    instances = [
        Instance(request_type="generate_until", doc={}, arguments=(text, options), idx=0, metadata=("t", i, 1))
        for i, text in enumerate(asked)
    ]
    got = HarnessModel(model, READING).generate_until(instances)
    for text, answer in zip(asked, got, strict=True):
        with Context(model, ContextSettings(n_ctx=256, threads=1)) as context:
            raw = b"".join(model.piece(token) for token in generate(context, tokens_of(model, text), 12))
        assert answer == raw.split(b"e")[0].split(b"\n")[0].decode("utf-8", "replace")
    assert HarnessModel(model, READING).generate_until([]) == []
    sampled = [replace(instances[0], arguments=(asked[0], options | {"do_sample": True, "temperature": 1.0}))] * 4
    first, second = (HarnessModel(model, READING).generate_until(sampled) for _ in range(2))
    assert first == second, "a run is repeatable from its seed"
    assert len(set(first)) > 1, "each repetition of a question draws its own answer"
    with pytest.raises(BadRequest, match=r"asks for penalty_alpha; known"):
        HarnessModel(model, READING).generate_until([replace(instances[0], arguments=("a", {"penalty_alpha": 0.6}))])


@pytest.mark.slow
@needs_harness
def test_spaces_before_a_continuation_and_empty_contexts_are_read_as_the_harness_reads_them(model: Model) -> None:
    from lm_eval.api.model import TemplateLM

    from pennyweight.evaluation.harness_model import HarnessModel

    class Theirs(TemplateLM):
        """The harness's own way to cut a pair of texts, over the same tokenizer."""

        eot_token_id = 1
        prefix_token_id = BOS
        _loglikelihood_tokens = loglikelihood_rolling = generate_until = None

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: object) -> list[int]:
            return tokens_of(model, string)

    theirs, ours = Theirs(), HarnessModel(model, READING)
    for context, ending in (("who weighed it?", " nobody"), ("who weighed it?  ", "nobody"), ("the wei", "ght of it")):
        pair = ours._pair(context, ending)
        assert (pair.context.tolist(), pair.tokens.tolist()) == theirs._encode_pair(context, ending)
    empty = ours._pair("", "nobody")
    assert (empty.context.tolist(), empty.tokens.tolist()) == ([BOS], model.tokenize("nobody").tolist())
    with pytest.raises(BadRequest, match="no token of its own"):
        ours._pair("who weighed it?", "")


@pytest.mark.slow
@needs_harness
def test_code_is_run_only_with_leave_and_the_environment_is_as_before(
    model: Model, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "unchanged")
    choice = TaskChoice(names=("tiny_code",), include=directory)
    with pytest.raises(BadRequest, match=r"tiny_code runs the code that the model writes.*--allow-code-execution"):
        run_tasks(model, choice, READING)
    found = run_tasks(model, replace(choice, allow_code=True), READING)
    assert find(found.scores, "tiny_code", "allowed").value == 1.0
    assert os.environ["HF_ALLOW_CODE_EVAL"] == "unchanged"


@pytest.mark.slow
@needs_harness
def test_questions_longer_than_the_context_are_counted(model: Model, directory: Path) -> None:
    choice = TaskChoice(names=("tiny_choice",), include=directory)
    found = run_tasks(model, replace(choice, limit=3), replace(READING, ctx=20))
    assert found.truncated == 12
    assert find(found.scores, "tiny_choice", "acc").samples == 3
    whole = run_tasks(model, choice, READING)
    assert whole.questions_hash != found.questions_hash
    assert whole.questions_hash == run_tasks(model, choice, replace(READING, parallel=1)).questions_hash


@pytest.mark.slow
@needs_harness
def test_a_data_set_that_cannot_be_had_is_one_line(
    model: Model, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    task = json.loads((directory / "tiny_write.yaml").read_text())
    task["dataset_kwargs"]["data_files"]["test"] = str(tmp_path / "nowhere.jsonl")
    (own / "tiny_write.yaml").write_text(json.dumps(task))
    with pytest.raises(BadRequest, match=r"the data of tiny_write cannot be loaded: .*kept in its cache") as caught:
        run_tasks(model, TaskChoice(names=("tiny_write",), include=own), READING)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@needs_harness
def test_the_four_best_known_benchmarks_run_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness's own task files, prompts, filters and groups, over stand-ins for the data sets on the Hub."""
    import datasets
    import evaluate

    monkeypatch.setattr(datasets, "load_dataset", stand_in_data)
    monkeypatch.setattr(evaluate, "load", stand_in_code_eval)
    choice = TaskChoice(names=("MMLU", "gsm8k", "HellaSwag", "HumanEval"), limit=2, allow_code=True)
    with Model.load(path) as loaded:
        found = run_tasks(loaded, choice, replace(READING, ctx=1600))
    mmlu = find(found.scores, "mmlu", "acc")
    subjects = [score for score in found.scores if score.task.startswith("mmlu_") and score.samples == 2]
    assert (len(subjects), mmlu.samples, mmlu.interval) == (57, 114, "wilson")
    assert mmlu.value == pytest.approx(np.mean([subject.value for subject in subjects]))
    assert {(s.metric, s.filter, s.shots) for s in found.scores if s.task == "gsm8k"} == {
        ("exact_match", "strict-match", 5),
        ("exact_match", "flexible-extract", 5),
    }
    assert {s.metric for s in found.scores if s.task == "hellaswag"} == {"acc", "acc_norm"}
    code = find(found.scores, "humaneval", "pass@1")
    assert (code.value, code.samples, code.interval) == (0.0, 2, "wilson")
    assert found.truncated == 0


@pytest.mark.slow
@needs_harness
def test_the_command_prints_one_object_and_keeps_the_scores(
    path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The whole way, the harness's own index included: --json, the store, and an unknown name beside a known one."""
    arguments = ["tasks", str(path), "--include", str(directory), "--limit", "4", "-t", "1", "--json"]
    assert run([*arguments, "--tasks", "TINY_choice,tiny_write"], monkeypatch) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    result = json.loads(captured.out)
    assert {(row["task"], row["metric"]) for row in result["rows"]} == {
        ("tiny_choice", "acc"),
        ("tiny_choice", "acc_norm"),
        ("tiny_write", "exact_match"),
    }
    assert result["notes"] == ["only the first 4 questions of each task were asked"]
    assert run(["results", "--json"], monkeypatch) == 0
    kept = {row["metric"]: row for row in json.loads(capfd.readouterr().out)["rows"]}
    assert kept["tiny_choice.acc"]["value"] == next(r["value"] for r in result["rows"] if r["metric"] == "acc")
    assert "0-shot, the first 4 questions" in kept["tiny_choice.acc"]["protocol"]

    assert run([*arguments, "--tasks", "hellaswagg"], monkeypatch) == 2
    captured = capfd.readouterr()
    assert captured.err.count("\n") == 1
    assert "did you mean hellaswag" in captured.err
    assert captured.out == ""


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["pennyweight", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.mark.parametrize("name", ["humaneval", "HumanEval_instruct", "mbpp_plus"])
def test_tasks_that_run_code_are_refused_before_anything_is_loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")  # a leave given elsewhere is not a leave given here
    with pytest.raises(BadRequest, match=f"{name} runs the code.*no sandbox.*--allow-code-execution"):
        tasks.check_choice(TaskChoice(names=("mmlu", name)))


def test_without_the_harness_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"pip install 'pennyweight\[tasks\]'"):
        tasks.check_choice(TaskChoice(names=("mmlu",)))


@pytest.mark.parametrize(("version", "fine"), [("0.4.11", False), ("0.4.12", True), ("0.5", True)])
def test_a_harness_too_old_is_refused(version: str, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(tasks.importlib.metadata, "version", lambda name: version)
    if fine:
        assert tasks.require_harness() == version
    else:
        with pytest.raises(Missing, match=r"0\.4\.11 is installed, 0\.4\.12 or later"):
            tasks.require_harness()


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        (TaskChoice(names=()), "--tasks mmlu"),
        (TaskChoice(names=("mmlu",), limit=0), "a limit of 0"),
        (TaskChoice(names=("mmlu",), include=Path("no/such/place")), "no/such/place is no directory"),
    ],
)
def test_a_choice_that_asks_nothing_is_refused(choice: TaskChoice, named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        tasks.check_choice(choice)


def test_an_interval_is_wilson_s_only_where_the_score_is_a_share_of_right_answers() -> None:
    assert tasks._interval(0.5, 0.1, [0, 1, True, 0.0]) == ("wilson", wilson(2, 4))
    assert tasks._interval(0.6, 0.1, [0, 1, 1, 0])[0] == "normal", "a group that is not weighted by size"
    assert tasks._interval(0.5, 0.1, [0.25, 0.75])[0] == "normal"
    assert tasks._interval(0.5, None, [(1, 2)]) == (None, None)


def test_the_leaves_of_a_group_of_groups_count_once() -> None:
    children = {"mmlu": ["stem", "other", "a"], "stem": ["a", "b"], "other": ["c"]}
    assert tasks._leaves("mmlu", children) == ["a", "b", "c"]
    assert tasks._leaves("c", children) == ["c"]
