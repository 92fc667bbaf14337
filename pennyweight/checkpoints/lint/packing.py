"""How modules are packed: zero-point version, act-order, packing of another era, groups under tensor parallelism."""

from collections.abc import Iterator
from math import gcd
from typing import Any

import numpy as np

from pennyweight.checkpoints import gptq
from pennyweight.checkpoints.activations import Inputs, stated_inputs
from pennyweight.checkpoints.layout import PackedModule
from pennyweight.checkpoints.lint.directory import Directory
from pennyweight.checkpoints.lint.finding import Finding, some
from pennyweight.checkpoints.scheme import Kind
from pennyweight.checkpoints.stored import modules_with
from pennyweight.core.errors import PennyweightError
from pennyweight.formats.dense_bits import WORD_BITS

_ROW_PARALLEL = ("attn_output.weight", "ffn_down.weight", "ffn_down_exps.weight")
"""Matrices whose columns tensor parallelism cuts; of the others it cuts the rows."""

_ODD_BITS = (3, 5, 6, 7)


def zero_points(directory: Directory) -> Iterator[Finding]:
    """GPTQ's two versions: what the configuration says against what is stored."""
    said = directory.quantization
    if said.get("quant_method") != "gptq" or said.get("bits") not in gptq.BITS:
        return
    names = modules_with(directory.stored, "qweight")
    stated = 2 if said.get("checkpoint_format") == "gptq_v2" else 1
    try:
        found = gptq.stored_version(directory.stored, names, said["bits"], said.get("sym", True) is True)
    except PennyweightError:  # the packed tensors' own check says what is wrong with them
        return
    if found is not None and found != stated:
        yield Finding(
            level="error",
            check="zero points",
            where=f"{names[0]}.qzeros",
            message=f"checkpoint_format says version {stated}, but the zero points are version {found}'s: loaders will "
            "be off by one step everywhere",
            advice="`pennyweight convert` writes it rightly: this package reads what is stored",
        )
    elif said.get("sym") is False and stated == 1:
        yield Finding(
            level="warning",
            check="zero points",
            where="",
            message="asymmetric codes in version 1, which stores zero points less one: a zero point of 0 wraps",
            advice="convert --to gptq_v2, or to compressed-tensors",
        )


def act_order(directory: Directory) -> Iterator[Finding]:
    """Columns grouped in act-order."""
    indices = [name for name in directory.stored if name.endswith((".g_idx", ".weight_g_idx"))]
    ordered = []
    for name in indices:
        tensor = directory.stored[name]
        if tensor.format != "I32" or len(tensor.shape) != 1:
            continue  # another check's
        found = tensor.rows(0, 1).view("<i4")[0]
        if found.size and (np.diff(found) < 0).any():
            ordered.append(name)
        if found.size and found.min() < 0:
            yield Finding(level="error", check="act-order", where=name, message="a column has a group below 0")
    if ordered:
        yield Finding(
            level="warning",
            check="act-order",
            where=ordered[0],
            message=f"{len(ordered)} modules have their columns grouped in act-order (g_idx): vLLM since 0.32 and "
            "compressed-tensors since 0.20 refuse it",
            advice="quantize with static groups: the same order of work, and no g_idx",
        )


def packing_era(directory: Directory) -> Iterator[Finding]:
    """compressed-tensors' 3, 5, 6 and 7 bits, which were packed otherwise up to 0.16."""
    if directory.quantization.get("quant_method") != "compressed-tensors":
        return
    for module in directory.modules or ():
        if module.scheme.bits in _ODD_BITS and any(t.name.endswith("weight_packed") for t in module.tensors):
            yield Finding(
                level="warning",
                check="packing",
                where=f"{module.name}.weight_packed",
                message=f"{module.scheme.bits}-bit codes are packed densely, as compressed-tensors does since 0.17: "
                "older versions cannot load them",
                advice="the runtime needs compressed-tensors 0.17 or newer",
            )
            return


def static_inputs(directory: Directory) -> Iterator[Finding]:
    """Static activations: what the configuration says against the scales that are stored."""
    stated = stated_inputs(directory.quantization)
    static = stated is not None and stated.kind is Inputs.FP8_STATIC
    modules = [module for module in directory.modules or () if module.scheme.kind is Kind.FLOAT8]
    odd = [module.name for module in modules if module.scheme.static_input != static]
    if odd and static:
        yield Finding(
            level="error",
            check="static activations",
            where=odd[0],
            message=f"{len(odd)} modules have no input_scale, but input_activations are static ({some(odd)})",
            advice="quantize again with fp8:static, or with fp8, whose scales are found at run time",
        )
    elif odd and stated is not None and stated.kind is Inputs.FP8:
        yield Finding(
            level="warning",
            check="static activations",
            where=f"{odd[0]}.input_scale",
            message=f"{len(odd)} modules have an input_scale that nobody reads: input_activations are dynamic",
            advice="set dynamic to false and strategy to tensor in config.json, if the scales are meant",
        )


def transforms(directory: Directory) -> Iterator[Finding]:
    """Rotations that only some runtimes apply."""
    if directory.quantization.get("transform_config"):
        yield Finding(
            level="error",
            check="transforms",
            where="",
            message="transform_config asks for rotations at run time, which transformers (5.23) ignores without an "
            "error: its output is garbage",
            advice="use a checkpoint whose rotations are fused into the weights",
        )


def tensor_parallel(directory: Directory, ranks: int) -> Iterator[Finding]:
    """Whether every matrix can be cut over `ranks` GPUs between groups and between words."""
    by_stored = {place.stored: place for place in directory.places()}
    if directory.config and ranks > 1 and directory.config.head_count % ranks:
        yield Finding(
            level="error",
            check="tensor parallel",
            where="config.json",
            message=f"{directory.config.head_count} heads cannot be shared by {ranks} ranks",
            advice="choose a divisor of the number of heads",
        )
    bad: dict[str, list[str]] = {}
    for module in directory.modules or ():
        place = by_stored.get(f"{module.name}.weight")
        why = _uncuttable(module, ranks, place) if ranks > 1 else None
        if why:
            bad.setdefault(why, []).append(module.name)
    for why, names in bad.items():
        yield Finding(
            level="error",
            check="tensor parallel",
            where=names[0],
            message=f"{len(names)} matrices cannot be cut over {ranks} ranks: {why} ({some(names)})",
            advice="use fewer ranks, or a group size that divides each rank's share",
        )


def _uncuttable(module: PackedModule, ranks: int, place: Any) -> str | None:
    rows, columns = module.shape
    by_columns = place is not None and place.tensor.split(".", 2)[-1] in _ROW_PARALLEL
    if not by_columns:
        packed = any(tensor.name.endswith((".qzeros", ".weight_zero_point")) for tensor in module.tensors)
        unit = WORD_BITS // gcd(WORD_BITS, module.scheme.bits) if packed else 1
        return None if rows % (ranks * unit) == 0 else f"{rows} rows / {ranks} is no multiple of {unit}"
    if columns % ranks:
        return f"{columns} columns do not divide by {ranks}"
    group = module.scheme.group_size
    if group and (columns // ranks) % group:
        return f"{columns} columns / {ranks} = {columns // ranks} is no whole number of groups of {group}"
    return None
