"""Recipes: how a model is quantized, in one line.

    [transform +]… method [: target] [/ kv=FORMAT]

    transform   awq      scales searched so that rounding spares the channels that matter
                smooth   scales that move outliers from activations into weights (for A8)
    method      rtn      round to nearest                    imatrix   llama.cpp's search, weighted by mean x²
                gptq     error feedback                      spqr      3-bit groups and sparse outliers
                gptaq    the same towards the outputs of the unquantized model
                fp8      E4M3                                llm_int8  int8 with outlier columns apart
    target      Q3_K_S, IQ4_XS, …          a file type: the result is a GGUF
                INT4, INT4_G128, INT3_G64  integers, one scale a row or a group; with zero points: INT4_G128_ASYM
                W8A8, W4A8_G128            the same with activations rounded to 8 bits token by token
                3                          spqr's published file; `spqr` alone means it
                3.5                        spqr within so many stored bits a weight, all counted (with a decimal point)
                static                     fp8's activations: one scale a layer, from calibration; else one a token

Names are case-blind. `awq:INT4_G128` is short for `awq+rtn:INT4_G128`. `str(recipe)` is the canonical spelling and
parses to the same recipe. What makes no sense is refused with the reason, before any weight is read.
"""

import re
from dataclasses import dataclass

from pennyweight import formats
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.formats import grids
from pennyweight.formats.spqr_codes import LEAST_BITS, MOST_BITS
from pennyweight.recipes.file_types import ALL as FILE_TYPES
from pennyweight.recipes.file_types import FileType, get_file_type

TRANSFORMS = ("awq", "smooth")
METHODS = ("rtn", "imatrix", "gptq", "gptaq", "spqr", "llm_int8", "fp8")
FEEDBACK = ("gptq", "gptaq")
"""Methods that carry a column's error on; what holds for the files of one holds for those of the other."""

KV_FORMATS = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "iq4_nl", "q4_1", "q4_0", "fp8")

GPTQ_FORMATS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
"""Formats with a grid to round on; a file type's other tensors (F32 vectors, F16 fallbacks) are not rounded anyway."""

