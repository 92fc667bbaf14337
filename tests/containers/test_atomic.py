"""An output file is the old one, the whole new one, or absent: through errors, kills and full disks."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from pennyweight import formats
from pennyweight.containers.atomic import write_bytes
from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import OutputError
from tests.containers.test_gguf_writer import METADATA, TENSORS, contents, same, write

OLD = b"the old file"


def only(directory: Path, *names: str) -> bool:
    """Whether exactly these files are there: nothing temporary is left."""
    return sorted(os.listdir(directory)) == sorted(names)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(OLD)
    with pytest.raises(error), GGUFWriter(out, METADATA, TENSORS):
        raise error
    assert out.read_bytes() == OLD
    assert only(tmp_path, "out.gguf")


def test_a_writer_that_is_forgotten_leaves_nothing(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "out.gguf", METADATA, TENSORS)
    del writer
    assert only(tmp_path)


@pytest.mark.parametrize("times", [0, 2])
def test_a_row_that_was_not_written_once_is_a_bug_and_no_file(times: int, tmp_path: Path) -> None:
    def write_one_tensor_so_often() -> None:
        with GGUFWriter(tmp_path / "out.gguf", METADATA, TENSORS) as writer:
            for name, rows in contents(TENSORS).items():
                for _ in range(times if name == "token_embd.weight" else 1):
                    writer.write_rows(name, 0, rows)

    with pytest.raises(RuntimeError, match=r"token_embd\.weight"):
        write_one_tensor_so_often()
    assert only(tmp_path)


def test_the_file_appears_only_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(OLD)
    data = contents(TENSORS)
    with GGUFWriter(out, METADATA, TENSORS) as writer:
        for name, rows in data.items():
            writer.write_rows(name, 0, rows)
            assert out.read_bytes() == OLD
    assert same(open_gguf(out), data)
    assert only(tmp_path, "out.gguf")


def test_threads_write_the_bytes_that_one_thread_writes(tmp_path: Path) -> None:
    info = TensorInfo(name="w", shape=(400, 64), format=formats.F32)
    data = contents((info,))["w"]
    with GGUFWriter(tmp_path / "threads.gguf", METADATA, [info]) as writer:
        threads = [
            threading.Thread(target=lambda s=s: [writer.write_rows("w", r, data[r : r + 1]) for r in range(s, 400, 8)])
            for s in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    write(tmp_path / "one.gguf", {"w": data}, (info,))
    assert (tmp_path / "threads.gguf").read_bytes() == (tmp_path / "one.gguf").read_bytes()


WRITE_FOREVER = """
import sys
from pathlib import Path
from pennyweight.containers.gguf_writer import GGUFWriter
from tests.containers.test_gguf_writer import METADATA, TENSORS, contents
out, split = Path(sys.argv[1]), int(sys.argv[2]) or None
data = contents(TENSORS)
with GGUFWriter(out, METADATA, TENSORS, split_max_size=split) as writer:
    for name, rows in list(data.items())[:-1]:
        writer.write_rows(name, 0, rows)
    print("writing", flush=True)
    sys.stdin.read()
"""


def start_writing(out: Path, split: int = 0) -> "subprocess.Popen[str]":
    """Another process in the midst of writing `out`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, str(out), str(split)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout
    assert process.stdout.readline() == "writing\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow  # starts a process
def test_a_kill_leaves_the_old_file_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(OLD)
    end(start_writing(out))
    assert out.read_bytes() == OLD
    left = [name for name in os.listdir(tmp_path) if name.startswith(".out.gguf.tmp-")]
    assert len(left) == 1
    write(out, contents(TENSORS))
    assert same(open_gguf(out), contents(TENSORS))
    assert only(tmp_path, "out.gguf")


