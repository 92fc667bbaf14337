"""File types: rules that give each tensor of a model a format. Data only; `pennyweight.recipes.assign` interprets it.

A file type has a base format and, for some roles, a list of rules: the first rule whose conditions all hold decides,
and where none does the tensor gets the base. `Q4_K_M`, for instance, reads: attn_v is Q6_K in the layers of
use_more_bits, else Q5_K in a 70B model, else Q4_K.

The rules drift upstream (until 2025 a fused attn_qkv of Q4_K_M was Q5_K, today half the layers are Q6_K and half Q4_K),
so they carry the build they were read from, `RULES_VERSION`, and are tested against files its llama-quantize wrote.

Source: llama.cpp b11549 llama-quant.cpp, `llama_tensor_get_type_impl`, `llama_ftype_get_default_type`,
`tensor_type_fallback`, `tensor_requires_imatrix`; llama.h `enum llama_ftype`; tools/quantize/quantize.cpp for names.
"""

from dataclasses import KW_ONLY, dataclass

from pennyweight.core.errors import UnknownName
from pennyweight.recipes.roles import Role

RULES_VERSION = "llama.cpp b11549"
"""The build whose rules these are: the same type of another build may be another mix."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`format`, where every condition that is given holds. (The format stands first and bare: these are table rows.)

    Attributes:
        first: the tensor is among the first so many of its role.
        first_part: its layer is in the first 1/first_part of all layers, rounded down (`i < n // 8`).
        more_bits: its layer is one of `use_more_bits`: the first and last eighth, and every third between.
        gqa: at least so many query heads share a KV head.
        experts: exactly so many experts.
        imatrix: an importance matrix is (True) or is not (False) given.
        falcon: the architecture is (True) or is not (False) falcon, whose mixes were tuned on their own.
        seventy_b: llama.cpp calls the model 70B, where eight heads share attn_v and bits for it are nearly free.
        ragged: its rows are not whole blocks of the base format.
    """

    format: str
    _: KW_ONLY
    first: int | None = None
    first_part: int | None = None
    more_bits: bool = False
    gqa: int | None = None
    experts: int | None = None
    imatrix: bool | None = None
    falcon: bool | None = None
    seventy_b: bool = False
    ragged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileType:
    """One type of file, as `general.file_type` names it.

    Attributes:
        llama_ftype: the number in `general.file_type`.
        base: format of every tensor that no rule speaks of.
        output: rules for output.weight, and for the token embedding of a model that has no output.weight.
        attn_v, attn_k, attn_output, ffn_down: rules for those roles.
        demands_imatrix: a format that this type makes only with an importance matrix (embedding and output excepted).
    """

    name: str
    llama_ftype: int
    base: str
    output: tuple[Rule, ...] = ()
    attn_v: tuple[Rule, ...] = ()
    attn_k: tuple[Rule, ...] = ()
    attn_output: tuple[Rule, ...] = ()
    ffn_down: tuple[Rule, ...] = ()
    demands_imatrix: str | None = None

    @property
    def is_quantized(self) -> bool:
        """False for F32, F16 and BF16, which have no rules and know no --tensor-type."""
        return self.base not in UNQUANTIZED

    def rules(self, role: Role) -> tuple[Rule, ...]:
        """The rules for a role; none for roles that all types leave at the base."""
        by_role = {
            Role.OUTPUT: self.output,
            Role.ATTN_V: self.attn_v,
            Role.ATTN_K: self.attn_k,
            Role.ATTN_OUTPUT: self.attn_output,
            Role.FFN_DOWN: self.ffn_down,
        }
        return by_role.get(role, ())


UNQUANTIZED = ("F32", "F16", "BF16")

