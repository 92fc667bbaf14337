"""llama.cpp programs found on the PATH: a build made for this machine, its processor's newest instructions or its GPU.

`llama-bench -o json` is run here, `llama_server` runs the other. It names its build and its backends but not the
instruction set it was compiled for: that is `not reported`, and the processor's (or GPU's) name stands beside the
backend instead.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pennyweight.core.errors import BadRequest, FormatError, Missing
from pennyweight.runtimes.speed import Speed, SpeedReport, SpeedSettings
from pennyweight.runtimes.system_info import NOT_REPORTED

LLAMA_BENCH = "llama-bench"


def find_program(name: str) -> Path:
    """The program on the PATH. Raises: Missing."""
    found = shutil.which(name)
    if found is None:
        raise Missing(
            f"{name} is not on the PATH; install llama.cpp (its releases, a package manager, or a build of your own) "
            "or leave --runtime out for the llama.cpp that comes with Pennyweight"
        )
    return Path(found)


def run_llama_bench(path: Path, settings: SpeedSettings) -> SpeedReport:
    """Measure a GGUF with the llama-bench of the PATH.

    Raises:
        Missing: there is none.
        BadRequest: it ended with an error; its last line is the reason.
        FormatError: what it printed is not what a llama-bench prints.
    """
    program = find_program(LLAMA_BENCH)
    done = subprocess.run(
        [program, *_arguments(path, settings)], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise BadRequest(f"{program} failed (exit {done.returncode}): {lines[-1] if lines else 'it gave no reason'}")
    try:
        return _report(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FormatError(f"{program} printed no results that can be read ({error!r}); is it a llama-bench?") from error


def _arguments(path: Path, settings: SpeedSettings) -> list[str]:
    """Options whose defaults differ from version to version are left to the program, unless they are asked for."""
    arguments = ["-m", str(path), "-o", "json", "-r", str(settings.repetitions)]
    arguments += ["-p", str(settings.prompt_tokens), "-n", str(settings.generated_tokens)]
    arguments += ["-b", str(settings.n_batch), "-ub", str(settings.n_ubatch)]
    arguments += ["-ctk", settings.type_k, "-ctv", settings.type_v]
    if settings.threads is not None:
        arguments += ["-t", str(settings.threads)]
    if settings.depth:
        arguments += ["-d", str(settings.depth)]
    if settings.gpu_layers >= 0:
        arguments += ["-ngl", str(settings.gpu_layers)]
    if settings.flash_attention is not None:
        arguments += ["-fa", str(int(settings.flash_attention))]
    return arguments


def _report(tests: Sequence[dict[str, Any]]) -> SpeedReport:
    first = tests[0]
    return SpeedReport(
        description=str(first["model_type"]),
        tensor_bytes=int(first["model_size"]),
        parameters=int(first["model_n_params"]),
        backend=f"{first['backends']} ({first['gpu_info'] or first['cpu_info']})",
        threads=int(first["n_threads"]),
        build=f"b{first['build_number']} ({first['build_commit']})",
        instruction_set=NOT_REPORTED,
        speeds=tuple(_speed(test) for test in tests),
    )


def _speed(test: dict[str, Any]) -> Speed:
    prompt, generated = int(test["n_prompt"]), int(test["n_gen"])
    name = f"pp{prompt}" if prompt else f"tg{generated}"
    samples = tuple(float(sample) for sample in test["samples_ts"])
    if not samples:
        raise ValueError(f"{name} has no samples")
    return Speed(test=name, samples=samples)
