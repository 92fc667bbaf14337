"""The measurement store: one SQLite file, safe for several writers at once, migrated forwards and never dropped.

    with open_store() as store:
        store.record([measurement])
        store.query(metric="kld_mean", model="embedded")

It lies in the user's data directory; the environment variable PENNYWEIGHT_STORE names another file. Every row is a
`Measurement`. The schema's version stands in `PRAGMA user_version`; a store of an older version runs the migrations it
lacks, in one transaction, and a store of a newer one is refused.
"""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from pennyweight.core.errors import BadRequest, FormatError, OutputError
from pennyweight.store.measurement import Measurement
from pennyweight.store.place import VARIABLE, default_path

APPLICATION_ID = 0x70777431
"""`pwt1`, in SQLite's header: tells our file from anybody else's database."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE measurements (
            id INTEGER PRIMARY KEY,
            model TEXT NOT NULL, fingerprint TEXT NOT NULL, type TEXT NOT NULL,
            bytes INTEGER NOT NULL, bits_per_weight REAL NOT NULL, base TEXT,
            metric TEXT NOT NULL, value REAL NOT NULL, stderr REAL,
            protocol TEXT NOT NULL, text_hash TEXT, n_ctx INTEGER, chunks INTEGER,
            engine TEXT NOT NULL, versions TEXT NOT NULL,
            hardware TEXT NOT NULL, "when" TEXT NOT NULL, seed INTEGER
        )""",
        "CREATE INDEX measurements_by_model ON measurements (fingerprint, metric)",
    ),
)
"""Migration n takes a store from version n to n + 1. Append; never edit one that was released."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another one; a write takes milliseconds."""

COLUMNS = tuple(field.name for field in fields(Measurement))


class Store:
    """An open store; a context manager. One thread uses one `Store`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def record(self, measurements: Iterable[Measurement]) -> None:
        """Add them, all or none. Raises: OutputError where the file cannot be written."""
        rows = [tuple(_said(getattr(item, name)) for name in COLUMNS) for item in measurements]
        places = ", ".join("?" * len(COLUMNS))
        try:
            self._connection.execute("BEGIN IMMEDIATE")  # waits here for another writer, never halfway
            with self._connection:
                self._connection.executemany(f"INSERT INTO measurements ({_names()}) VALUES ({places})", rows)
        except sqlite3.OperationalError as error:
            raise OutputError(f"cannot write the measurement store {self.path}: {error}") from error

    def query(
        self,
        *,
        model: str | None = None,
        fingerprint: str | None = None,
        type: str | None = None,
        metric: str | None = None,
        since: str | None = None,
        limit: int | None = None,
    ) -> list[Measurement]:
        """What fits every filter that is given, the newest first.

        Args:
            model: part of a model's name, case-blind; `type` and `metric` are whole names, case-blind.
            since: ISO date or time (UTC), inclusive.
        """
        wanted = (
            ("instr(lower(model), lower(?)) > 0", model),
            ("fingerprint = ?", fingerprint),
            ("lower(type) = lower(?)", type),
            ("lower(metric) = lower(?)", metric),
            ('"when" >= ?', since),
        )
        given = [(clause, value) for clause, value in wanted if value is not None]
        where = " AND ".join(clause for clause, _ in given) or "1"
        rows = self._connection.execute(
            f'SELECT {_names()} FROM measurements WHERE {where} ORDER BY "when" DESC, id DESC LIMIT ?',
            [*(_said(value) for _, value in given), -1 if limit is None else limit],
        )
        return [Measurement(**dict(zip(COLUMNS, row, strict=True))) for row in rows]

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _said(value: object) -> object:
    """As SQLite can keep it: the name of a file need not be UTF-8, and its other bytes become `\\udcff`."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def open_store(path: Path | None = None, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> Store:
    """Open the store, made or migrated where needed. Two processes may do so at once.

    Raises:
        OutputError: the directory or file cannot be written.
        FormatError: the file is no measurement store, or is damaged.
        BadRequest: it was written by a newer Pennyweight.
    """
    path = path or default_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # isolation_level None: no transaction that we did not begin ourselves.
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.OperationalError) as error:
        raise OutputError(f"cannot open the store {path}: {error}; set {VARIABLE} to another file") from error
    try:
        _prepare(connection, path, migrations)
    except sqlite3.OperationalError as error:
        connection.close()
        raise OutputError(f"cannot use the store {path}: {error}; set {VARIABLE} to another file") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise FormatError(f"{path} is not a measurement store ({error}); set {VARIABLE} to another file") from error
    except BaseException:
        connection.close()
        raise
    return Store(path, connection)


def _prepare(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]]) -> None:
    """Check whose file it is, bring it up to date, let readers and a writer work side by side."""
    _require_ours(connection, path)
    if _number(connection, "user_version") != len(migrations):
        _migrate(connection, path, migrations)
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = NORMAL")  # with a write-ahead log: no damage in a power cut


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    if _number(connection, "application_id") == APPLICATION_ID:
        return
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    # A new file has no tables, unless another process is making it at this moment: then it is ours a moment later.
    if tables and _number(connection, "application_id") != APPLICATION_ID:
        raise FormatError(f"{path} is another program's database; set {VARIABLE} to another file")


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        found = _number(connection, "user_version")  # again, under the lock: another process may have been faster
        if found > len(migrations):
            raise BadRequest(
                f"the measurement store {path} has version {found}, this Pennyweight knows up to {len(migrations)}; "
                f"update Pennyweight, or set {VARIABLE} to another file"
            )
        for statements in migrations[found:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch once; the file remembers. SQLite does not wait for a lock here, whatever the timeout, so we do.

    A file system that cannot have one (some network drives) keeps its rollback journal, which is as safe and slower.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


def _names() -> str:
    return ", ".join(f'"{name}"' for name in COLUMNS)
