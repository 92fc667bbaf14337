"""Speeds by the `llama-server` of the PATH: its own clock, in the `timings` of each answer of POST /completion.

    pp N   a prompt of N random tokens; prompt_n / prompt_ms
    tg N   a prompt of one token and N + 1 tokens written; N / predicted_ms

The server starts its clock of writing when the first token is there, which the prompt gave; so N + 1 tokens are N
steps, though its own `predicted_per_second` counts them all. What it times includes sampling (greedy, here) and the
making of text, which llama-bench's tests do not. No prompt is read from its cache.

The server listens on the loopback alone, on a port that is free, and is gone when the measurement ends, however that
comes.

Source: llama.cpp tools/server/server-context.cpp `t_start_generation`, tools/server/README.md `/completion`.
"""

import json
import math
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

import numpy as np

from pennyweight.core.errors import BadRequest, FormatError
from pennyweight.core.parallel import default_threads
from pennyweight.core.progress import Advance
from pennyweight.runtimes.llama_tools import find_program
from pennyweight.runtimes.speed import Speed, SpeedReport, SpeedSettings
from pennyweight.runtimes.system_info import backend_and_instructions

LLAMA_SERVER = "llama-server"
LOOPBACK = "127.0.0.1"
LOAD_SECONDS, ANSWER_SECONDS, END_SECONDS = 1800.0, 3600.0, 10.0
"""How long a model may load, one answer may take, and a server may need to end before it is killed."""

MOST_ANSWER_BYTES = 1 << 24
_SPARE_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """A running server: its process, its port, and the file that its log goes to."""

    program: Path
    process: "subprocess.Popen[bytes]"
    port: int
    log: IO[bytes]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and parsed JSON of an answer. Raises: OSError, HTTPException, ValueError (no JSON)."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_SECONDS)  # which reads no proxy's variable
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read(MOST_ANSWER_BYTES))
        finally:
            connection.close()

    def require_alive(self, grace_seconds: float = 0.0) -> None:
        """Raises: BadRequest with the last line of its log, where it has ended or does so within the grace."""
        try:
            code = self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            return
        raise BadRequest(f"{self.program} failed (exit {code}): {self.last_line()}")

    def last_line(self) -> str:
        """The last line it logged."""
        lines = [line.strip() for line in self.logged().splitlines() if line.strip()]
        return lines[-1] if lines else "it gave no reason"

    def logged(self) -> str:
        """All it logged so far."""
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")


def run_llama_server(
    path: Path, settings: SpeedSettings, *, seed: int = 0, advance: Advance = lambda tokens: None
) -> SpeedReport:
    """Measure a GGUF with the llama-server of the PATH; `advance` is told tokens as they are done.

    Raises:
        Missing: there is none.
        BadRequest: it ended with an error, or refused; its own line is the reason.
        FormatError: it answers, but not as a llama-server does.
    """
    program, threads = find_program(LLAMA_SERVER), settings.threads or default_threads()
    with _serving(program, path, settings, threads) as server:
        try:
            facts, build = _facts(server)
            rng = np.random.default_rng(seed)
            speeds = tuple(_speeds(server, settings, int(facts["n_vocab"]), rng, advance))
            backend, instructions = backend_and_instructions(_system_info(server.logged()))
            return SpeedReport(
                description=path.name,
                tensor_bytes=int(facts["size"]),
                parameters=int(facts["n_params"]),
                backend=backend,
                threads=threads,
                build=build,
                instruction_set=instructions,
                speeds=speeds,
                protocol="llama-server, sampling included",
            )
        except (OSError, HTTPException) as error:
            server.require_alive(grace_seconds=1.0)
            raise BadRequest(f"{program} does not answer: {error!r}") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise FormatError(f"{program} answers what cannot be read ({error!r}); is it a llama-server?") from error


@contextmanager
def _serving(program: Path, path: Path, settings: SpeedSettings, threads: int) -> Iterator[_Server]:
    port = _free_port()
    command = [str(program), *_arguments(path, settings, threads), "--host", LOOPBACK, "--port", str(port)]
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would fill, and stop the server
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            raise BadRequest(f"{program} cannot be run: {error.strerror}") from error
        try:
            server = _Server(program=program, process=process, port=port, log=log)
            _wait_until_ready(server)
            yield server
        finally:
            _end(process)


