"""What recipes cost in quality: KL divergence from the unquantized embedded model on text it never saw, by stored bits.

    python -m benchmarks.recipes --text BOOK.txt --held-back OTHER.txt [--seeds 3] [--samples 128] [--only INT4 Q3_K …]

Every calibrated recipe is followed once for each seed (other chunks of the calibration text); the table has the mean
and its standard error over seeds, and in a recipe that looks at nothing the error of the text alone. Everything is
scored by the torch engine on the held-back text, so that no runtime's own rounding stands in between.
`llama.cpp` is its own importance matrix, collected on the same chunks, and its own encoder's bytes. Plants are the
embedded model with outliers (`pennyweight.transforms.plants`), each with its own reference. A target stands beside the
row that is to reach it.
"""

import argparse
import tempfile
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from benchmarks.harness import record
from benchmarks.planted import write_plant
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.imatrix import write_imatrix
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.evaluation.base_logits import CompactBase, write_base
from pennyweight.evaluation.divergence import compare
from pennyweight.evaluation.engine import cut
from pennyweight.evaluation.importance import collect_imatrix
from pennyweight.evaluation.texts import text_bytes
from pennyweight.jobs.calibration import SURVEY, calibrate
from pennyweight.jobs.quantize import QuantizeOptions, quantize
from pennyweight.jobs.recipe import RecipeOptions, quantize_recipe
from pennyweight.jobs.runnable import runnable
from pennyweight.pipeline.activations import activation_hooks
from pennyweight.pipeline.calibration import CalibrationOptions
from pennyweight.recipes.grammar import parse_recipe
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.torch_reference import TorchLogits, TorchSettings

CONTEXT = 512
LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row: `recipe` on `plant` (or the model itself), compared with `rival`; `target` is the part of its KL
    divergence that is to be saved, 0 for "any", None for no target."""

    recipe: str
    plant: str = "natural"
    rival: str | None = None
    target: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One run."""

    kld: float
    kld_stderr: float
    delta_ln_ppl: float
    delta_stderr: float
    bits: float
    seconds: float


def cases() -> list[Case]:
    """The table, a rival always before those that are compared with it."""
    rows = []
    for grid in ("INT4_G128", "INT3_G128"):
        rtn = f"rtn:{grid}"
        rows += [Case(recipe=rtn)]
        rows += [Case(recipe=f"{method}:{grid}", rival=rtn, target=0.5) for method in ("gptq", "gptaq")]
        rows += [Case(recipe=f"awq+{method}:{grid}", rival=rtn) for method in ("rtn", "gptq", "gptaq")]
        for plant in ("A", "T"):
            rows += [
                Case(recipe=rtn, plant=plant),
                Case(recipe=f"awq+rtn:{grid}", plant=plant, rival=rtn, target=0.2),
                Case(recipe=f"gptq:{grid}", plant=plant, rival=rtn),
            ]
    rows += [Case(recipe="gptq:INT3_G32"), Case(recipe="spqr:3.5", rival="gptq:INT3_G32", target=0.0)]
    rows += [Case(recipe="gptq:INT3_G32_ASYM"), Case(recipe="spqr:3.25", rival="gptq:INT3_G32_ASYM")]
    rows += [Case(recipe="spqr:3", rival="gptq:INT3_G32")]
    for type in ("IQ4_XS", "Q3_K_S", "Q2_K"):
        theirs = f"{LLAMA_CPP}:{type}"
        target = None if type == "IQ4_XS" else 0.0
        rows += [Case(recipe=theirs)]
        rows += [Case(recipe=f"{method}:{type}", rival=theirs, target=target) for method in ("gptq", "gptaq")]
        rows += [Case(recipe=f"awq+gptq:{type}", rival=theirs)]
    for plant in ("natural", "A"):
        rows += [
            Case(recipe=recipe, plant=plant)
            for recipe in ("rtn:W8A8", "smooth+rtn:W8A8", "llm_int8", "fp8", "fp8:static")
        ]
    return rows


