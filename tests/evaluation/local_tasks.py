"""Small tasks of our own for lm-evaluation-harness: YAML and JSON lines, no network, nothing in the user's cache."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PLACES = ("harbour", "market", "post office", "mill", "station", "garden")
NOUNS = ("keeper", "scales", "letters", "bread", "clock", "roses")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceQuestion:
    """A question with four endings, `gold` the right one (nobody's: the model is random)."""

    question: str
    choices: tuple[str, ...]
    gold: int


def choice_questions(count: int = 20) -> list[ChoiceQuestion]:
    """Questions that share their beginning two by two, as a benchmark's do."""
    return [
        ChoiceQuestion(
            question=f"In the year {1800 + i // 2}, who weighed the {NOUNS[i % 6]} of the {PLACES[i // 3 % 6]}?",
            choices=(f"the {NOUNS[(i + 1) % 6]}", "nobody", f"{i} pounds of {NOUNS[i % 5]}", "the old man"),
            gold=i * 7 % 4,
        )
        for i in range(count)
    ]


def write_tasks(directory: Path) -> Path:
    """`tiny_choice`, `tiny_more` and their group `tiny_both`; `tiny_write`, `tiny_text`, `tiny_code`."""
    directory.mkdir()
    questions = choice_questions()
    rows = [{"question": q.question, "choices": list(q.choices), "gold": q.gold} for q in questions]
    choice = {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    _task(directory, "tiny_choice", rows, choice)
    _task(directory, "tiny_more", rows[:5], choice)
    group = {
        "group": "tiny_both",
        "task": ["tiny_choice", "tiny_more"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }
    (directory / "tiny_both.yaml").write_text(json.dumps(group))  # JSON is YAML
    write = {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{choices[0]}}",
        "generation_kwargs": {"until": ["e"], "do_sample": False, "temperature": 0.0, "max_gen_toks": 12},
        "metric_list": [{"metric": "exact_match"}],
    }
    _task(directory, "tiny_write", rows[:6], write)
    text = {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
        "metric_list": [{"metric": "byte_perplexity"}],
    }
    _task(directory, "tiny_text", rows[:4], text)
    functions = (
        "import os\n\n\ndef allowed(references, predictions):\n    return float(os.environ['HF_ALLOW_CODE_EVAL'])\n"
    )
    (directory / "functions.py").write_text(functions)
    code = write | {"unsafe_code": True, "metric_list": []}
    path = _task(directory, "tiny_code", rows[:3], code)
    metric = (
        "metric_list:\n  - metric: !function functions.allowed\n    aggregation: mean\n    higher_is_better: true\n"
    )
    path.write_text(_yaml(json.loads(path.read_text()) | {"metric_list": None}).replace("metric_list: null\n", metric))
    return directory


def _task(directory: Path, name: str, rows: list[dict], task: dict) -> Path:
    data = directory / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(directory / "cache")},
        "test_split": "test",
        "metadata": {"version": 1.0},
    }
    path = directory / f"{name}.yaml"
    path.write_text(json.dumps(source | task))
    return path


def _yaml(task: dict) -> str:
    """One top-level key a line, each value as JSON."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in task.items())


def stand_in_data(path: str, name: str | None = None, **_options: object) -> dict[str, Any]:
    """What `datasets.load_dataset` gives for the four best-known benchmarks: the Hub's columns, made-up rows."""
    from datasets import Dataset, DatasetDict

    mmlu = {"question": "Who weighed it?", "subject": name, "choices": ["he", "she", "they", "nobody"], "answer": 3}
    gsm8k = {"question": "2 scales weigh 3 pounds each; how much in all?", "answer": "2 * 3 = 6\n#### 6"}
    hellaswag = {
        "ind": 1,
        "activity_label": "Weighing",
        "ctx_a": "The keeper takes the scales.",
        "ctx_b": "he",
        "ctx": "The keeper takes the scales. he",
        "endings": ["weighs a rose.", "eats the clock.", "is the mill.", "sleeps."],
        "label": "0",
    }
    humaneval = {
        "task_id": "HumanEval/0",
        "prompt": "def add(a, b):\n",
        "entry_point": "add",
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n",
    }
    rows = {
        "cais/mmlu": mmlu,
        "openai/gsm8k": gsm8k,
        "Rowan/hellaswag": hellaswag,
        "openai/openai_humaneval": humaneval,
    }
    several = Dataset.from_list([rows[path] | {"question": f"{i}. {rows[path].get('question')}"} for i in range(8)])
    return DatasetDict(dict.fromkeys(("train", "dev", "validation", "test"), several))


def stand_in_code_eval(name: str) -> SimpleNamespace:
    """What `evaluate.load("code_eval")` gives: every answer is wrong, none is run; refuses as the real one does."""
    assert name == "code_eval"

    def compute(references: list, predictions: list, k: list[int]) -> tuple[dict[str, float], dict]:
        import os

        if os.getenv("HF_ALLOW_CODE_EVAL") != "1":
            raise ValueError("set HF_ALLOW_CODE_EVAL")
        return {"pass@1": 0.0}, {}

    return SimpleNamespace(compute=compute)
