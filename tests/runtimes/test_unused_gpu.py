"""A GPU that lies idle is named, with the wheel that would use it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pennyweight.runtimes import unused_gpu as module
from pennyweight.runtimes.unused_gpu import DRIVERS, Driver, unused_gpu


def _drivers(tmp_path: Path, *present: str) -> list[Driver]:
    for gpu in present:
        (tmp_path / gpu).touch()
    return [Driver(gpu=d.gpu, file=tmp_path / d.gpu, wheel=d.wheel) for d in DRIVERS]


@pytest.mark.parametrize(("gpu", "wheel"), [("NVIDIA", "whl/cu"), ("AMD", "whl/rocm")])
def test_a_gpu_that_a_cpu_build_cannot_use_is_named_with_its_wheel(
    gpu: str, wheel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "library", lambda: SimpleNamespace(llama_supports_gpu_offload=lambda: False))
    line = unused_gpu(_drivers(tmp_path, gpu))
    assert line is not None
    assert f"the {gpu} GPU" in line
    assert wheel in line
    assert "\n" not in line


def test_nothing_is_said_without_a_gpu_or_with_a_build_that_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "library", lambda: SimpleNamespace(llama_supports_gpu_offload=lambda: True))
    assert unused_gpu(_drivers(tmp_path)) is None
    assert unused_gpu(_drivers(tmp_path, "NVIDIA")) is None
