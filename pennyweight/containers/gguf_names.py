"""Which GGUF files of a repository are one model of one type, by their names."""

import re
from collections.abc import Iterable

from pennyweight.core.errors import BadRequest, NotThere

_PART = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")


def ggufs(files: Iterable[str]) -> list[str]:
    """The GGUF models among files, sorted; vision projectors (mmproj) are none."""
    return sorted(f for f in files if f.endswith(".gguf") and "mmproj" not in f)


def of_type(files: Iterable[str], file_type: str, repository: str) -> list[str]:
    """The one GGUF model of `file_type` among a repository's files: its file, or the parts of a split one, in order.

    Raises: NotThere where there is none; BadRequest where there is more than one.
    """
    # TYPE stands alone in the name: F16 is not BF16, Q4_K not Q4_K_M.
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(file_type)}(?![A-Za-z0-9_])", re.IGNORECASE)
    offered = ggufs(files)
    found = [f for f in offered if word.search(f.rpartition("/")[2])]
    models = {_PART.sub("", f) for f in found}
    if len(models) != 1:
        which = f"{len(models)} GGUFs" if models else "no GGUF"
        kind = BadRequest if models else NotThere
        raise kind(
            f"{repository} has {which} of type {file_type}: {', '.join(sorted(models) or offered) or 'none at all'}"
        )
    return found
