"""How detection asks the system: programs, files and NVIDIA's library; each may be missing, hang or lie."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 5.0
"""A driver that hangs keeps its tools waiting for ever; after so long a tool has said nothing."""

LONGEST_ANSWER = 1 << 20


def run_program(command: Sequence[str]) -> str | None:
    """What a program prints; None where it is missing, fails, hangs or prints without end."""
    found = shutil.which(command[0])
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout[:LONGEST_ANSWER] if done.returncode == 0 else None


def nvidia_library() -> Any | None:
    """nvidia-ml-py, loaded; None where it or the driver is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - a driver may fail in any way, and then there is no card for us
        return None
    return pynvml


@dataclass(frozen=True, slots=True)
class Probe:
    """The ways to ask; tests put recorded answers here.

    Attributes:
        run: a command → its output or None.
        root: under which /proc and /sys lie.
        nvml: gives NVIDIA's library or None.
    """

    run: Callable[[Sequence[str]], str | None] = run_program
    root: Path = field(default_factory=lambda: Path("/"))
    nvml: Callable[[], Any | None] = nvidia_library

    def read(self, path: str) -> str | None:
        """A small file under `root`, stripped; None where it cannot be read."""
        try:
            with open(self.root / path.lstrip("/"), encoding="utf-8", errors="replace") as file:
                return file.read(LONGEST_ANSWER).strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """A whole number of at least 0 in a file."""
        return whole_number(self.read(path))


def whole_number(text: object) -> int | None:
    """A whole number of at least 0 in a tool's answer; None for anything else."""
    try:
        value = int(str(text).split()[0])
    except (ValueError, IndexError):
        return None
    return value if value >= 0 else None
