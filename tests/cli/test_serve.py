"""`pennyweight serve`, met by the openai client: streams, a client that vanishes, a prompt too long, and its end."""

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pennyweight.jobs.serve import served_name
from tests.cli.command import process, refused
from tests.tiny_gguf import write_tiny_gguf

KEY = "a-key-of-enough-letters"


@contextmanager
def served(model: str, *arguments: str) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """A server process, and what it says of itself."""
    with process("serve", model, "--port", "0", "-t", "1", "--json", *arguments) as started:
        assert started.stdout is not None
        line = started.stdout.readline()
        assert line, started.communicate()
        yield json.loads(line), started


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", context=4096))


def client(address: str, key: str = "none"):
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=60)


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address + path, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def stream(address: str, number: int) -> str:
    answer = client(address).completions.create(
        model="tiny",
        prompt=f"the harbour {number}",
        max_tokens=12,
        seed=number,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    return "".join(part.choices[0].text for part in answer if part.choices)


@pytest.mark.slow
def test_sixteen_streams_a_vanished_client_and_an_oversized_prompt_leave_it_serving(model: str) -> None:
    openai = pytest.importorskip("openai")
    with served(model, "-c", "2k", "-np", "4") as (said, server):
        address = said["address"]
        assert (said["n_ctx"], said["slots"], said["key_needed"]) == (2048, 4, False)
        assert address.startswith("http://127.0.0.1:")
        assert get(address, "/health")[0] == 200
        assert "llamacpp:" in get(address, "/metrics")[1]
        texts: dict[int, str] = {}
        threads = [
            threading.Thread(target=lambda n=n: texts.__setitem__(n, stream(address, n)), daemon=True)
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        vanishing = client(address).completions.create(
            model="tiny", prompt="the sea", max_tokens=400, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(vanishing))
        vanishing.close()
        for thread in threads:
            thread.join(120)
        assert sorted(texts) == list(range(16))
        assert all(texts.values())
        with pytest.raises(openai.BadRequestError, match="context"):
            client(address).completions.create(model="tiny", prompt="the harbour " * 2000, max_tokens=4)
        chat = client(address).chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "the sea"}], max_tokens=4
        )
        assert chat.usage is not None
        assert chat.usage.completion_tokens >= 1
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{address}/health", timeout=5)


@pytest.mark.slow
def test_a_key_is_asked_for(model: str) -> None:
    openai = pytest.importorskip("openai")
    with served(model, "-c", "512", "-np", "1", "--api-key", KEY) as (said, server):
        assert said["key_needed"]
        assert get(said["address"], "/metrics")[0] == 401
        with pytest.raises(openai.AuthenticationError):
            client(said["address"]).completions.create(model="tiny", prompt="x", max_tokens=1)
        assert client(said["address"], KEY).completions.create(model="tiny", prompt="x", max_tokens=1).choices
        server.kill()  # and nothing is left on the port
    assert get_refused(said["address"])


def get_refused(address: str) -> bool:
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


@pytest.mark.slow
def test_a_server_that_is_closed_or_interrupted_as_soon_as_it_stands_ends(model: str) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pennyweight.runtimes.llama_cpp import server as module\n"
        "settings = module.ServerSettings(n_ctx=512, slots=2, port=0, alias='x', threads=1, api_keys=('k' * 16,))\n"
        "for _ in range(12): module.start_server(Path(sys.argv[1]), settings).close()\n"
        "wait = module._wait_until_it_works\n"
        "module._wait_until_it_works = lambda *a: (os.kill(os.getpid(), signal.SIGINT), wait(*a))\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try: module.start_server(Path(sys.argv[1]), settings)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    command = [sys.executable, "-c", code, model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)  # it hung in two of three
    assert done.stdout == "interrupted\n"


@pytest.mark.slow
def test_a_client_that_reads_nothing_holds_neither_its_slot_nor_the_server(model: str) -> None:
    with served(model, "-np", "1", "-c", "2k") as (shown, process):
        address = shown["address"]
        host, port = address.removeprefix("http://").split(":")
        # Several megabytes of answer, more than the system keeps for a reader: llama.cpp would wait for an hour.
        asked = {"prompt": "the harbour", "n_predict": 1500, "stream": True, "ignore_eos": True, "n_probs": 400}
        body = json.dumps(asked).encode()
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            silent.connect((host, int(port)))
            silent.sendall(b"POST /completion HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert stream(address, 1)  # in the only slot, once the silent client has lost it
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        (["--host", "0.0.0.0"], "API key", 2),
        (["--host", "0.0.0.0", "--api-key", "short"], "16 letters", 2),
        (["--port", "99999"], "0 to 65535", 2),
        (["-np", "0"], "1 to 256", 2),
        (["-t", "100000"], "1 to 512", 2),
        (["--host", "", "--api-key", KEY], "is empty", 2),
        (["--host", "192.0.2.1", "--api-key", KEY], "another --host", 2),
        (["-c", "2", "-np", "4"], "no token for each", 2),
        (["-c", "64k", "-np", "4"], "for each of 4 slots; (1) -c 16384 takes", 1),
        (["-c", "0"], "at least 1", 2),
        (["--api-key-file", "nothing.txt"], "cannot be read", 2),
    ],
)
def test_a_bad_request_is_one_line(
    arguments: list[str],
    named: str,
    code: int,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left, line = refused(["serve", model, "--port", "0", *arguments], monkeypatch, capsys)
    assert (left, named in line) == (code, True), line


def test_a_file_of_keys_without_a_key_is_refused(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").write_text("\n \n")
    code, line = refused(["serve", model, "--api-key-file", str(tmp_path / "keys")], monkeypatch, capsys)
    assert (code, "holds no key" in line) == (2, True), line


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("tiny.gguf", "tiny"),
        ("models/tiny-1.5B.gguf", "tiny-1.5B"),
        ("models/Qwen3.5-4B", "Qwen3.5-4B"),
        ("hf.co/user/Qwen3.5-4B-GGUF:Q4_K_M", "Qwen3.5-4B-GGUF:Q4_K_M"),
        ("embedded", "embedded"),
    ],
)
def test_a_model_has_one_name_wherever_it_lies(model: str, name: str) -> None:
    assert served_name(model) == name


def test_a_port_in_use_is_one_line(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, line = refused(["serve", model, "--port", str(port)], monkeypatch, capsys)
    assert code == 2
    assert f"port {port}" in line
    assert "--port" in line
