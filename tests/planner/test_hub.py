"""Repositories by ranged requests, against a server on this machine that speaks the Hub's interface and may lie."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pennyweight.containers.hub import Hub
from pennyweight.containers.remote import Server
from pennyweight.core.errors import BadRequest, FormatError, PennyweightError
from pennyweight.models import catalogue
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.hub import hub_anatomy
from pennyweight.planner.kv import kv_bytes
from pennyweight.planner.request import Settings
from pennyweight.planner.resolve import resolve
from tests.hub_server import HubServer, serving
from tests.models.tiny_configs import CONFIGS, tiny_anatomy, write_planned_gguf

UNKNOWN = {**CONFIGS["qwen3"], "architectures": ["WhateverForCausalLM"]}


def safetensors_bytes() -> bytes:
    """Two matrices and their header, and nothing that a weight would take."""
    header = {
        "a.weight": {"dtype": "BF16", "shape": [64, 32], "data_offsets": [0, 4096]},
        "norm.weight": {"dtype": "F32", "shape": [32], "data_offsets": [4096, 4224]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4224)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A GGUF whose weights are larger than what may be read of it."""
    path = write_planned_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", CONFIGS["qwen3"])
    return path.read_bytes() + bytes(0)


@pytest.fixture
def server(gguf: bytes) -> Iterator[HubServer]:
    repositories = {
        "user/plain": {"config.json": json.dumps(CONFIGS["gpt-oss"]).encode(), "model.safetensors": b""},
        "user/ggufs": {"m-Q4_K_M.gguf": gguf, "m-Q8_0.gguf": gguf, "mmproj-Q4_K_M.gguf": b""},
        "user/strange": {"config.json": json.dumps(UNKNOWN).encode(), "model.safetensors": safetensors_bytes()},
        "user/mute": {"config.json": json.dumps(UNKNOWN).encode()},
        "user/short": {"config.json": b'{"architectures": ["Qwen3ForCausalLM"], "hidden_size": 64}'},
        "user/broken": {"config.json": b"{"},
    }
    with serving(repositories) as running:
        yield running


@pytest.fixture
def hub(server: HubServer, tmp_path: Path) -> Hub:
    return made(server, tmp_path)


def refusal(act: Callable[[], object]) -> str:
    """What our own error says; empty where there was none."""
    try:
        act()
    except PennyweightError as error:
        return str(error)
    return ""


def made(server: HubServer, cache: Path, offline: bool = False) -> Hub:
    """The interface to `server`, with this user's leave in its headers."""
    asking = Server(headers={"Authorization": "Bearer secret"}, timeout_seconds=5)
    return Hub(endpoint=server.endpoint, server=asking, cache=cache, offline=offline)


def test_a_config_of_a_repository_is_enough(hub: Hub) -> None:
    found = hub_anatomy(hub, "user/plain", None)
    assert (found.name, found.repository, found.known) == ("plain", "user/plain", True)
    assert (found.tensors, found.blocks) == (tiny_anatomy("gpt-oss").tensors, tiny_anatomy("gpt-oss").blocks)


def test_a_gguf_is_planned_from_its_header_alone(hub: Hub, server: HubServer, gguf: bytes) -> None:
    found = hub_anatomy(hub, "user/ggufs", "Q8_0")
    assert found.tensors == tiny_anatomy("qwen3").tensors
    assert found.source == "GGUF header of user/ggufs/m-Q8_0.gguf"
    assert server.bytes_sent_for("cdn/main/m-Q8_0.gguf") <= 1 << 20 < len(gguf)


def test_a_repository_of_ggufs_means_q4_k_m(hub: Hub) -> None:
    assert hub_anatomy(hub, "user/ggufs", None).source.endswith("m-Q4_K_M.gguf")
    with pytest.raises(BadRequest, match=r"no GGUF of type Q5_K_M: m-Q4_K_M\.gguf, m-Q8_0\.gguf"):
        hub_anatomy(hub, "user/ggufs", "Q5_K_M")


def test_leave_is_given_to_the_hub_and_to_nobody_it_redirects_to(hub: Hub, server: HubServer) -> None:
    hub_anatomy(hub, "user/ggufs", "Q8_0")
    assert {who for path, _, who in server.asked if "/cdn/" in path} == {None}
    assert {who for path, _, who in server.asked if "/cdn/" not in path} == {"Bearer secret"}


def test_what_was_read_once_is_there_without_a_net(hub: Hub, server: HubServer, tmp_path: Path) -> None:
    online = [hub_anatomy(hub, "user/ggufs", "Q8_0"), hub_anatomy(hub, "user/plain", None)]
    asked = len(server.asked)
    away = made(server, tmp_path, offline=True)
    assert [hub_anatomy(away, "user/ggufs", "Q8_0"), hub_anatomy(away, "user/plain", None)] == online
    assert len(server.asked) == asked
    with pytest.raises(BadRequest, match="was never read here, and --offline forbids to ask"):
        hub_anatomy(away, "user/strange", None)


