"""Formats that are read but not written here: what other tools put into GGUF files.

They are `BlockFormat`s without `encode_blocks`, so that a file that holds them can be inspected and re-quantized. The
gguf package decodes the codebook and ternary types; those it cannot (as of 0.19) are a line or two of NumPy here.

NVFP4 tensors may have a factor beside them in a tensor of their own (`….scale`), which whoever reads one must apply.

Source: llama.cpp ggml.h `enum ggml_type`, ggml-common.h; gguf-py `gguf/quants.py`.
"""

from collections.abc import Callable

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, Floats
from pennyweight.formats.planes import unpack_planes

Decode = Callable[[Blocks], Floats]


def _through_gguf(ggml_type: int, block_size: int) -> Decode:
    """The decoder of `gguf.quants`, imported when the first block arrives: it takes 0.1 s, and few files need it."""

    def decode_blocks(blocks: Blocks) -> Floats:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        data = blocks["bytes"].reshape(len(blocks), -1)
        return dequantize(data, GGMLQuantizationType(ggml_type)).reshape(*blocks.shape, block_size)

    return decode_blocks


def _signs(blocks: Blocks) -> Floats:
    """Q1_0: w[i] = d or −d by bit i % 8 of byte i // 8."""
    d = blocks["d"].astype(np.float32)[..., None]
    return np.where(np.unpackbits(blocks["qs"], axis=-1, bitorder="little"), d, -d)


def _crumbs(blocks: Blocks) -> Floats:
    """Q2_0: w[i] = d · (q[i] − 1), q[i] at bit 2 · (i % 4) of byte i // 4."""
    codes = unpack_planes(blocks["qs"], 2).swapaxes(-1, -2).reshape(*blocks.shape, 64)
    return (codes.astype(np.float32) - np.float32(1)) * blocks["d"].astype(np.float32)[..., None]


def _numbers(blocks: Blocks) -> Floats:
    """Plain numbers, the nearest float32 of each (integers past 2²⁴ and most of F64 are rounded)."""
    return blocks["value"].astype(np.float32)[..., None]


def _foreign(name: str, ggml_type: int, block_size: int, layout: np.dtype, decode_blocks: Decode) -> BlockFormat:
    return BlockFormat(
        name=name,
        ggml_type=ggml_type,
        block_size=block_size,
        layout=layout,
        encode_blocks=None,
        decode_blocks=decode_blocks,
        uses_importance=False,
        source="llama.cpp ggml-common.h; gguf.quants",
    )


def _opaque(name: str, ggml_type: int, block_size: int, block_bytes: int) -> BlockFormat:
    layout = np.dtype([("bytes", "u1", block_bytes)])
    return _foreign(name, ggml_type, block_size, layout, _through_gguf(ggml_type, block_size))


FOREIGN: tuple[BlockFormat, ...] = (
    _opaque("IQ1_S", 19, 256, 50),
    _opaque("IQ1_M", 29, 256, 56),
    _opaque("IQ2_XXS", 16, 256, 66),
    _opaque("IQ2_XS", 17, 256, 74),
    _opaque("IQ2_S", 22, 256, 82),
    _opaque("IQ3_XXS", 18, 256, 98),
    _opaque("IQ3_S", 21, 256, 110),
    _opaque("TQ1_0", 34, 256, 54),
    _opaque("TQ2_0", 35, 256, 66),
    _opaque("MXFP4", 39, 32, 17),
    _opaque("NVFP4", 40, 64, 36),
    _foreign("Q1_0", 41, 128, np.dtype([("d", "<f2"), ("qs", "u1", 16)]), _signs),
    _foreign("Q2_0", 42, 64, np.dtype([("d", "<f2"), ("qs", "u1", 16)]), _crumbs),
    _foreign("I8", 24, 1, np.dtype([("value", "<i1")]), _numbers),
    _foreign("I16", 25, 1, np.dtype([("value", "<i2")]), _numbers),
    _foreign("I32", 26, 1, np.dtype([("value", "<i4")]), _numbers),
    _foreign("I64", 27, 1, np.dtype([("value", "<i8")]), _numbers),
    _foreign("F64", 28, 1, np.dtype([("value", "<f8")]), _numbers),
)
"""Every other type a GGUF file of today may hold."""