FALLBACK = {"IQ4_XS": "IQ4_NL", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""Where rows are not whole blocks of 256: a format with blocks of 32; where not even of 32: F16."""

SEVENTY_B = (("llama", 80), ("llama-embed", 80), ("qwen2", 80), ("deci", 80), ("olmo", 80), ("jais2", 68))
"""Architecture and layers of what llama.cpp calls 70B; a llama's heads and KV heads must differ too (or it is 65B)."""

AT_LEAST_Q8_0 = {"glm5-next": ("attn_q_a", "attn_q_b", "nextn.eh_proj")}
"""Parts of names, by architecture, that become Q8_0 in every quantized type."""

_OUTPUT = (Rule("Q8_0", falcon=True), Rule("Q8_0", ragged=True), Rule("Q6_K"))
_MIXTRAL_KV = Rule("Q8_0", experts=8)
_MIXTRAL_OUTPUT = Rule("Q5_K", experts=8, falcon=False)
_RAISED_IN_70B = Rule("Q5_K", seventy_b=True)
_MORE_BITS = (Rule("Q6_K", more_bits=True),)
_IQ4_V = (Rule("Q5_K", gqa=4),)
_IQ4_DOWN = (Rule("Q5_K", first_part=8, imatrix=False),)


def _mix(
    name: str,
    llama_ftype: int,
    base: str,
    *,
    output: tuple[Rule, ...] = _OUTPUT,
    attn_v: tuple[Rule, ...] = (),
    attn_output: tuple[Rule, ...] = (),
    ffn_down: tuple[Rule, ...] = (),
    demands_imatrix: str | None = None,
) -> FileType:
    """A quantized type. All of them spend Q8_0 on the keys and values of an 8-expert model, where it costs little."""
    return FileType(
        name=name,
        llama_ftype=llama_ftype,
        base=base,
        output=output,
        attn_v=(_MIXTRAL_KV, *attn_v),
        attn_k=(_MIXTRAL_KV,),
        attn_output=attn_output,
        ffn_down=ffn_down,
        demands_imatrix=demands_imatrix,
    )


ALL = (
    _mix(
        "Q2_K",
        10,
        "Q2_K",
        attn_v=(_RAISED_IN_70B, Rule("Q4_K", gqa=4), Rule("Q3_K")),
        attn_output=(_MIXTRAL_OUTPUT, Rule("Q3_K", falcon=False)),
        ffn_down=(Rule("Q3_K"),),
    ),
    _mix(
        "Q2_K_S",
        21,
        "Q2_K",
        attn_v=(Rule("Q5_K", gqa=4, seventy_b=True), Rule("Q4_K", gqa=4)),
        ffn_down=(Rule("Q4_K", first_part=8),),
        demands_imatrix="Q2_K",
    ),
    _mix("Q3_K_S", 11, "Q3_K", attn_v=(_RAISED_IN_70B,), attn_output=(_MIXTRAL_OUTPUT,)),
    _mix(
        "Q3_K_M",
        12,
        "Q3_K",
        attn_v=(_RAISED_IN_70B, Rule("Q5_K", first=2), Rule("Q4_K")),
        attn_output=(_MIXTRAL_OUTPUT, Rule("Q4_K", falcon=False)),
        ffn_down=(Rule("Q5_K", first_part=16), Rule("Q4_K", falcon=False), Rule("Q4_K", more_bits=True)),
    ),
    _mix(
        "Q3_K_L",
        13,
        "Q3_K",
        attn_v=(Rule("Q5_K"),),
        attn_output=(Rule("Q4_K", falcon=True), Rule("Q3_K", experts=8), Rule("Q5_K")),
        ffn_down=(Rule("Q4_K", falcon=True), Rule("Q5_K")),
    ),
    _mix("IQ4_XS", 30, "IQ4_XS", attn_v=_IQ4_V, attn_output=(_MIXTRAL_OUTPUT,), ffn_down=_IQ4_DOWN),
    _mix("IQ4_NL", 25, "IQ4_NL", attn_v=_IQ4_V, attn_output=(_MIXTRAL_OUTPUT,), ffn_down=_IQ4_DOWN),
    # With an importance matrix the first ffn_down can go astray in the symmetric formats; without one, their *_1
    # cousins do. Hence this odd condition.
    _mix("Q4_0", 2, "Q4_0", ffn_down=(Rule("Q4_1", first_part=8, imatrix=True),)),
    _mix("Q4_1", 3, "Q4_1"),
    _mix(
        "Q4_K_S",
        14,
        "Q4_K",
        attn_v=(_RAISED_IN_70B, Rule("Q5_K", first=4)),
        attn_output=(_MIXTRAL_OUTPUT,),
        ffn_down=(Rule("Q5_K", falcon=False, first_part=8),),
    ),
    _mix(
        "Q4_K_M",
        15,
        "Q4_K",
        attn_v=(Rule("Q6_K", more_bits=True), _RAISED_IN_70B),
        attn_output=(_MIXTRAL_OUTPUT,),
        ffn_down=(
            Rule("Q6_K", falcon=True, first_part=16),
            Rule("Q5_K", falcon=True, more_bits=True),
            Rule("Q6_K", falcon=False, more_bits=True),
        ),
    ),
    _mix("Q5_0", 8, "Q5_0", ffn_down=(Rule("Q5_1", first_part=8, imatrix=True),)),
    _mix("Q5_1", 9, "Q5_1"),
    _mix("Q5_K_S", 16, "Q5_K"),
    _mix("Q5_K_M", 17, "Q5_K", attn_v=_MORE_BITS, ffn_down=_MORE_BITS),
    _mix("Q6_K", 18, "Q6_K"),
    _mix("Q8_0", 7, "Q8_0", output=()),
    FileType(name="BF16", llama_ftype=32, base="BF16"),
    FileType(name="F16", llama_ftype=1, base="F16"),
    FileType(name="F32", llama_ftype=0, base="F32"),
)

ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
"""As llama-quantize names them: a bare Q4_K asked for as a *type* is the medium mix."""


def get_file_type(name: str) -> FileType:
    """The file type of that name, in any case, aliases included. Raises: UnknownName, which lists those that exist."""
    upper = name.upper()
    wanted = ALIASES.get(upper, upper)
    for file_type in ALL:
        if file_type.name == wanted:
            return file_type
    raise UnknownName.among("file type", name, [*(t.name for t in ALL), *ALIASES])
