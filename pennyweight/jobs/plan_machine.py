"""What a plan is for: the card that was named, given by figures, or found in this machine, and the host around it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pennyweight.core.errors import BadRequest
from pennyweight.planner.card_names import find_cards
from pennyweight.planner.cards import BY_HAND, Card, custom
from pennyweight.planner.host import Host
from pennyweight.planner.machine import machine_of
from pennyweight.planner.memory import Budget
from pennyweight.planner.quantity import Basis
from pennyweight.planner.rates import Rates
from pennyweight.planner.speed import Machine

if TYPE_CHECKING:
    from pennyweight.store.database import Store

MOST_MEMORY = 1 << 44
"""16 TiB: more is a slip of the pen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineOptions:
    """The hardware that was asked for; everything None: this machine's own.

    Attributes:
        gpu: a name, several by commas or `2x`. vram: bytes of a card; bandwidth: its bytes/s.
        ram: bytes of host memory. ram_bandwidth: its bytes/s.
        margin: bytes of each card to leave alone.
    """

    gpu: str | None = None
    vram: int | None = None
    bandwidth: float | None = None
    ram: int | None = None
    ram_bandwidth: float | None = None
    margin: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a plan runs on: memory, constants of speed, and what a person should know of how they were found.

    Attributes:
        found: it is this machine, looked at, and not one that was named.
    """

    budget: Budget
    machine: Machine
    notes: tuple[str, ...] = ()
    found: bool = False


def hardware_for(options: MachineOptions, store: "Store | None") -> Hardware:
    """What there is, calibrated where the store has it. Raises: UnknownName for a card; BadRequest for absurd sizes."""
    _check(options)
    if options.gpu is None and options.vram is None and options.bandwidth is None:
        return _this_machine(options, store)
    budget = _named(options)
    return Hardware(budget=budget, machine=machine_of(budget, card=_calibrated(budget, store)))


def _this_machine(options: MachineOptions, store: "Store | None") -> Hardware:
    from pennyweight.jobs.this_machine import this_machine  # here: for a card that is named nobody looks around

    seen = this_machine(store, timed=options.ram_bandwidth is None)
    used = seen.budget.used_bytes + options.margin
    budget = replace(seen.budget, host=_host(options, seen.budget.host), used_bytes=used)
    if not budget.cards and options.margin:
        raise BadRequest("--vram-margin is of a card, and none was found; name one with --gpu")
    machine = machine_of(budget, card=_calibrated(budget, store), host=seen.host)
    return Hardware(budget=budget, machine=machine, notes=seen.notes, found=True)


def _calibrated(budget: Budget, store: "Store | None") -> Rates | None:
    """Constants of the card that was calibrated here."""
    if store is None:
        return None
    from pennyweight.planner.calibration_store import calibrated_cards  # here: most machines have no store yet

    return calibrated_cards(store, budget)


def _named(options: MachineOptions) -> Budget:
    if options.gpu is not None:
        cards = find_cards(options.gpu)
        if options.vram is not None:
            cards = tuple(card.with_memory(options.vram) for card in cards)
        if options.bandwidth is not None:
            cards = tuple(replace(card, bandwidth=options.bandwidth, bandwidth_source=BY_HAND) for card in cards)
        cards = tuple(_sized(card, options.ram) for card in cards)
        return Budget(cards=cards, host=_host(options, Host()), used_bytes=options.margin)
    if options.vram is None or options.bandwidth is None:
        raise BadRequest("--vram and --bandwidth describe a card together; or name one with --gpu")
    card = custom(options.vram, options.bandwidth)
    return Budget(cards=(card,), host=_host(options, Host()), used_bytes=options.margin)


def _sized(card: Card, ram: int | None) -> Card:
    """A GPU that shares the machine's memory, with it. Raises: BadRequest where nobody says how much that is."""
    if card.memory_bytes:
        return card
    if ram is None:
        raise BadRequest(
            f"{card.name} shares the machine's memory; say how much there is: --gpu '{card.name} 64GB' or --ram 64GB"
        )
    return card.with_memory(ram)


def _host(options: MachineOptions, host: Host) -> Host:
    """The host, with what was said of it instead."""
    if options.ram is not None:
        host = replace(host, memory_bytes=options.ram, available_bytes=0)
    if options.ram_bandwidth is not None:
        host = replace(host, bandwidth=options.ram_bandwidth, basis=Basis.HEURISTIC, source=BY_HAND)
    return host


def _check(options: MachineOptions) -> None:
    for flag, value in (("--vram", options.vram), ("--ram", options.ram)):
        if value is not None and not 0 < value <= MOST_MEMORY:
            raise BadRequest(f"{flag} is {value} bytes; more than 0 and at most 16 TiB is wanted")
    for flag, value in (("--bandwidth", options.bandwidth), ("--ram-bandwidth", options.ram_bandwidth)):
        if value is not None and not 1e9 <= value <= 1e14:
            raise BadRequest(f"{flag} is {value / 1e9:g} GB/s; 1 to 100,000 are wanted")
    if options.margin < 0:
        raise BadRequest(f"--vram-margin is {options.margin} bytes; 0 or more is wanted")
