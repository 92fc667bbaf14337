"""MODEL, as a user writes it → a checkpoint: `embedded`, a .gguf, a directory, `user/repo`, `hf.co/user/repo:TYPE`."""

import logging
import re
from pathlib import Path

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.gguf import open_gguf_checkpoint
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.containers.gguf_names import of_type
from pennyweight.core.errors import BadRequest, PennyweightError
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
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path
    if path.exists():
        raise BadRequest(f"{model} is neither a .gguf file nor a Hugging Face checkpoint directory")
    repository = _REPOSITORY.match(model)
    if path.suffix == ".gguf" or not repository or model.startswith((".", "/", "~")):
        raise BadRequest(
            f"no model at {model!r}; wanted `embedded`, a .gguf file, a checkpoint directory, user/repo or "
            "hf.co/user/repo:Q4_K_M"
        )
    return _download(repository[1], repository[2])


def _download(repository: str, file_type: str | None) -> Path:
    """Fetch a whole checkpoint, or of a GGUF repository the files of one type; a broken download resumes."""
    from huggingface_hub import HfApi, snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry; ours is one line at the end
    try:
        ggufs = of_type(HfApi().list_repo_files(repository), file_type, repository) if file_type else []
        # Never *.bin or *.pt: those are pickles, which run code when loaded.
        patterns = ggufs if file_type else ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
        directory = Path(snapshot_download(repository, allow_patterns=patterns))
    except PennyweightError:
        raise
    except Exception as error:  # the hub's own errors, and whatever its HTTP client of the day raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(f"cannot fetch {repository}: {reason}") from error
    return directory / ggufs[0] if file_type else directory
