"""The command line's contract: results on stdout, one JSON object when asked, errors as one line and an exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import rich.markup
import typer.main

import pennyweight
from pennyweight.cli.main import app
from tests.cli.command import MAIN, process, run
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf


def test_help_starts_without_numpy_or_anything_heavy() -> None:
    code = (
        "import sys; sys.argv = ['pennyweight', '--help']\n"
        "from pennyweight.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'torch', 'transformers', 'xllamacpp', 'gguf', 'huggingface_hub', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "quantize" in done.stdout


def test_inspect_reads_headers_without_numba(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    code = (
        f"import sys; sys.argv = ['pennyweight', 'inspect', {str(path)!r}]\n"
        "from pennyweight.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as left: assert not left.code\n"
        "heavy = {'numba', 'torch', 'transformers', 'xllamacpp', 'gguf', 'huggingface_hub', 'tokenizers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tokenizer.ggml.tokens" in done.stdout


def test_inspect_as_json_is_one_object_with_the_contract_s_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    assert run(["inspect", str(path), "--json"], monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"bytes", "bits_per_weight", "by_format", "tensors"} <= result.keys()
    assert result["bytes"] == sum(share["bytes"] for share in result["by_format"].values())
    assert result["tensors"]["token_embd.weight"] == {"shape": [512, 256], "format": "F16", "bytes": 262144}


@pytest.mark.slow
def test_quantize_as_json_says_what_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = write_tiny_gguf(tmp_path / "model.gguf"), tmp_path / "out.gguf"
    assert run(["quantize", str(path), "q4_k_m", "-o", str(output), "--json", "-t", "2"], monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"output", "bytes", "bits_per_weight", "seconds", "tensors"} <= result.keys()
    assert result["bytes"] == output.stat().st_size
    assert run(["inspect", str(output), "--json"], monkeypatch) == 0
    inspected = json.loads(capsys.readouterr().out)
    assert {name: entry["format"] for name, entry in inspected["tensors"].items()} == result["tensors"]
    assert inspected["bits_per_weight"] == pytest.approx(result["bits_per_weight"])


@pytest.mark.slow
def test_imatrix_feeds_quantize(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    (tmp_path / "text.txt").write_text(TINY_TEXT)
    matrix = tmp_path / "imatrix.gguf"
    arguments = [
        "imatrix",
        str(path),
        "--text",
        str(tmp_path / "text.txt"),
        "-o",
        str(matrix),
        "--chunks",
        "3",
        "--json",
    ]
    assert run(arguments, monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["chunks"] == 3
    arguments = ["quantize", str(path), "Q2_K_S", "-o", str(tmp_path / "out.gguf"), "--imatrix", str(matrix)]
    assert run(arguments, monkeypatch) == 0
    assert "note:" not in capsys.readouterr().out, "every block tensor has its importance"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["quantize", "{model}", "Q4_K_X", "-o", "out.gguf"], "Q4_K_M"),
        (["quantize", "{model}", "Q4_K_M"], "-o OUT.gguf"),
        (["quantize", "nothing.gguf", "Q4_K_M", "-o", "out.gguf"], "nothing.gguf"),
        (["quantize", "{model}", "Q4_K_M", "-o", "no/such/place/out.gguf"], "there is no directory"),
        (["quantize", "{model}", "Q4_K_M", "-o", "out.gguf", "--split-max-size", "lots"], "12GiB"),
        (["quantize", "{model}", "Q4_K_M", "-o", "out.gguf", "--tensor-type", "attn_q"], "REGEX=FORMAT"),
        (["quantize", "{model}"], "TYPE"),
        (["inspect", "{text}"], "neither a .gguf file nor"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_bad_request_is_one_line_on_stderr_and_exit_2(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"model": write_tiny_gguf(tmp_path / "model.gguf"), "text": tmp_path / "text.txt"}
    places["text"].write_text("just text")
    assert run([part.format(**places) for part in arguments], monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert named in captured.err
    assert not (tmp_path / "out.gguf").exists()


def test_the_python_face_offers_the_verbs() -> None:
    assert set(pennyweight.VERBS) <= set(dir(pennyweight))
    for verb in pennyweight.VERBS:
        assert callable(getattr(pennyweight, verb))
    with pytest.raises(AttributeError, match="frobnicate"):
        _ = pennyweight.frobnicate  # type: ignore[attr-defined]


def test_an_error_is_one_line_even_where_a_path_is_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    assert run(["quantize", str(path), "Q8_0", "-o", str(tmp_path / "two\nlines" / "out.gguf")], monkeypatch) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "two lines" in errors


def test_the_bare_command_is_answered_with_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([], monkeypatch) == 0
    bare = capsys.readouterr()
    assert "quantize" in bare.out
    assert bare.err == ""
    assert run(["--help"], monkeypatch) == 0
    assert capsys.readouterr().out == bare.out


def test_no_help_text_has_square_brackets_that_rich_would_swallow() -> None:
    root: Any = typer.main.get_command(app)
    for command in (root, *root.commands.values()):
        for text in (command.help, *(getattr(item, "help", None) or "" for item in command.params)):
            assert rich.markup.render(text).plain == text


def test_an_ascii_terminal_gets_question_marks_not_a_traceback(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    ascii_only = os.environ | {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ascii_only.pop("PYTHONIOENCODING", None)
    arguments = [sys.executable, "-c", MAIN, "inspect", str(path), "--tensors"]
    done = subprocess.run(arguments, capture_output=True, env=ascii_only, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"512 ? 256" in done.stdout or b"256 ? 512" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
@pytest.mark.parametrize("arguments", [["inspect", "{model}"], ["inspect", "{model}", "--json"], ["--help"]])
def test_a_reader_who_has_seen_enough_is_no_error(arguments: list[str], tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", MAIN, *(part.format(model=path) for part in arguments)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_kill_are_one_line_and_leave_nothing_behind(stop: signal.Signals, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", layers=24, vocabulary=4096, feed_forward=4096)
    arguments = ["quantize", str(path), "IQ4_XS", "-o", str(tmp_path / "out.gguf"), "-t", "1"]
    with process(*arguments) as writing:
        while writing.poll() is None and not list(tmp_path.glob(".out.gguf.tmp-*")):
            time.sleep(0.005)
        writing.send_signal(stop)
        _, errors = writing.communicate(timeout=60)
    assert writing.returncode == 130
    assert errors == "pennyweight: interrupted; nothing half-written is left behind\n"
    assert [p.name for p in tmp_path.iterdir()] == ["model.gguf"]
