"""The machine and the software of a measurement, in words."""

import os
import platform
from pathlib import Path

from pennyweight import __version__
from pennyweight.core.parallel import default_threads
from pennyweight.core.units import GIB, KIB

PACKAGES = ("xllamacpp", "numpy", "numba")


def hardware() -> str:
    """The processor as it calls itself, the cores this process may use, memory and system, on one line."""
    memory = f", {total_memory_bytes() / GIB:.0f} GiB memory" if total_memory_bytes() else ""
    return f"{processor()}, {default_threads()} cores{memory}, {platform.system()} {platform.machine()}"


def processor() -> str:
    """`AMD EPYC 9B14`, or where the system does not say, its architecture."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine() or "an unknown processor"


def total_memory_bytes() -> int:
    """Physical memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def last_level_cache_bytes() -> int | None:
    """The largest cache that a core of this machine reads through; None where the system does not say (not Linux)."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    found = [int(text[:-1]) * KIB for path in sizes if (text := path.read_text().strip()).endswith("K")]
    return max(found, default=None)


def versions() -> str:
    """`pennyweight 0.1.0, xllamacpp …, Python 3.12.1`: what a result may depend on."""
    from importlib.metadata import version  # with its email parser the slowest import of a plan

    found = [f"{name} {version(name)}" for name in PACKAGES]
    return ", ".join([f"pennyweight {__version__}", *found, f"Python {platform.python_version()}"])
