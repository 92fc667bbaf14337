"""docs/tour.md: plan → quantize → sweep → summarize, each command run and its real output kept.

    python scripts/make_tour.py

Run it on a quiet machine: the output has speeds. A generated 6-page paper stands in for the reader's own.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.papers import write_pdf  # noqa: E402 -- the repository is no installed package

NAVIGATION = ROOT / "mkdocs.yml"
PAGE = ROOT / "docs" / "tour.md"
MAIN = "from pennyweight.cli.main import main; main()"
SURVEY = ROOT / "pennyweight" / "models" / "embedded" / "survey.md"

STEPS = (
    (
        "Which type of a model should this card run?",
        "plan Qwen3-8B --gpu 'RTX 3060 12GB' -c 32k --workload summarize --pages 40",
    ),
    (
        "The same question for the embedded model and this machine, whose file is then made.",
        "quantize embedded Q4_K_M -o embedded-Q4_K_M.gguf",
    ),
    (
        "What did it cost? Three levels, measured on a text.",
        "sweep embedded --text survey.md --types Q8_0,Q4_K_M,Q2_K --chunks 8 --no-speed -o sweep",
    ),
    (
        "Five bullets of a paper. (A model of 8 million parameters cannot write sense; see the pages and the numbers.)",
        "summarize paper.pdf -m embedded-Q4_K_M.gguf -s 1",
    ),
)


def run(command: str, directory: Path) -> str:
    """The command's output, both streams in the order they came. Raises: SystemExit where it fails."""
    arguments = [sys.executable, "-c", MAIN, *shlex.split(command)]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "PYTHONUNBUFFERED": "1",
        "PENNYWEIGHT_STORE": str(directory / "store.sqlite"),
    }
    done = subprocess.run(
        arguments,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"pennyweight {command}: exit {done.returncode}\n{done.stdout}")
    return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines()).replace(str(directory), ".")


def main() -> None:
    """Run every step, write the page, and name it in the navigation."""
    parts = [
        "# A tour, with real output",
        "Made by `scripts/make_tour.py`, which ran each command and kept what it printed.",
    ]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "survey.md").write_bytes(SURVEY.read_bytes())
        write_pdf(directory / "paper.pdf", 6)
        for words, command in STEPS:
            print(f"pennyweight {command}", file=sys.stderr)
            parts += [words, f"```console\n$ pennyweight {command}\n{run(command, directory)}\n```"]
    navigation = NAVIGATION.read_text(encoding="utf-8")
    if "tour.md" not in navigation:
        after = "  - Quick start: quickstart.md\n"
        NAVIGATION.write_text(navigation.replace(after, f"{after}  - A tour: tour.md\n"), encoding="utf-8")
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
