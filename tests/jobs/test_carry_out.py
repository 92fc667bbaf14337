"""A plan carried out: the file is made once, loaded as planned, and the hub's absence is one line."""

from dataclasses import replace
from pathlib import Path

import pytest

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, DoesNotFit, NotThere
from pennyweight.jobs import carry_out as module
from pennyweight.jobs.carry_out import carry_out, chosen_of, file_of, here, loading_of, summary_plan
from pennyweight.jobs.plan import PlanOptions, plan
from pennyweight.jobs.plan_machine import MachineOptions
from pennyweight.jobs.speaking import SpeakingOptions
from pennyweight.planner.plan import Plan
from pennyweight.store.database import open_store
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(module.VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def made() -> Plan:
    return plan("embedded", here(PlanOptions()))


@pytest.mark.slow
def test_a_local_checkpoint_is_quantized_once(made: Plan, directory: Path) -> None:
    chosen, said = chosen_of(made), []
    path = file_of("embedded", chosen, said.append)
    assert path == directory / f"embedded-{chosen.type}.gguf"
    total = sum(tensor.nbytes for tensor in open_checkpoint(str(path)).tensors)
    assert total == chosen.weights_bytes  # the plan's bytes were exact
    stamp = path.stat().st_mtime_ns
    assert file_of("embedded", chosen, said.append) == path
    assert path.stat().st_mtime_ns == stamp
    assert "making" in said[0]
    assert "was made earlier" in said[1]


@pytest.mark.slow
def test_speeds_and_memory_are_measured_and_kept_beside_what_was_predicted(
    made: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(module.SHORT, prompt_tokens=48, generated_tokens=8, threads=1)
    monkeypatch.setattr(module, "SHORT", short)
    said: list[str] = []
    done = carry_out("embedded", made, said.append)
    assert done.placement == "all 8 layers on the CPU"
    assert any("on the CPU" in line for line in said)
    assert [speed.test for speed in done.report.speeds] == ["pp48", "tg8"]
    assert done.predicted
    assert (done.predicted.prompt_tokens, done.predicted.output_tokens) == (48, 8)
    with open_store() as store:
        rows = {row.metric: row for row in store.query()}
    for name in ("prompt_tok_s", "decode_tok_s", "memory_bytes"):
        assert {name, f"{name}_predicted"} <= rows.keys()
    assert rows["decode_tok_s"].value == done.report.speeds[1].mean
    assert rows["decode_tok_s_predicted"].value == done.predicted.decode_tok_s
    assert "tg8" in rows["decode_tok_s"].protocol
    assert {row.model for row in rows.values()} == {Path(done.file).name}


def test_two_directories_of_one_name_are_two_models(
    made: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "quantize", lambda source, file_type, output: Path(output).write_text(source))
    for parent in ("one", "other"):
        source = tmp_path / parent / "checkpoint"
        source.mkdir(parents=True)
        assert file_of(str(source), chosen_of(made)).read_text() == str(source)


def test_a_file_that_is_named_is_the_file(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    assert file_of(str(path), chosen_of(plan(str(path), here(PlanOptions())))) == path


def test_what_was_asked_for_by_hand_stays(made: Plan) -> None:
    chosen = chosen_of(made)
    assert loading_of(chosen, SpeakingOptions(gpu_layers=3, type_k="q8_0")) == SpeakingOptions(
        gpu_layers=3, type_k="q8_0"
    )
    assert loading_of(chosen, SpeakingOptions()).gpu_layers == chosen.layers_on_gpu


def test_a_plan_for_more_pages_asks_for_more_context() -> None:
    few, many = (summary_plan("Qwen3-0.6B", pages, None) for pages in (2, 40))
    assert few.context < many.context


def test_where_nothing_fits_nothing_is_made() -> None:
    nothing = plan("Qwen3-235B-A22B", PlanOptions(machine=MachineOptions(vram=2 << 30, bandwidth=100e9, ram=4 << 30)))
    with pytest.raises(DoesNotFit, match="nothing fits"):
        chosen_of(nothing)


def test_an_unreachable_hub_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unreachable(model: str) -> Path:
        asked.append(model)
        raise BadRequest("cannot fetch it: connection refused") from ConnectionError()

    monkeypatch.setattr(module, "local_path", unreachable)
    with pytest.raises(BadRequest, match="connection refused"):
        file_of("Qwen3-0.6B", chosen_of(plan("Qwen3-0.6B", here(PlanOptions()))))
    assert len(asked) == 1
    assert asked[0].startswith("hf.co/Qwen/Qwen3-0.6B-GGUF:")


@pytest.mark.slow
def test_without_a_published_gguf_the_checkpoint_is_fetched_and_quantized(
    made: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hub(model: str) -> Path:
        if "GGUF" in model:
            raise NotThere("there is no such file")
        return module.EMBEDDED

    monkeypatch.setattr(module, "local_path", hub)
    path = file_of("somebody/embedded", chosen_of(made))
    assert open_checkpoint(str(path)).tensors


def test_experts_that_this_process_cannot_leave_on_the_host_are_refused_with_the_command_that_can() -> None:
    machine = MachineOptions(gpu="RTX 3060 12GB", ram=32 << 30)
    made = plan("Qwen3-30B-A3B", PlanOptions(machine=machine, context=16_384))
    with pytest.raises(BadRequest, match=r"run llama-server .* --n-cpu-moe"):
        chosen_of(made)
