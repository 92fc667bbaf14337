"""How sixteen lanes reach memory: an array and a flat index, in elements.

Nothing checks the index: callers derive it from shapes that `pennyweight.kernels.encode` and `decode` have checked.
"""

from llvmlite import ir
from numba import types

from pennyweight.kernels.compile import intrinsic
from pennyweight.kernels.simd import FLOATS, INTS, LANES, Floats, Ints

_BYTES = ir.VectorType(ir.IntType(8), LANES)
_WORDS = ir.VectorType(ir.IntType(16), LANES)


def _pointer(context, builder, array_type, array, index, vector_type):
    """LLVM pointer to `vector_type` at element `index` of the C-contiguous `array`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector_type.as_pointer())


def _index(context, builder, sig, args, position=1):
    return context.cast(builder, args[position], sig.args[position], types.intp)


@intrinsic
def load(typingctx, array, index):
    """float32[index : index + 16] → `Floats`."""

    def codegen(context, builder, sig, args):
        at = _index(context, builder, sig, args)
        return builder.load(_pointer(context, builder, sig.args[0], args[0], at, FLOATS), align=4)

    return Floats(array, index), codegen


@intrinsic
def store(typingctx, array, index, floats):
    """float32[index : index + 16] = `Floats`."""

    def codegen(context, builder, sig, args):
        at = _index(context, builder, sig, args)
        builder.store(args[2], _pointer(context, builder, sig.args[0], args[0], at, FLOATS), align=4)
        return context.get_dummy_value()

    return types.none(array, index, floats), codegen


@intrinsic
def load_bytes(typingctx, array, index):
    """uint8[index : index + 16] → `Ints` 0..255, or int8 → `Ints` −128..127."""

    def codegen(context, builder, sig, args):
        at = _index(context, builder, sig, args)
        loaded = builder.load(_pointer(context, builder, sig.args[0], args[0], at, _BYTES), align=1)
        return (builder.sext if sig.args[0].dtype.signed else builder.zext)(loaded, INTS)

    return Ints(array, index), codegen


@intrinsic
def store_bytes(typingctx, array, index, ints):
    """uint8[index : index + 16] = the low eight bits of `Ints`."""

    def codegen(context, builder, sig, args):
        at = _index(context, builder, sig, args)
        low = builder.trunc(args[2], _BYTES)
        builder.store(low, _pointer(context, builder, sig.args[0], args[0], at, _BYTES), align=1)
        return context.get_dummy_value()

    return types.none(array, index, ints), codegen


@intrinsic
def load_words(typingctx, array, index):
    """Sixteen little-endian 16-bit words from byte `index` of uint8 → `Ints` 0..65535."""

    def codegen(context, builder, sig, args):
        at = _index(context, builder, sig, args)
        loaded = builder.load(_pointer(context, builder, sig.args[0], args[0], at, _WORDS), align=1)
        return builder.zext(loaded, INTS)

    return Ints(array, index), codegen


@intrinsic
def store_words(typingctx, array, index, ints):
    """Sixteen 16-bit words to byte `index` of uint8: the low half of each of `Ints`, little-endian."""

    def codegen(context, builder, sig, args):
        at = _index(context, builder, sig, args)
        low = builder.trunc(args[2], _WORDS)
        builder.store(low, _pointer(context, builder, sig.args[0], args[0], at, _WORDS), align=1)
        return context.get_dummy_value()

    return types.none(array, index, ints), codegen


@intrinsic
def transpose(typingctx, source, start, stride, target, at):
    """A float32 tile of 16 × 16 on its side: target[at + 16 · i + lane] = source[start + stride · lane + i]."""

    def codegen(context, builder, sig, args):
        start, stride, at = (_index(context, builder, sig, args, k) for k in (1, 2, 4))
        rows = []
        for lane in range(LANES):
            offset = builder.add(start, builder.mul(stride, context.get_constant(types.intp, lane)))
            rows.append(builder.load(_pointer(context, builder, sig.args[0], args[0], offset, FLOATS), align=4))
        for i, row in enumerate(_transposed(builder, rows)):
            offset = builder.add(at, context.get_constant(types.intp, LANES * i))
            builder.store(row, _pointer(context, builder, sig.args[3], args[3], offset, FLOATS), align=4)
        return context.get_dummy_value()

    return types.none(source, start, stride, target, at), codegen


def _transposed(builder, rows):
    """Sixteen row vectors → sixteen column vectors: interleaving rows k and k + 8, four times, is a transposition."""
    low = ir.Constant(INTS, [lane // 2 + LANES * (lane % 2) for lane in range(LANES)])
    high = ir.Constant(INTS, [LANES // 2 + lane // 2 + LANES * (lane % 2) for lane in range(LANES)])
    for _ in range(4):
        pairs = [(rows[k], rows[k + LANES // 2]) for k in range(LANES // 2)]
        rows = [builder.shuffle_vector(a, b, half) for a, b in pairs for half in (low, high)]
    return rows
