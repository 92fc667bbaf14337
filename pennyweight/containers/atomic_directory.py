"""Output directories that are whole or not there: filled beside their place, synced, then renamed onto it.

The temporary directory is `.NAME.tmp-…`, locked while its writer lives, as `containers.atomic` does with files; one
that a killed writer left is removed by the next run that writes NAME.
"""

import fcntl
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from pennyweight.containers.atomic import sync_directory
from pennyweight.core.errors import OutputError


class AtomicDirectory:
    """A context manager: leaving it normally puts the directory in its place, leaving it by an error removes it.

    Attributes:
        path: where it will stand.
        temporary: where its files are written until then.
    """

    def __init__(self, path: str | Path) -> None:
        """Create the temporary directory.

        Raises: OutputError where something other than an empty directory stands at `path`, or it cannot be made.
        """
        self.path = Path(os.path.abspath(path))
        require_free(self.path)
        _remove_stale(self.path)
        self.temporary = self.path.with_name(f"{_prefix(self.path)}{secrets.token_hex(4)}")
        try:
            self.temporary.mkdir()
            self._descriptor = os.open(self.temporary, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise OutputError(f"cannot create {self.path}: {error.strerror}") from error
        _lock(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._publish()
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)
            os.close(self._descriptor)

    def _publish(self) -> None:
        os.fsync(self._descriptor)
        try:
            os.rename(self.temporary, self.path)  # onto an empty directory too, and onto nothing else
        except OSError as error:
            raise OutputError(f"cannot rename onto {self.path}: {error.strerror}") from error
        sync_directory(self.path)


def require_free(path: Path) -> None:
    """Before long work: refuse a path where a directory could not be put. Raises: OutputError."""
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no directory {path.parent}")
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"cannot write {path}: it is not a directory")
    if path.is_dir() and any(path.iterdir()):
        raise OutputError(f"{path} is there already and not empty; remove it, or write to another path")


def _remove_stale(path: Path) -> None:
    for entry in os.scandir(path.parent):
        if not entry.name.startswith(_prefix(path)) or not entry.is_dir(follow_symlinks=False):
            continue
        try:
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry.path, ignore_errors=True)
        except OSError:  # its writer lives
            pass
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a file system without locks: then only the name protects it
        return


def _prefix(path: Path) -> str:
    return f".{path.name}.tmp-"
