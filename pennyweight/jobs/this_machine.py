"""This machine, looked at: its cards, its host, and what of both was measured or calibrated."""

from dataclasses import dataclass, replace

from pennyweight.planner.calibration_store import calibrated_cards, calibrated_host
from pennyweight.planner.detect import detect
from pennyweight.planner.detect_host import with_measured
from pennyweight.planner.host import Host
from pennyweight.planner.host_kept import with_known_bandwidth
from pennyweight.planner.machine import machine_of
from pennyweight.planner.memory import Budget
from pennyweight.planner.rates import Rates
from pennyweight.planner.speed import Machine
from pennyweight.store.database import Store, open_store
from pennyweight.store.place import default_path


@dataclass(frozen=True, slots=True, kw_only=True)
class ThisMachine:
    """What was found: memory, the processor's constants where it was calibrated, and how it was found."""

    budget: Budget
    host: Rates | None
    notes: tuple[str, ...]


def this_machine(store: Store | None, *, timed: bool = True) -> ThisMachine:
    """Cards and host; `timed`: the host's bandwidth is wanted, calibrated or measured once."""
    seen = detect()
    rates = calibrated_host(store, seen.host) if store and timed else None
    host = _timed(seen.host, rates) if timed else seen.host
    notes = seen.notes if seen.cards else (*seen.notes, "no GPU was found here; this is for the processor alone")
    return ThisMachine(budget=replace(seen.budget, host=host), host=rates, notes=notes)


def machine_here(budget: Budget) -> Machine:
    """This machine's constants for a model within `budget`: calibrated, else by the host's bandwidth, measured once."""
    card = host = None
    if default_path().exists():
        with open_store() as store:
            card, host = calibrated_cards(store, budget), calibrated_host(store, budget.host)
    return machine_of(replace(budget, host=_timed(budget.host, host)), card=card, host=host)


def _timed(host: Host, rates: Rates | None) -> Host:
    """The host with the bandwidth that is known of it."""
    return with_measured(host, rates.bandwidth, "when it was calibrated") if rates else with_known_bandwidth(host)