def test_an_unknown_architecture_is_bounded_by_its_headers_and_says_so(hub: Hub) -> None:
    found = hub_anatomy(hub, "user/strange", None)
    assert not found.known
    assert (
        "'WhateverForCausalLM' is not one whose tensors are known; sizes, cache and speeds are bounds" in found.notes[0]
    )
    assert sum(tensor.weights for tensor in found.tensors) == 64 * 32 + 32
    assert kv_bytes(found, Settings(context=256)) == kv_bytes(tiny_anatomy("qwen3"), Settings(context=256))


def test_an_unknown_architecture_without_weights_is_bounded_by_its_config_alone(hub: Hub) -> None:
    found = hub_anatomy(hub, "user/mute", None)
    assert found.least is not None
    assert not found.known
    assert sum(t.weights for t in found.least.tensors) < sum(t.weights for t in found.tensors)


@pytest.mark.parametrize(
    ("repository", "said"),
    [
        ("user/absent", "there is no such file"),
        ("user/short", "config.json of user/short lacks num_attention_heads"),
        ("user/broken", "is not JSON"),
    ],
)
def test_what_is_wrong_with_a_repository_is_one_line(repository: str, said: str, hub: Hub) -> None:
    with pytest.raises(PennyweightError, match=said) as caught:
        hub_anatomy(hub, repository, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("loop", "redirected more than 5 times"),
        ("file:", "which is no HTTP address"),
        ("403", r"no leave to read it \(gated\)"),
        ("cut", "the answer ends after|reading the answer failed"),
        ("other range", "answers with another range"),
        ("size", "says the file has 1152921504606846976 bytes"),
    ],
)
def test_a_lying_server_is_one_line(lie: str, said: str, hub: Hub, server: HubServer) -> None:
    server.lies["m-Q8_0.gguf"] = lie
    with pytest.raises(PennyweightError, match=said) as caught:
        hub_anatomy(hub, "user/ggufs", "Q8_0")
    assert "\n" not in str(caught.value)


def test_a_server_without_ranges_serves_while_the_first_answer_is_enough(hub: Hub, server: HubServer) -> None:
    server.lies["m-Q8_0.gguf"] = "no ranges"
    assert hub_anatomy(hub, "user/ggufs", "Q8_0").tensors == tiny_anatomy("qwen3").tensors


def test_no_connection_is_one_line(tmp_path: Path) -> None:
    with serving({}) as server:
        hub = made(server, tmp_path)
    with pytest.raises(BadRequest, match=r"no answer: Connection refused; .*HF_ENDPOINT"):
        hub_anatomy(hub, "user/plain", None)


def test_the_endpoint_of_the_environment_is_asked(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint + "/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    found = resolve("hf.co/user/ggufs:q8_0")
    assert found.repository == "user/ggufs"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve("user/ggufs:Q8_0") == found


def test_a_published_repository_is_planned_from_the_catalogue_and_nobody_is_asked(server: HubServer) -> None:
    assert resolve("hf.co/Qwen/Qwen3-8B") == resolve("Qwen3-8B")
    assert server.asked == []


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_header_never_does_worse_than_one_line(data: st.DataObject, hub: Hub, server: HubServer) -> None:
    whole = bytearray(server.repositories["user/ggufs"]["m-Q8_0.gguf"])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 4096))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.one_of(st.just(len(whole)), st.integers(0, 30_000)))
    server.repositories["user/ggufs"]["m-Q4_K_M.gguf"] = bytes(whole[:kept])
    said = refusal(lambda: hub_anatomy(hub, "user/ggufs", "Q4_K_M"))
    assert "\n" not in said


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_config_with_anything_in_it_is_planned_or_refused_in_one_line(data: st.DataObject) -> None:
    config = dict(data.draw(st.sampled_from(list(CONFIGS.values()))))
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=3)):
        config[key] = data.draw(_JSON)
    found: list[Anatomy] = []
    said = refusal(lambda: found.append(anatomy_from_config(config, name="fuzz")))
    assert "\n" not in said
    for anatomy in found:
        assert len(anatomy.blocks) == anatomy.shape.block_count
        assert all(all(extent > 0 for extent in tensor.shape) for tensor in anatomy.tensors)


def test_the_fields_of_every_published_model_survive_json() -> None:
    for model in catalogue.ALL:
        assert json.loads(json.dumps(model.fields)) == model.fields


def test_a_header_longer_than_the_file_is_refused(hub: Hub, server: HubServer) -> None:
    lying = np.array([1 << 40], "<u8").tobytes() + b"{}"
    server.repositories["user/strange"]["model.safetensors"] = lying
    with pytest.raises(FormatError, match="the header would take 1099511627776 bytes"):
        hub_anatomy(hub, "user/strange", None)
