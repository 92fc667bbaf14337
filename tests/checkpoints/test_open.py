"""MODEL as users write it: what is not there, and repositories, are one clear line."""

import sys
from types import SimpleNamespace

import pytest

from pennyweight.checkpoints.open import local_path
from pennyweight.core.errors import BadRequest

FILES = [
    "README.md",
    "m-BF16.gguf",
    "m-F16.gguf",
    "mmproj-F16.gguf",
    "m-Q4_K_M-00001-of-00002.gguf",
    "m-Q4_K_M-00002-of-00002.gguf",
    "m-Q4_K_S.gguf",
    "m-Q8_0.gguf",
    "drafts/draft-Q8_0.gguf",
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A hub with one repository, and what is asked of it."""
    asked: list[list[str]] = []

    def snapshot_download(repository: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(tmp_path)

    api = SimpleNamespace(list_repo_files=lambda repository: FILES)
    fake = SimpleNamespace(HfApi=lambda: api, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return asked


def test_a_type_of_a_repository_is_matched_as_a_whole_word(hub: list[list[str]]) -> None:
    assert local_path("hf.co/user/repo:F16").name == "m-F16.gguf"
    assert local_path("user/repo:q4_k_m").name == "m-Q4_K_M-00001-of-00002.gguf"
    assert hub == [["m-F16.gguf"], ["m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf"]]


@pytest.mark.parametrize(("type", "said"), [("Q4_K", "no GGUF of type Q4_K"), ("Q8_0", "2 GGUFs of type Q8_0")])
def test_a_type_that_is_missing_or_not_one_model_is_refused(type: str, said: str, hub: list[list[str]]) -> None:
    with pytest.raises(BadRequest, match=said):
        local_path(f"user/repo:{type}")
    assert hub == []


def test_a_whole_checkpoint_never_brings_pickles(hub: list[list[str]]) -> None:
    local_path("user/repo")
    assert not any(pattern.endswith((".bin", ".pt", ".pth", "*")) for pattern in hub[0])


def test_any_failure_of_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class ConnectError(Exception):
        """An HTTP client's own error, of no class we could name."""

    def refuse(repository: str) -> list[str]:
        raise ConnectError

    fake = SimpleNamespace(HfApi=lambda: SimpleNamespace(list_repo_files=refuse), snapshot_download=None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    with pytest.raises(BadRequest, match="cannot fetch user/repo: ConnectError"):
        local_path("user/repo:Q8_0")
