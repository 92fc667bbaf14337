"""GGUF keys → what each block keeps of the tokens it has read, and the words by which tensor tables know it.

    attention          key-value heads · key length numbers of a token, and as many for its value
    latent attention   latent width + rotary part, and no value
    recurrent state    (kernel − 1) · (inner + 2 · groups · state) of the convolution, state · inner of the rest

Source: llama.cpp b11549 src/llama-hparams.cpp `n_embd_k_gqa`, `n_embd_r`, `n_embd_s`, `set_swa_pattern`;
src/llama-model.cpp `create_memory`; the `load_arch_hparams` of each architecture.
"""

from pennyweight.models.anatomy import Block, Keeps
from pennyweight.models.architectures.base import Architecture, Hybrid
from pennyweight.models.shape import Keys, ModelShape

_NOTHING = Block(keeps=Keeps.NOTHING)


def blocks_of(shape: ModelShape, keys: Keys, architecture: Architecture | None) -> tuple[Block, ...]:
    """One `Block` for each decoder block; of a draft head's (MTP), which llama.cpp leaves out of the cache, nothing.

    Of an unknown architecture every block keeps every token: an upper bound, unless it keeps more than a cache.
    """
    windows = _windows(shape, keys, architecture)
    main = shape.block_count - min(shape.block_count, keys.count("nextn_predict_layers", 0))
    return tuple(
        _block(shape, keys, architecture, number, windows[number]) if number < main else _NOTHING
        for number in range(shape.block_count)
    )


def words_of(shape: ModelShape, keys: Keys, architecture: Architecture, number: int) -> frozenset[str]:
    """What `where` of a tensor rule may ask of this block."""
    mixer = _mixer(shape, keys, architecture, number)
    leading = number < keys.count("leading_dense_block_count", 0)
    has_experts = shape.expert_count > 0 and not leading and shape.feed_forward_lengths[number] > 0
    feed_forward = "experts" if has_experts else "dense" if shape.feed_forward_lengths[number] else ""
    return mixer | {feed_forward}


def _mixer(shape: ModelShape, keys: Keys, architecture: Architecture | None, number: int) -> frozenset[str]:
    """`attention`, `state`, both, or neither."""
    hybrid = architecture.hybrid if architecture else None
    if hybrid is Hybrid.BOTH:
        return frozenset({"attention", "state"})
    if hybrid is Hybrid.NO_KEYS_NO_FEED_FORWARD and shape.feed_forward_lengths[number]:
        return frozenset()
    if hybrid is Hybrid.INTERVAL:
        default = tuple(int((i + 1) % _interval(keys) != 0) for i in range(shape.block_count))
        recurrent = keys.flags("attention.recurrent_layers", shape.block_count, default)[number]
    else:
        recurrent = hybrid is not None and shape.head_counts_kv[number] == 0
    return frozenset({"state" if recurrent else "attention"})


def _interval(keys: Keys) -> int:
    return max(1, keys.count("full_attention_interval", 4))


def _block(shape: ModelShape, keys: Keys, architecture: Architecture | None, number: int, window: int) -> Block:
    words = _mixer(shape, keys, architecture, number)
    state = _state_numbers(keys) if "state" in words else 0
    if "attention" not in words:
        return Block(keeps=Keeps.STATE, state_numbers=state) if state else _NOTHING
    key_width = shape.head_counts_kv[number] * shape.key_length
    if keys.count("attention.key_length_mla", 0):
        return Block(keeps=Keeps.LATENT, key_width=key_width)
    return Block(
        keeps=Keeps.WINDOW if window else Keeps.EVERY_TOKEN,
        key_width=key_width,
        value_width=shape.head_counts_kv[number] * shape.value_length,
        window=window,
        state_numbers=state,
    )


def _windows(shape: ModelShape, keys: Keys, architecture: Architecture | None) -> tuple[int, ...]:
    """The window of each block in tokens, 0 where it sees all."""
    blocks, rule = shape.block_count, architecture.windows if architecture else None
    window = keys.count("attention.sliding_window", rule.default) if rule else 0
    if rule is None or not window:
        return (0,) * blocks
    stated = keys.value_of("attention.sliding_window_pattern")
    period = stated if isinstance(stated, int) and not isinstance(stated, bool) else rule.period
    by_period = tuple(int(period == 0 or i % period < period - 1) for i in range(blocks))
    windowed = by_period if period is stated else keys.flags("attention.sliding_window_pattern", blocks, by_period)
    return tuple(window if has else 0 for has in windowed)


def _state_numbers(keys: Keys) -> int:
    inner, state = keys.count("ssm.inner_size", 0), keys.count("ssm.state_size", 0)
    convolved = inner + 2 * keys.count("ssm.group_count", 0) * state
    return max(0, keys.count("ssm.conv_kernel", 0) - 1) * convolved + state * inner
