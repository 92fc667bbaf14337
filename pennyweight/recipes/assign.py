"""`assign`: which format each tensor of a model becomes, tensor by tensor what llama-quantize decides, with the reason.

For every tensor, in the order in which files are written (`layout.output_order`: rules count the tensors that pass),
the first of these that applies decides:

    kept as stored, --token-embedding-type, --output-tensor-type, --tensor-type, --pure, the file type's rules

Then, whoever decided, a tensor whose rows are not whole blocks falls back to a format that it can have.

Known difference: granite-switch and nanbeige pretend, at run time, to have more layers than their files hold; there,
"the first eighth" is counted over the layers of the file.

Source: llama.cpp b11549 llama-quant.cpp `llama_tensor_get_type`, `llama_tensor_get_type_impl`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from pennyweight.core.errors import BadRequest, FormatError
from pennyweight.formats.sizes import block_size
from pennyweight.models.shape import ModelShape
from pennyweight.recipes.conditions import Place, holding
from pennyweight.recipes.file_types import AT_LEAST_Q8_0, FALLBACK, FileType
from pennyweight.recipes.order import block_number, output_order
from pennyweight.recipes.overrides import Overrides
from pennyweight.recipes.roles import Role, kept_because, role_of


class SourceTensor(Protocol):
    """What `assign` needs of a tensor, on disk or only planned."""

    @property
    def name(self) -> str:
        """GGUF's name."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """NumPy order."""
        ...

    @property
    def format(self) -> str:
        """Name of the format it is stored in."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One tensor's format, and why.

    Attributes:
        reason: in words, for a person: `attn_v: use_more_bits(3, 8)`.
        demands_imatrix: the file type makes this tensor only with an importance matrix (see `require_imatrix`).
        fell_back: its rows are no whole blocks of the format that was decided, so it got another.
    """

    name: str
    format: str
    reason: str
    demands_imatrix: bool = False
    fell_back: bool = False