def _free_port() -> int:
    """A port that was free a moment ago; a server that finds it taken ends, which is seen."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def _arguments(path: Path, settings: SpeedSettings, threads: int) -> list[str]:
    """Options whose defaults differ from version to version are left to the program, unless they are asked for."""
    room = settings.prompt_tokens + settings.generated_tokens + _SPARE_TOKENS
    arguments = ["-m", str(path), "-c", str(room), "-np", "1", "-t", str(threads)]
    arguments += ["-b", str(settings.n_batch), "-ub", str(settings.n_ubatch)]
    arguments += ["-ctk", settings.type_k, "-ctv", settings.type_v]
    if settings.gpu_layers >= 0:
        arguments += ["-ngl", str(settings.gpu_layers)]
    if settings.flash_attention is not None:
        arguments += ["-fa", "on" if settings.flash_attention else "off"]
    return arguments


def _wait_until_ready(server: _Server) -> None:
    """Raises: BadRequest where it ends, or is not ready in `LOAD_SECONDS`."""
    deadline = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < deadline:
        server.require_alive()
        try:
            if server.ask("GET", "/health")[0] == 200:
                return
        except (OSError, HTTPException, ValueError):  # not listening yet
            pass
        time.sleep(0.05)
    raise BadRequest(f"{server.program} was not ready in {LOAD_SECONDS:.0f} s: {server.last_line()}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:  # a second Ctrl-C passes here too
        process.kill()
        process.wait()


def _facts(server: _Server) -> tuple[dict[str, Any], str]:
    """`meta` of the one model: n_vocab, n_params, size; and the build."""
    _, models = server.ask("GET", "/v1/models")
    _, properties = server.ask("GET", "/props")
    meta, build = models["data"][0]["meta"], str(properties["build_info"])
    for name in ("n_vocab", "n_params", "size"):
        if not isinstance(meta[name], int) or meta[name] < 1:
            raise ValueError(f"{name} is {meta[name]!r}")
    return meta, build


def _system_info(log: str) -> str:
    """`CPU : AVX2 = 1 | …` of the line that names it; empty in builds that do not log it."""
    found = re.search(r"system_info: n_threads = .*?\| (.*)", log)
    return found[1] if found else ""


def _speeds(
    server: _Server, settings: SpeedSettings, n_vocab: int, rng: np.random.Generator, advance: Advance
) -> Iterator[Speed]:
    def repeated(name: str, prompt: int, written: int, speed: Callable[[dict[str, Any]], float]) -> Speed:
        samples = []
        for repetition in range(settings.repetitions + 1):
            timings = _complete(server, rng.integers(0, n_vocab, prompt).tolist(), written)
            advance(prompt + written - 1)
            if repetition:  # the first one warms up
                samples.append(speed(timings))
        return Speed(test=name, samples=tuple(samples))

    prompt, generated = settings.prompt_tokens, settings.generated_tokens
    if prompt:
        yield repeated(f"pp{prompt}", prompt, 1, lambda t: prompt / (t["prompt_ms"] / 1e3))
    if generated:
        yield repeated(f"tg{generated}", 1, generated + 1, lambda t: generated / (t["predicted_ms"] / 1e3))


def _complete(server: _Server, prompt: list[int], written: int) -> dict[str, Any]:
    """The timings of one answer, checked to be of what was asked for.

    Raises: BadRequest where it refuses; FormatError where it timed something else; KeyError, TypeError.
    """
    wanted = {"prompt": prompt, "n_predict": written, "cache_prompt": False, "ignore_eos": True, "temperature": 0}
    server.require_alive()
    status, answer = server.ask("POST", "/completion", wanted)
    if status != 200:
        reason = answer.get("error", answer) if isinstance(answer, dict) else answer
        said = reason.get("message", reason) if isinstance(reason, dict) else reason
        raise BadRequest(f"{server.program} refuses (HTTP {status}): {said}")
    timings = answer["timings"]
    counts = int(timings["prompt_n"]), int(timings["predicted_n"])
    if counts != (len(prompt), written):
        raise FormatError(
            f"{server.program} timed {counts[0]} prompt tokens and {counts[1]} written ones where {len(prompt)} and "
            f"{written} were asked for"
        )
    for name in ("prompt_ms", *(["predicted_ms"] if written > 1 else [])):
        if not (math.isfinite(timings[name]) and timings[name] > 0):
            raise FormatError(f"{server.program} says that {name} is {timings[name]!r}")
    return timings
