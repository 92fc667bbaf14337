"""llama-server from the PATH, played twice: by llama.cpp's own server of the wheel, and by one that misbehaves."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pennyweight.core.errors import BadRequest, FormatError, Missing
from pennyweight.runtimes.llama_server import run_llama_server
from pennyweight.runtimes.speed import SpeedSettings
from tests.tiny_gguf import write_tiny_gguf

SHORT = SpeedSettings(prompt_tokens=24, generated_tokens=5, repetitions=2, threads=1)

REAL = """
import argparse, os, sys, time
import xllamacpp
parser = argparse.ArgumentParser()
for name in ("-m", "-c", "-np", "-t", "-b", "-ub", "-ctk", "-ctv", "--host", "--port"):
    parser.add_argument(name)
asked = parser.parse_args()
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = asked.m, int(asked.c), int(asked.np)
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(asked.t)
params.n_batch, params.n_ubatch = int(asked.b), int(asked.ub)
params.hostnames, params.port = [asked.host], int(asked.port)
print("system_info: n_threads = 1 (n_threads_batch = 1) / 2 | " + xllamacpp.get_system_info(), file=sys.stderr)
server = xllamacpp.Server(params)
while True:
    time.sleep(1)
"""
"""The wheel's own server: the HTTP face and the clock are llama.cpp's."""

FAKE = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
facts = json.load(open(FACTS))
json.dump({"arguments": sys.argv[1:], "pid": os.getpid(), "asked": []}, open(SEEN, "w"))
if "log" in facts:
    print(facts["log"], file=sys.stderr, flush=True)
if "exit" in facts:
    sys.exit(facts["exit"])
META = {"n_vocab": 50, "n_params": 1000, "size": 2000} | facts.get("meta", {})

class Face(BaseHTTPRequestHandler):
    def answer(self, body, status=200):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            return self.answer({"status": "ok"})
        if self.path == "/props":
            return self.answer({"build_info": "b11549-abc1234"})
        self.answer({"data": [{"id": "x", "meta": META}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen = json.load(open(SEEN))
        seen["asked"].append(asked)
        json.dump(seen, open(SEEN, "w"))
        if "die" in facts:
            print("ggml: out of memory", file=sys.stderr, flush=True)
            os._exit(3)
        if "raw" in facts:
            return self.answer(facts["raw"].encode(), facts.get("status", 200))
        timings = {"prompt_n": len(asked["prompt"]), "prompt_ms": 200.0, "predicted_n": asked["n_predict"],
                   "predicted_ms": 500.0}
        self.answer({"content": "x", "timings": timings | facts.get("timings", {})})

    def log_message(self, *_):
        pass

port = int(sys.argv[sys.argv.index("--port") + 1])
HTTPServer(("127.0.0.1", port), Face).serve_forever()
"""


