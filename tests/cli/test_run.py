"""`pennyweight run`: the contract's keys, stdin, chat, Ctrl-C, and refusals in one line."""

import io
import json
import signal
import sys
import time

import pytest

from pennyweight.cli.run import _show_text
from pennyweight.jobs.run import RunOptions, conversation
from pennyweight.jobs.speaking import SpeakingOptions
from tests.cli.command import process, refused, run
from tests.tiny_gguf import write_tiny_gguf

COMMON = ["-t", "1", "--temp", "0", "--ignore-eos"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", format="F32"))


def _stdin(monkeypatch: pytest.MonkeyPatch, data: bytes, *, terminal: bool = False) -> None:
    stream = io.TextIOWrapper(io.BytesIO(data))
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", stream)


def test_json_has_the_contract_s_keys_and_the_text(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", model, "-p", "the harbour", "-n", "7", "--json", *COMMON], monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"text", "prompt_tokens", "prompt_tok_s", "decode_tok_s", "seconds_to_first_token"} <= result.keys()
    assert (result["output_tokens"], result["stop"], result["placement"]) == (7, "length", "all 2 layers on the CPU")
    assert result["text"]


def test_text_goes_to_stdout_and_everything_else_to_stderr(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", model, "-p", "the harbour", "-n", "7", *COMMON], monkeypatch) == 0
    shown = capsys.readouterr()
    assert run(["run", model, "-p", "the harbour", "-n", "7", "--json", *COMMON], monkeypatch) == 0
    assert shown.out == json.loads(capsys.readouterr().out)["text"] + "\n"
    first, note, numbers = shown.err.splitlines()
    assert "all 2 layers on the CPU" in first
    assert "no chat template" in note
    assert all(word in numbers for word in ("prompt", "decode 7 tokens", "first token", "memory"))


def test_a_terminal_is_told_nothing_that_it_would_obey(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "one\x1b]0;title\x07 two\x9b2J\n\tthree\r"
    _show_text(said)
    assert capsys.readouterr().out == said  # a file or a pipe gets what was said
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _show_text(said)
    assert capsys.readouterr().out == "one�]0;title� two�2J\n\tthree�"


def test_a_prompt_on_stdin_is_as_one_on_the_command_line(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", model, "-p", "the harbour", "-n", "7", *COMMON], monkeypatch) == 0
    expected = capsys.readouterr().out
    _stdin(monkeypatch, b"the harbour")
    assert run(["run", model, "-n", "7", *COMMON], monkeypatch) == 0
    assert capsys.readouterr().out == expected


def test_a_chat_remembers_and_reads_only_what_is_new(model: str) -> None:
    options = RunOptions(tokens=6, seed=1, ignore_eos=True)
    with conversation(model, options, SpeakingOptions(threads=1)) as talk:
        first, second = talk.say("the harbour"), talk.say("and the market")
    assert first.cached_tokens == 0
    assert second.cached_tokens >= first.prompt_tokens + first.output_tokens - 1


def test_a_chat_on_a_terminal_ends_with_end_of_file(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _stdin(monkeypatch, b"the harbour\n\nthe sea\n", terminal=True)
    assert run(["run", model, "-n", "4", *COMMON], monkeypatch) == 0
    assert capsys.readouterr().err.count("first token") == 2


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        (["-c", "0"], "at least 1", 2),
        (["-n", "4", "-c", "99999999"], r"does not fit", 1),
        (["--temp", "-1"], "--temp", 2),
        (["--temp", "nan"], "temperature is nan; 0 or more is wanted", 2),
        (["--top-p", "2"], "top-p is 2.0; more than 0", 2),
        (["--top-k", "4294967297"], "top-k is 4294967297", 2),
        (["-s", "-1"], "--seed", 2),
        (["-s", "4294967295"], "--seed", 2),
        (["-t", "100000"], "1 to 512", 2),
        (["-c", "512", "-ctk", "q3_0"], "known: f32, f16, bf16, q8_0", 2),
        (["--engine", "vllm"], "llama.cpp, torch", 2),
        (["-ctk", "q3_0"], "q8_0", 2),
        (["-fa", "perhaps"], "on, off or auto", 2),
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
    left, line = refused(["run", model, "-p", "x", *arguments], monkeypatch, capsys)
    assert (left, named in line) == (code, True), line


def test_an_empty_stdin_and_json_without_a_prompt_are_refused(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _stdin(monkeypatch, b"")
    assert run(["run", model], monkeypatch) == 2
    assert "stdin is empty" in capsys.readouterr().err
    _stdin(monkeypatch, b"", terminal=True)
    assert run(["run", model, "--json"], monkeypatch) == 2
    assert "-p" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_an_answer_without_a_traceback(model: str) -> None:
    with process("run", model, "-p", "the harbour", "-c", "16k", *COMMON) as speaking:
        assert speaking.stdout is not None
        speaking.stdout.read(40)  # it is speaking
        time.sleep(0.05)
        speaking.send_signal(signal.SIGINT)
        _, errors = speaking.communicate(timeout=60)
    assert speaking.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted" in errors


@pytest.mark.slow
@pytest.mark.torch
def test_the_torch_engine_says_what_llama_cpp_says(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    said = {}
    for engine, more in (("llama.cpp", ["-ctk", "f32", "-ctv", "f32"]), ("torch", ["-ctk", "f32", "-ctv", "f32"])):
        assert (
            run(["run", model, "-p", "the harbour of", "-n", "24", "--engine", engine, *more, *COMMON], monkeypatch)
            == 0
        )
        said[engine] = capsys.readouterr().out
    assert said["torch"] == said["llama.cpp"]
    quantized = ["run", model, "-p", "the harbour of", "-n", "24", "--engine", "torch", "-ctk", "q4_0", "-ctv", "q4_0"]
    assert run([*quantized, *COMMON], monkeypatch) == 0
    assert capsys.readouterr().out != said["torch"]  # four bits do change a random model's words
