"""Makes tests/golden/imatrix.json with a real llama-imatrix: `python -m tests.evaluation.make_imatrix_golden TOOL`.

For each generated model: every tensor's token counts, and every 64th of the sums that llama-imatrix wrote.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pennyweight.checkpoints.imatrix import read_imatrix
from pennyweight.runtimes.llama_cpp.shared_object import BUILD
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf

GOLDEN = Path(__file__).parent.parent / "golden" / "imatrix.json"
MODELS: dict[str, dict[str, object]] = {
    "dense": {"format": "F32"},
    "experts": {"architecture": "qwen3moe", "experts": 8, "format": "F32"},
}
STRIDE = 64


def main(tool: str) -> None:
    golden: dict[str, object] = {"made_by": f"llama-imatrix of llama.cpp {BUILD}, x86-64", "stride": STRIDE}
    for name, changes in MODELS.items():
        with tempfile.TemporaryDirectory() as directory:
            model = write_tiny_gguf(Path(directory) / "model.gguf", **changes)
            (text := Path(directory) / "text.txt").write_text(TINY_TEXT)
            output = Path(directory) / "imatrix.gguf"
            command = [tool, "-m", model, "-f", text, "-o", output, "-c", "512", "--no-ppl", "-t", "1"]
            subprocess.run(list(map(str, command)), capture_output=True, check=True)
            made = read_imatrix(output)
        golden[name] = {
            "chunks": made.chunk_count,
            "entries": {
                tensor: {"counts": entry.counts.tolist(), "sums": entry.sums.ravel()[::STRIDE].tolist()}
                for tensor, entry in made.entries.items()
            },
        }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
