"""Detection against recorded answers of the tools, and against tools that lie, hang or are missing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pennyweight.core.units import GIB, KIB, MIB
from pennyweight.planner.detect import detect
from pennyweight.planner.detect_host import measure_bandwidth, measured
from pennyweight.planner.probe import Probe, run_program
from pennyweight.planner.quantity import Basis


def probe(root: Path, answers: dict[str, str] | None = None, nvml: Any = None) -> Probe:
    """`answers` by the first words of a command."""

    def run(command: Sequence[str]) -> str | None:
        joined = " ".join(command)
        return next((text for start, text in (answers or {}).items() if joined.startswith(start)), None)

    return Probe(run=run, root=root, nvml=lambda: nvml)


def write(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def nvml(cards: list[dict[str, Any]]) -> SimpleNamespace:
    """NVIDIA's library with these cards; a value that is an exception is raised."""

    def ask(key: str) -> Callable[..., Any]:
        def answer(card: dict[str, Any], *_: Any) -> Any:
            value = card.get(key)
            if isinstance(value, Exception):
                raise value
            return value

        return answer

    return SimpleNamespace(
        nvmlDeviceGetCount=lambda: len(cards),
        nvmlDeviceGetHandleByIndex=lambda i: cards[i],
        nvmlDeviceGetName=ask("name"),
        nvmlDeviceGetMemoryInfo=ask("memory"),
        nvmlDeviceGetMaxClockInfo=ask("clock"),
        nvmlDeviceGetMemoryBusWidth=ask("bits"),
        nvmlDeviceGetArchitecture=ask("architecture"),
        nvmlDeviceGetMaxPcieLinkGeneration=ask("generation"),
        nvmlDeviceGetCurrPcieLinkWidth=ask("width"),
    )


def memory(total: object, used: object) -> SimpleNamespace:
    return SimpleNamespace(total=total, used=used)


RTX_4060_TI = {
    "name": b"NVIDIA GeForce RTX 4060 Ti",
    "memory": memory(17_175_674_880, 900 * MIB),
    "generation": 4,
    "width": 8,
}


def test_an_nvidia_card_is_the_tables_of_its_name_and_memory(tmp_path: Path) -> None:
    found = detect(probe(tmp_path, nvml=nvml([RTX_4060_TI])))
    (one,) = found.cards
    assert one.card.name == "RTX 4060 Ti 16GB"
    assert one.card.memory_bytes == 17_175_674_880, "what the driver says, not the round number"
    assert (one.used_bytes, one.measured) == (900 * MIB, True)
    assert found.budget.used_bytes == 900 * MIB
    assert found.budget.measured


def test_a_slot_narrower_than_the_card_is_seen(tmp_path: Path) -> None:
    found = detect(probe(tmp_path, nvml=nvml([RTX_4060_TI | {"width": 4, "generation": 3}])))
    assert (found.cards[0].card.pcie_generation, found.cards[0].card.pcie_lanes) == (3, 4)


def test_a_card_that_no_table_has_is_read_from_its_clock_and_bus(tmp_path: Path) -> None:
    new = {"name": "NVIDIA GeForce RTX 6090", "memory": memory(48 * GIB, 0), "clock": 16_000, "bits": 512}
    (one,) = detect(probe(tmp_path, nvml=nvml([new | {"architecture": 10}]))).cards
    assert one.card.bandwidth == pytest.approx(16_000e6 * 2 * 512 / 8)
    assert (one.card.name, one.card.architecture) == ("NVIDIA GeForce RTX 6090", "Blackwell")


def test_the_clock_and_bus_of_a_known_card_give_its_published_bandwidth(tmp_path: Path) -> None:
    # nvidia-smi of an RTX 4090: memory clock 10501 MHz, bus 384 bits, 1008 GB/s
    fake = {"name": "NVIDIA Nameless", "memory": memory(24 * GIB, 0), "clock": 10_501, "bits": 384}
    (one,) = detect(probe(tmp_path, nvml=nvml([fake]))).cards
    assert one.card.bandwidth == pytest.approx(1008e9, rel=0.001)


LIES: list[dict[str, Any]] = [
    {"name": RuntimeError("driver/library version mismatch")},
    {"memory": RuntimeError("unknown error")},
    {"memory": memory(-1, 5)},
    {"memory": memory(1 << 60, 0)},
    {"memory": memory("16 GB", None)},
    {"memory": None},
    {"name": "", "clock": 0, "bits": 0},
    {"name": "\x00\xff", "clock": RuntimeError("no"), "bits": None},
    {"generation": 99, "width": 0},
    {"generation": RuntimeError("no"), "width": "x16"},
]


