"""docs/tour.md: plan → quantize → sweep → summarize, each command run and its real output kept.

    python scripts/make_tour.py

Run it on a quiet machine: the output has speeds. A generated 6-page paper stands in for the reader's own.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pennyweight.store.machine import hardware  # noqa: E402 -- as the next line
from tests.papers import write_pdf  # noqa: E402 -- the repository is no installed package

NAVIGATION = ROOT / "mkdocs.yml"
PAGE = ROOT / "docs" / "tour.md"
MAIN = "from pennyweight.cli.main import main; main()"
SURVEY = ROOT / "pennyweight" / "models" / "embedded" / "survey.md"

STEPS = (
    (
        "Which type of a model should this card run? Nothing is downloaded for the answer.",
        "plan Qwen3-8B --gpu 'RTX 3060 12GB' -c 32k --workload summarize --pages 40",
    ),
    (
        "A file of one type is made. Here of the embedded model, which has 8 million parameters and needs no download; "
        "`Qwen/Qwen3-8B` in its place is fetched first.",
        "quantize embedded Q4_K_M -o embedded-Q4_K_M.gguf",
    ),
    (
        "What did that cost? Three levels measured on a text: KL divergence tells them apart where perplexity cannot.",
        "sweep embedded --text survey.md --types Q8_0,Q4_K_M,Q2_K --chunks 8 --no-speed -o sweep",
    ),
    (
        "Five bullets of a paper, a generated one of 6 pages. A model of 8 million parameters cannot write sense; what "
        "is to be seen is that the paper is read in parts, that every bullet names a page, and what was predicted and "
        "measured.",
        "summarize paper.pdf -m embedded-Q4_K_M.gguf -s 1",
    ),
)


def wrapped(words: str) -> str:
    """As the other pages are: lines of 120."""
    return "\n".join(textwrap.wrap(words, 120))


def run(command: str, directory: Path) -> str:
    """The command's output, both streams in the order they came. Raises: SystemExit where it fails."""
    arguments = [sys.executable, "-c", MAIN, *shlex.split(command)]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "92",
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
        wrapped(
            f"Made by `python scripts/make_tour.py` on {date.today()}, which ran each command and kept what it "
            f"printed. The machine: {hardware()}. Speeds are its own."
        ),
    ]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "survey.md").write_bytes(SURVEY.read_bytes())
        write_pdf(directory / "paper.pdf", 6)
        for words, command in STEPS:
            print(f"pennyweight {command}", file=sys.stderr)
            parts += [wrapped(words), f"```console\n$ pennyweight {command}\n{run(command, directory)}\n```"]
    navigation = NAVIGATION.read_text(encoding="utf-8")
    if "tour.md" not in navigation:
        after = "  - Quick start: quickstart.md\n"
        NAVIGATION.write_text(navigation.replace(after, f"{after}  - A tour: tour.md\n"), encoding="utf-8")
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
