"""What a runtime does to the inputs of a checkpoint's quantized layers, as its `quantization_config` says."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

USUAL_THRESHOLD = 6.0
"""bitsandbytes' own, where its configuration has none."""


class Inputs(Enum):
    """What becomes of a layer's input."""

    INT8 = "rounded to int8 token by token"
    FP8 = "rounded to FP8 token by token"
    FP8_STATIC = "rounded to FP8 with one stored scale a layer"
    LLM_INT8 = "rounded to int8 token by token, outlier columns apart"
    OTHER = "rounded in a way that is not computed here"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedInputs:
    """What becomes of them; `threshold` is where LLM.int8()'s outliers begin."""

    kind: Inputs
    threshold: float = USUAL_THRESHOLD


_ROUNDED = {
    ("int", 8, "token", True): Inputs.INT8,
    ("float", 8, "token", True): Inputs.FP8,
    ("float", 8, "tensor", False): Inputs.FP8_STATIC,
}
"""Type, bits, strategy and whether scales are found at run time → what becomes of inputs."""


def stated_inputs(configuration: Mapping[str, Any]) -> StatedInputs | None:
    """None where inputs stay as they are."""
    method = configuration.get("quant_method")
    if method == "bitsandbytes":
        threshold = configuration.get("llm_int8_threshold", USUAL_THRESHOLD)
        number = (
            isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 <= threshold < float("inf")
        )
        return StatedInputs(kind=Inputs.LLM_INT8, threshold=float(threshold) if number else USUAL_THRESHOLD)
    if method != "compressed-tensors":
        return None
    groups = configuration.get("config_groups")
    found = {_kind(group) for group in groups.values()} if isinstance(groups, Mapping) else set()
    if not found or found == {None}:
        return None
    kind = found.pop() if len(found) == 1 else None  # which layers are of which group is not evaluated here
    return StatedInputs(kind=kind or Inputs.OTHER)


def _kind(group: Any) -> Inputs | None:
    inputs = group.get("input_activations") if isinstance(group, Mapping) else None
    if not isinstance(inputs, Mapping):
        return None
    said = tuple(inputs.get(key) for key in ("type", "num_bits", "strategy", "dynamic"))
    # Compared one by one: a stranger's values need not be hashable. JSON's true is not its 1.
    found = (kind for wanted, kind in _ROUNDED.items() if said == wanted and said[3] is wanted[3])
    return next(found, Inputs.OTHER)
