"""The machine and the software of a measurement, in words."""

import os
import platform
from pathlib import Path

from pennyweight import __version__
from pennyweight.core.parallel import default_threads
from pennyweight.core.units import GIB, KIB

PACKAGES = ("xllamacpp", "numpy", "numba")

CPUINFO = Path("/proc/cpuinfo")

VECTORS = (
    *(("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX")),
    *(("sve2", "SVE2"), ("sve", "SVE"), ("asimd", "NEON")),
)
"""Flags of /proc/cpuinfo, the widest first, and what people call them."""


def hardware() -> str:
    """What tells this machine from others, on one line: processor, widest vectors, cores that this process may use,
    memory, system. Measurements are kept under it.
    """
    parts = [
        processor(),
        vectors(),
        f"{default_threads()} cores",
        _memory(),
        f"{platform.system()} {platform.machine()}",
    ]
    return ", ".join(part for part in parts if part)


def processor(information: Path = CPUINFO) -> str:
    """`AMD EPYC 9B14`, or where the system does not say, its architecture.

    A name without a number (virtual machines say `AMD EPYC` of any) is followed by its family and model.
    """
    said = _cpuinfo(information)
    if name := said.get("model name", ""):
        numbered = any(letter.isdigit() for letter in name)
        return name if numbered else f"{name} (family {said.get('cpu family', '?')}, model {said.get('model', '?')})"
    if part := said.get("CPU part"):
        return f"{platform.machine()} implementer {said.get('CPU implementer', '?')}, part {part}"
    return _apple() or platform.processor() or platform.machine() or "an unknown processor"


def vectors(information: Path = CPUINFO) -> str:
    """The widest vectors that the processor offers here: a hypervisor may hide some. Empty where it is not said."""
    said = _cpuinfo(information)
    flags = (said.get("flags") or said.get("Features") or "").split()
    return next((name for flag, name in VECTORS if flag in flags), "")


def _cpuinfo(information: Path) -> dict[str, str]:
    """The first processor's fields; none where there is no such file (not Linux)."""
    try:
        text = information.read_text(errors="replace")
    except OSError:
        return {}
    fields = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): " ".join(value.split()) for name, _, value in fields}


def _apple() -> str:
    """`Apple M2 Pro`, of which Python knows no more than `arm`."""
    if platform.system() != "Darwin":
        return ""
    import subprocess

    try:
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()


def _memory() -> str:
    return f"{total_memory_bytes() / GIB:.0f} GiB memory" if total_memory_bytes() else ""


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
