"""Pennyweight fits language models onto the hardware you own: plan, make, measure, run.

    import pennyweight as pw
    pw.quantize("embedded", "Q4_K_M", "out.gguf")

The functions are those of `pennyweight.jobs`, one for each verb of the command line, imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pennyweight.jobs.bench import bench as bench
    from pennyweight.jobs.calibrate import calibrate as calibrate
    from pennyweight.jobs.compare import compare as compare
    from pennyweight.jobs.convert import convert as convert
    from pennyweight.jobs.demo import demo as demo
    from pennyweight.jobs.imatrix import imatrix as imatrix
    from pennyweight.jobs.inspect import inspect as inspect
    from pennyweight.jobs.lint import lint as lint
    from pennyweight.jobs.perplexity import perplexity as perplexity
    from pennyweight.jobs.plan import plan as plan
    from pennyweight.jobs.quantize import quantize as quantize
    from pennyweight.jobs.results import results as results
    from pennyweight.jobs.run import run as run
    from pennyweight.jobs.serve import serve as serve
    from pennyweight.jobs.summarize import summarize as summarize
    from pennyweight.jobs.sweep import sweep as sweep
    from pennyweight.jobs.tasks import tasks as tasks

__version__ = "0.1.0"

VERBS = (
    "bench",
    "calibrate",
    "compare",
    "convert",
    "demo",
    "imatrix",
    "inspect",
    "lint",
    "perplexity",
    "plan",
    "quantize",
    "results",
    "run",
    "serve",
    "summarize",
    "sweep",
    "tasks",
)


def __getattr__(name: str) -> Any:
    if name not in VERBS:
        raise AttributeError(f"module 'pennyweight' has no attribute {name!r}")
    return getattr(import_module(f"pennyweight.jobs.{name}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *VERBS])