@pytest.mark.slow  # starts a process
def test_a_run_leaves_the_temporary_file_of_a_living_one_alone(tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    living = start_writing(out)
    write(out, contents(TENSORS))
    assert len(os.listdir(tmp_path)) == 2
    end(living)
    assert same(open_gguf(out), contents(TENSORS))


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_between_the_renames_of_a_split_leaves_no_mixed_model(
    renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infos = tuple(TensorInfo(name=f"t{i}", shape=(4, 8), format=formats.F32) for i in range(3))
    old, new = contents(infos, seed=1), contents(infos, seed=2)
    first = write(tmp_path / "m.gguf", old, infos, split_max_size=128).paths[0]
    real, done = os.replace, []

    def replace(source: Path, target: Path) -> None:
        if len(done) == renames:
            raise OSError(errno.EIO, "as if killed here")
        done.append(real(source, target))

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError):
        write(tmp_path / "m.gguf", new, infos, split_max_size=128)
    assert not first.exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert all(path.stat().st_size for path in tmp_path.iterdir())


def test_a_disk_without_room_is_known_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 1000))
    with pytest.raises(OutputError, match=r"needs 7\.81 KiB, but .* has 1000 B free"):
        GGUFWriter(tmp_path / "out.gguf", METADATA, TENSORS)
    assert only(tmp_path)


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_disk_that_fills_up_is_one_line(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out.gguf"
    out.write_bytes(OLD)
    data = contents(TENSORS)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match=r"No space left on device; what was there before is unchanged"):
        write(out, data)
    assert out.read_bytes() == OLD
    assert only(tmp_path, "out.gguf")


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_reserve_space_is_written_to_all_the_same(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    write(tmp_path / "out.gguf", contents(TENSORS))
    assert same(open_gguf(tmp_path / "out.gguf"), contents(TENSORS))


def test_an_output_that_is_an_input_is_refused_under_any_name(tmp_path: Path) -> None:
    source = tmp_path / "in.gguf"
    write(source, contents(TENSORS))
    before = source.read_bytes()
    (tmp_path / "link.gguf").symlink_to(source)
    os.link(source, tmp_path / "twin.gguf")
    for name in ("in.gguf", "link.gguf", "twin.gguf", "../" + tmp_path.name + "/in.gguf"):
        with pytest.raises(OutputError, match="is the input; write to another path"):
            GGUFWriter(tmp_path / name, METADATA, TENSORS, sources=[source])
    assert source.read_bytes() == before
    assert only(tmp_path, "in.gguf", "link.gguf", "twin.gguf")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("missing/out.gguf", "no directory"), ("directory", "not a regular file"), ("/dev/null", "not a regular file")],
)
def test_an_output_that_cannot_be_is_one_line(name: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OutputError, match=expected):
        GGUFWriter(tmp_path / name, METADATA, TENSORS)
    assert not Path("/dev/null").is_file()


def test_a_directory_that_may_not_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Path, flags: int, *mode: int) -> int:  # root may write everywhere, so it is acted
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match=r"cannot create .*out\.gguf: Permission denied"):
        GGUFWriter(tmp_path / "out.gguf", METADATA, TENSORS)


def test_an_output_behind_a_link_replaces_what_the_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out.gguf").symlink_to(tmp_path / "real/model.gguf")
    write(tmp_path / "out.gguf", contents(TENSORS))
    assert (tmp_path / "out.gguf").is_symlink()
    assert only(tmp_path / "real", "model.gguf")


def test_write_bytes_replaces_whole_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(OLD)
    write_bytes(tmp_path / "a.json", b"{}")
    write_bytes(tmp_path / "empty", b"")
    assert (tmp_path / "a.json").read_bytes() == b"{}"
    assert (tmp_path / "empty").read_bytes() == b""
    assert only(tmp_path, "a.json", "empty")


def test_rows_of_the_wrong_size_or_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="token_embd"), GGUFWriter(tmp_path / "a.gguf", METADATA, TENSORS) as writer:
        writer.write_rows("token_embd.weight", 0, np.zeros((1, 5), np.uint8))
    with pytest.raises(IndexError, match="40 rows"), GGUFWriter(tmp_path / "a.gguf", METADATA, TENSORS) as writer:
        writer.write_rows("token_embd.weight", 40, np.zeros((1, 144), np.uint8))
    assert only(tmp_path)
