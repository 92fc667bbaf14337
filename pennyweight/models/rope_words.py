"""How a model's positions are stretched already, in words: for a note where a context is longer than that."""

from collections.abc import Mapping
from typing import Any

from pennyweight.models.shape import Keys

_NAMES = ("factor", "original_max_position_embeddings")


def scaling_in_words(config: Mapping[str, Any]) -> str:
    """`yarn ×4 from 32768 tokens`, from the rope options of a config.json; empty where there are none or odd ones."""
    inner = config.get("text_config")
    levels = [inner, config] if isinstance(inner, dict) else [config]
    options = next((o for c in levels for o in (c.get("rope_parameters"), c.get("rope_scaling")) if o), None)
    if not isinstance(options, dict):
        return ""
    kind = options.get("rope_type", options.get("type"))
    return _say(kind, *(options.get(name) for name in _NAMES))


def scaling_of_keys(keys: Keys) -> str:
    """The same from the keys of a GGUF file."""
    kind, factor = keys.value_of("rope.scaling.type"), keys.value_of("rope.scaling.factor")
    return _say(kind, factor, keys.value_of("rope.scaling.original_context_length"))


def _say(kind: Any, factor: Any, original: Any) -> str:
    if not isinstance(kind, str) or kind in ("default", "none") or not kind.isprintable():
        return ""
    times = f" ×{factor:g}" if isinstance(factor, int | float) and not isinstance(factor, bool) else ""
    start = f" from {original} tokens" if isinstance(original, int) and not isinstance(original, bool) else ""
    return f"{kind[:20]}{times}{start}"
