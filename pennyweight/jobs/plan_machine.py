"""What a plan is for: the card that was named, given by figures, or found in this machine, and the host around it."""

from dataclasses import dataclass, replace

from pennyweight.core.errors import BadRequest
from pennyweight.planner.card_names import find_cards
from pennyweight.planner.cards import custom
from pennyweight.planner.host import Host
from pennyweight.planner.memory import Budget
from pennyweight.store.machine import total_memory_bytes

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


def budget_for(options: MachineOptions) -> Budget:
    """What there is. Raises: UnknownName for a card; BadRequest for sizes that no machine has."""
    _check(options)
    if options.gpu is not None:
        cards = find_cards(options.gpu)
        if options.vram is not None:
            cards = tuple(card.with_memory(options.vram) for card in cards)
        if options.bandwidth is not None:
            cards = tuple(replace(card, bandwidth=options.bandwidth) for card in cards)
        return Budget(cards=cards, host=_host(options), used_bytes=options.margin)
    if options.vram is not None and options.bandwidth is not None:
        return Budget(cards=(custom(options.vram, options.bandwidth),), host=_host(options), used_bytes=options.margin)
    if options.vram is not None or options.bandwidth is not None:
        raise BadRequest("--vram and --bandwidth describe a card together; or name one with --gpu")
    return _this_machine(options)


def _this_machine(options: MachineOptions) -> Budget:
    host = _host(options)
    return Budget(cards=(), host=replace(host, memory_bytes=host.memory_bytes or total_memory_bytes()))


def _host(options: MachineOptions) -> Host:
    host = Host(memory_bytes=options.ram or 0)
    if options.ram_bandwidth is not None:
        host = replace(host, bandwidth=options.ram_bandwidth, source="given by hand")
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
