"""calibrate: with a machine whose constants are planted, and once with the real runtime on the smallest models."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pennyweight.cli.main import app
from pennyweight.core.errors import BadRequest, Missing, UnknownName
from pennyweight.jobs import calibrate as job
from pennyweight.jobs.calibrate_tasks import CACHE_DEPTH, QUICK_WEIGHTS, WEIGHTS_PER_SQUARE, Task, config_of, tasks_of
from pennyweight.planner.calibration_store import calibrated_card, calibrated_host
from pennyweight.planner.card_names import find_card
from pennyweight.planner.host import Host
from pennyweight.runtimes.speed import Speed, SpeedReport, SpeedSettings
from pennyweight.store.database import open_store

BITS = {"Q4_K_M": 4.9, "Q8_0": 8.5, "F16": 16.0, "IQ4_XS": 4.3, "Q4_0": 4.5, "Q3_K_S": 3.5}
RATE = {"Q4_K_M": 6e9, "Q8_0": 8e9, "F16": 9e9, "IQ4_XS": 3e9, "Q4_0": 7e9, "Q3_K_S": 4e9}
LAYER, CACHE_RATE, FLOPS, PROMPT_LAYER = 2e-4, 4e9, 5e10, 6e-4
ATTENTION = 0.3 * FLOPS  # what `host_rates` says attention reaches


class PlantedMachine:
    """Runs a task by the formula, without a model."""

    def __init__(self, backend: str = "CPU") -> None:
        self.backend = backend

    def __call__(self, task: Task, runtime: str, base: SpeedSettings) -> SpeedReport:
        config = config_of(task)
        weights = task.layers * WEIGHTS_PER_SQUARE * config.embedding_length**2
        nbytes = int(weights * BITS[task.type] / 8)
        row = 2 * config.head_count_kv * config.head_length * (2 if task.cache_type == "f16" else 34 / 32)
        seconds = nbytes / RATE[task.type] + task.layers * LAYER + task.layers * row * task.depth / CACHE_RATE
        speeds = [Speed(test="tg16", samples=(1 / seconds, 0.5 / seconds))]
        if task.prompt:
            scores = 2 * task.layers * config.head_count * config.head_length * task.prompt**2
            reading = 2 * weights * task.prompt / FLOPS + scores / ATTENTION + task.layers * PROMPT_LAYER
            speeds.append(Speed(test=f"pp{task.prompt}", samples=(task.prompt / reading,)))
        return SpeedReport(
            description="planted",
            tensor_bytes=nbytes,
            parameters=int(weights),
            backend=self.backend,
            threads=2,
            build="b1",
            instruction_set="AVX2",
            speeds=tuple(speeds),
        )


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "store.sqlite"
    monkeypatch.setenv("PENNYWEIGHT_STORE", str(path))
    monkeypatch.setattr("pennyweight.planner.detect_host.measure_bandwidth", lambda *a: 20e9)
    return path


def test_the_planted_constants_of_a_processor_are_found(monkeypatch: pytest.MonkeyPatch, own_store: Path) -> None:
    monkeypatch.setattr(job, "_run", PlantedMachine())
    result = job.calibrate()
    assert result.bandwidth == 20e9
    assert result.seconds_per_layer == pytest.approx(LAYER, rel=1e-3)
    found = {"K": "Q4_K_M", "Q8_0": "Q8_0", "F16": "F16", "IQ4": "IQ4_XS", "K3": "Q3_K_S", "Q4_0": "Q4_0"}
    for family, type in found.items():
        assert result.bandwidth_efficiency[family] == pytest.approx(RATE[type] / 20e9, rel=1e-3), family
    assert set(result.measured_families) == set(found)
    assert result.cache_efficiency["F16"] == pytest.approx(CACHE_RATE / 20e9, rel=1e-3)
    assert result.cache_efficiency["Q8_0"] == pytest.approx(CACHE_RATE / 20e9, rel=1e-3)
    assert result.prompt_operations_per_second == pytest.approx(FLOPS, rel=1e-3)
    assert result.prompt_seconds_per_layer == pytest.approx(PROMPT_LAYER, rel=1e-2)
    assert result.worst_error < 1e-3
    with open_store(own_store) as store:
        rates = calibrated_host(store, Host())
    assert rates is not None
    assert dict(rates.efficiency)["K"] == pytest.approx(0.3, rel=1e-3)


class Interrupted(PlantedMachine):
    """A machine that somebody stops after some runs."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.left, self.seen = runs, []

    def __call__(self, task: Task, runtime: str, base: SpeedSettings) -> SpeedReport:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen.append(task)
        return super().__call__(task, runtime, base)


