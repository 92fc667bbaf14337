"""Wrong values for tests of what reads JSON: each value of a document, at any depth, replaced by each of a list."""

from collections.abc import Callable, Iterator
from typing import Any

from pennyweight.core.errors import PennyweightError

WRONG = (None, -1, True, "\ud800", [[]], {"a": 1})
_KEYS, _ITEMS = 24, 3  # of each object and each list; a vocabulary's other entries are like its first

Path = tuple[str | int, ...]


def variations(document: Any, wrong: tuple[Any, ...] = WRONG) -> Iterator[tuple[Path, Any, Any]]:
    """(path, value, the document with the value in that place) for every place and every wrong value."""
    for path in _paths(document, ()):
        for value in wrong:
            yield path, value, _replaced(document, path, value)


def refusal(action: Callable[[], object]) -> str | None:
    """What the action's error says, None where it succeeds; any error but ours is passed on, and fails the test."""
    try:
        action()
    except PennyweightError as error:
        return str(error)
    return None


def _paths(node: Any, path: Path) -> Iterator[Path]:
    items: list[tuple[str | int, Any]] = []
    if isinstance(node, dict):
        items = list(node.items())[:_KEYS]
    elif isinstance(node, list):
        items = list(enumerate(node[:_ITEMS]))
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _replaced(node: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    copied = node.copy()
    copied[path[0]] = _replaced(node[path[0]], path[1:], value)
    return copied
