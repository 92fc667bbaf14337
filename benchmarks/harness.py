"""What every benchmark shares: the hardware in words, and the one JSON object at the end, kept in `results/`."""

import json
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pennyweight.store.machine import hardware

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "numba", "llvmlite", "gguf", "xllamacpp", "torch")


def installed(package: str) -> str:
    """Its version, or "absent": not every benchmark needs every package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def commit() -> str:
    """The commit that runs, short; "" outside a repository."""
    if shutil.which("git") is None:
        return ""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()


def record(name: str, figures: dict[str, Any]) -> None:
    """Print one JSON object with the figures and where they come from, and append it to `results/<name>.jsonl`."""
    entry = {
        "benchmark": name,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "python": platform.python_version(),
        "versions": {package: installed(package) for package in PACKAGES},
        "commit": commit(),
        **figures,
    }
    line = json.dumps(entry)
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)
