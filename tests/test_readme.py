"""The README's examples: what needs no file of the reader's is run, and of the rest every verb and option exists."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from pennyweight.cli.main import main
from pennyweight.jobs.sweep import LEVELS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`(pennyweight [^`]+)`", README)))
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.name not in ("cli.md", "decisions.md", "log.md")  # made from the help; and what was, not what is
}
SHOWN = re.compile(r"`(pennyweight \w[^`]+)`|^ *\$ (pennyweight [^\n]+)$|^    (pennyweight [^\n]+)$", re.MULTILINE)
EVERY = sorted({" ".join("".join(found).split()) for page in PAGES.values() for found in SHOWN.findall(page)})


@pytest.mark.parametrize("command", EVERY)
def test_every_verb_and_option_of_a_page_exists(command: str) -> None:
    verb, *rest = shlex.split(command)[1:]
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = re.search(rf"^## .*\b{verb}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no {verb}"
    for option in (part for part in rest if part.startswith("-")):
        assert f"`{option}" in section[0] or f"{option}`" in section[0] or f"{option} " in section[0], option


def test_the_plan_of_the_tour_is_what_plan_says_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ((command, shown),) = re.findall(r"^\$ (pennyweight plan .*)\n((?:.*\n)*?)```", PAGES["docs/tour.md"], re.MULTILINE)
    monkeypatch.setenv("COLUMNS", "92")
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit):
        main()
    said = [line.rstrip() for line in capsys.readouterr().out.rstrip().split("\n")]
    assert said == shown.rstrip().split("\n"), "write the tour anew: python scripts/make_tour.py"


@pytest.mark.slow
def test_the_command_on_the_embedded_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = (command for command in COMMANDS if " embedded " in command)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code


def test_the_plan_prints_what_the_readme_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ((command, screen),) = re.findall(r"^\$ (pennyweight plan .*)\n((?:.*\n)*?)\n…\n```", README, re.MULTILINE)
    monkeypatch.setenv("COLUMNS", "92")
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert capsys.readouterr().out.startswith(screen)


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"`(import pennyweight as pw; [^`]+)`", README)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert (tmp_path / "out.gguf").stat().st_size > 5_000_000


def test_the_readme_s_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^\$ make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_readme_s_charts_are_pictures_of_the_demo_described_with_the_numbers_of_its_table() -> None:
    pictures = re.findall(r'<img src="([^"]+)" width="49%" alt="([^"]+)"', README)
    assert len(pictures) == 2
    for path, described in pictures:
        assert (ROOT / path).read_bytes().startswith(b"\x89PNG")
        assert all(type in described for type in LEVELS)
    table = dict(re.findall(r"^ (\w+) +[\d.]+ MiB .* (0\.\d{6}) ", README, re.MULTILINE))
    said = dict(re.findall(r"(\w+)(?: nats)? (0\.\d+)", pictures[0][1]))
    for type in LEVELS:
        assert float(said[type]) == pytest.approx(float(table[type]), rel=0.15)
