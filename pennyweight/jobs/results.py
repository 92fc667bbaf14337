"""results: what the measurement store holds, filtered; as a list, CSV, JSON or Markdown."""

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from pennyweight.containers.atomic import write_bytes
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.store.database import open_store
from pennyweight.store.measurement import Measurement

EXPORTS = ("csv", "json", "md")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsFilter:
    """What to list: every filter that is given must fit. See `Store.query`; `since` is an ISO date or time, UTC."""

    model: str | None = None
    type: str | None = None
    metric: str | None = None
    since: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsResult:
    """Measurements, the newest first, and the store they lie in."""

    store: str
    rows: tuple[Measurement, ...]


def results(wanted: ResultsFilter = ResultsFilter()) -> ResultsResult:
    """Read the measurement store. Raises: BadRequest, FormatError, OutputError of the store."""
    if wanted.limit is not None and wanted.limit < 1:
        raise BadRequest(f"a limit of {wanted.limit} lists nothing; at least 1 is wanted")
    since = None if wanted.since is None else _as_stored(wanted.since)
    with open_store() as store:
        found = store.query(model=wanted.model, type=wanted.type, metric=wanted.metric, since=since, limit=wanted.limit)
        return ResultsResult(store=str(store.path), rows=tuple(found))


def _as_stored(since: str) -> str:
    """A moment as `Measurement.when` has it, for the store compares letters. Raises: BadRequest."""
    try:
        moment = datetime.fromisoformat(since)
        in_utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{since!r} is not a date or time; write 2026-11-23 or 2026-11-23T16:05 (UTC) after --since"
        ) from error
    return in_utc.isoformat(timespec="seconds")


def export(found: ResultsResult, path: Path) -> None:
    """Write the rows to `path`, in the form its suffix names. Raises: UnknownName, OutputError."""
    form = path.suffix.removeprefix(".").lower()
    if form not in EXPORTS:
        raise UnknownName.among("export form", form, EXPORTS)
    text = {"csv": as_csv, "json": as_json, "md": as_markdown}[form](found)
    write_bytes(path, text.encode())


def as_csv(found: ResultsResult) -> str:
    """A header and a line for each measurement; None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Measurement)]
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in found.rows)
    return text.getvalue()


def as_json(found: ResultsResult) -> str:
    """One object with `store` and `rows`."""
    return json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n"


def as_markdown(found: ResultsResult) -> str:
    """A table of what a person asks first; the other forms have everything."""
    lines = [
        "| model | type | metric | value | ± | protocol | engine | hardware | when |",
        "|---|---|---|--:|--:|---|---|---|---|",
    ]
    for row in found.rows:
        stderr = "" if row.stderr is None else f"{row.stderr:.3g}"
        words = (
            row.model,
            row.type,
            row.metric,
            f"{row.value:.6g}",
            stderr,
            row.protocol,
            row.engine,
            row.hardware,
            row.when,
        )
        lines.append("| " + " | ".join(word.replace("|", "\\|") for word in words) + " |")
    return "\n".join(lines) + "\n"
