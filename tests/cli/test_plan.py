"""`pennyweight plan`: the contract's keys, exit codes, and both widths of terminal."""

import json
import os
import subprocess
import sys

import pytest

from pennyweight.cli.main import main

KEYS = {
    *("model", "type", "weights_bytes", "kv_bytes", "compute_bytes", "overhead_bytes", "total_bytes", "fits"),
    *("layers_on_gpu", "prompt_tok_s", "decode_tok_s", "seconds", "quality", "basis"),
}


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["pennyweight", "plan", *arguments])
    monkeypatch.setenv("PENNYWEIGHT_STORE", "/nonexistent/store.sqlite")
    with pytest.raises(SystemExit) as left:
        main()
    text = capsys.readouterr()
    return int(left.value.code or 0), text.out, text.err


def test_json_is_one_object_with_the_contract_s_keys(capsys, monkeypatch) -> None:
    code, out, _ = run(capsys, monkeypatch, "Qwen3-8B", "--gpu", "RTX 3060 12GB", "-c", "8k", "--json")
    answer = json.loads(out)
    assert code == 0
    assert {"card", "chosen", "candidates", "reasons"} <= set(answer)
    assert set(answer["candidates"][0]) >= KEYS
    assert answer["context"] == 8192
    assert answer["chosen"]["type"] == "Q4_K_M"


def test_what_does_not_fit_is_exit_1_and_still_an_answer(capsys, monkeypatch) -> None:
    code, out, _ = run(capsys, monkeypatch, "Llama-3.1-70B", "--gpu", "RTX 3060 12GB", "--json")
    answer = json.loads(out)
    assert code == 1
    assert answer["chosen"] is None
    assert answer["changes"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("Qwen3-8B", "--gpu", "RTX 9999"),
        ("Qwen3-8Q", "--gpu", "RTX 4090"),
        ("Qwen3-8B", "--vram", "-4GB", "--bandwidth", "300"),
        ("Qwen3-8B", "--vram", "12GB"),
        ("Qwen3-8B", "--gpu", "RTX 4090", "-c", "-1"),
        ("Qwen3-8B", "--gpu", "RTX 4090", "--type", "Q9_K"),
        ("Qwen3-8B", "--gpu", "RTX 4090", "-ctk", "q7_0"),
        ("Qwen3-8B", "--gpu", "RTX 4090", "--accuracy", "extreme"),
        ("Qwen3-8B", "--gpu", "RTX 4090", "--runtime", "tgi"),
        ("Qwen3-8B", "--gpu", "RTX 4090", "--workload", "poetry"),
        ("Qwen3-8B", "--gpu", "RTX 4090", "-o", "x.png"),
        ("Qwen3-8B", "--gpu", "RTX 4090", "-fa", "off", "-ctv", "q8_0"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_2(arguments, capsys, monkeypatch) -> None:
    code, out, err = run(capsys, monkeypatch, *arguments)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("columns", [80, 120])
def test_the_screen_fits_the_terminal(columns, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    asked = ("Qwen3-14B", "Qwen3-8B", "Qwen3-4B", "--gpu", "RTX 4060 Ti 16GB", "-c", "32k", "--workload", "summarize")
    code, out, _ = run(capsys, monkeypatch, *asked, "--pages", "40", "--cliff")
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    assert "llama-server" in out
    assert "knee" in out


def test_memory_sizes_are_gib_as_cards_are_sold(capsys, monkeypatch) -> None:
    _, out, _ = run(capsys, monkeypatch, "Qwen3-8B", "--vram", "12GB", "--bandwidth", "360GB/s", "--json")
    card = json.loads(out)["card"]
    assert card["memory_bytes"] == 12 << 30
    assert card["bandwidth"] == 360e9


HEAVY = (
    "pennyweight.cli.sweep",
    "torch",
    "numba",
    "matplotlib",
    "xllamacpp",
    "gguf",
    "rich",
    "huggingface_hub",
    "numpy",
    "pydantic",
    "sqlite3",
)


def test_a_plan_of_a_published_model_imports_nothing_heavy(tmp_path) -> None:
    code = (
        "import sys; sys.argv = ['pennyweight', 'plan', 'Qwen3-8B', '--gpu', 'RTX 4090']; "
        "from pennyweight.cli.entry import main\n"
        "try: main()\n"
        f"finally: print(*set({HEAVY}) & set(sys.modules), file=sys.stderr)"
    )
    environment = os.environ | {"PENNYWEIGHT_STORE": str(tmp_path / "none.sqlite")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "Run Qwen3-8B" in done.stdout
    assert done.stderr.strip() == ""


def quantize(capsys, monkeypatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["pennyweight", "quantize", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    text = capsys.readouterr()
    return int(left.value.code or 0), text.out, text.err


def test_a_plan_as_json_says_quantize_the_type(tmp_path, capsys, monkeypatch) -> None:
    _, out, _ = run(capsys, monkeypatch, "embedded", "--gpu", "RTX 3060 12GB", "--accuracy", "high", "--json")
    file = tmp_path / "plan.json"
    file.write_text(out)
    code, answer, said = quantize(capsys, monkeypatch, "embedded", "--plan", str(file), "--dry-run", "--json")
    assert code == 0
    assert len(json.loads(answer)["tensors"]) > 10
    assert said.startswith(json.loads(out)["chosen"]["type"])


def test_quantize_for_a_card_picks_the_type_itself(capsys, monkeypatch) -> None:
    code, answer, said = quantize(
        capsys, monkeypatch, "embedded", "--for", "RTX 3060 12GB", "-c", "4k", "--dry-run", "--json"
    )
    assert code == 0
    assert "Q4_K" in json.loads(answer)["tensors"].values()
    assert said.startswith("Q4_K_M: embedded's Q4_K_M fits")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no json", 2),
        ("[]", 2),
        ("{}", 2),
        ('{"chosen": 3}', 2),
        ('{"chosen": null, "changes": ["less"]}', 1),
        ('{"chosen": {"model": "Qwen3-8B", "type": "Q4_K_M", "runtime": "llama.cpp"}}', 2),
        ('{"chosen": {"model": "embedded", "type": "Q9_K", "runtime": "llama.cpp"}}', 2),
        ('{"chosen": {"model": "embedded", "type": "AWQ", "runtime": "vllm"}}', 2),
    ],
)
def test_a_plan_that_is_none_is_refused_in_one_line(text, code, tmp_path, capsys, monkeypatch) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    left, out, err = quantize(capsys, monkeypatch, "embedded", "--plan", str(file), "--dry-run")
    assert (left, out) == (code, "")
    assert len(err.strip().splitlines()) == 1


def test_a_type_is_said_once(capsys, monkeypatch) -> None:
    code, _, err = quantize(capsys, monkeypatch, "embedded", "Q4_K_M", "--for", "RTX 3060 12GB", "--dry-run")
    assert code == 2
    assert "both say the type" in err
