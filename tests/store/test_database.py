"""The measurement store: what goes in comes out, older stores are kept, newer ones and strangers are refused."""

import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pennyweight.core.errors import BadRequest, FormatError, OutputError
from pennyweight.store.database import MIGRATIONS, open_store
from pennyweight.store.machine import hardware, processor, vectors, versions
from pennyweight.store.measurement import Measurement, now
from pennyweight.store.place import default_path

ONE = Measurement(
    model="embedded",
    fingerprint="ab" * 32,
    type="Q4_K_M",
    bytes=5_000_000,
    bits_per_weight=4.9,
    base="cd" * 32,
    metric="kld_mean",
    value=0.0123,
    stderr=0.0004,
    protocol="llama-perplexity",
    text_hash="ef" * 32,
    n_ctx=512,
    chunks=30,
    engine="llama.cpp b11549",
    versions="pennyweight 0.1.0",
    hardware="a test",
    when="2026-11-23T16:00:00+00:00",
    seed=7,
)


def test_a_measurement_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    bare = replace(ONE, base=None, stderr=None, text_hash=None, n_ctx=None, chunks=None, seed=None, metric="decode")
    with open_store(tmp_path / "store.sqlite") as store:
        store.record([ONE, bare])
    with open_store(tmp_path / "store.sqlite") as store:
        assert store.query() == [bare, ONE]


def test_a_file_s_name_that_is_not_utf_8_is_kept_as_far_as_it_can_be_said(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.sqlite") as store:
        store.record([replace(ONE, model=b"b\xffd.gguf".decode("utf-8", "surrogateescape"))])
        assert store.query(model="b\udcffd")[0].model == "b\\udcffd.gguf"


def test_a_query_filters_by_everything_at_once_and_gives_the_newest_first(tmp_path: Path) -> None:
    later = replace(ONE, when="2026-11-24T09:00:00+00:00", value=0.5)
    others = [replace(ONE, model="Qwen3-8B"), replace(ONE, type="Q2_K"), replace(ONE, metric="perplexity")]
    with open_store(tmp_path / "store.sqlite") as store:
        store.record([ONE, later, *others])
        assert store.query(model="EMBED", type="q4_k_m", metric="KLD_MEAN") == [later, ONE]
        assert store.query(since="2026-11-24") == [later]
        assert store.query(limit=1) == [later]
        assert store.query(fingerprint="00") == []
        assert store.query(model="100%") == [], "no pattern language leaks through"


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENNYWEIGHT_STORE", str(tmp_path / "deep" / "er" / "mine.sqlite"))
    with open_store() as store:
        assert store.path == tmp_path / "deep" / "er" / "mine.sqlite" == default_path()
    monkeypatch.delenv("PENNYWEIGHT_STORE")
    assert default_path().name == "measurements.sqlite"
    assert "pennyweight" in str(default_path())


def test_an_older_store_is_migrated_with_all_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        store.record([ONE])
    newer = (*MIGRATIONS, ("ALTER TABLE measurements ADD COLUMN note TEXT", "UPDATE measurements SET note = 'old'"))
    with open_store(path, newer) as store:
        assert store.query() == [ONE]
    rows = sqlite3.connect(path).execute("SELECT note FROM measurements").fetchall()
    assert rows == [("old",)]


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        store.record([ONE])
    broken = (*MIGRATIONS, ("ALTER TABLE measurements RENAME COLUMN value TO worth", "SELECT * FROM nowhere"))
    with pytest.raises(OutputError, match="nowhere"):
        open_store(path, broken)
    with open_store(path) as store:
        assert store.query() == [ONE]


def test_a_newer_store_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    open_store(path, (*MIGRATIONS, ("CREATE TABLE future (x)",))).close()
    before = path.read_bytes()
    with pytest.raises(BadRequest, match="has version 2, this Pennyweight knows up to 1"):
        open_store(path)
    assert path.read_bytes() == before


def test_another_program_s_database_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(FormatError, match=r"photos\.sqlite is another program's database"):
        open_store(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("just text, and a good deal more than a header of it\n" * 50)
    with pytest.raises(FormatError, match="is not a measurement store"):
        open_store(tmp_path / "text.sqlite")


def test_a_place_that_cannot_hold_a_store_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="set PENNYWEIGHT_STORE to another file"):
        open_store(tmp_path / "file" / "store.sqlite")
    with pytest.raises(OutputError, match="set PENNYWEIGHT_STORE to another file"):
        open_store(tmp_path)


def test_many_threads_make_and_write_one_store_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for turn in range(5):
                with open_store(tmp_path / "store.sqlite") as store:
                    store.record([replace(ONE, seed=who, value=float(turn))] * 3)
        except BaseException as error:  # noqa: BLE001 -- shown by the test's thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with open_store(tmp_path / "store.sqlite") as store:
        assert len(store.query()) == 6 * 5 * 3


def test_two_processes_make_and_write_one_store_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from pennyweight.store.database import open_store\n"
        "from tests.store.test_database import ONE\n"
        "for _ in range(20):\n"
        "    with open_store(Path(sys.argv[1])) as store: store.record([ONE, ONE])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store.sqlite")]
    root = Path(__file__).parent.parent.parent
    running = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(process.communicate()[1], process.returncode) for process in running]
    assert ended == [("", 0)] * 2
    with open_store(tmp_path / "store.sqlite") as store:
        assert len(store.query()) == 80


def test_a_writer_that_dies_halfway_leaves_whole_groups_only(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.sqlite") as store:
        store.record([ONE])
        with pytest.raises(sqlite3.IntegrityError):
            store.record([replace(ONE, value=1.0), replace(ONE, metric=None)])  # type: ignore[arg-type]
        assert store.query() == [ONE]
        store.record([replace(ONE, value=2.0)])
        assert len(store.query()) == 2


def cpuinfo(path: Path, *lines: str) -> Path:
    path.write_text("processor : 0\n" + "\n".join(lines) + "\n\nprocessor : 1\nmodel name : another\n")
    return path


def test_two_machines_whose_hypervisor_hides_the_name_are_told_apart(tmp_path: Path) -> None:
    milan = cpuinfo(tmp_path / "a", "model name\t: AMD EPYC", "cpu family\t: 25", "model\t\t: 1", "flags : avx avx2")
    genoa = cpuinfo(
        tmp_path / "b", "model name\t: AMD EPYC", "cpu family\t: 25", "model\t\t: 17", "flags : avx2 avx512f"
    )
    assert processor(milan) == "AMD EPYC (family 25, model 1)"
    assert processor(genoa) == "AMD EPYC (family 25, model 17)"
    assert (vectors(milan), vectors(genoa)) == ("AVX2", "AVX-512")


def test_a_processor_that_says_its_number_is_called_by_its_name(tmp_path: Path) -> None:
    said = cpuinfo(tmp_path / "a", "model name\t: 13th Gen Intel(R) Core(TM)  i9-13900HK", "model\t\t: 186")
    assert processor(said) == "13th Gen Intel(R) Core(TM) i9-13900HK"
    arm = cpuinfo(tmp_path / "b", "CPU implementer\t: 0x41", "CPU part\t: 0xd4f", "Features\t: fp asimd sve")
    assert processor(arm).endswith("implementer 0x41, part 0xd4f")
    assert vectors(arm) == "SVE"
    assert processor(tmp_path / "missing")
    assert vectors(tmp_path / "missing") == ""


def test_the_machine_and_the_software_are_named() -> None:
    assert "cores" in hardware()
    assert "\n" not in hardware()
    assert versions().startswith("pennyweight ")
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in versions()
    assert len(now()) == len("2026-11-23T16:00:00+00:00")