class Bench:
    """Runs cases on one calibration text."""

    def __init__(self, asked: argparse.Namespace, plants: set[str], work: Path) -> None:
        self._text, self._samples, self._chunks, self._work = asked.text, asked.samples, asked.chunks, work
        self._held_back, self._device = asked.held_back, asked.device
        self._models = {
            plant: "embedded" if plant == "natural" else str(write_plant(plant, work / f"plant-{plant}"))
            for plant in plants
        }
        self._bases = {plant: self._base(plant) for plant in self._models}

    def run(self, case: Case, seed: int) -> Score:
        """Make, score, remove."""
        with tempfile.TemporaryDirectory(dir=self._work) as directory:
            out = Path(directory) / "out.gguf"
            model = self._models[case.plant]
            if case.recipe.startswith(LLAMA_CPP):
                seconds = self._llama_cpp(case.recipe.split(":")[1], seed, out)
            else:
                out = out if parse_recipe(case.recipe).file_type else out.with_suffix("")
                options = RecipeOptions(text=self._text, calibration=self._options(seed), device=self._device)
                seconds = quantize_recipe(model, case.recipe, out, options).seconds
            made = open_checkpoint(str(out))
            with TorchLogits(made, self._settings, activation_hooks(made)) as engine:
                found = compare(self._bases[case.plant], engine, threads=None, advance=lambda count: None)
        return Score(
            kld=found.kld_mean,
            kld_stderr=found.kld_stderr,
            delta_ln_ppl=found.delta_ln_ppl,
            delta_stderr=found.delta_ln_ppl_stderr,
            bits=layer_bits(made),
            seconds=seconds,
        )

    @property
    def _settings(self) -> TorchSettings:
        return TorchSettings(n_ctx=CONTEXT, device=self._device)

    def _options(self, seed: int) -> CalibrationOptions:
        return CalibrationOptions(samples=self._samples, length=CONTEXT, seed=seed)

    def _base(self, plant: str) -> CompactBase:
        path = self._work / f"base-{plant}.predictions"
        with TorchLogits(open_checkpoint(self._models[plant]), self._settings) as engine:
            chunks = cut(engine.tokenize(text_bytes(self._held_back)), CONTEXT, self._chunks)
            write_base(path, engine, chunks, arithmetic_noise=0.0, seed=0, threads=None, advance=lambda count: None)
        return CompactBase(path)

    def _llama_cpp(self, type: str, seed: int, out: Path) -> float:
        seen = calibrate("embedded", self._text, self._options(seed))
        with runnable("embedded") as gguf, Model.load(gguf) as model:
            imatrix = collect_imatrix(model, seen.tokens, str(self._text))
        write_imatrix(imatrix, out.with_name("imatrix.gguf"))
        return quantize("embedded", type, out, QuantizeOptions(imatrix=out.with_name("imatrix.gguf"))).seconds


def layer_bits(checkpoint: Checkpoint) -> float:
    """Stored bits of a weight in the blocks' matrices; embedding and output have 16 in a directory."""
    matrices = [t for t in checkpoint.tensors if t.name.startswith("blk.") and len(t.shape) > 1]
    return 8 * sum(t.nbytes for t in matrices) / sum(t.rows * t.columns for t in matrices)


def verdict(case: Case, mean: float, rivals: dict[tuple[str, str], float]) -> str:
    """What of the rival's divergence is saved, and whether that is the target."""
    if case.rival is None:
        return ""
    saved = 1 - mean / rivals[case.plant, case.rival]
    wanted = "" if case.target is None else f", target {case.target:.0%}: {'met' if saved > case.target else 'MISSED'}"
    return f"{saved:+.0%} of {case.rival}{wanted}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="a calibration text, or `self`")
    parser.add_argument("--held-back", type=Path, default=SURVEY, help="the text that is scored; default: the survey")
    parser.add_argument("--device", default="cpu", help="where recipes are computed and scored: cpu, cuda")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--chunks", type=int, help="chunks of the held-back text to score; default: all")
    parser.add_argument("--only", nargs="*", default=[], help="rows whose recipe or plant contains one of these")
    asked = parser.parse_args()
    chosen = [
        case for case in cases() if not asked.only or any(word in f"{case.plant}/{case.recipe}" for word in asked.only)
    ]
    means: dict[tuple[str, str], float] = {}
    rows = []
    print(f"{'plant':8} {'recipe':24} {'bits':>6} {'KLD':>9} {'±':>8} {'Δ ln ppl':>9} {'±':>7} {'s':>6}  saved")
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(asked, {case.plant for case in chosen}, Path(directory))
        for case in chosen:
            calibrated = case.recipe.startswith(LLAMA_CPP) or parse_recipe(case.recipe).needs_calibration
            scores = [bench.run(case, seed) for seed in range(asked.seeds if calibrated else 1)]
            kld = np.array([score.kld for score in scores])
            error = kld.std(ddof=1) / sqrt(len(kld)) if len(kld) > 1 else scores[0].kld_stderr
            means[case.plant, case.recipe] = float(kld.mean())
            delta = float(np.mean([score.delta_ln_ppl for score in scores]))
            said = verdict(case, float(kld.mean()), means)
            print(
                f"{case.plant:8} {case.recipe:24} {scores[0].bits:6.3f} {kld.mean():9.5f} {error:8.5f} {delta:+9.5f} "
                f"{scores[0].delta_stderr:7.5f} {scores[0].seconds:6.1f}  {said}",
                flush=True,
            )
            rows.append(
                {
                    "plant": case.plant,
                    "recipe": case.recipe,
                    "bits_per_weight": scores[0].bits,
                    "kld": kld.tolist(),
                    "kld_text_stderr": scores[0].kld_stderr,
                    "delta_ln_ppl": [score.delta_ln_ppl for score in scores],
                    "delta_ln_ppl_stderr": scores[0].delta_stderr,
                    "ppl_ratio": float(np.exp(delta)),
                    "seconds": [score.seconds for score in scores],
                    "verdict": said,
                }
            )
    record(
        "recipes",
        {
            "text": asked.text.name,
            "held_back": asked.held_back.name,
            "device": asked.device,
            "samples": asked.samples,
            "length": CONTEXT,
            "seeds": asked.seeds,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
