"""Makes tests/golden/planned_types.json with a real llama-quantize:

    python -m tests.recipes.make_planned_golden LLAMA_QUANTIZE "which build that is"

A small model of every architecture that is planned (`tests.models.tiny_configs`) is quantized to every file type that
needs no importance matrix, and read back with the gguf package: the golden keeps what the tool wrote.
"""

import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from gguf import GGUFReader

from pennyweight.recipes.file_types import ALL
from tests.models.tiny_configs import CONFIGS, tiny_anatomy, write_planned_gguf
from tests.recipes.cases import compact_formats
from tests.recipes.make_golden import REFUSED

GOLDEN = Path(__file__).parent.parent / "golden" / "planned_types.json"


def main() -> None:
    """Make the golden."""
    tool, build = str(Path(sys.argv[1]).resolve()), sys.argv[2]
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "in.gguf"
        formats = {}
        for title, config in CONFIGS.items():
            if tiny_anatomy(title).file_type:  # stored in its quantized type already
                continue
            write_planned_gguf(source, config)
            formats[title] = {t.name: quantized(tool, source, t.name) for t in ALL if t.is_quantized}
    golden = {
        "made by": f"tests/recipes/make_planned_golden.py, {date.today()}, with llama-quantize of {build}",
        "formats": formats,
    }
    GOLDEN.write_text(json.dumps(golden, indent=0) + "\n", encoding="utf-8")


def quantized(tool: str, source: Path, file_type: str) -> str:
    """The formats the tool gives each tensor, in compact form; `REFUSED` where it wants an importance matrix."""
    command = [tool, source.name, "out.gguf", file_type, "1"]
    run = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, check=False)
    if REFUSED in run.stdout + run.stderr:
        return REFUSED
    if run.returncode:
        raise SystemExit(f"{command} failed:\n{run.stdout[-800:]}{run.stderr[-800:]}")
    made = GGUFReader(source.with_name("out.gguf"))
    return compact_formats((tensor.name, tensor.tensor_type.name) for tensor in made.tensors)


if __name__ == "__main__":
    main()
