"""Output files that are whole or not there: written beside their place, synced, then renamed onto it.

The temporary file is `.NAME.tmp-…` in the same directory, locked while its writer lives. A writer that is killed leaves
it behind, unlocked; the next run that writes NAME removes it. Disk space is reserved before the first byte is written.

POSIX (Linux, macOS). On a file system without locks, a run may remove the temporary file of another that writes the
same name at the same time; that other then fails with one line, and the output is still whole.
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
import weakref
from collections.abc import Iterable
from pathlib import Path

from pennyweight.core.errors import OutputError
from pennyweight.core.units import show_bytes

Buffer = bytes | bytearray | memoryview


class AtomicFile:
    """One output file of known size. `write_at` fills it, from any thread; `sync` and `publish` put it in its place.

    The descriptor closes when the last reference goes: a thread that still writes after `discard` then meets a file
    without a name, never another file that was given the same number.
    """

    __slots__ = ("__weakref__", "_descriptor", "_published", "_temporary", "path", "size")

    def __init__(self, path: Path, size: int) -> None:
        """Create the temporary file and reserve `size` bytes.

        Raises:
            OutputError: no such directory, not a regular file, no permission, not enough space.
        """
        self.path, self.size = Path(os.path.realpath(path)), size  # a link stays a link; its target is replaced
        self._published = False
        _require_replaceable(self.path)
        remove_stale(self.path)
        _require_space(self.path, size)
        self._temporary = self.path.with_name(f"{_prefix(self.path)}{secrets.token_hex(4)}")
        try:
            self._descriptor = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _failed("create", self.path, error) from error
        weakref.finalize(self, _abandon, self._descriptor, self._temporary)
        try:
            lock(self._descriptor)
            _reserve(self._descriptor, size)
        except OSError as error:
            self.discard()
            raise _failed("reserve space for", self.path, error) from error

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write `data` (contiguous bytes) at `offset`. Raises: OutputError."""
        view, done = memoryview(data).cast("B"), 0
        while done < len(view):  # one call moves 2 GiB at most
            try:
                done += os.pwrite(self._descriptor, view[done:], offset + done)
            except OSError as error:
                raise _failed("write", self.path, error) from error

    def sync(self) -> None:
        """Wait until all bytes are on the disk. Raises: OutputError."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise _failed("write", self.path, error) from error

    def publish(self) -> None:
        """Rename onto `path`; from this instant the new file is the file. Raises: OutputError."""
        try:
            os.replace(self._temporary, self.path)
            self._published = True
        except OSError as error:
            raise _failed("rename onto", self.path, error) from error
        sync_directory(self.path)

    def discard(self) -> None:
        """Remove the temporary file and give its space back; what stands at `path` stays."""
        if self._published:
            return
        self._temporary.unlink(missing_ok=True)
        os.ftruncate(self._descriptor, 0)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a small file, whole or not at all. Raises: OutputError."""
    file = AtomicFile(Path(path), len(data))
    try:
        file.write_at(0, data)
        file.sync()
        file.publish()
    except BaseException:
        file.discard()
        raise


def refuse_input(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the files being read, under this or another name. Raises: OutputError."""
    for path in inputs:
        if output.exists() and path.exists() and os.path.samefile(output, path):
            raise OutputError(f"{output} is the input; write to another path")


def check_output(path: Path, inputs: Iterable[Path]) -> None:
    """Before long work: refuse a path that could not be written after it, or that is an input. Raises: OutputError."""
    refuse_input(path, inputs)
    _require_replaceable(Path(os.path.realpath(path)))


def remove_stale(path: Path) -> None:
    """Remove temporary files for `path` whose writers were killed: those that nobody holds locked."""
    with os.scandir(path.parent) as entries:
        candidates = [entry.path for entry in entries if entry.name.startswith(_prefix(path))]
    for candidate in candidates:
        try:
            descriptor = os.open(candidate, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(candidate)
        except OSError:  # its writer lives
            pass
        finally:
            os.close(descriptor)


def lock(descriptor: int) -> None:
    """Lock an open file or directory until the descriptor closes; a file system without locks gives none.

    Raises: OSError where another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def sync_directory(path: Path) -> None:
    """Make the names in `path`'s directory last through a power cut. Raises: OutputError."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise _failed("sync the directory of", path, error) from error
    finally:
        os.close(descriptor)


def _prefix(path: Path) -> str:
    return f".{path.name}.tmp-"


def _failed(verb: str, path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot {verb} {path}: {error.strerror}; what was there before is unchanged")


def _require_replaceable(path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no directory {path.parent}")
    # A rename would replace a device such as /dev/null by a plain file.
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise OutputError(f"cannot write {path}: it is not a regular file")


def _require_space(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OutputError(f"{path} needs {show_bytes(size)}, but {path.parent} has {show_bytes(free)} free")


def _reserve(descriptor: int, size: int) -> None:
    """Make the file `size` zero bytes long, with blocks behind them where the system can promise that."""
    os.ftruncate(descriptor, size)
    if size and hasattr(os, "posix_fallocate"):  # macOS has none: there a full disk shows while writing
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def _abandon(descriptor: int, temporary: Path) -> None:
    """At the end of the object's life: close the file, and remove it where it was neither published nor discarded."""
    try:
        if os.fstat(descriptor).st_nlink and os.path.samestat(os.fstat(descriptor), os.stat(temporary)):
            os.unlink(temporary)
    except OSError:  # published or discarded: nothing of that name
        pass
    os.close(descriptor)
