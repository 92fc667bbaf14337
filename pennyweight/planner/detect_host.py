"""Host memory: how much there is for us, and how fast it is by a short measurement."""

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pennyweight.core.parallel import default_threads
from pennyweight.core.units import MIB
from pennyweight.planner.host import Host
from pennyweight.planner.probe import Probe, whole_number
from pennyweight.planner.quantity import Basis
from pennyweight.store.machine import last_level_cache_bytes, total_memory_bytes

NO_LIMIT = 1 << 60
"""A cgroup without a limit shows a number near 2^63."""

_GIVING_WAY = ("inactive_file ", "active_file ")

COPY_BYTES = 64 * MIB
"""Of the measurement's two arrays at least; the largest cache's size where that is more."""

MOST_COPY_BYTES = 256 * MIB


def detect_host(probe: Probe) -> Host:
    """The host around the cards, from /proc/meminfo and the limits of cgroups, or sysctl; its bandwidth is assumed."""
    memory = _memory(probe)
    return Host(
        memory_bytes=memory,
        available_bytes=min(_available(probe) or memory, memory) if memory else 0,
        cores=default_threads(),
        windows=platform.system() == "Windows",
    )


def measured(host: Host, seconds: float = 0.25) -> Host:
    """The host with its bandwidth by copies of `seconds`; as it was where memory is too short to measure in."""
    bandwidth = measure_bandwidth(host.available_bytes, seconds)
    return with_measured(host, bandwidth, "by copying") if bandwidth else host


def with_measured(host: Host, bandwidth: float, how: str) -> Host:
    """The host with a bandwidth that was measured, in bytes/s; `how` in words."""
    return replace(
        host,
        bandwidth=bandwidth,
        basis=Basis.MEASURED,
        source=f"measured {how}",
    )


def _memory(probe: Probe) -> int:
    listed = _meminfo(probe).get("MemTotal") or whole_number(probe.run(("sysctl", "-n", "hw.memsize")))
    known = listed or total_memory_bytes()
    return min(known, _cgroup(probe, "memory.max", "memory/memory.limit_in_bytes") or known)


def _available(probe: Probe) -> int | None:
    free = _meminfo(probe).get("MemAvailable")
    limit = _cgroup(probe, "memory.max", "memory/memory.limit_in_bytes")
    used = _cgroup(probe, "memory.current", "memory/memory.usage_in_bytes")
    inside = limit - min(max((used or 0) - _file_pages(probe), 0), limit) if limit else None
    known = [value for value in (free, inside) if value]
    return min(known) if known else None


def _file_pages(probe: Probe) -> int:
    """Of what the control group (version 2) uses, pages of files, which give way."""
    lines = (probe.read("/sys/fs/cgroup/memory.stat") or "").splitlines()
    return sum(whole_number(line.split()[-1]) or 0 for line in lines if line.startswith(_GIVING_WAY))


def _meminfo(probe: Probe) -> dict[str, int]:
    """Bytes by name; the file counts in KiB."""
    found = {}
    for line in (probe.read("/proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        kib = whole_number(rest)
        if kib is not None:
            found[name] = kib * 1024
    return found


def _cgroup(probe: Probe, second: str, first: str) -> int | None:
    """A limit of the control group, of version 2 or 1; None without one (`max`, or a number past any machine)."""
    for path in (second, first):
        value = probe.number(f"/sys/fs/cgroup/{path}")
        if value is not None and 0 < value < NO_LIMIT:
            return value
    return None


def measure_bandwidth(available: int = 0, seconds: float = 0.25, threads: int | None = None) -> float:
    """Bytes/s of copying arrays larger than any cache, read and written bytes counted, all cores; the best pass.

    0 where memory is too short to measure in.
    """
    import numpy as np  # here: with a bandwidth that is known, a plan needs no arrays

    cache = last_level_cache_bytes() or 0
    size = min(max(COPY_BYTES, cache), MOST_COPY_BYTES)
    if available and 4 * size > available:
        return 0.0
    threads = threads or default_threads()
    source, target = (
        np.ones(size, np.uint8),
        np.ones(size, np.uint8),
    )  # ones: pages that are never written are not there
    pieces = [slice(i * size // threads, (i + 1) * size // threads) for i in range(threads)]
    best, end = 0.0, time.perf_counter() + seconds
    with ThreadPoolExecutor(threads) as pool:
        while not best or time.perf_counter() < end:
            start = time.perf_counter()
            list(pool.map(lambda piece: np.copyto(target[piece], source[piece]), pieces))
            best = max(best, 2 * size / (time.perf_counter() - start))
    return best
