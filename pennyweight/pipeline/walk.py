"""One block of the walk: transforms, then for each group statistics → codes → a block that computes with them."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.core.parallel import default_threads
from pennyweight.core.progress import Advance, progress_bar
from pennyweight.methods.quantized import Quantized, hessian_error
from pennyweight.methods.statistics import Statistics
from pennyweight.models.linears import block_linears
from pennyweight.pipeline.block_weights import BlockWeights
from pennyweight.pipeline.capture import BlockRunner, Layer
from pennyweight.pipeline.folding import can_fold, fold
from pennyweight.pipeline.journal import BlockJournal, BlockResult
from pennyweight.pipeline.reports import NO_PARTNER, LayerReport
from pennyweight.pipeline.rounding import Rounding, decoded
from pennyweight.pipeline.scales import finder

if TYPE_CHECKING:
    import torch

RoundingOf = Callable[[str], Rounding | None]
"""A tensor's canonical name → how it is rounded; None for one that is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSettings:
    """How the walk runs; only `true_sequential` and `few_tokens` change a result beyond rounding.

    Attributes:
        device: where blocks compute.
        abreast: chunks computed at once; None for as many as make 2048 tokens.
        spill: directory for what is carried between blocks; None for memory.
        threads: that decode weights; None for every core.
        true_sequential: a group's statistics see the groups before it quantized; else all are taken at once.
        few_tokens: an expert that saw fewer is rounded without statistics, and reported.
        stored_order: rows of heads are rounded in transformers' order, as checkpoint directories have them, not in
            llama.cpp's. Matters where neighbouring rows share numbers (SpQR).
    """

    device: "torch.device"
    abreast: int | None = None
    spill: Path | None = None
    threads: int | None = None
    true_sequential: bool = True
    few_tokens: int = 64
    stored_order: bool = False