def test_an_interrupted_calibration_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch, own_store: Path) -> None:
    tasks = list(tasks_of(False, "llama.cpp"))
    first, second, third = Interrupted(3), Interrupted(99), Interrupted(99)
    monkeypatch.setattr(job, "_run", first)
    with pytest.raises(KeyboardInterrupt):
        job.calibrate()
    assert first.seen == tasks[:3]
    monkeypatch.setattr(job, "_run", second)
    result = job.calibrate()
    assert second.seen == tasks[3:]
    assert result.resumed_runs == 3
    assert result.seconds_per_layer == pytest.approx(LAYER, rel=1e-3)
    monkeypatch.setattr(job, "_run", third)
    assert job.calibrate().resumed_runs == 0
    assert third.seen == tasks, "a finished calibration is not taken for an interrupted one"


@pytest.mark.parametrize("change", ["threads", "machine", "age", "value"])
def test_runs_of_other_settings_machines_and_days_do_not_stand(
    monkeypatch: pytest.MonkeyPatch, own_store: Path, change: str
) -> None:
    monkeypatch.setattr(job, "_run", Interrupted(2))
    with pytest.raises(KeyboardInterrupt):
        job.calibrate(threads=2)
    journal = own_store.with_name("calibration.jsonl")
    if change == "machine":
        monkeypatch.setattr("pennyweight.jobs.calibrate_journal.hardware", lambda: "another machine")
    lines = [json.loads(line) for line in journal.read_text().splitlines() if line]
    for line in lines:
        line["row"] |= {"age": {"when": "2020-01-01T00:00:00+00:00"}, "value": {"decode_tok_s": "fast"}}.get(change, {})
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    monkeypatch.setattr(job, "_run", PlantedMachine())
    assert job.calibrate(threads=3 if change == "threads" else 2).resumed_runs == 0


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("runtime", ["llama.cpp", "llama-bench"])
def test_the_model_behind_a_long_context_shares_its_cache_as_published_ones_do(quick: bool, runtime: str) -> None:
    long = [config_of(task) for task in tasks_of(quick, runtime) if task.name == "long context"]
    assert long
    for config in long:  # Llama 3, Qwen3 8B: four query heads of 128 numbers for each that keeps keys and values
        assert config.head_count == 4 * config.head_count_kv
        assert config.head_length == 128


def test_a_card_of_llama_bench_is_kept_under_its_table_name(monkeypatch: pytest.MonkeyPatch, own_store: Path) -> None:
    monkeypatch.setattr(job, "_run", PlantedMachine("CUDA (NVIDIA GeForce RTX 4070 SUPER)"))
    monkeypatch.setattr("pennyweight.jobs.calibrate_journal.find_program", lambda name: Path(__file__))
    result = job.calibrate(quick=True, runtime="llama-bench")
    assert result.device == "RTX 4070 SUPER"
    assert "data sheet" in result.bandwidth_source
    with open_store(own_store) as store:
        assert calibrated_card(store, find_card("RTX 4070 SUPER")) is not None


def test_a_card_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_run", PlantedMachine("Vulkan (Graphite 9000)"))
    monkeypatch.setattr("pennyweight.planner.detect.nvidia_cards", lambda probe: iter(()))
    monkeypatch.setattr("pennyweight.planner.detect.amd_cards", lambda probe: iter(()))
    monkeypatch.setattr("pennyweight.planner.detect.apple_cards", lambda probe: iter(()))
    with pytest.raises(BadRequest, match="Graphite 9000"):
        job.calibrate(quick=True)


def test_the_command_prints_one_object_with_the_contracts_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_run", PlantedMachine())
    done = CliRunner().invoke(app, ["calibrate", "--quick", "--json"])
    assert done.exit_code == 0
    printed = json.loads(done.stdout)
    assert set(printed["bandwidth_efficiency"]) == {"F16", "Q8_0", "Q4_0", "K", "K3", "IQ4", "IQ"}
    assert printed["seconds_per_layer"] == pytest.approx(LAYER, rel=1e-3)
    assert CliRunner().invoke(app, ["calibrate", "--quick"]).stdout.count("measured") >= 2


def test_an_unknown_runtime_and_a_missing_program_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match=r"llama\.cpp"):
        job.calibrate(runtime="ollama")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(QUICK_WEIGHTS, "llama-bench", 1_000_000)
    with pytest.raises(Missing):
        job.calibrate(quick=True, runtime="llama-bench")


@pytest.mark.slow
def test_this_machine_is_calibrated_by_real_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUICK_WEIGHTS, "llama.cpp", 8_000_000)
    monkeypatch.setitem(CACHE_DEPTH, "llama.cpp", 256)
    result = job.calibrate(quick=True, threads=1)
    assert result.device == hardware_line()
    assert all(0 < value <= 1.5 for value in result.bandwidth_efficiency.values())
    assert len(result.runs) == 5


def hardware_line() -> str:
    from pennyweight.store.machine import hardware

    return hardware()
