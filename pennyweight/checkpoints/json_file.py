"""JSON files of a checkpoint directory: bounded, and a clear line where one is broken."""

import json
from pathlib import Path
from typing import Any

from pennyweight.core.errors import FormatError
from pennyweight.core.units import MIB, show_bytes

MAX_BYTES = 256 * MIB  # the largest tokenizer.json in circulation has about 35


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises: FormatError where the file is too large, is not JSON, or holds no object."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(
                f"{path}: {show_bytes(path.stat().st_size)} of JSON; wanted at most {show_bytes(MAX_BYTES)}"
            )
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(f"{path}: a JSON object is wanted, got {type(found).__name__}")
    return found


def read_json_if_there(path: Path) -> dict[str, Any]:
    """As `read_json`; an absent file is an empty object."""
    return read_json(path) if path.exists() else {}
