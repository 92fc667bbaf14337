"""Bytes that a model keeps of what it has read: exact, or it is a bug.

    attention   Σ blocks (row(key type, key width) + row(value type, value width)) · cells · slots
    cells       the slot's context, rounded up to 256; in a block with a sliding window
                round up(min(cells, window + micro-batch), 256)
    state       Σ blocks 4 · state numbers · slots          (float32, whatever the cache's types are)

A row's bytes are the format's own: q8_0 takes 34 bytes for 32 numbers. llama.cpp gives every slot its own cells
(`-np N`; with `--kv-unified` they would share them, in one pool of as many).

Without flash attention the cache holds values transposed, every block's as wide as the widest.

Source: llama.cpp b11549 src/llama-context.cpp (n_ctx_seq), src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp,
src/llama-memory-recurrent.cpp.
"""

from dataclasses import dataclass

from pennyweight.core.errors import BadRequest
from pennyweight.formats.sizes import row_bytes
from pennyweight.models.anatomy import Anatomy, Block, Keeps
from pennyweight.planner.request import Settings

PADDING = 256
"""Cells are allocated in multiples of so many. Source: llama.cpp src/llama-context.cpp, GGML_PAD(n_ctx, 256)."""

CACHE_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL")
"""What llama.cpp's -ctk and -ctv take. Source: llama.cpp common/arg.cpp `kv_cache_types`."""

STATE_BYTES = 4
"""Recurrent states are float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBytes:
    """What one block keeps, for all slots together.

    Attributes:
        attention: keys and values.
        state: recurrent state.
    """

    attention: int
    state: int

    @property
    def total(self) -> int:
        """Both."""
        return self.attention + self.state


def kv_bytes(anatomy: Anatomy, settings: Settings) -> int:
    """Bytes of the whole cache, recurrent states included. Raises: ShapeError, UnknownName (see `kv_by_block`)."""
    return sum(block.total for block in kv_by_block(anatomy, settings))


def kv_by_block(anatomy: Anatomy, settings: Settings) -> tuple[KeptBytes, ...]:
    """Bytes that each block keeps, in the order of the blocks.

    Raises:
        UnknownName: a cache type that is no format.
        ShapeError: a width that is not whole blocks of the cache type (llama.cpp refuses too).
        BadRequest: latent attention with two cache types (llama.cpp refuses too: keys and values are one vector).
    """
    latent = any(block.keeps is Keeps.LATENT for block in anatomy.blocks)
    if latent and settings.key_type != settings.value_type:
        raise BadRequest(
            f"{anatomy.name} keeps keys and values as one vector, so -ctk and -ctv must be the same; "
            f"got {settings.key_type} and {settings.value_type}"
        )
    widest = max((block.value_width for block in anatomy.blocks), default=0)
    return tuple(
        KeptBytes(
            attention=_attention_bytes(block, settings, widest),
            state=block.state_numbers * STATE_BYTES * settings.slots,
        )
        for block in anatomy.blocks
    )


def cells_of(block: Block, settings: Settings) -> int:
    """Tokens for which a block has room, per slot; 0 where it attends to none."""
    if not block.key_width:
        return 0
    cells = slot_context(settings)
    return _padded(min(cells, block.window + settings.micro_batch)) if block.keeps is Keeps.WINDOW else cells


def slot_context(settings: Settings) -> int:
    """Tokens for which llama.cpp makes room in one slot: the whole context is rounded up, divided, rounded up."""
    return _padded(_padded(settings.context * settings.slots) // settings.slots)


def _attention_bytes(block: Block, settings: Settings, widest: int) -> int:
    value_width = block.value_width if settings.flash_attention or not block.value_width else widest
    row = _row_bytes(settings.key_type, block.key_width) + _row_bytes(settings.value_type, value_width)
    return row * cells_of(block, settings) * settings.slots


def _row_bytes(cache_type: str, width: int) -> int:
    return row_bytes(cache_type, width) if width else 0


def _padded(cells: int) -> int:
    return -(-cells // PADDING) * PADDING