_INTEGER = re.compile(r"(?:INT(\d+)|W(\d+)A(\d+))(?:_G(\d+))?(_ASYM)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerTarget:
    """Integers on an affine grid.

    Attributes:
        bits: of a weight.
        group_size: columns that share a scale; None for one scale a row.
        symmetric: every zero point is the middle, so that none is stored.
        activation_bits: 8 where the input of each layer is rounded token by token; None keeps it.
    """

    bits: int
    group_size: int | None = None
    symmetric: bool = True
    activation_bits: int | None = None

    def __str__(self) -> str:
        return self.grid if self.activation_bits is None else f"W{self.bits}A{self.activation_bits}{self._rest}"

    @property
    def grid(self) -> str:
        """The grid's name in `pennyweight.formats.grids`."""
        return f"INT{self.bits}{self._rest}"

    @property
    def _rest(self) -> str:
        return ("" if self.group_size is None else f"_G{self.group_size}") + ("" if self.symmetric else "_ASYM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A recipe that makes sense; made by `parse_recipe`.

    Attributes:
        transforms: of `TRANSFORMS`, in the order of application.
        method: of `METHODS`.
        file_type: the GGUF to write; None for a checkpoint directory.
        integer: the grid, where codes are integers; None with a file type, `fp8`, `spqr` and `llm_int8`.
        bits: of a code in `spqr`'s published file.
        budget: stored bits of a weight in `spqr`, all counted, where a budget is given.
        static_inputs: activations of `fp8` have one stored scale a layer.
        kv: how cached keys and values are to be stored when the result runs; None for as the runtime likes.
    """

    method: str
    transforms: tuple[str, ...] = ()
    file_type: FileType | None = None
    integer: IntegerTarget | None = None
    bits: int | None = None
    budget: float | None = None
    static_inputs: bool = False
    kv: str | None = None

    def __str__(self) -> str:
        target = self.file_type.name if self.file_type else self.integer or self.budget or self.bits
        target = STATIC if self.static_inputs else target
        head = "+".join((*self.transforms, self.method))
        return head + (f":{target}" if target else "") + (f"/kv={self.kv}" if self.kv else "")

    @property
    def needs_calibration(self) -> bool:
        """Whether anything looks at activations; round-to-nearest and dynamic FP8 do not."""
        return bool(self.transforms) or self.static_inputs or self.method in (*FEEDBACK, "imatrix", "spqr")


def parse_recipe(text: str) -> Recipe:
    """A recipe from its spelling.

    Raises:
        UnknownName: a word that is no transform, method, file type or KV format.
        BadRequest: a recipe that makes no sense, and why.
    """
    head, *options = text.strip().split("/")
    words, colon, target = head.partition(":")
    *transforms, method = [word.strip().lower() for word in words.split("+")]
    if method in TRANSFORMS:
        transforms, method = [*transforms, method], "rtn"
    for word in transforms:
        if word not in TRANSFORMS:
            raise UnknownName.among("transform", word, TRANSFORMS)
    if method not in METHODS:
        raise UnknownName.among("method", method, METHODS)
    if len(set(transforms)) < len(transforms):
        raise BadRequest(f"{text!r} applies a transform twice; each is named once")
    if colon and not target.strip():
        raise BadRequest(f"{text!r} ends in a colon; a file type or a grid such as INT4_G128 is wanted after it")
    recipe = _with_target(method, tuple(sorted(transforms)), target.strip(), _kv(text, options))
    _require_sense(recipe)
    return recipe


def _kv(text: str, options: list[str]) -> str | None:
    found = None
    for option in options:
        key, _, value = option.strip().partition("=")
        if key.lower() != "kv" or found is not None:
            raise BadRequest(f"{text!r}: only one /kv=FORMAT may follow a slash, got {option!r}")
        found = value.strip().lower()
        if found not in KV_FORMATS:
            raise UnknownName.among("KV format", value, KV_FORMATS)
    return found


def _with_target(method: str, transforms: tuple[str, ...], target: str, kv: str | None) -> Recipe:
    if method == "spqr":
        budget = _spqr_budget(target)
        bits = None if budget else _spqr_bits(target)
        return Recipe(method=method, transforms=transforms, bits=bits, budget=budget, kv=kv)
    if method in ("fp8", "llm_int8"):
        static = method == "fp8" and target.lower() == STATIC
        if target and not static and target.upper() not in _OWN_TARGET[method]:
            raise BadRequest(f"{method} has a grid of its own; leave {target!r} out")
        return Recipe(method=method, transforms=transforms, static_inputs=static, kv=kv)
    if not target:
        raise BadRequest(f"{method} needs a target: a file type ({method}:Q3_K_S) or a grid ({method}:INT4_G128)")
    integer = _integer(target)
    file_type = None if integer else _file_type(target)
    return Recipe(method=method, transforms=transforms, file_type=file_type, integer=integer, kv=kv)


STATIC = "static"
_OWN_TARGET = {"fp8": ("FP8", "FP8_E4M3"), "llm_int8": ("INT8", "W8A8")}


def _spqr_bits(target: str) -> int:
    if not target:
        return 3
    if not target.isdigit():
        raise BadRequest(
            f"spqr:{target}: SpQR keeps sparse outliers beside its groups, which {target} has no place for; "
            "write spqr:3, or spqr:3.5 for a budget of bits"
        )
    if int(target) != 3:
        raise BadRequest(f"spqr:{target}: SpQR's file holds 3-bit codes; write spqr:3, or spqr:{target}.0 for a budget")
    return int(target)


def _spqr_budget(target: str) -> float | None:
    """Stored bits a weight, spelled with a decimal point; None for another spelling. Raises: BadRequest."""
    if not re.fullmatch(r"\d+\.\d{1,3}", target):
        return None
    if not LEAST_BITS <= float(target) <= MOST_BITS:
        raise BadRequest(
            f"spqr:{target}: between {LEAST_BITS:g} and {MOST_BITS:g} stored bits a weight are wanted: 3-bit codes and "
            "scales take the least, and past the most another method serves better"
        )
    return float(target)


def _integer(target: str) -> IntegerTarget | None:
    match = _INTEGER.fullmatch(target.upper())
    if not match:
        return None
    plain, weights, activations, group, asymmetric = match.groups()
    if activations not in (None, "8"):
        raise BadRequest(f"{target}: activations of {activations} bits; 8 are wanted, others no runtime multiplies")
    integer = IntegerTarget(
        bits=int(plain or weights),
        group_size=int(group) if group else None,
        symmetric=asymmetric is None,
        activation_bits=int(activations) if activations else None,
    )
    grids.get(integer.grid)  # refuses a width or group that nothing stores
    return integer


def _file_type(target: str) -> FileType:
    try:
        return get_file_type(target)
    except UnknownName:
        known = [*(t.name for t in FILE_TYPES), "INT2 INT3 INT4 INT8 with _G128", "W8A8"]
        raise UnknownName.among("target", target, known) from None


def _require_sense(recipe: Recipe) -> None:
    """Raises: BadRequest with the first reason that applies."""
    for holds, reason in _REFUSALS:
        if holds(recipe):
            raise BadRequest(f"{recipe}: {reason}")


def _rounds_activations(recipe: Recipe) -> bool:
    return recipe.method in ("fp8", "llm_int8") or bool(recipe.integer and recipe.integer.activation_bits)


def _base(recipe: Recipe) -> str:
    return recipe.file_type.base if recipe.file_type else ""


_REFUSALS = (
    (
        lambda r: r.file_type is not None and not r.file_type.is_quantized,
        "nothing is rounded in an unquantized file type; `quantize MODEL F16` writes it",
    ),
    (
        lambda r: r.method == "imatrix" and r.file_type is None,
        "imatrix weights llama.cpp's searches, which only GGUF formats have; take gptq on an integer grid",
    ),
    (
        lambda r: r.method == "imatrix" and not formats.get(_base(r)).uses_importance,
        "this format's bytes do not depend on importance; take rtn, or gptq",
    ),
    (
        lambda r: r.method in FEEDBACK and r.file_type is not None and _base(r) not in GPTQ_FORMATS,
        f"error feedback needs a grid to round on, which {', '.join(GPTQ_FORMATS)} have",
    ),
    (
        lambda r: "smooth" in r.transforms and not _rounds_activations(r),
        "smoothing trades weight error for activation error, and nothing here rounds activations; take awq, or W8A8",
    ),
    (
        lambda r: "smooth" in r.transforms and r.method == "llm_int8",
        "both keep outlier channels from spoiling int8; take smooth+rtn:W8A8 or llm_int8",
    ),
    (
        lambda r: "awq" in r.transforms and r.method in ("spqr", "llm_int8", "fp8"),
        "awq scales for an integer grid or a GGUF type; this method keeps what matters in 16 bits or floats by itself",
    ),
    (
        lambda r: {"awq", "smooth"} <= set(r.transforms),
        "both fold scales into the same places; take one of them",
    ),
    (
        lambda r: r.integer is not None and r.integer.activation_bits is not None and not r.integer.symmetric,
        "integer kernels multiply symmetric weights with activations; leave _ASYM out",
    ),
)
"""What makes no sense, and why."""
