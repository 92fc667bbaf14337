"""This machine's host bandwidth, measured once and kept beside the measurement store, so that a plan need not wait.

One JSON object, machine → [bytes per second, when]. A file that cannot be read or written costs a measurement anew, and
so does what was measured while others computed: it is a fraction of the truth, which nobody wants for a month.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pennyweight.containers.atomic import write_bytes
from pennyweight.core.errors import OutputError
from pennyweight.planner.detect_host import measured, with_measured
from pennyweight.planner.host import Host
from pennyweight.planner.quantity import Basis
from pennyweight.store.machine import hardware
from pennyweight.store.place import default_path

FILE = "host_bandwidth.json"
MOST_BYTES = 1 << 16

KEPT_FOR = timedelta(days=30)
"""Memory is added, and others may have been busy in a way that nothing here sees."""

QUIET_SHARE = 0.5
"""Of the processors: where more programs than that wanted to compute in the last minute, a measurement is not kept."""

SANE = (1e8, 5e12)
"""Bytes/s of a host."""


def is_busy() -> bool:
    """Whether other programs compute, as far as the system says (Windows does not)."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > QUIET_SHARE * (os.cpu_count() or 1)


def with_known_bandwidth(
    host: Host, measure: Callable[[Host], Host] = measured, busy: Callable[[], bool] = is_busy
) -> Host:
    """The host of this machine with its measured bandwidth: kept from before, or measured now; kept if it was quiet.

    As it was, with an assumed bandwidth, where memory is too short to measure in.
    """
    path, machine = default_path().with_name(FILE), hardware()
    kept = _read(path)
    if found := _known(kept.get(machine)):
        return with_measured(host, found[0], f"by copying on {found[1].date()}")
    host = measure(host)
    if host.basis is Basis.MEASURED and busy():
        return with_measured(host, host.bandwidth, "by copying while the machine was busy")
    if host.basis is Basis.MEASURED:
        _write(path, kept | {machine: [host.bandwidth, datetime.now(UTC).isoformat(timespec="seconds")]})
    return host


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _known(entry: Any) -> tuple[float, datetime] | None:
    """Bandwidth and time of an entry that is whole, sane and not too old."""
    try:
        bandwidth, when = float(entry[0]), datetime.fromisoformat(entry[1])
        fresh = timedelta() <= datetime.now(UTC) - when < KEPT_FOR
    except (TypeError, ValueError, LookupError, OverflowError):
        return None
    return (bandwidth, when) if fresh and SANE[0] < bandwidth < SANE[1] else None


def _write(path: Path, entries: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps(entries).encode())
    except (OSError, OutputError):
        return  # a plan does not fail for it
