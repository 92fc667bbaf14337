"""Makes tests/golden/whole_files.json with a real llama-quantize: `python -m tests.jobs.make_golden LLAMA_QUANTIZE`.

The golden holds SHA-256 sums of whole files: of each generated input, and of what llama-quantize wrote from it for
every file type, with and without an importance matrix.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pennyweight.recipes.file_types import ALL, RULES_VERSION
from tests.jobs.cases import MODELS, write_matching_imatrix, write_model

GOLDEN = Path(__file__).parent.parent / "golden" / "whole_files.json"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(tool: str) -> None:
    models = {}
    for name in MODELS:
        with tempfile.TemporaryDirectory() as directory:
            models[name] = _sums(tool, name, Path(directory))
    made = {"made_by": f"llama-quantize of {RULES_VERSION}, x86-64", "models": models}
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n")


def _sums(tool: str, name: str, directory: Path) -> dict[str, object]:
    model = write_model(name, directory)
    write_matching_imatrix(model, directory / "imatrix.gguf")
    sums: dict[str, object] = {"input": sha256(model), "plain": {}, "imatrix": {}}
    for file_type in ALL:
        for kind, options in (("plain", []), ("imatrix", ["--imatrix", "imatrix.gguf"])):
            # The path of the matrix is written into the file, so it is given without a directory.
            command = [tool, *options, "model.gguf", "out.gguf", file_type.name]
            done = subprocess.run(command, cwd=directory, capture_output=True, check=False)
            if done.returncode == 0:
                sums[kind][file_type.name] = sha256(directory / "out.gguf")  # type: ignore[index]
    return sums


if __name__ == "__main__":
    main(sys.argv[1])
