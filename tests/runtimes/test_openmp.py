"""How long threads wait awake, as GNU's OpenMP itself says it (OMP_DISPLAY_ENV) when it is loaded with llama.cpp."""

import os
import re
import subprocess
import sys

import pytest

from pennyweight.runtimes.llama_cpp.openmp import SPINS

LOADS = """
import os
from pennyweight.runtimes.llama_cpp.shared_object import library
before = dict(os.environ)
library()
assert dict(os.environ) == before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP comes with the wheels for Linux")
@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, str(SPINS)), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_threads_soon_sleep_unless_a_person_says_otherwise(said: dict[str, str], spins: str) -> None:
    own = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", LOADS],
        env={**own, **said, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"GOMP_SPINCOUNT = '(.*)'", done.stderr) == [spins]
