"""lm-evaluation-harness kept to our contract: a silent stdout, chatter on a terminal only, code run only if allowed."""

import contextlib
import io
import os
import random
import sys
import warnings
from collections.abc import Iterator

import numpy as np

CODE_SWITCH = "HF_ALLOW_CODE_EVAL"
"""The environment variable without which the `evaluate` library refuses to run generated code."""

_PYTHON_SEED, _NUMPY_SEED = 0, 1234


@contextlib.contextmanager
def harness_quiet(*, allow_code: bool) -> Iterator[None]:
    """Run the harness inside this: output redirected, its environment set, its seeds in place; all restored after."""
    terminal = sys.stderr.isatty()
    sink = sys.stderr if terminal else io.StringIO()  # never closed: loggers made inside keep a reference
    with (
        contextlib.redirect_stdout(sink),
        contextlib.nullcontext() if terminal else contextlib.redirect_stderr(sink),
        # One process: a pool of forks would copy a process full of llama.cpp's threads.
        _environment({CODE_SWITCH: str(int(allow_code)), "DISABLE_MULTIPROC": "1"}),
        _harness_seeds(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # deprecations among its packages; nothing a user here can act upon
        yield


@contextlib.contextmanager
def _harness_seeds() -> Iterator[None]:
    """The global seeds that lm-evaluation-harness's own command sets, so that shuffled examples are the same."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002 -- the harness draws from the global one
    random.seed(_PYTHON_SEED)
    np.random.seed(_NUMPY_SEED)  # noqa: NPY002 -- as above
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002 -- as above


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