@pytest.mark.parametrize("lie", LIES)
def test_a_driver_that_lies_never_fails_a_plan(tmp_path: Path, lie: dict[str, Any]) -> None:
    for one in detect(probe(tmp_path, nvml=nvml([RTX_4060_TI | lie]))).cards:
        assert 4 * GIB <= one.card.memory_bytes <= 24 * GIB
        assert 0 <= one.used_bytes <= one.card.memory_bytes
        assert 1e10 < one.card.bandwidth < 1e13
        assert 1 <= one.card.pcie_generation <= 7


def test_more_use_than_memory_is_not_believed(tmp_path: Path) -> None:
    lie = RTX_4060_TI | {"memory": memory(16 * GIB, 99 * GIB)}
    found = detect(probe(tmp_path, nvml=nvml([lie])))
    assert (found.cards[0].used_bytes, found.cards[0].measured) == (0, False)
    assert "does not say" in found.notes[0]


AMD = {
    "/sys/class/drm/card1/device/vendor": "0x1002",
    "/sys/class/drm/card1/device/mem_info_vram_total": 21_458_059_264,
    "/sys/class/drm/card1/device/mem_info_vram_used": 1_200_000_000,
    "/sys/class/drm/card1/device/max_link_speed": "16.0 GT/s PCIe",
    "/sys/class/drm/card1/device/current_link_width": 16,
    "/sys/class/drm/card0/device/vendor": "0x8086",
}
ROCM_SMI = '{"card0": {"Card Series": "Navi 31 [Radeon RX 7900 XT/7900 XTX]", "Card SKU": "EXT1234"}}'
AMD_SMI = '[{"gpu": 0, "asic": {"market_name": "AMD Radeon RX 7900 XT", "vendor_id": "0x1002"}}]'


@pytest.mark.parametrize(
    "answers", [{"rocm-smi": ROCM_SMI}, {"amd-smi": AMD_SMI}, {"amd-smi": "{", "rocm-smi": ROCM_SMI}]
)
def test_an_amd_card_is_named_by_its_tools_and_sized_by_the_kernel(tmp_path: Path, answers: dict[str, str]) -> None:
    found = detect(probe(write(tmp_path, AMD), answers))
    (one,) = found.cards
    assert (one.card.name, one.card.memory_bytes) == ("RX 7900 XT", 21_458_059_264)
    assert (one.used_bytes, one.measured) == (1_200_000_000, True)
    assert (one.card.pcie_generation, one.card.pcie_lanes) == (4, 16)


@pytest.mark.parametrize(
    "broken",
    [
        {"/sys/class/drm/card1/device/mem_info_vram_total": "lots"},
        {"/sys/class/drm/card1/device/mem_info_vram_total": "-5"},
        {"/sys/class/drm/card1/device/mem_info_vram_total": 1 << 62},
    ],
)
def test_an_amd_card_without_a_size_is_left_out(tmp_path: Path, broken: dict[str, object]) -> None:
    assert detect(probe(write(tmp_path, AMD | broken), {"rocm-smi": ROCM_SMI})).cards == ()


def test_an_amd_card_without_tools_is_left_out_and_nothing_fails(tmp_path: Path) -> None:
    assert detect(probe(write(tmp_path, AMD))).cards == ()
    assert detect(probe(write(tmp_path, AMD), {"rocm-smi": "[" * 5000})).cards == ()


MAC = {
    "sysctl -n machdep.cpu.brand_string": "Apple M4 Max\n",
    "sysctl -n hw.memsize": "68719476736\n",
    "system_profiler": '{"SPDisplaysDataType": [{"sppci_cores": "40", "sppci_model": "Apple M4 Max"}]}',
}


def test_a_mac_is_its_chip_with_its_cores_and_memory(tmp_path: Path) -> None:
    found = detect(probe(tmp_path, MAC))
    (one,) = found.cards
    assert (one.card.name, one.card.memory_bytes, one.card.bandwidth) == ("M4 Max 40c", 64 * GIB, 546e9)
    assert one.card.usable_bytes == 48 * GIB
    assert found.budget.unified


def test_a_mac_whose_limit_was_raised_may_use_more(tmp_path: Path) -> None:
    raised = MAC | {"sysctl -n iogpu.wired_limit_mb": "57344\n"}
    assert detect(probe(tmp_path, raised)).cards[0].card.usable_bytes == 56 * GIB


