"""How long llama.cpp's threads wait for each other awake: OpenMP's runtime is told while it is loaded, no longer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SPINS = 1000
"""How often a thread looks whether the others have come before it sleeps: some 10 µs. llama.cpp's threads wait for each
other a few hundred times a token, and GNU's OpenMP looks 300,000 times by default, on a core that another program must
then do without. With two others busy on two cores, the embedded model as Q4_K_M wrote 15 to 19 tokens/s, and 42 to 44
so. On an idle machine it wrote 539 where the default wrote 519; in another series prompts were 6 ± 3 % slower. 0, which
always sleeps, was half as fast."""

_SAID_BY_A_PERSON = frozenset({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"})


@contextmanager
def impatient_threads() -> Iterator[None]:
    """`SPINS` for an OpenMP runtime that is loaded inside, unless the environment says something of waiting already.

    Source: libgomp's manual, GOMP_SPINCOUNT and OMP_WAIT_POLICY; libgomp/env.c reads both when it is loaded.
    """
    if not _SAID_BY_A_PERSON.isdisjoint(os.environ):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]
