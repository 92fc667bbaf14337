"""Downloads from a hub on this machine that breaks off, lies and dies; huggingface_hub itself is on the other side."""

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pennyweight.checkpoints import download as module
from pennyweight.checkpoints.download import download
from pennyweight.checkpoints.open import local_path, open_checkpoint
from pennyweight.containers import fetch as fetch_module
from pennyweight.core.errors import BadRequest, FormatError, NotThere, OutputError
from tests.hub_server import HubServer, serving
from tests.tiny_gguf import write_tiny_gguf

GGUF = "hf.co/user/ggufs:Q8_0"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


@pytest.fixture
def hub(gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The server, and a cache of this test's own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch_module, "PAUSE_SECONDS", 0.0)
    repositories = {
        "user/ggufs": {
            "README.md": b"words",
            "m-Q8_0.gguf": gguf,
            "m-BF16.gguf": gguf,
            "drafts/d-BF16.gguf": gguf,
            "mmproj-Q8_0.gguf": gguf,
        },
        "user/split": {f"m-Q4_K_M-0000{i}-of-00002.gguf": gguf + bytes(i) for i in (1, 2)},
        "user/plain": {
            "config.json": b"{}",
            "model.safetensors": bytes(range(256)) * 40,
            "pytorch_model.bin": b"pickle",
            "consolidated.safetensors": b"the same once more",
            "onnx/model.safetensors": b"and again",
            "tokenizer.model": b"t" * 99,
        },
    }
    with serving(repositories) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        download.cache_clear()
        yield server


def again(model: str) -> Path:
    """As another process would ask."""
    download.cache_clear()
    return local_path(model)


def parts(tmp_path: Path) -> list[Path]:
    """What lies there of files that are not whole."""
    return [file for file in (tmp_path / "hub").rglob("*.incomplete") if file.is_file()]


def test_a_file_of_a_repository_comes_whole_and_is_a_model(hub: HubServer, gguf: bytes) -> None:
    path = local_path(GGUF)
    assert (path.name, path.read_bytes()) == ("m-Q8_0.gguf", gguf)
    assert path.resolve().name == hashlib.sha256(gguf).hexdigest()
    assert open_checkpoint(GGUF).tensors
    assert not any("BF16" in asked or "mmproj" in asked for asked, _, _ in hub.asked if "/cdn/" in asked)


def test_a_type_is_matched_as_a_whole_word_and_a_split_file_comes_with_all_parts(hub: HubServer) -> None:
    with pytest.raises(NotThere, match="no GGUF of type F16"):
        local_path("user/ggufs:F16")
    with pytest.raises(BadRequest, match="2 GGUFs of type BF16"):
        local_path("user/ggufs:BF16")
    first = local_path("user/split:q4_k_m")
    assert first.name.endswith("-00001-of-00002.gguf")
    assert first.with_name(first.name.replace("-00001", "-00002")).is_file()


def test_a_whole_checkpoint_never_brings_pickles_or_other_programs_copies(hub: HubServer) -> None:
    directory = local_path("user/plain")
    assert sorted(file.name for file in directory.iterdir()) == ["config.json", "model.safetensors", "tokenizer.model"]
    asked = " ".join(path for path, _, _ in hub.asked)
    assert not any(name in asked for name in ("pytorch_model", "consolidated", "onnx"))


def test_a_server_that_breaks_off_is_asked_for_the_rest(hub: HubServer, gguf: bytes) -> None:
    hub.lies["m-Q8_0.gguf"] = "cut once"
    assert local_path(GGUF).read_bytes() == gguf
    assert hub.ranges_of("m-Q8_0.gguf") == ["bytes=0-", f"bytes={len(gguf) // 2}-"]


def test_short_writes_lose_nothing_and_a_full_disk_is_no_broken_server(
    hub: HubServer, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [1000]

    def write(descriptor: int, data: memoryview, write=os.write) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(descriptor, data[: room[0]])
        room[0] -= done
        return done

    with monkeypatch.context() as patched:
        patched.setattr(fetch_module.os, "write", write)
        with pytest.raises(OutputError, match="No space left"):
            local_path(GGUF)
    [part] = parts(tmp_path)
    assert part.read_bytes() == gguf[:1000]
    with monkeypatch.context() as patched:
        patched.setattr(
            fetch_module.os, "write", lambda descriptor, data, write=os.write: write(descriptor, data[:999])
        )
        assert again(GGUF).read_bytes() == gguf


def test_what_came_before_a_break_is_not_fetched_twice(
    hub: HubServer, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.lies["m-Q8_0.gguf"] = "cut once"
    monkeypatch.setattr(fetch_module, "_go_on", lambda *a, go_on=fetch_module._go_on: _one_try(go_on, *a))
    with pytest.raises(KeyboardInterrupt):
        local_path(GGUF)
    [part] = parts(tmp_path)
    assert part.read_bytes() == gguf[: len(gguf) // 2]
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert again(GGUF).read_bytes() == gguf
    assert hub.ranges_of("m-Q8_0.gguf")[-1] == f"bytes={len(gguf) // 2}-"
    assert parts(tmp_path) == []


def _one_try(go_on, *arguments) -> int:
    """What comes of one request, and then Ctrl-C."""
    go_on(*arguments)
    raise KeyboardInterrupt


def test_a_server_that_never_finishes_is_one_line_and_keeps_what_came(hub: HubServer, tmp_path: Path) -> None:
    from pennyweight.containers.remote import Server

    url = f"{hub.endpoint}/user/ggufs/resolve/main/m-Q8_0.gguf"
    promise = fetch_module.Promise(size=len(hub.repositories["user/ggufs"]["m-Q8_0.gguf"]), sha256="0" * 64)
    hub.repositories["user/ggufs"]["m-Q8_0.gguf"] += b"x"
    with pytest.raises(FormatError, match="were promised"):
        fetch_module.fetch(url, Server(headers={}), tmp_path / "file", promise)
    hub.lies["m-Q8_0.gguf"] = "other range"
    with pytest.raises(FormatError, match="another range"):
        fetch_module.fetch(url, Server(headers={}), tmp_path / "file", promise)


def test_a_server_that_sends_nothing_is_given_up(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: object) -> int:
        return 0

    monkeypatch.setattr(fetch_module, "_go_on", nothing)
    with pytest.raises(BadRequest, match=r"broke off after 0 B of .*the same command goes on") as caught:
        local_path(GGUF)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_told_by_its_hash_removed_and_fetched_anew(
    hub: HubServer, gguf: bytes, tmp_path: Path
) -> None:
    hub.lies["m-Q8_0.gguf"] = "damaged"
    with pytest.raises(FormatError, match="came damaged") as caught:
        local_path(GGUF)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "hub").rglob("*.gguf"))
    assert parts(tmp_path) == []
    del hub.lies["m-Q8_0.gguf"]
    assert again(GGUF).read_bytes() == gguf


def test_small_files_are_held_against_git_s_hash(hub: HubServer) -> None:
    hub.lies["config.json"] = "damaged"
    with pytest.raises(FormatError, match=r"config\.json of user/plain came damaged"):
        local_path("user/plain")
    del hub.lies["config.json"]
    assert (again("user/plain") / "config.json").read_bytes() == b"{}"


def test_a_hash_is_computed_once(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    local_path("user/plain")
    monkeypatch.setattr(module, "_is_right", lambda blob: pytest.fail(f"{blob} was hashed again"))
    again("user/plain")


def test_what_was_fetched_is_there_when_the_hub_is_not(
    hub: HubServer, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_path(GGUF)
    local_path("user/plain")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert again(GGUF).read_bytes() == gguf
    assert (again("user/plain") / "model.safetensors").is_file()
    for never in ("user/ggufs:BF16", "user/split:Q4_K_M", "somebody/else"):
        with pytest.raises(BadRequest, match=r"cannot fetch .*refused") as caught:
            again(never)
        assert not isinstance(caught.value, NotThere)


def test_a_repository_that_is_not_there_is_told_from_a_hub_that_is_not(hub: HubServer) -> None:
    with pytest.raises(NotThere, match="no such file"):
        local_path("user/nothing")


def test_two_processes_do_not_write_one_file(hub: HubServer, tmp_path: Path, gguf: bytes) -> None:
    blob = tmp_path / "hub" / "models--user--ggufs" / "blobs" / f"{hashlib.sha256(gguf).hexdigest()}.incomplete"
    blob.parent.mkdir(parents=True)
    with blob.open("wb") as other:
        fetch_module.lock(other.fileno())
        with pytest.raises(OutputError, match="by another process"):
            local_path(GGUF)
    assert local_path(GGUF).read_bytes() == gguf