def put_on_path(directory: Path, monkeypatch: pytest.MonkeyPatch, code: str = FAKE, **facts: Any) -> Path:
    """A program `llama-server` alone on the PATH; the value is the file in which the fake writes what it saw."""
    seen, told = directory / "seen.json", directory / "facts.json"
    told.write_text(json.dumps(facts))
    program = directory / "llama-server"
    program.write_text(f"#!{sys.executable}\nSEEN, FACTS = {str(seen)!r}, {str(told)!r}\n{code}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    return seen


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_llama_cpp_s_own_server_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_tiny_gguf(tmp_path / "model.gguf")
    put_on_path(tmp_path, monkeypatch, REAL)
    started = time.perf_counter()
    report = run_llama_server(model, SHORT)
    seconds = time.perf_counter() - started
    assert [(speed.test, len(speed.samples)) for speed in report.speeds] == [("pp24", 2), ("tg5", 2)]
    for speed in report.speeds:
        tokens = int(speed.test[2:])
        assert sum(tokens / sample for sample in speed.samples) < seconds, "its clock and ours run alike"
    assert report.backend == "CPU"
    assert "not reported" not in report.instruction_set
    assert report.build.startswith("b")
    assert report.tensor_bytes < model.stat().st_size
    assert report.parameters > 0


def test_speeds_are_steps_over_its_clock_and_it_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = put_on_path(tmp_path, monkeypatch, log="system_info: n_threads = 4 / 8 | CPU : AVX2 = 1 | AVX512 = 1 | ")
    done: list[int] = []
    report = run_llama_server(Path("model.gguf"), SHORT, advance=done.append)
    assert [(speed.test, speed.mean) for speed in report.speeds] == [("pp24", 24 / 0.2), ("tg5", 5 / 0.5)]
    assert (report.build, report.instruction_set) == ("b11549-abc1234", "AVX2 AVX512")
    assert (report.parameters, report.tensor_bytes, report.threads) == (1000, 2000, 1)
    told = json.loads(seen.read_text())
    asked = told["asked"]
    assert [(len(a["prompt"]), a["n_predict"]) for a in asked] == [(24, 1)] * 3 + [(1, 6)] * 3
    assert all(not a["cache_prompt"] and a["ignore_eos"] and max(a["prompt"]) < 50 for a in asked)
    assert told["arguments"][told["arguments"].index("--host") + 1] == "127.0.0.1"
    assert sum(done) == 3 * (24 + 6)
    assert not is_running(told["pid"])


def test_settings_become_its_arguments_and_defaults_are_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = put_on_path(tmp_path, monkeypatch)
    run_llama_server(Path("model.gguf"), SHORT)
    assert not {"-ngl", "-fa"} & set(json.loads(seen.read_text())["arguments"])
    settings = SpeedSettings(
        prompt_tokens=8,
        generated_tokens=0,
        repetitions=1,
        threads=3,
        gpu_layers=7,
        flash_attention=False,
        type_v="q8_0",
    )
    run_llama_server(Path("model.gguf"), settings)
    asked = json.loads(seen.read_text())["arguments"]
    for flag, value in (("-t", "3"), ("-ngl", "7"), ("-fa", "off"), ("-ctv", "q8_0"), ("-np", "1")):
        assert asked[asked.index(flag) + 1] == value


def test_an_absent_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="llama-server is not on the PATH"):
        run_llama_server(Path("model.gguf"), SHORT)


@pytest.mark.parametrize(
    ("facts", "error", "says"),
    [
        ({"exit": 1, "log": "loading\nerror: failed to load model"}, BadRequest, r"exit 1\): error: failed to load"),
        ({"die": True}, BadRequest, r"exit 3\): ggml: out of memory"),
        ({"raw": '{"error": {"message": "no such slot"}}', "status": 500}, BadRequest, "HTTP 500.: no such slot"),
        ({"raw": '["busy"]', "status": 503}, BadRequest, r"HTTP 503\)"),
        ({"raw": "<html>"}, FormatError, "is it a llama-server"),
        ({"raw": "[]"}, FormatError, "is it a llama-server"),
        ({"raw": "{}"}, FormatError, "is it a llama-server"),
        ({"timings": {"prompt_n": 3}}, FormatError, "timed 3 prompt tokens"),
        ({"timings": {"prompt_ms": 0.0}}, FormatError, "prompt_ms is 0.0"),
        ({"timings": {"prompt_ms": float("nan")}}, FormatError, "prompt_ms is nan"),
        ({"timings": {"prompt_ms": "fast"}}, FormatError, "is it a llama-server"),
        ({"meta": {"n_vocab": 0}}, FormatError, "is it a llama-server"),
        ({"meta": {"size": "2 GB"}}, FormatError, "is it a llama-server"),
    ],
)
def test_a_server_that_fails_or_is_none_is_refused_and_ended(
    facts: dict[str, Any], error: type[Exception], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = put_on_path(tmp_path, monkeypatch, **facts)
    with pytest.raises(error, match=says) as caught:
        run_llama_server(Path("model.gguf"), SHORT)
    assert "\n" not in str(caught.value)
    assert not is_running(json.loads(seen.read_text())["pid"])


def test_a_server_is_ended_when_we_are_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = put_on_path(tmp_path, monkeypatch)

    def interrupt(tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_llama_server(Path("model.gguf"), SHORT, advance=interrupt)
    assert not is_running(json.loads(seen.read_text())["pid"])


def test_a_program_that_cannot_be_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch)
    (tmp_path / "llama-server").write_text("#!/no/such/interpreter\n")
    with pytest.raises(BadRequest, match="cannot be run"):
        run_llama_server(Path("model.gguf"), SHORT)
