"""Predicted against measured on the card at hand: `plan`'s speeds beside those of the llama-bench on the PATH.

    python -m benchmarks.plan_on_card --gpu "H100 SXM5 80GB"           two cores and no GPU need nothing of this
    python -m benchmarks.plan_on_card --gpu … --calibrate              first from the card table, then calibrated

The card is named and the host's bandwidth measured, for layers that stay there; the processor is not calibrated.
Every model is synthetic (random weights in a published model's shapes), so nothing is downloaded, and none of them is
what `calibrate` runs. The error of a row is predicted ÷ measured − 1; the last line has the medians of absolute errors.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness import record
from pennyweight.jobs.calibrate import calibrate
from pennyweight.jobs.plan import PlanOptions, plan
from pennyweight.jobs.plan_machine import MachineOptions
from pennyweight.models import catalogue
from pennyweight.pipeline.synthetic import write_synthetic
from pennyweight.planner.detect_host import measure_bandwidth
from pennyweight.planner.workloads import WorkloadOptions
from pennyweight.recipes.file_types import get_file_type
from pennyweight.runtimes.llama_tools import run_llama_bench
from pennyweight.runtimes.speed import SpeedReport, SpeedSettings

PROMPT, OUTPUT = 512, 64
MODELS = (
    "Qwen3-0.6B:Q4_K_M",
    "Qwen3-4B:Q4_K_M",
    "Qwen3-4B:F16",
    "Qwen3-8B:Q2_K",
    "Qwen3-8B:Q3_K_S",
    "Qwen3-8B:IQ4_XS",
    "Qwen3-8B:Q6_K",
    "Qwen3-8B:Q8_0",
    "Qwen3-14B:Q4_K_M",
    "Qwen3-30B-A3B:Q4_K_M",
)
SWEPT = "Qwen3-8B:Q4_K_M"
"""The model that is also run behind a context and with layers on the host."""

DEPTHS = ((4096, "f16"), (16_384, "f16"), (32_768, "f16"), (16_384, "q8_0"))
LAYERS = (0, 12, 24, 33)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way of running one model; `gpu_layers` -1 is all of them."""

    model: str
    type: str
    depth: int = 0
    cache: str = "f16"
    gpu_layers: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A case and its speeds, tokens per second; `calibrated` is None where the machine was not."""

    model: str
    type: str
    depth: int
    cache: str
    gpu_layers: int
    measured: float
    stdev: float
    table: float
    calibrated: float | None
    prompt_measured: float | None
    prompt_table: float | None
    prompt_calibrated: float | None


def main() -> None:
    arguments = _arguments()
    cases = _cases(arguments.models, arguments.swept)
    host = measure_bandwidth(seconds=1.0)
    machine = MachineOptions(gpu=arguments.gpu, ram_bandwidth=host)
    table = [_predicted(case, machine) for case in cases]
    constants = asdict(calibrate(runtime="llama-bench", quick=arguments.quick)) if arguments.calibrate else None
    fitted = [_predicted(case, machine) if constants else (None, None) for case in cases]
    rows, device = [], ""
    for case, report, before, after in zip(cases, _measured(cases), table, fitted, strict=True):
        device = f"{report.backend}, {report.build}"
        rows.append(_row(case, report, before, after))
        _show(rows[-1])
    figures = {"device": device, "card": arguments.gpu, "host_bandwidth": host, "calibration": constants}
    figures["rows"] = [asdict(row) for row in rows]
    record("plan_on_card", figures | {"median_errors": _medians(rows)})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", required=True, help="the card's name, as `plan --gpu` takes it")
    parser.add_argument("--calibrate", action="store_true", help="calibrate first, and predict with it too")
    parser.add_argument("--quick", action="store_true", help="the short calibration")
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="NAME:TYPE")
    parser.add_argument("--swept", default=SWEPT, metavar="NAME:TYPE", help="empty: none")
    return parser.parse_args()


def _cases(models: Sequence[str], swept: str) -> list[Case]:
    """One after another by model, so that each file is written once."""
    cases = [Case(model=name, type=type) for name, type in (model.split(":") for model in models)]
    if swept:
        name, type = swept.split(":")
        cases.append(Case(model=name, type=type))
        cases += [Case(model=name, type=type, depth=depth, cache=cache) for depth, cache in DEPTHS]
        cases += [Case(model=name, type=type, gpu_layers=layers) for layers in LAYERS]
    return cases


def _predicted(case: Case, machine: MachineOptions) -> tuple[float, float]:
    """(decode, prompt) tokens per second by `plan`."""
    options = PlanOptions(
        machine=machine,
        work=WorkloadOptions(prompt_tokens=max(case.depth, 1), output_tokens=OUTPUT),
        context=case.depth + 2 * PROMPT,
        types=(case.type,),
        key_type=case.cache.upper(),
        value_type=case.cache.upper(),
        gpu_layers=None if case.gpu_layers < 0 else case.gpu_layers,
    )
    prompt = WorkloadOptions(prompt_tokens=PROMPT, output_tokens=OUTPUT)
    decode = plan(case.model, options).candidates[0].decode_tok_s
    if case.depth:
        return decode, 0.0
    options = PlanOptions(
        machine=options.machine, work=prompt, context=2 * PROMPT, types=options.types, gpu_layers=options.gpu_layers
    )
    return decode, plan(case.model, options).candidates[0].prompt_tok_s


def _measured(cases: Sequence[Case]) -> Iterator[SpeedReport]:
    """Each case's report; a model's file is written when its first case comes and goes with its last."""
    written, directory = "", tempfile.TemporaryDirectory(prefix="pennyweight-")
    with directory as folder:
        path = Path(folder) / "synthetic.gguf"
        for case in cases:
            if written != f"{case.model}:{case.type}":
                path.unlink(missing_ok=True)
                file_type = get_file_type(case.type)
                write_synthetic(path, catalogue.get(case.model).config, case.model, file_type)
                written = f"{case.model}:{case.type}"
            yield run_llama_bench(path, _settings(case))


def _settings(case: Case) -> SpeedSettings:
    return SpeedSettings(
        prompt_tokens=0 if case.depth else PROMPT,
        generated_tokens=OUTPUT,
        repetitions=3,
        gpu_layers=99 if case.gpu_layers < 0 else case.gpu_layers,
        type_k=case.cache,
        type_v=case.cache,
        flash_attention=True,
        depth=case.depth,
    )


def _row(case: Case, report: SpeedReport, table: tuple[float, float], fitted: tuple[float | None, float | None]) -> Row:
    decode = next(speed for speed in report.speeds if not speed.is_prompt)
    prompt = next((speed for speed in report.speeds if speed.is_prompt), None)
    return Row(
        **asdict(case),
        measured=decode.mean,
        stdev=decode.stdev,
        table=table[0],
        calibrated=fitted[0],
        prompt_measured=prompt.mean if prompt else None,
        prompt_table=table[1] if prompt else None,
        prompt_calibrated=fitted[1] if prompt else None,
    )


def _show(row: Row) -> None:
    name = f"{row.model} {row.type} depth {row.depth} {row.cache} ngl {row.gpu_layers}"
    line = f"{name:54} decode {row.measured:8.1f} ± {row.stdev:5.1f}  table {_error(row.table, row.measured)}"
    if row.calibrated is not None:
        line += f"  calibrated {_error(row.calibrated, row.measured)}"
    if row.prompt_measured and row.prompt_table:
        line += f"  prompt {row.prompt_measured:8.0f}  table {_error(row.prompt_table, row.prompt_measured)}"
    print(line, flush=True)


def _error(predicted: float, measured: float) -> str:
    return f"{predicted / measured - 1:+7.1%}"


def _medians(rows: Sequence[Row]) -> dict[str, float]:
    """Median absolute relative errors of what could be computed."""
    pairs = {
        "decode_table": [(row.table, row.measured) for row in rows],
        "decode_calibrated": [(row.calibrated, row.measured) for row in rows if row.calibrated],
        "prompt_table": [(r.prompt_table, r.prompt_measured) for r in rows if r.prompt_table and r.prompt_measured],
    }
    return {name: median(abs(p / m - 1) for p, m in found) for name, found in pairs.items() if found}


if __name__ == "__main__":
    main()
