"""Calibrations in the measurement store: one row for each constant, under the device's name and the runtime's build."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pennyweight.planner.calibration import CALIBRATED_SPREAD
from pennyweight.planner.cards import Card
from pennyweight.planner.footprint import Family
from pennyweight.planner.host import Host, host_rates
from pennyweight.planner.memory import Budget
from pennyweight.planner.quantity import Basis
from pennyweight.planner.rates import Rates, card_rates
from pennyweight.store.database import Store
from pennyweight.store.machine import hardware, versions
from pennyweight.store.measurement import Measurement, now

MODEL = "calibration"
PROTOCOL = "decode of synthetic models: two depths of one family, one run of each other, one behind a long context"

EFFICIENCY, CACHE, LAYER = "bandwidth_efficiency", "cache_efficiency", "seconds_per_layer"
BANDWIDTH, PROMPT = "calibration_bandwidth", "prompt_operations_per_second"
PROMPT_LAYER = "prompt_seconds_per_layer"
TOKEN = "seconds_per_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The constants of one device under one runtime.

    Attributes:
        device: as the runtime calls it, or the processor as `store.machine.hardware` does.
        engine: runtime and build.
        when: ISO 8601, UTC.
    """

    device: str
    engine: str
    when: str
    rates: Rates


def save_calibration(store: Store, device: str, engine: str, rates: Rates) -> Calibration:
    """Keep it; older ones stay. Raises: OutputError."""
    when = now()
    store.record(_row(metric, name, value, device, engine, when) for metric, name, value in _constants(rates))
    return Calibration(device=device, engine=engine, when=when, rates=rates)


def load_calibration(store: Store, device: str, prior: Rates, engine: str | None = None) -> Calibration | None:
    """The newest of `device` (of that build, where one is named); None without a complete one.

    `prior` gives what a calibration has not: of a prompt, the shares of attention and of other families, and experts;
    and whether small kernels cost.
    One from before prompts had a cost of layers counts as none: its cache was another model's too.
    """
    rows = [row for row in store.query(model=MODEL) if row.hardware == device and engine in (None, row.engine)]
    if not rows:
        return None
    newest = [row for row in rows if (row.when, row.engine) == (rows[0].when, rows[0].engine)]
    rates = _rates(newest, prior)
    if rates is None:
        return None
    return Calibration(device=device, engine=rows[0].engine, when=rows[0].when, rates=rates)


def calibrated_card(store: Store, card: Card) -> Rates | None:
    """The rates of that card, if it was calibrated on this machine."""
    found = load_calibration(store, card.name, card_rates(card))
    return found.rates if found else None


def calibrated_cards(store: Store, budget: Budget) -> Rates | None:
    """The rates of a budget's cards where they are of one name; of several none: they work in turn."""
    one = len({card.name for card in budget.cards}) == 1
    return calibrated_card(store, budget.cards[0]) if one else None


def calibrated_host(store: Store, host: Host) -> Rates | None:
    """The rates of this machine's processor, if it was calibrated."""
    found = load_calibration(store, hardware(), host_rates(host))
    return found.rates if found else None


def devices(store: Store) -> tuple[str, ...]:
    """Everything that was calibrated, the newest first."""
    return tuple(dict.fromkeys(row.hardware for row in store.query(model=MODEL)))


def _constants(rates: Rates) -> Iterator[tuple[str, str, float]]:
    yield BANDWIDTH, "", rates.bandwidth
    yield LAYER, "", rates.seconds_per_layer
    yield TOKEN, "", rates.seconds_per_token
    yield PROMPT, "", rates.prompt_flops
    yield PROMPT_LAYER, "", rates.prompt_seconds_per_layer
    for family, value in rates.efficiency:
        yield EFFICIENCY, family.value, value
    for family, value in rates.cache_efficiency:
        yield CACHE, family.value, value


def _row(metric: str, name: str, value: float, device: str, engine: str, when: str) -> Measurement:
    return Measurement(
        model=MODEL,
        fingerprint=hashlib.sha256(f"{MODEL} {device}".encode()).hexdigest(),
        type=name,
        bytes=0,
        bits_per_weight=0.0,
        metric=metric,
        value=value,
        protocol=PROTOCOL,
        engine=engine,
        versions=versions(),
        hardware=device,
        when=when,
    )


def _rates(rows: list[Measurement], prior: Rates) -> Rates | None:
    """Whole or not at all: a store may be edited by hand. A calibration from before tokens had a cost was fitted with
    none."""
    found = {(TOKEN, ""): 0.0} | {(row.metric, row.type): row.value for row in rows}
    wanted = [(BANDWIDTH, ""), (LAYER, ""), (TOKEN, ""), (PROMPT, ""), (PROMPT_LAYER, "")]
    wanted += [(metric, family.value) for metric in (EFFICIENCY, CACHE) for family in Family]
    if any(key not in found or not 0 <= found[key] < float("inf") for key in wanted):
        return None
    if any(found[key] == 0 for key in wanted if key[0] not in (LAYER, TOKEN, PROMPT_LAYER)):
        return None
    return Rates(
        bandwidth=found[BANDWIDTH, ""],
        efficiency=tuple((family, found[EFFICIENCY, family.value]) for family in Family),
        cache_efficiency=tuple((family, found[CACHE, family.value]) for family in Family),
        seconds_per_layer=found[LAYER, ""],
        seconds_per_token=found[TOKEN, ""],
        prompt_flops=found[PROMPT, ""],
        prompt_shares=prior.prompt_shares,
        prompt_seconds_per_layer=found[PROMPT_LAYER, ""],
        expert_tokens=prior.expert_tokens,
        small_kernels=prior.small_kernels,
        attention_share=prior.attention_share,
        basis=Basis.CALIBRATED,
        source=f"calibrated on {rows[0].hardware}, {rows[0].engine}, {rows[0].when[:10]}",
        spread=CALIBRATED_SPREAD,
    )
