"""What a calibration has measured so far, kept run by run, so that one that was interrupted goes on where it stopped.

A run stands for a day, for the same machine, program and settings; the journal is removed when all are done.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from pennyweight.core.errors import OutputError
from pennyweight.evaluation.journal import Journal, key_of
from pennyweight.jobs.calibrate_tasks import IN_PROCESS, Task
from pennyweight.runtimes.llama_cpp import BUILD
from pennyweight.runtimes.llama_tools import LLAMA_BENCH, find_program
from pennyweight.runtimes.speed import SpeedReport, SpeedSettings
from pennyweight.store.machine import hardware
from pennyweight.store.measurement import now
from pennyweight.store.place import default_path

FILE = "calibration.jsonl"

STANDS_FOR = timedelta(days=1)
"""Later, drivers and whatever else ran on the machine are others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """One task, done.

    Attributes:
        backend, build: of the runtime.
        bytes: of all tensors.
        decode_tok_s, prompt_tok_s: of the best repetition (whatever disturbs a run makes it slower, never faster);
            no prompt was asked for: 0.
        when: ISO 8601, UTC.
    """

    backend: str
    build: str
    bytes: int
    decode_tok_s: float
    prompt_tok_s: float
    when: str


def measured_run(report: SpeedReport) -> MeasuredRun:
    """What of a report the fit needs."""
    return MeasuredRun(
        backend=report.backend,
        build=report.build,
        bytes=report.tensor_bytes,
        decode_tok_s=_best(report, "tg"),
        prompt_tok_s=_best(report, "pp"),
        when=now(),
    )


class CalibrationJournal:
    """Runs of one runtime and one way of running, by task.

    Attributes:
        found: how many runs were there already.
    """

    def __init__(self, runtime: str, settings: SpeedSettings) -> None:
        """Read what was kept. Raises: OutputError; Missing where the runtime is a program that is not there."""
        path = default_path().with_name(FILE)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {path.parent}: {error.strerror}") from error
        self._journal = Journal(path, MeasuredRun, _stands)
        self._same = {"runtime": _identity(runtime), "settings": asdict(settings), "hardware": hardware()}
        self.found = 0

    def run(self, task: Task, measure: Callable[[], SpeedReport]) -> MeasuredRun:
        """The task's run, from before or measured now and kept. Raises: as `measure`; OutputError."""
        key = key_of(task=asdict(task), **self._same)
        kept = self._journal.find(key)
        if kept and (kept.prompt_tok_s or not task.prompt):
            self.found += 1
            return kept
        done = measured_run(measure())
        self._journal.add(key, done)
        return done

    def close(self) -> None:
        """All runs are done and their fit is kept: the next calibration measures anew."""
        self._journal.path.unlink(missing_ok=True)


def _identity(runtime: str) -> str:
    """A build of the runtime; a program says its own only when it runs, so its file stands for it."""
    if runtime == LLAMA_BENCH:
        program = find_program(LLAMA_BENCH).resolve()
        return f"{program} {program.stat().st_mtime_ns}"
    return f"{IN_PROCESS} {BUILD}"


def _stands(run: MeasuredRun) -> bool:
    """Whether a run that was read from a file is whole, sane, and not too old."""
    try:
        fresh = timedelta() <= datetime.now(UTC) - datetime.fromisoformat(run.when) < STANDS_FOR
        speeds = math.isfinite(run.decode_tok_s + run.prompt_tok_s) and run.decode_tok_s > 0 <= run.prompt_tok_s
        words = isinstance(run.backend, str) and isinstance(run.build, str)
        return fresh and speeds and words and isinstance(run.bytes, int) and run.bytes > 0
    except (TypeError, ValueError, OverflowError):
        return False


def _best(report: SpeedReport, test: str) -> float:
    """Tokens per second; 0 where the test was not run."""
    return max((max(speed.samples) for speed in report.speeds if speed.test.startswith(test)), default=0.0)
