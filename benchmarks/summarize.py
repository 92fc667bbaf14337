"""From the command to the first bullet, on a generated 40-page PDF and the embedded model, each run in a fresh process.

    python -m benchmarks.summarize [--runs 5] [--pages 40] [-t 2]

Targets: first bullet within 10 s on two cores, text of 40 pages within 3 s, a refusal within 1 s.
The PDF is the tests' (350 words a page); the embedded model has 1,024 tokens of context, so every page is a prompt.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import record
from tests.papers import write_pdf

MAIN = "from pennyweight.cli.main import main; main()"
EXTRACT = "import sys; from pennyweight.pipeline.paper.read import read_paper; read_paper(sys.argv[1])"


def timed(command: list[str]) -> tuple[float, str, int]:
    """Seconds from start to end of a fresh process, its stdout, its exit code."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return time.perf_counter() - started, done.stdout, done.returncode


def first_line_seconds(command: list[str]) -> float:
    """Seconds until a fresh process has printed its first whole line."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
        process.communicate()
    if not line.startswith("- "):
        raise SystemExit(f"no bullet: {line!r}")
    return seconds


def main() -> None:
    """Run, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("-t", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        paper = str(write_pdf(Path(directory) / "paper.pdf", args.pages))
        verb = [sys.executable, "-c", MAIN, "summarize", paper, "-m", "embedded", "-t", str(args.t)]
        timed([*verb, "--json"])  # files into the page cache, byte code onto the disk
        firsts = [first_line_seconds(verb) for _ in range(args.runs)]
        extracts = [timed([sys.executable, "-c", EXTRACT, paper])[0] for _ in range(args.runs)]
        refusals = [timed([*verb, "-c", "1M"]) for _ in range(args.runs)]
        whole = json.loads(timed([*verb, "--json"])[1])
    assert all(code == 1 for _, _, code in refusals)
    figures = {
        "first_bullet_seconds": statistics.median(firsts),
        "extract_seconds": statistics.median(extracts),
        "refuse_seconds": statistics.median(seconds for seconds, _, _ in refusals),
        "prompt_tokens": whole["prompt_tokens"],
        "output_tokens": whole["output_tokens"],
        "prompt_tok_s": whole["prompt_tok_s"],
        "decode_tok_s": whole["decode_tok_s"],
    }
    for name, wanted in (("first_bullet_seconds", 10), ("extract_seconds", 3), ("refuse_seconds", 1)):
        print(f"{name:22} {figures[name]:6.2f} s, wanted {wanted} s: {'met' if figures[name] <= wanted else 'missed'}")
    record("summarize", {"pages": args.pages, "threads": args.t, "runs": args.runs, **figures})


if __name__ == "__main__":
    main()
