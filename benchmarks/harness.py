"""What every benchmark shares: the hardware in words, and the one JSON object at the end, kept in `results/`."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "numba", "llvmlite", "gguf", "xllamacpp")


def hardware() -> str:
    """The processor as it calls itself, and how many of its cores this machine has."""
    import os

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def record(name: str, figures: dict[str, Any]) -> None:
    """Print one JSON object with the figures and where they come from, and append it to `results/<name>.jsonl`."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    entry = {
        "benchmark": name,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit.strip(),
        **figures,
    }
    line = json.dumps(entry)
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)
