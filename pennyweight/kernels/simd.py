"""Sixteen numbers at once inside Numba kernels: a lane is a block, so SIMD never reorders the sums inside a block.

`Floats` are sixteen float32, `Ints` sixteen int32, `Mask` sixteen truth values. Arithmetic between them, or with a
scalar on the right, is written with the usual operators; LLVM lowers each to one AVX-512 instruction, two of AVX2 or
four of NEON. Nothing is left to the loop vectoriser (which managed a third of the speed), nothing is contracted into a
fused multiply-add, and each lane rounds as scalar code would: the bytes are the same on every processor.

How the lanes reach memory is in `pennyweight.kernels.simd_memory`.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from pennyweight.kernels.compile import intrinsic

LANES = 16


class LanesType(types.Type):
    """One of the three lane types, told apart by name."""


Floats, Ints, Mask = LanesType("Floats"), LanesType("Ints"), LanesType("Mask")

FLOATS, INTS, MASK = (ir.VectorType(t, LANES) for t in (ir.FloatType(), ir.IntType(32), ir.IntType(1)))
_LLVM = {Floats: FLOATS, Ints: INTS, Mask: MASK}


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _LLVM[fe_type])


def broadcast(builder, scalar, vector_type):
    """LLVM code for `scalar` in every lane."""
    one = builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(one, ir.Constant(vector_type, ir.Undefined), zeros)


def _register(op, result, left, right, build):
    """Let `left op right` and, where `right` is not a mask, `left op scalar` call `build(builder, a, b)`."""
    scalar = {Floats: types.float32, Ints: types.int64}.get(right)
    rights = [right] if scalar is None else [right, scalar]

    @infer_global(op)  # pyright: ignore[reportOptionalCall]  (it returns a decorator when given one argument)
    class _Typing(ConcreteTemplate):
        key = op
        cases = [signature(result, left, r) for r in rights]  # noqa: RUF012  (Numba's own idiom)

    @lower_builtin(op, left, right)
    def _lanes(context, builder, sig, args):
        return build(builder, *args)

    if scalar is not None:

        @lower_builtin(op, left, scalar)
        def _scalar(context, builder, sig, args):
            value = builder.trunc(args[1], ir.IntType(32)) if right == Ints else args[1]
            return build(builder, args[0], broadcast(builder, value, _LLVM[right]))


for _op, _name in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    _register(getattr(operator, _op), Floats, Floats, Floats, getattr(ir.IRBuilder, _name))
for _op, _name in (("add", "add"), ("sub", "sub"), ("and_", "and_"), ("or_", "or_"), ("xor", "xor"), ("lshift", "shl")):
    _register(getattr(operator, _op), Ints, Ints, Ints, getattr(ir.IRBuilder, _name))
# Codes and bit patterns are never negative where they are shifted, so the shift is the logical one.
_register(operator.rshift, Ints, Ints, Ints, ir.IRBuilder.lshr)
for _op in ("and_", "or_"):
    _register(getattr(operator, _op), Mask, Mask, Mask, getattr(ir.IRBuilder, _op))


def _register_comparison(op, sign):
    _register(op, Mask, Floats, Floats, lambda builder, a, b: builder.fcmp_ordered(sign, a, b))
    _register(op, Mask, Ints, Ints, lambda builder, a, b: builder.icmp_signed(sign, a, b))


for _op, _sign in ((operator.lt, "<"), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "==")):
    _register_comparison(_op, _sign)


@intrinsic
def splat(typingctx, scalar):
    """A float32 or an integer in every lane."""
    result = Floats if scalar == types.float32 else Ints

    def codegen(context, builder, sig, args):
        value = args[0] if result == Floats else context.cast(builder, args[0], sig.args[0], types.int32)
        return broadcast(builder, value, _LLVM[result])

    return result(scalar), codegen


@intrinsic
def select(typingctx, mask, yes, no):
    """`yes` where `mask`, else `no`, lane by lane."""
    return yes(mask, yes, no), lambda context, builder, sig, args: builder.select(*args)


@intrinsic
def invert(typingctx, mask):
    """The lanes that `mask` leaves out; `invert(a < b)` is true for NaN, as C's `!(a < b)` is."""
    return mask(mask), lambda context, builder, sig, args: builder.not_(args[0])


@intrinsic
def bits_of(typingctx, number):
    """The bit pattern: `Floats` as `Ints`, or float32 as uint32."""
    result, llvm = (Ints, INTS) if number == Floats else (types.uint32, ir.IntType(32))
    return result(number), lambda context, builder, sig, args: builder.bitcast(args[0], llvm)


@intrinsic
def from_bits(typingctx, bits):
    """The number with that bit pattern: `Ints` as `Floats`, or uint32 as float32."""
    result, llvm = (Floats, FLOATS) if bits == Ints else (types.float32, ir.FloatType())
    return result(bits), lambda context, builder, sig, args: builder.bitcast(args[0], llvm)


@intrinsic
def to_floats(typingctx, ints):
    """`Ints` → `Floats`."""
    return Floats(ints), lambda context, builder, sig, args: builder.sitofp(args[0], FLOATS)


@intrinsic
def truncated(typingctx, floats):
    """`Floats` → `Ints`, toward zero; lanes beyond int32, infinite or NaN hold anything."""
    return Ints(floats), lambda context, builder, sig, args: builder.fptosi(args[0], INTS)


def _llvm_unary(name):
    @intrinsic
    def function(typingctx, floats):
        def codegen(context, builder, sig, args):
            function_type = ir.FunctionType(FLOATS, [FLOATS])
            return builder.call(get_or_insert_function(builder.module, function_type, f"llvm.{name}.v{LANES}f32"), args)

        return floats(floats), codegen

    return function


magnitude = _llvm_unary("fabs")
square_root = _llvm_unary("sqrt")


@intrinsic
def any_lane(typingctx, mask):
    """Whether `mask` is true anywhere."""

    def codegen(context, builder, sig, args):
        as_bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", as_bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(mask), codegen


@intrinsic
def mask_bits(typingctx, mask):
    """`mask` as int64: lane i at bit i."""

    def codegen(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(mask), codegen


@intrinsic
def mask_of(typingctx, bits):
    """The mask that `mask_bits` made an integer of."""

    def codegen(context, builder, sig, args):
        low = context.cast(builder, args[0], sig.args[0], types.int16)
        return builder.bitcast(low, MASK)

    return Mask(bits), codegen


@intrinsic
def lane(typingctx, lanes, position):
    """One lane, as float32 or int32; `position` is 0..15."""

    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], context.cast(builder, args[1], sig.args[1], types.int32))

    return (types.float32 if lanes == Floats else types.int32)(lanes, position), codegen
