"""The host's bandwidth: measured once, kept beside the store, and never taken from another machine's or a bad file."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pennyweight.planner import host_kept
from pennyweight.planner.detect_host import with_measured
from pennyweight.planner.host import ASSUMED_BANDWIDTH, Host
from pennyweight.planner.host_kept import FILE, is_busy
from pennyweight.planner.quantity import Basis
from pennyweight.store.machine import hardware


def with_known_bandwidth(host: Host, measure: Callable[[Host], Host], *, busy: bool = False) -> Host:
    """As it is where nobody else computes, whatever this machine does besides."""
    return host_kept.with_known_bandwidth(host, measure, lambda: busy)


class Meter:
    """Says 20 GB/s, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, host: Host) -> Host:
        self.asked += 1
        return with_measured(host, 20e9, "by copying")


def test_a_bandwidth_is_measured_once_and_then_known(own_store: Path) -> None:
    meter = Meter()
    first, second = with_known_bandwidth(Host(), meter), with_known_bandwidth(Host(), meter)
    assert meter.asked == 1
    assert (first.bandwidth, second.bandwidth) == (20e9, 20e9)
    assert (first.basis, second.basis) == (Basis.MEASURED, Basis.MEASURED)
    assert str(datetime.now(UTC).date()) in second.source, "a kept measurement says of which day it is"
    assert not own_store.exists(), "a plan makes no store"


def test_what_was_measured_while_others_computed_is_said_to_be_and_not_kept(own_store: Path) -> None:
    meter = Meter()
    assert "while the machine was busy" in with_known_bandwidth(Host(), meter, busy=True).source
    assert "busy" not in with_known_bandwidth(Host(), meter).source
    assert with_known_bandwidth(Host(), meter, busy=True).source.startswith("measured by copying on ")
    assert meter.asked == 2


def test_a_machine_is_busy_where_half_its_processors_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for load, busy in ((0.3, False), (4.0, False), (4.1, True), (40.0, True)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert is_busy() is busy
    monkeypatch.delattr(os, "getloadavg")
    assert not is_busy()


@pytest.mark.parametrize(
    "entry",
    [
        [20e9, (datetime.now(UTC) - timedelta(days=40)).isoformat()],
        [20e9, (datetime.now(UTC) + timedelta(days=40)).isoformat()],
        [20e9, "yesterday"],
        [20e9, "2026-11-26T08:00:00"],
        ["fast", datetime.now(UTC).isoformat()],
        [float("nan"), datetime.now(UTC).isoformat()],
        [-5, datetime.now(UTC).isoformat()],
        [1e30, datetime.now(UTC).isoformat()],
        [],
        None,
        {"bandwidth": 1},
    ],
)
def test_an_entry_that_is_old_or_no_bandwidth_is_measured_anew(own_store: Path, entry: object) -> None:
    own_store.with_name(FILE).write_text(json.dumps({hardware(): entry}))
    meter = Meter()
    assert with_known_bandwidth(Host(), meter).bandwidth == 20e9
    assert meter.asked == 1


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\xff"])
def test_a_damaged_file_is_replaced(own_store: Path, text: str) -> None:
    own_store.with_name(FILE).write_text(text)
    meter = Meter()
    assert with_known_bandwidth(Host(), meter).bandwidth == 20e9
    assert list(json.loads(own_store.with_name(FILE).read_text())) == [hardware()]


def test_another_machine_s_figure_is_not_ours_and_stays_where_it_is(own_store: Path) -> None:
    when = datetime.now(UTC).isoformat()
    own_store.with_name(FILE).write_text(json.dumps({"another machine": [99e9, when]}))
    assert with_known_bandwidth(Host(), Meter()).bandwidth == 20e9
    assert json.loads(own_store.with_name(FILE).read_text())["another machine"] == [99e9, when]


def test_without_room_to_measure_the_bandwidth_stays_assumed_and_is_not_kept(own_store: Path) -> None:
    host = with_known_bandwidth(Host(memory_bytes=1 << 30), lambda host: host)
    assert (host.bandwidth, host.basis) == (ASSUMED_BANDWIDTH, Basis.HEURISTIC)
    assert not own_store.with_name(FILE).exists()


def test_a_place_that_cannot_be_written_costs_only_the_keeping(
    own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_store.parent / "file").write_text("")
    monkeypatch.setenv("PENNYWEIGHT_STORE", str(own_store.parent / "file" / "measurements.sqlite"))
    assert with_known_bandwidth(replace(Host(), cores=3), Meter()).bandwidth == 20e9
