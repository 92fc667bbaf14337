"""What a plan for this machine says of its host: looked at once, and measured, calibrated or given by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from pennyweight.jobs import this_machine as job
from pennyweight.jobs.plan import PlanOptions, plan
from pennyweight.jobs.plan_machine import MachineOptions, hardware_for
from pennyweight.planner.calibration_store import save_calibration
from pennyweight.planner.card_names import find_card
from pennyweight.planner.detect import Detected
from pennyweight.planner.detect_host import with_measured
from pennyweight.planner.found import FoundCard
from pennyweight.planner.host import ASSUMED_BANDWIDTH, Host, host_rates
from pennyweight.planner.quantity import Basis
from pennyweight.report.plan_screen import screen
from pennyweight.store.database import open_store
from pennyweight.store.machine import hardware

HOST = Host(memory_bytes=32 << 30, available_bytes=24 << 30)


class Machine:
    """A machine with one card; counts how often it is looked at and timed."""

    def __init__(self, *names: str) -> None:
        self.cards = tuple(FoundCard(card=find_card(name), used_bytes=1 << 30, measured=True) for name in names)
        self.looked, self.timed = 0, 0

    def detect(self) -> Detected:
        self.looked += 1
        return Detected(cards=self.cards, host=HOST, notes=())

    def measure(self, host: Host) -> Host:
        self.timed += 1
        return with_measured(host, 20e9, "by copying")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine("RTX 3060 12GB")
    monkeypatch.setattr(job, "detect", made.detect)
    monkeypatch.setattr(job, "with_known_bandwidth", made.measure)
    return made


def test_this_machine_is_looked_at_once_and_its_bandwidth_is_measured(machine: Machine) -> None:
    found = hardware_for(MachineOptions(), None)
    assert (machine.looked, machine.timed) == (1, 1)
    assert (found.budget.host.bandwidth, found.budget.host.basis) == (20e9, Basis.MEASURED)
    assert found.machine.host.bandwidth == 20e9
    assert found.budget.used_bytes == 1 << 30


def test_layers_on_this_machines_host_run_at_its_measured_bandwidth(machine: Machine) -> None:
    slow = plan("Llama-3.1-70B", PlanOptions(types=("Q4_K_M",)))
    machine.measure = lambda host: with_measured(host, 80e9, "by copying")  # type: ignore[method-assign]
    named = plan("Llama-3.1-70B", PlanOptions(machine=MachineOptions(gpu="RTX 3060 12GB"), types=("Q4_K_M",)))
    assert slow.candidates[0].decode_tok_s < 0.35 * named.candidates[0].decode_tok_s, "20 GB/s and 90 that are assumed"
    assert any("20 GB/s (measured by copying)" in line for line in screen(slow, 200))
    assert any("90 GB/s (two channels of DDR5-5600 assumed)" in line for line in screen(named, 200))


def test_a_bandwidth_given_by_hand_needs_no_measurement_and_beats_a_calibration(
    machine: Machine, own_store: Path
) -> None:
    with open_store() as store:
        calibrated = replace(host_rates(HOST), bandwidth=33e9)
        save_calibration(store, hardware(), "llama.cpp b1", calibrated)
        by_hand = hardware_for(MachineOptions(ram_bandwidth=50e9), store)
        plain = hardware_for(MachineOptions(), store)
    assert machine.timed == 0
    assert (by_hand.budget.host.bandwidth, by_hand.budget.host.source) == (50e9, "given by hand")
    assert by_hand.machine.host.bandwidth == 50e9
    assert plain.machine.host.bandwidth == plain.budget.host.bandwidth == 33e9
    assert "calibrated" in plain.budget.host.source


def test_a_named_card_says_that_its_host_is_assumed(machine: Machine) -> None:
    found = hardware_for(MachineOptions(gpu="RTX 3060 12GB"), None)
    assert machine.looked == 0
    assert (found.budget.host.bandwidth, found.budget.host.basis) == (ASSUMED_BANDWIDTH, Basis.HEURISTIC)
    assert "assumed" in found.budget.host.source
