"""Makes tests/golden/file_types.json with a real llama-quantize:

    python -m tests.recipes.make_golden LLAMA_QUANTIZE "which build that is"

Every case is written as a GGUF, quantized to every file type with and without an importance matrix, and read back with
the gguf package. The golden keeps what the tool wrote, not what we expect: make it anew when RULES_VERSION moves on.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from pennyweight.recipes.file_types import ALL
from tests.recipes.cases import CASES, LAYOUT_CASE, OPTIONS, Case, Tensor, compact_formats

GOLDEN = Path(__file__).parent.parent / "golden" / "file_types.json"
REFUSED = "requires an importance matrix"
MAMBA_KEYS = ("ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.time_step_rank")
GLM5_NEXT_KEYS = (
    *("attention.key_length_mla", "attention.value_length_mla", "attention.q_lora_rank", "attention.kv_lora_rank"),
    *("kda.head_dim", "expert_feed_forward_length", "expert_shared_count", "attention.indexer.head_count"),
    *("attention.indexer.key_length", "attention.indexer.top_k", "attention.indexer.kpool"),
    *("hyper_connection.count", "hyper_connection.sinkhorn_iterations"),
)
IMATRIX = "im\N{COMBINING DIAERESIS}portance-" * 9 + ".gguf"
"""More than 127 bytes, the 127th inside a letter: what llama-quantize keeps of it stands in the golden."""


def main() -> None:
    """Make the golden."""
    tool, build = str(Path(sys.argv[1]).resolve()), sys.argv[2]
    with tempfile.TemporaryDirectory() as directory:
        golden = {
            "made by": f"tests/recipes/make_golden.py, {date.today()}, with llama-quantize of {build}",
            **make(tool, Path(directory) / "in.gguf"),
        }
    GOLDEN.write_text(json.dumps(golden, indent=0) + "\n", encoding="utf-8")


def make(tool: str, source: Path) -> dict[str, object]:
    """What the tool does to each case, in compact form."""
    formats, options = {}, {}
    for title, case in CASES.items():
        write_model(source, case)
        write_imatrix(source.with_name(IMATRIX), case.tensors())
        formats[title] = dict(each_type(tool, source))
    for title, file_type, given in OPTIONS:
        write_model(source, CASES[title])
        options[f"{title}: {file_type} {' '.join(given)}"] = compact(quantize(tool, source, file_type, given))
    return {"formats": formats, "options": options, "layout": layout(tool, source)}


def each_type(tool: str, source: Path) -> Iterator[tuple[str, str]]:
    """File type → formats, without and with an importance matrix; `same` where that makes no difference."""
    for file_type in ALL:
        plain = compact(quantize(tool, source, file_type.name))
        weighted = compact(quantize(tool, source, file_type.name, ("--imatrix", IMATRIX)))
        yield file_type.name, plain
        yield f"{file_type.name} imatrix", "same" if weighted == plain else weighted


def layout(tool: str, source: Path) -> dict[str, object]:
    """Order of tensors and keys of one file."""
    case = CASES[LAYOUT_CASE]
    write_model(source, case)
    write_imatrix(source.with_name(IMATRIX), case.tensors())
    before = keys_of(GGUFReader(source))
    made = quantize(tool, source, "Q4_K_M", ("--imatrix", IMATRIX))
    assert made
    return {"names": [tensor.name for tensor in made.tensors], "before": before, "after": keys_of(made)}


def quantize(tool: str, source: Path, file_type: str, options: Sequence[str] = ()) -> GGUFReader | None:
    """What the tool makes of `source`; None where it says that an importance matrix is required."""
    command = [tool, *options, source.name, "out.gguf", file_type, "1"]
    run = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, check=False)
    if REFUSED in run.stdout + run.stderr:
        return None
    if run.returncode:
        raise SystemExit(f"{command} failed:\n{run.stdout[-800:]}{run.stderr[-800:]}")
    return GGUFReader(source.with_name("out.gguf"))


def compact(made: GGUFReader | None) -> str:
    """The formats of a file, as `compact_formats` says them."""
    return compact_formats((t.name, t.tensor_type.name) for t in made.tensors) if made else REFUSED


def keys_of(made: GGUFReader) -> list[list[object]]:
    """[key, type, value] in the order of the file; texts as hexadecimal bytes, for not all are whole letters."""
    fields = [field for key, field in made.fields.items() if not key.startswith("GGUF.")]
    return [[f.name, GGUFValueType(f.types[0]).name, _plain(f)] for f in fields]


def _plain(field: object) -> object:
    value = field.parts[field.data[0]]  # type: ignore[attr-defined]
    return bytes(value).hex() if field.types[0] is GGUFValueType.STRING else value[0].item()  # type: ignore[attr-defined]


def write_model(path: Path, case: Case) -> None:
    """The case as a GGUF that llama-quantize accepts: random weights, the keys its loader wants, no vocabulary."""
    rng = np.random.default_rng(0)
    writer, shape = GGUFWriter(path, case.architecture), case.shape
    writer.add_file_type(1)  # not at the end, where llama-quantize moves it
    writer.add_quantization_version(1)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.embedding_length)
    writer.add_block_count(shape.block_count)
    writer.add_feed_forward_length(shape.feed_forward_length)
    writer.add_head_count(shape.head_count)
    writer.add_head_count_kv(list(case.kv_heads) if isinstance(case.kv_heads, tuple) else case.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    if case.experts:
        writer.add_expert_count(shape.expert_count)
        writer.add_expert_used_count(shape.expert_used_count)
    for key in MAMBA_KEYS + GLM5_NEXT_KEYS:
        writer.add_uint32(f"{case.architecture}.{key}", 4)
    writer.add_float32(f"{case.architecture}.hyper_connection.epsilon", 1e-6)
    for tensor in case.tensors():
        weights = rng.standard_normal(tensor.shape).astype(np.float16 if tensor.format == "F16" else np.float32)
        writer.add_tensor(tensor.name, weights)
    _finish(writer)


def write_imatrix(path: Path, tensors: Iterable[Tensor]) -> None:
    """An importance matrix of ones for every tensor, in llama.cpp's GGUF form."""
    writer = GGUFWriter(path, "none")
    writer.kv_data[0].clear()  # an imatrix says no architecture
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["calibration.txt", "more.txt"])
    writer.add_uint32("imatrix.chunk_count", 7)
    writer.add_uint32("imatrix.chunk_size", 512)
    for tensor in tensors:
        matrices = tensor.shape[0] if len(tensor.shape) == 3 else 1
        writer.add_tensor(f"{tensor.name}.in_sum2", np.ones((matrices, tensor.shape[-1]), np.float32))
        writer.add_tensor(f"{tensor.name}.counts", np.ones((matrices, 1), np.float32))
    _finish(writer)


def _finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