_NOTHING_ASKED = Overrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What the rules ask of the model as a whole."""

    shape: ModelShape
    file_type: FileType
    overrides: Overrides
    has_imatrix: bool
    tied: bool
    values: int
    """Tensors of the role attn_v: the `layers` that their rules count over."""


def assign(
    tensors: Iterable[SourceTensor],
    shape: ModelShape,
    file_type: FileType,
    overrides: Overrides = _NOTHING_ASKED,
    has_imatrix: bool = False,
) -> tuple[Assignment, ...]:
    """The format of every tensor, in the order in which the file is written.

    Raises:
        BadRequest: --tensor-type together with F32, F16 or BF16, where llama-quantize silently ignores it.
        FormatError: an expert model's feed-forward tensor that names no block of the model.
    """
    if overrides.tensor_types and not file_type.is_quantized:
        raise BadRequest(
            f"--tensor-type changes quantized file types, got {file_type.name}; leave it out or name another"
        )
    by_name = {tensor.name: tensor for tensor in tensors}
    model = _Model(
        shape=shape,
        file_type=file_type,
        overrides=overrides,
        has_imatrix=has_imatrix,
        tied="output.weight" not in by_name,
        values=sum(role_of(name) is Role.ATTN_V for name in by_name),
    )
    passed = dict.fromkeys(Role, 0)
    return tuple(_assign_one(by_name[name], model, passed) for name in output_order(by_name))


def require_imatrix(assignments: Iterable[Assignment], entries: Collection[str]) -> None:
    """Check that every tensor which demands an importance matrix has an entry in it.

    Raises:
        BadRequest: names the first tensor that has none; llama-quantize stops there too.
    """
    for assignment in assignments:
        if assignment.demands_imatrix and assignment.name not in entries:
            raise BadRequest(
                f"{assignment.name} as {assignment.format} in this file type needs an importance matrix, got "
                f"{'none for this tensor' if entries else 'none'}; give --imatrix FILE or take Q2_K"
            )


def _assign_one(tensor: SourceTensor, model: _Model, passed: dict[Role, int]) -> Assignment:
    """Decide one tensor. `passed` counts the tensors of each role that went through the rules, this one included."""
    kept = kept_because(tensor.name, tensor.shape, model.shape.architecture)
    if kept is None and model.overrides.leave_output_tensor and tensor.name == "output.weight":
        kept = "--leave-output-tensor"
    if kept:
        return Assignment(name=tensor.name, format=tensor.format, reason=f"kept: {kept}")
    wanted, reason = _asked(tensor.name, model) or _ruled(tensor, model, passed)
    # llama-quantize does not check --output-tensor-type and --token-embedding-type, and aborts half-way through the
    # file where the rows do not fit. Here nothing goes round the fallback.
    format, fallback = _fit_rows(wanted, tensor.shape[-1])
    spared = tensor.name in ("output.weight", "token_embd.weight")
    return Assignment(
        name=tensor.name,
        format=format,
        reason=f"{reason}; {fallback}" if fallback else reason,
        demands_imatrix=format == model.file_type.demands_imatrix and not spared,
        fell_back=bool(fallback),
    )


def _asked(name: str, model: _Model) -> tuple[str, str] | None:
    """The format that an option gives this tensor, and which option."""
    role, asked = role_of(name), model.overrides
    named = asked.named(name)
    # A second embedding table (Gemma 3n's, large) follows --token-embedding-type unless it is named itself.
    if asked.token_embedding_type and role is Role.TOKEN_EMBD and not (named and name != "token_embd.weight"):
        return asked.token_embedding_type, "--token-embedding-type"
    if asked.output_tensor_type and role is Role.OUTPUT:
        return asked.output_tensor_type, "--output-tensor-type"
    if named:
        return named.format, f"--tensor-type {named.pattern.pattern}"
    if asked.pure:
        return model.file_type.base, "--pure"
    return None


def _ruled(tensor: SourceTensor, model: _Model, passed: dict[Role, int]) -> tuple[str, str]:
    """The format that the file type gives this tensor, and why."""
    file_type, role = model.file_type, role_of(tensor.name)
    if not file_type.is_quantized:
        return file_type.base, f"all of {file_type.name}"
    if any(part in tensor.name for part in AT_LEAST_Q8_0.get(model.shape.architecture, ())):
        return "Q8_0", f"at least Q8_0 in {model.shape.architecture}"
    if role is Role.TOKEN_EMBD and model.tied:
        # The embedding is the output too, so it gets the output's care, and its option.
        role = Role.OUTPUT
        if model.overrides.output_tensor_type:
            return model.overrides.output_tensor_type, "--output-tensor-type, tied to the embedding"
    place = _place(tensor, role, model, passed)
    for rule in file_type.rules(role):
        reasons = holding(rule, place, model.shape)
        if reasons is not None:
            return rule.format, f"{role}: {', '.join(reasons) or f'always in {file_type.name}'}"
    return file_type.base, f"base of {file_type.name}"


def _place(tensor: SourceTensor, role: Role, model: _Model, passed: dict[Role, int]) -> Place:
    """Where a tensor stands: values are counted as they pass, and so are feed-forwards, except in expert models."""
    layer, layers = passed[role], model.values if role is Role.ATTN_V else model.shape.block_count
    passed[role] += 1
    if role in (Role.FFN_UP, Role.FFN_GATE, Role.FFN_DOWN) and model.shape.expert_count > 1:
        # A layer has several (one per expert, or shared ones beside them), so counting would not give the layer.
        layer = block_number(tensor.name)
        if not 0 <= layer < layers:
            raise FormatError(f"{tensor.name} names no block of the model, which has {layers}")
    return Place(
        layer=layer,
        layers=layers,
        columns=tensor.shape[-1],
        base=model.file_type.base,
        has_imatrix=model.has_imatrix,
    )


def _fit_rows(format: str, columns: int) -> tuple[str, str | None]:
    """`format`, or what stands in for it where rows of `columns` weights are not whole blocks of it, and why."""
    weights = block_size(format)
    if columns % weights == 0:
        return format, None
    smaller = FALLBACK.get(format, format)
    fits = columns % block_size(smaller) == 0
    return smaller if fits else "F16", f"fallback: {columns} columns are not a multiple of {weights if fits else 32}"
