"""How every matrix of a calibrated run fared, and what of it a person should know."""

from collections.abc import Iterable
from dataclasses import dataclass

NO_PARTNER = "an expert's tokens may go elsewhere in the unquantized model"
"""Why `gptaq` leaves a matrix to `gptq`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """How one matrix fared.

    Attributes:
        name, expert: which; expert None where there are none.
        method: what rounded it; another than the recipe's where it fell back.
        tokens: calibration tokens it saw.
        error: mean over them of |(W − Q) x|², relative to |W x|²; None where no Hessian was gathered.
        damp: fraction of the mean diagonal that was added to the Hessian; 0 where there was none.
        note: why it fell back, or what else should be known.
    """

    name: str
    method: str
    tokens: int
    expert: int | None = None
    error: float | None = None
    damp: float = 0.0
    note: str | None = None


def notes_of(reports: Iterable[LayerReport]) -> tuple[str, ...]:
    """What a person should know, one line for each kind of note."""
    noted = [report for report in reports if report.note]
    alone = [report for report in noted if report.note == NO_PARTNER]
    starved = [report for report in noted if report.expert is not None and "fewer than" in (report.note or "")]
    others = [report for report in noted if report not in starved + alone]
    found = []
    if alone:
        found.append(f"{len(alone)} matrices were rounded by gptq: {NO_PARTNER}")
    if starved:
        first = starved[0]
        found.append(
            f"{len(starved)} experts' matrices were rounded without statistics, for too few tokens reached them "
            f"({first.name} expert {first.expert}: {first.note} …); more samples reach more"
        )
    if others:
        found.append(f"{len(others)} matrices: {others[0].name} {others[0].note} …; more samples help")
    return tuple(found)