@pytest.mark.parametrize(
    "lie",
    [
        {"system_profiler": "not json"},
        {"system_profiler": '{"SPDisplaysDataType": 5}'},
        {"system_profiler": '{"SPDisplaysDataType": [{"sppci_cores": "many"}]}'},
        {"sysctl -n iogpu.wired_limit_mb": "-1"},
    ],
)
def test_a_mac_whose_tools_lie_promises_the_smaller_chip(tmp_path: Path, lie: dict[str, str]) -> None:
    (one,) = detect(probe(tmp_path, MAC | lie)).cards
    assert one.card.usable_bytes == 48 * GIB
    assert one.card.bandwidth in (410e9, 546e9)


def test_an_intel_mac_has_no_such_chip(tmp_path: Path) -> None:
    intel = MAC | {"sysctl -n machdep.cpu.brand_string": "Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz"}
    assert detect(probe(tmp_path, intel)).cards == ()


MEMINFO = (
    "MemTotal:       32768000 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 kB\nHugePages_Total:       0"
)


def test_host_memory_is_what_the_kernel_says_is_available(tmp_path: Path) -> None:
    host = detect(probe(write(tmp_path, {"/proc/meminfo": MEMINFO}))).host
    assert (host.memory_bytes, host.available_bytes) == (32_768_000 * KIB, 20_000_000 * KIB)
    assert host.basis is Basis.HEURISTIC


@pytest.mark.parametrize(
    "files",
    [
        {"/sys/fs/cgroup/memory.max": 8 * GIB, "/sys/fs/cgroup/memory.current": 3 * GIB},
        {
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": 8 * GIB,
            "/sys/fs/cgroup/memory/memory.usage_in_bytes": 3 * GIB,
        },
    ],
)
def test_a_container_has_what_its_limit_leaves(tmp_path: Path, files: dict[str, object]) -> None:
    host = detect(probe(write(tmp_path, {"/proc/meminfo": MEMINFO} | files))).host
    assert (host.memory_bytes, host.available_bytes) == (8 * GIB, 5 * GIB)


def test_pages_of_files_give_way_in_a_container(tmp_path: Path) -> None:
    files = {"/sys/fs/cgroup/memory.max": 8 * GIB, "/sys/fs/cgroup/memory.current": 7 * GIB}
    pages = f"anon {2 * GIB}\ninactive_file {3 * GIB}\nactive_file {GIB}\nfile {5 * GIB}\n"
    host = detect(probe(write(tmp_path, {"/proc/meminfo": MEMINFO, "/sys/fs/cgroup/memory.stat": pages} | files))).host
    assert host.available_bytes == 5 * GIB


@pytest.mark.parametrize("limit", ["max", 9_223_372_036_854_771_712, "", "-3"])
def test_no_limit_is_no_limit(tmp_path: Path, limit: object) -> None:
    files = {"/proc/meminfo": MEMINFO, "/sys/fs/cgroup/memory.max": limit}
    assert detect(probe(write(tmp_path, files))).host.memory_bytes == 32_768_000 * KIB


@pytest.mark.parametrize("text", ["", "garbage", "MemTotal: lots kB", "MemTotal:\nMemAvailable: -5 kB"])
def test_a_meminfo_that_says_nothing_fails_nothing(tmp_path: Path, text: str) -> None:
    assert detect(probe(write(tmp_path, {"/proc/meminfo": text}))).host.memory_bytes >= 0


def test_bandwidth_is_measured_and_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pennyweight.planner.detect_host.COPY_BYTES", MIB)
    monkeypatch.setattr("pennyweight.planner.detect_host.last_level_cache_bytes", lambda: None)
    host = measured(detect(probe(write(tmp_path, {"/proc/meminfo": MEMINFO}))).host)
    assert host.basis is Basis.MEASURED
    assert 1e8 < host.bandwidth < 5e12
    assert measure_bandwidth(available=MIB) == 0, "no room to measure in"


def test_programs_that_are_missing_or_fail_say_nothing() -> None:
    assert run_program(("no-such-program-anywhere",)) is None
    assert run_program(("false",)) is None
    assert run_program(("echo", "yes")) == "yes\n"


def test_a_program_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pennyweight.planner.probe.PATIENCE_SECONDS", 0.05)
    assert run_program(("sleep", "5")) is None
