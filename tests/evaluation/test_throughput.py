"""llama-bench's protocol: what is decoded, when it is waited for, what the clock holds, and the figures made of it."""

import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest
from pennyweight.evaluation import throughput
from pennyweight.evaluation.throughput import measure_speed, model_speed, total_tokens
from pennyweight.runtimes.speed import Speed, SpeedSettings
from pennyweight.runtimes.system_info import backend_and_instructions
from tests.tiny_gguf import write_tiny_gguf

FACTS = SimpleNamespace(n_vocab=100, add_bos=True, bos=7, description="fake 1B Q4_0", tensor_bytes=10, parameters=20)
MODEL: Any = SimpleNamespace(facts=FACTS)


class RecordingContext:
    """Stands in for a context: writes down what is asked of it."""

    calls: list[tuple[Any, ...]]

    def __init__(self, model: Any, settings: Any) -> None:
        self.model, self.n_batch, self.threads = model, settings.n_batch, 3
        RecordingContext.calls.append(("context", settings.n_ctx))

    def __enter__(self) -> "RecordingContext":
        return self

    def __exit__(self, *_: object) -> None:
        RecordingContext.calls.append(("closed",))

    def clear(self) -> None:
        RecordingContext.calls.append(("clear",))

    def decode(self, tokens: Any, positions: Any, outputs: Any = True) -> None:
        ids = np.atleast_1d(tokens)
        assert ((ids >= 0) & (ids < 100)).all()
        first, last = int(np.min(positions)), int(np.max(positions))
        RecordingContext.calls.append(("decode", first, last, int(np.sum(outputs)), int(ids[0]) == 7))

    def synchronize(self) -> None:
        RecordingContext.calls.append(("wait",))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    RecordingContext.calls = []
    monkeypatch.setattr(throughput, "Context", RecordingContext)
    monkeypatch.setattr(throughput, "system_info", lambda: "CPU : AVX2 = 1 | FMA = 1 | OPENMP = 1")
    return RecordingContext.calls


def test_a_prompt_goes_in_pieces_of_n_batch_with_one_output_each_and_one_wait_at_the_end(
    calls: list[tuple[Any, ...]],
) -> None:
    model_speed(MODEL, SpeedSettings(prompt_tokens=10, generated_tokens=0, repetitions=1, n_batch=4))
    run = [("clear",), ("decode", 0, 3, 1, True), ("decode", 4, 7, 1, False), ("decode", 8, 9, 1, False), ("wait",)]
    assert [c if c[0] != "decode" or c[1] == 0 else (*c[:4], False) for c in calls] == [
        ("context", 10),
        *run,  # the warm-up is the whole prompt
        *run,
        ("closed",),
    ]


def test_decoding_waits_for_every_token_and_warms_up_with_one(calls: list[tuple[Any, ...]]) -> None:
    model_speed(MODEL, SpeedSettings(prompt_tokens=0, generated_tokens=3, repetitions=2))
    names = [(c[0], c[1]) if c[0] == "decode" else c[0] for c in calls[1:-1]]
    run = ["clear", ("decode", 0), "wait", ("decode", 1), "wait", ("decode", 2), "wait"]
    assert names == ["clear", ("decode", 0), "wait", *run, *run]


def test_a_depth_is_read_first_and_not_timed(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: len(calls))  # the clock counts what was called
    settings = SpeedSettings(prompt_tokens=0, generated_tokens=2, repetitions=1, depth=6, n_batch=4)
    done: list[int] = []
    report = model_speed(MODEL, settings, advance=done.append)
    assert calls[0] == ("context", 8)
    behind = ["clear", ("decode", 0), ("decode", 4), "wait"]
    names = [(c[0], c[1]) if c[0] == "decode" else c[0] for c in calls[1:-1]]
    assert names == [*behind, ("decode", 6), "wait", *behind, ("decode", 6), "wait", ("decode", 7), "wait"]
    assert report.speeds[0].samples == (2 / 4,), "two tokens over the four calls after the depth"
    assert sum(done) == total_tokens(settings)


def test_speeds_are_tokens_over_seconds_of_each_repetition(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0, 99, 100, 102, 200, 204, 0, 99, 300, 301, 400, 402])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    settings = SpeedSettings(prompt_tokens=8, generated_tokens=4, repetitions=2)
    done: list[int] = []
    report = model_speed(MODEL, settings, advance=done.append)
    assert report.speeds == (Speed(test="pp8", samples=(4.0, 2.0)), Speed(test="tg4", samples=(4.0, 2.0)))
    assert report.speeds[0].mean == 3.0
    assert report.speeds[0].stdev == statistics.stdev((4.0, 2.0))
    assert sum(done) == total_tokens(settings)
    assert (report.description, report.threads, report.backend, report.instruction_set) == (
        "fake 1B Q4_0",
        3,
        "CPU",
        "AVX2 FMA",
    )


def test_one_repetition_has_no_deviation() -> None:
    assert Speed(test="pp1", samples=(5.0,)).stdev == 0.0


@pytest.mark.parametrize("counts", [(0, 0, 5), (-1, 4, 5), (4, 4, 0)])
def test_nothing_to_measure_is_said(counts: tuple[int, int, int], calls: list[tuple[Any, ...]]) -> None:
    prompt, generated, repetitions = counts
    settings = SpeedSettings(prompt_tokens=prompt, generated_tokens=generated, repetitions=repetitions)
    with pytest.raises(BadRequest, match="measure nothing"):
        model_speed(MODEL, settings)
    assert calls == []


@pytest.mark.parametrize(
    ("info", "backend", "instructions"),
    [
        ("CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | LLAMAFILE = 1 | OPENMP = 1 | REPACK = 1", "CPU", "SSE3 AVX2"),
        ("Metal : EMBED_LIBRARY = 1 | BF16 = 1 | CPU : NEON = 1 | SVE_CNT = 16", "Metal", "NEON SVE_CNT"),
        ("CUDA : ARCHS = 890 | CPU : AVX = 1", "CUDA", "AVX"),
        ("Vulkan : CPU : AVX = 1", "Vulkan", "AVX"),
        ("", "CPU", "not reported"),
    ],
)
def test_backend_and_instruction_set_are_read_from_llama_cpp_s_own_words(
    info: str, backend: str, instructions: str
) -> None:
    assert backend_and_instructions(info) == (backend, instructions)


@pytest.mark.slow
def test_a_real_model_is_measured_in_this_process(tmp_path: Path) -> None:
    settings = SpeedSettings(prompt_tokens=40, generated_tokens=3, repetitions=2, threads=1, n_batch=16, n_ubatch=16)
    report = measure_speed(write_tiny_gguf(tmp_path / "m.gguf"), settings)
    assert [(speed.test, len(speed.samples)) for speed in report.speeds] == [("pp40", 2), ("tg3", 2)]
    assert all(sample > 0 for speed in report.speeds for sample in speed.samples)
    assert report.parameters > 0
    assert report.threads == 1
    assert report.build.startswith("b")
