"""What every test runs with: a measurement store of its own, never the user's."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point PENNYWEIGHT_STORE at a file of this test alone, made when first used."""
    path = tmp_path_factory.mktemp("store") / "measurements.sqlite"
    monkeypatch.setenv("PENNYWEIGHT_STORE", str(path))
    return path
