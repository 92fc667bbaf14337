"""What a piece of work cost: seconds, and the most memory the process held meanwhile."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(slots=True, kw_only=True)
class Cost:
    """Filled when the work is done.

    Attributes:
        seconds: wall time.
        peak_memory_bytes: the largest resident set of the process during the work, all that it held before included;
            None where the system cannot say (not Linux).
        peak_device_bytes: the most that PyTorch held on a GPU; None without one.
    """

    seconds: float = 0.0
    peak_memory_bytes: int | None = None
    peak_device_bytes: int | None = None


def peak_memory_bytes() -> int:
    """The most that this process has held in memory, mapped weights included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_bytes() -> int:
    """What this process holds in memory now, where the system says; else the most that it has held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_memory_bytes()
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


class MemoryMeter:
    """The most that this process comes to hold beyond what it held when the meter was made."""

    def __init__(self) -> None:
        self._resets = _reset_peak()
        self._before = memory_bytes()

    @property
    def more_bytes(self) -> int:
        """Bytes of resident memory; where the system keeps no mark of its own, beyond any earlier peak too."""
        peak = _peak() if self._resets else None
        return max(0, (peak_memory_bytes() if peak is None else peak) - self._before)


@contextmanager
def measured_cost(device: str = "cpu") -> Iterator[Cost]:
    """Measure what runs inside."""
    cost, began, resets = Cost(), time.perf_counter(), _reset_peak()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()
    yield cost
    cost.seconds = time.perf_counter() - began
    cost.peak_memory_bytes = _peak() if resets else None
    if device.startswith("cuda"):
        import torch

        cost.peak_device_bytes = torch.cuda.max_memory_allocated()


def _reset_peak() -> bool:
    try:
        _CLEAR.write_text("5")  # Linux: the high-water mark starts again from what is held now
    except OSError:
        return False
    return True


def _peak() -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
