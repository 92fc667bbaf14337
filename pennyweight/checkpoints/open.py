"""MODEL, as a user writes it → a checkpoint: `embedded`, a .gguf, a directory, `user/repo`, `hf.co/user/repo:TYPE`."""

import re
from pathlib import Path

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.gguf import open_gguf_checkpoint
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.core.errors import BadRequest
from pennyweight.models.catalogue import find
from pennyweight.models.embedded import EMBEDDED

_REPOSITORY = re.compile(r"(?:https://)?(?:hf\.co/|huggingface\.co/)?([\w.-]+/[\w.-]+?)(?::([\w-]+))?$")


def open_checkpoint(model: str) -> Checkpoint:
    """Open MODEL. Local files are read lazily, by position; a repository is downloaded first (resumed, checksummed).

    Raises:
        BadRequest: nothing of that name here, and it is not a repository's name either.
        FormatError, UnsupportedModel: what is there cannot be read.
    """
    path = local_path(model)
    if path.suffix == ".gguf":
        return open_gguf_checkpoint(path)
    return open_huggingface(path)


def local_path(model: str) -> Path:
    """The file or directory of MODEL on this machine; a repository is downloaded into the Hugging Face cache."""
    if model == "embedded":
        return EMBEDDED
    path = Path(model)
    if (model and path.is_dir()) or (path.is_file() and path.suffix == ".gguf"):
        return path
    if model and path.exists():
        raise BadRequest(f"{model} is neither a .gguf file nor a Hugging Face checkpoint directory")
    repository = _REPOSITORY.match(model)
    if "/" not in model and (known := find(model)):
        raise BadRequest(
            f"{model} is a published name and no file; hf.co/{known.repository}-GGUF:Q4_K_M is one where its publisher "
            f"made it, {known.repository} the unquantized checkpoint; `pennyweight plan {model}` says which type fits"
        )
    if path.suffix == ".gguf" or not repository or model.startswith((".", "/", "~")):
        raise BadRequest(
            f"no model at {model!r}; wanted `embedded`, a .gguf file, a checkpoint directory, user/repo or "
            "hf.co/user/repo:Q4_K_M"
        )
    from pennyweight.checkpoints.download import download

    return download(repository[1], repository[2])
