"""A class's two constants from its runs, without one device: what the card table would say of a card it never saw."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

from benchmarks.planner_rows import Row
from pennyweight.planner.card_classes import unpacked
from pennyweight.planner.cards import Card
from pennyweight.planner.footprint import Family, family_of, place
from pennyweight.planner.rates import Rates, card_rates, class_of
from pennyweight.planner.speed import Machine, decode_seconds

LEAST_UNPACKING = 0.02
"""Of the time that the bandwidth takes: what a run that is as fast as its memory says of unpacking."""

LAYER_STEPS = [2e-6 * step for step in range(151)]
"""Seconds per layer that are tried: 0 to 300 µs."""


def predict(row: Row, rates: Rates) -> float:
    """Tokens/s with everything on the card."""
    return 1 / decode_seconds(place(row.footprint), Machine(card=rates, host=rates), row.depth)


def refit(rows: Sequence[Row]) -> tuple[float, dict[Family, float]] | None:
    """(seconds per layer, efficiency by family) with the least mean |log error|; None without runs."""
    if not rows:
        return None
    fits = [(_misfit(rows, layer, shares := _efficiencies(rows, layer)), layer, shares) for layer in LAYER_STEPS]
    _, layer, shares = min(fits, key=lambda fit: fit[0])
    return layer, shares


def _efficiencies(rows: Sequence[Row], layer: float) -> dict[Family, float]:
    """The median of what each run says, family by family: a share of bandwidth, or where unpacking counts its rate."""
    found: dict[Family, list[float]] = {}
    for row in rows:
        rest = row.seconds - layer * len(row.footprint.blocks)
        share = min(row.footprint.read / (max(rest, 0.1 * row.seconds) * row.card.bandwidth), 1.0)
        found.setdefault(family_of(row.type), []).append(_constant(row.card, share))
    return {family: median(values) for family, values in found.items()}


def _constant(card: Card, share: float) -> float:
    group = class_of(card)
    if not group.unpacking:
        return share
    return card.bandwidth / max(1 / share - 1 / group.efficiency[0], LEAST_UNPACKING)


def _share(card: Card, constant: float) -> float:
    group = class_of(card)
    return unpacked(group.efficiency[0], card.bandwidth, constant) if group.unpacking else constant


def _misfit(rows: Sequence[Row], layer: float, shares: dict[Family, float]) -> float:
    return fmean(abs(math.log(_seconds(row, layer, shares) / row.seconds)) for row in rows)


def _seconds(row: Row, layer: float, shares: dict[Family, float]) -> float:
    read = row.footprint.read / (_share(row.card, shares[family_of(row.type)]) * row.card.bandwidth)
    return read + layer * len(row.footprint.blocks)


def left_out(row: Row, rows: Sequence[Row]) -> Rates:
    """Rates of the row's card, its class fitted to the runs of other devices alone.

    A family that no other device of the class ran keeps its shipped ratio to those that were. A class of one device
    gets the middle of the other classes, and one whose other runs are of one size their middle cost of a layer.
    """
    shipped = card_rates(row.card)
    others = [other for other in rows if other.group == row.group and other.device != row.device]
    fitted = refit(others)
    if fitted is None:
        return _middle(row, rows, shipped)
    layer, shares = fitted
    if len({other.model for other in others}) < 2:  # one size cannot tell bytes from layers
        layer = _middle(row, rows, shipped).seconds_per_layer
        shares = _efficiencies(others, layer)
    shares = {family: _share(row.card, constant) for family, constant in shares.items()}
    before = dict(shipped.efficiency)
    ratio = fmean(value / before[family] for family, value in shares.items())
    efficiency = tuple((family, shares.get(family, value * ratio)) for family, value in shipped.efficiency)
    return replace(shipped, seconds_per_layer=layer, efficiency=efficiency)


def kind_left_out(row: Row, rows: Sequence[Row]) -> float:
    """Tokens/s as shipped, but what the row's kind of block costs more taken from other devices' runs alone.

    A model of dense blocks, or experts, has no such constant. What Apple's Metal does not start costs nothing here too.
    """
    others = [o for o in rows if _kind(o) == _kind(row) and o.device != row.device and _costs(o)]
    if not _costs(row) or not others:
        return predict(row, card_rates(row.card))
    seconds, layers = _without_kind(row)
    return 1 / (seconds + layers * median(_implied(other) for other in others))


def _kind(row: Row) -> tuple[float, bool, bool]:
    """What the model's blocks have beside a dense block's work, as `weigh` found it."""
    blocks = row.footprint.blocks
    return blocks[0].small_kernels, blocks[-1].latent, any(block.recurrent for block in blocks)


def _costs(row: Row) -> bool:
    kernels, latent, recurrent = _kind(row)
    return latent or recurrent or (kernels > 0 and card_rates(row.card).small_kernels > 0)


def _without_kind(row: Row) -> tuple[float, float]:
    """Seconds of a token without what the kind costs, and seconds of a dense layer, times all that are of the kind."""
    of_kind = sum(bool(block.small_kernels or block.latent or block.recurrent) for block in row.footprint.blocks)
    plain = tuple(replace(block, small_kernels=0.0, latent=False, recurrent=False) for block in row.footprint.blocks)
    rates = card_rates(row.card)
    seconds = 1 / predict(replace(row, footprint=replace(row.footprint, blocks=plain)), rates)
    return seconds, rates.seconds_per_layer * of_kind


def _implied(row: Row) -> float:
    """What the row itself says its kind of block costs more, in dense blocks."""
    seconds, layers = _without_kind(row)
    return (row.seconds - seconds) / layers


def _middle(row: Row, rows: Sequence[Row], shipped: Rates) -> Rates:
    """A card of a class nobody ran: the median of the shipped constants of the classes that were run."""
    classes = {other.group: card_rates(other.card) for other in rows if other.group != row.group}
    tables = [dict(rates.efficiency) for rates in classes.values()]
    return replace(
        shipped,
        seconds_per_layer=median(rates.seconds_per_layer for rates in classes.values()),
        efficiency=tuple((family, median(table[family] for table in tables)) for family in Family),
    )