class Walk:
    """What every block of a walk shares."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        runner: BlockRunner,
        unquantized: BlockRunner | None,
        rounding_of: RoundingOf,
        transforms: tuple[str, ...],
        settings: BlockSettings,
    ) -> None:
        self._decoder, self._runner, self._settings = runner.decoder, runner, settings
        self._unquantized = unquantized
        self._rounding_of, self._transforms = rounding_of, transforms
        self._table = block_linears(runner.decoder.config.family.model_type)
        self._tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
        self._last_error = ""

    def block(self, block: int, journal: BlockJournal, advance: Advance) -> None:
        """One block: from the journal or quantized now, then every chunk through it."""
        stage = f"model.layers.{block}"
        with self._decoder.loaded(stage):
            if journal.has(block):
                self._restore(journal.read(block))
            else:
                with self._unquantized.decoder.loaded(stage) if self._unquantized else nullcontext():
                    journal.add(block, self._quantize(self._weights(block)))
            if block + 1 < self._decoder.config.block_count:  # nobody reads what the last one puts out
                self._runner.propagate(stage, advance)
            else:
                advance(self._runner.chunks)
        if self._unquantized and block + 1 < self._decoder.config.block_count:
            # Loaded anew, without a transform's scales: a resumed run does not know them, and has the same bits.
            with self._unquantized.decoder.loaded(stage):
                self._unquantized.propagate(stage, lambda count: None)

    def _weights(self, block: int) -> BlockWeights:
        threads, order = self._settings.threads or default_threads(), self._settings.stored_order
        head_length = self._decoder.head_length if order else lambda name: None
        return BlockWeights(self._tensors, block, self._settings.device, threads, head_length)

    def _replace(self, name: str, rows: NDArray[np.float32]) -> None:
        self._decoder.replace(name, rows, stored_order=self._settings.stored_order)

    def _transformed(self, name: str, values: "torch.Tensor") -> None:
        """Let both models compute with a transform's numbers: the function is the same, a layer's input is not."""
        rows = values.reshape(-1, values.shape[-1]).cpu().numpy()
        for runner in filter(None, (self._runner, self._unquantized)):
            runner.decoder.replace(name, rows, stored_order=self._settings.stored_order)

    def _restore(self, result: BlockResult) -> None:
        for name, rows in result.floats.items():
            self._replace(name, rows)
        for name, matrices in result.codes.items():
            self._replace(name, np.concatenate([decoded(codes) for codes in matrices]))

    def _quantize(self, weights: BlockWeights) -> BlockResult:
        groups = self._groups(weights)
        self._transform(weights, groups)
        codes: dict[str, tuple[Any, ...]] = {}
        reports: list[LayerReport] = []
        early = {} if self._settings.true_sequential else self._statistics(weights, groups)
        for group in groups:
            seen = early if early else self._statistics(weights, [group])
            for name, rounding in group.items():
                done = self._round(weights, name, next(iter(group)), rounding, seen)
                codes[weights.prefix + name] = tuple(quantized.codes for quantized, _ in done)
                reports += [report for _, report in done]
                rows = [quantized.weight.cpu().numpy() for quantized, _ in done]
                self._replace(weights.prefix + name, np.concatenate(rows))
        floats = {
            weights.prefix + name: values.reshape(-1, values.shape[-1]).cpu().numpy()
            for name, values in weights.changed.items()
            if weights.prefix + name not in codes
        }
        return BlockResult(codes=codes, floats=floats, reports=tuple(reports))

    def _groups(self, weights: BlockWeights) -> "list[dict[str, Rounding]]":
        """The table's groups as this block has them: name → rounding; layers that are not rounded are left out."""
        found = []
        for names in self._table.groups:
            pairs = ((name, self._rounding_of(weights.prefix + name)) for name in names if name in weights)
            found.append({name: rounding for name, rounding in pairs if rounding})
        return [group for group in found if group]

    def _transform(self, weights: BlockWeights, groups: "list[dict[str, Rounding]]") -> None:
        """Find every pair's scales on the block as it is, then fold them and let the block compute with the result."""
        roundings = {name: rounding for group in groups for name, rounding in group.items()}
        pairs = [p for p in self._table.pairs if can_fold(p, weights) and all(name in roundings for name in p.targets)]
        for transform in self._transforms if pairs else ():
            # Where a norm stands in front of experts, their router sees every token.
            inputs = {pair: (pair.followers or pair.targets)[0] for pair in pairs}
            seen = self._seen(weights, list(dict.fromkeys(inputs.values())), hessian=True, stop=False)
            for pair in pairs:
                here = {expert: s for (name, expert), s in seen.items() if name == weights.prefix + inputs[pair]}
                find = finder(transform, roundings[pair.targets[0]].grid)
                fold(pair, weights, here, find, self._settings.few_tokens)
            for name, values in weights.changed.items():
                self._transformed(weights.prefix + name, values)

    def _statistics(self, weights: BlockWeights, groups: "list[dict[str, Rounding]]") -> dict[Layer, Statistics]:
        """What enters the first layer of each group, by that layer and its expert; nothing where nobody asks."""
        firsts = [next(iter(group)) for group in groups if any(r.needs_statistics for r in group.values())]
        if not firsts:
            return {}
        roundings = [rounding for group in groups for rounding in group.values()]
        hessian = any(rounding.needs_hessian for rounding in roundings)
        drift = any(rounding.needs_drift for rounding in roundings)
        experts = any(weights.shape(name)[0] > 1 for name in firsts)
        return self._seen(weights, firsts, hessian=hessian, stop=not experts, drift=drift)

    def _seen(
        self, weights: BlockWeights, names: list[str], *, hessian: bool, stop: bool, drift: bool = False
    ) -> dict[Layer, Statistics]:
        stage = f"model.layers.{weights.block}"
        layers = [(weights.prefix + name, weights.shape(name)[2]) for name in names]
        label = f"{weights.prefix}{names[0].removesuffix('.weight')}{self._last_error}"
        with progress_bar(label, self._runner.chunks, "chunks") as advance:
            return self._runner.statistics(
                stage,
                layers,
                hessian=hessian,
                may_stop=stop,
                advance=advance,
                unquantized=self._unquantized if drift else None,
            )

    def _round(
        self, weights: BlockWeights, name: str, first: str, rounding: Rounding, seen: dict[Layer, Statistics]
    ) -> list[tuple[Quantized, LayerReport]]:
        """The matrices of one tensor, one after the other."""
        matrices = weights.get(name)
        experts = len(matrices) > 1
        done = []
        for expert, weight in enumerate(matrices):
            statistics = seen.get((weights.prefix + first, expert if experts else None))
            done.append(
                self._round_one(weight, weights.prefix + name, expert if experts else None, rounding, statistics)
            )
        return done

    def _round_one(
        self, weight: "torch.Tensor", name: str, expert: int | None, rounding: Rounding, statistics: Statistics | None
    ) -> tuple[Quantized, LayerReport]:
        tokens = statistics.tokens if statistics else 0
        starved = rounding.needs_statistics and (
            tokens == 0 or (expert is not None and tokens < self._settings.few_tokens)
        )
        quantized = (rounding.starved if starved else rounding.round)(weight, None if starved else statistics)
        error = None
        if statistics is not None and statistics.hessian is not None and tokens:
            whole = hessian_error(weight, weight.new_zeros(()), statistics)
            error = hessian_error(weight, quantized.weight, statistics) / whole if whole else 0.0
            self._last_error = f", error {error:.2%}"
        note = None
        if starved:
            note = f"saw {tokens} tokens, fewer than {self._settings.few_tokens}: {rounding.starved_method} instead"
        elif rounding.needs_hessian and tokens < weight.shape[1]:
            note = f"{tokens} tokens for {weight.shape[1]} columns: damped by {quantized.damp:g}"
        method = rounding.starved_method if starved else rounding.method
        if rounding.needs_drift and not starved and statistics is not None and statistics.drift is None:
            method, note = "gptq", NO_PARTNER
        report = LayerReport(
            name=name,
            expert=expert,
            method=method,
            tokens=tokens,
            error=error,
            damp=quantized.damp,
            note=note,
        )
        return quantized, report
