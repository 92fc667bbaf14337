"""Decode speed against layers on the card or against the size of a model, and where the knee is."""

from collections.abc import Sequence
from dataclasses import dataclass

from pennyweight.core.errors import BadRequest
from pennyweight.planner.footprint import Footprint, Placement, place
from pennyweight.planner.speed import Machine, decode_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One point: layers on the card, bytes of weights there, and tokens/s."""

    gpu_layers: int
    card_bytes: int
    tokens_per_second: float
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Decode speed as layers move to the card.

    Attributes:
        points: from none to all layers.
        knee: the point with the most layers that the card takes.
        cliff: how many times slower the knee is than all layers on the card; 1 where all fit.
    """

    points: tuple[CurvePoint, ...]
    knee: CurvePoint
    cliff: float


def layers_curve(footprint: Footprint, machine: Machine, most_layers: int, depth: float = 0.0) -> Curve:
    """Speed at 0 … all layers; `most_layers` is what the card takes (`memory.fit_memory`)."""
    points = tuple(_point(footprint, machine, layers, most_layers, depth) for layers in range(footprint.layers + 1))
    knee = points[min(most_layers, footprint.layers)]
    return Curve(points=points, knee=knee, cliff=points[-1].tokens_per_second / knee.tokens_per_second)


def _point(footprint: Footprint, machine: Machine, layers: int, most: int, depth: float) -> CurvePoint:
    placement = place(footprint, layers)
    return CurvePoint(
        gpu_layers=layers,
        card_bytes=placement.card_weights,
        tokens_per_second=1 / decode_seconds(placement, machine, depth),
        fits=layers <= most,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SizePoint:
    """One model size: bytes of weights, the part on the card, tokens/s."""

    weights_bytes: float
    card_share: float
    tokens_per_second: float


def size_curve(
    footprint: Footprint, machine: Machine, room: float, sizes: Sequence[float], depth: float = 0.0
) -> tuple[SizePoint, ...]:
    """Speed of models like this one, only smaller or larger: `sizes` in bytes, of which the card takes `room`.

    The knee is at `room`. Layers are taken to grow in weight, not in number.
    """
    whole = place(footprint)
    return tuple(_size_point(whole.footprint, machine, room, size, depth) for size in sizes)


def _size_point(footprint: Footprint, machine: Machine, room: float, size: float, depth: float) -> SizePoint:
    card, host = machine.card or machine.host, machine.host
    inner = footprint.weights - footprint.embedding
    read = footprint.read * size / inner
    on_card = min(room / size, 1.0) if machine.card is not None and size > 0 else 0.0
    seconds = card.seconds_per_token + card.read_seconds(read * on_card, footprint.shares)
    seconds += host.read_seconds(read * (1 - on_card), footprint.shares)
    blocks, cache = len(footprint.blocks), footprint.depth_read(depth)
    for rates, part in ((card, on_card), (host, 1 - on_card)):
        seconds += part * (blocks * rates.seconds_per_layer + rates.cache_seconds(cache, footprint.cache_family))
    return SizePoint(weights_bytes=size, card_share=on_card, tokens_per_second=1 / seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpilledRates:
    """Effective bytes/s of card and host, layers' costs absorbed: what two runs of one model say of all between."""

    card: float
    host: float

    def tokens_per_second(self, placement: Placement) -> float:
        """Of that placement of the same model."""
        return 1 / (placement.card_read / self.card + placement.host_read / self.host)


def through_two_points(first: Placement, first_speed: float, second: Placement, second_speed: float) -> SpilledRates:
    """Rates that two runs (tokens/s) of one model with different layers on the card give exactly.

        1 / speed = card_read / B_card + host_read / B_host

    Raises: BadRequest for runs of one placement, or that no two rates explain.
    """
    determinant = first.card_read * second.host_read - second.card_read * first.host_read
    if not determinant or min(first_speed, second_speed) <= 0:
        raise BadRequest("two runs with different layers on the card are wanted, and speeds above 0")
    t, u = 1 / first_speed, 1 / second_speed
    card = (t * second.host_read - u * first.host_read) / determinant
    host = (u * first.card_read - t * second.card_read) / determinant
    if card <= 0 or host <= 0:
        raise BadRequest(f"{first_speed:g} and {second_speed:g} tokens/s: no two rates explain both runs")
    return SpilledRates(card=1 / card, host=1 / host)
