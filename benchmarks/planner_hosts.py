"""Layers on the host: which part of its memory's bandwidth llama.cpp reads at, host by host.

What a run says of its host is what is left of a token's seconds beside the card's part. A host that is left out gets
the median of what the others say, a median each; one that is held out has no say in it.
"""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.planner_rows import DATA, footprint
from pennyweight.planner.card_names import find_card
from pennyweight.planner.footprint import Family, Placement, place
from pennyweight.planner.host import Host, host_rates
from pennyweight.planner.rates import Rates, card_rates
from pennyweight.planner.speed import Machine, decode_seconds

DEPTH = 64.0
"""Tokens that lie before the one that is timed, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """One run with blocks on a host of known bandwidth (bytes/s); tokens per second."""

    host: str
    bandwidth: float
    held_out: bool
    card: Rates | None
    placement: Placement
    decode: float


def host_rows() -> list[HostRow]:
    """`hosts.csv`."""
    with open(DATA / "hosts.csv", encoding="utf-8", newline="") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: dict[str, str]) -> HostRow:
    model = footprint(line["model"], line["quant"])
    return HostRow(
        host=line["host"],
        bandwidth=float(line["bandwidth_gb_s"]) * 1e9,
        held_out=bool(line["held_out"]),
        card=card_rates(find_card(line["card"])) if line["card"] else None,
        placement=place(model, int(line["gpu_layers"]), int(line["cpu_moe"])),
        decode=float(line["tg_tok_s"]),
    )


def predict(row: HostRow, share: float | None = None) -> float:
    """Tokens/s as shipped, or with another share of the bandwidth."""
    host = host_rates(Host(bandwidth=row.bandwidth))
    if share is not None:
        host = replace(host, efficiency=tuple((family, share) for family in Family))
    return 1 / decode_seconds(row.placement, Machine(card=row.card, host=host), DEPTH)


def implied(row: HostRow) -> float:
    """The share of the bandwidth that the run says its host read at."""
    rest = 1 / predict(row, share=1e9)  # weights on the host cost nothing
    return row.placement.host_read / (1 / row.decode - rest) / row.bandwidth


def share_of(rows: Sequence[HostRow]) -> float:
    """The median of hosts, each of them the median of its runs."""
    by_host = defaultdict(list)
    for row in rows:
        if not row.held_out:
            by_host[row.host].append(implied(row))
    return median(median(shares) for shares in by_host.values())


def host_errors() -> dict[str, dict[str, float | int | None]]:
    """Median errors by host, and of all hosts; `share` is what its runs say, `left out` what a host nobody ran gets."""
    rows, groups = host_rows(), {}
    for name in dict.fromkeys(row.host for row in rows):
        own = [row for row in rows if row.host == name]
        others = share_of([row for row in rows if row.host != name])
        groups[name] = {
            "runs": len(own),
            "share": median(implied(row) for row in own),
            "shipped": median(abs(predict(row) / row.decode - 1) for row in own),
            "left out": median(abs(predict(row, others) / row.decode - 1) for row in own),
        }
    seen = [group for name, group in groups.items() if not any(r.held_out for r in rows if r.host == name)]
    every = {key: median(group[key] for group in seen) for key in ("share", "shipped", "left out")}
    return {"all but held out": {"runs": sum(group["runs"] for group in seen)} | every, **groups}
