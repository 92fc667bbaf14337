"""Units as people write them: `32k` tokens, `500M` bytes of a split, GiB on the screen."""

import re

from pennyweight.core.errors import BadRequest

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmM]?)$")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?$")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([gGtT]?)(?:[bB](?:/s)?)?$")
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_tokens(text: str) -> int:
    """`512`, `32k` (= 32,768, as every llama.cpp user means it) → tokens. Raises: BadRequest."""
    match = _COUNT.match(text.strip())
    if not match:
        raise BadRequest(f"{text!r} is not a number of tokens; write 4096 or 32k")
    tokens = float(match[1]) * 1024 ** _POWER[match[2].lower()]
    if tokens != int(tokens) or tokens < 1:
        raise BadRequest(f"{text!r} is {tokens:g} tokens; a whole number of at least 1 is wanted")
    return int(tokens)


def parse_bytes(text: str) -> int:
    """`24GB`, `24G` (powers of 1000, as drives and llama.cpp's split size count) or `24GiB` (1024) → bytes.

    Raises: BadRequest.
    """
    match = _SIZE.match(text.strip())
    if not match:
        raise BadRequest(f"{text!r} is not a size; write 500M, 12GB or 12GiB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWER[match[2].lower()])


def parse_memory(text: str) -> int:
    """Memory of a machine or card → bytes: `12GB`, `12G` and `12GiB` alike are powers of 1024, as memory is sold.

    Raises: BadRequest.
    """
    match = _SIZE.match(text.strip())
    if not match:
        raise BadRequest(f"{text!r} is not a memory size; write 12GB or 512MiB")
    return int(float(match[1]) * 1024 ** _POWER[match[2].lower()])


def parse_rate(text: str) -> float:
    """`360`, `360GB/s`, `1.8TB/s` → bytes per second, in powers of 1000. Raises: BadRequest."""
    match = _RATE.match(text.strip())
    if not match:
        raise BadRequest(f"{text!r} is not a bandwidth; write 360 (GB/s) or 1.8TB/s")
    return float(match[1]) * (1e12 if match[2].lower() == "t" else 1e9)


def show_rate(tokens_per_second: float) -> str:
    """Tokens per second for a person: `795`, `15.3`, `0.12`."""
    value = tokens_per_second
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def show_bytes(count: float) -> str:
    """Bytes for a person, in powers of 1024 and saying so: `4.58 GiB`, `17.0 MiB`, `812 B`."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(count) >= size:
            return f"{count / size:.2f} {unit}" if count / size < 10 else f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def show_seconds(seconds: float) -> str:
    """`31 ms`, `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
