"""Exact bytes of tensors: against published files, and against what llama-quantize made of small models."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pennyweight.core.errors import BadRequest
from pennyweight.models import catalogue
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.kv import kv_by_block
from pennyweight.planner.request import Settings
from pennyweight.planner.resolve import resolve
from pennyweight.planner.sizes import bits_per_weight, sized_tensors, total_bytes
from pennyweight.recipes.assign import assign
from pennyweight.recipes.file_types import ALL, get_file_type
from tests.models.tiny_configs import CONFIGS, tiny_anatomy
from tests.recipes.cases import compact_formats
from tests.tiny_gguf import write_tiny_gguf

REFUSED = "requires an importance matrix"
QUANTIZABLE = [title for title in CONFIGS if tiny_anatomy(title).file_type is None]

PUBLISHED = (
    ("Qwen3-8B", "Q4_K_M", 5_027_783_488, "Qwen/Qwen3-8B-GGUF"),
    ("Qwen3-14B", "Q4_K_M", 9_001_752_960, "Qwen/Qwen3-14B-GGUF"),
    ("Meta-Llama-3-8B", "Q4_K_M", 4_920_734_272, "bartowski/Meta-Llama-3-8B-Instruct-GGUF"),
    ("Llama-3.2-3B", "Q4_K_M", 2_019_377_696, "bartowski/Llama-3.2-3B-Instruct-GGUF"),
    ("gemma-3-4b", "Q4_K_M", 2_489_757_856, "ggml-org/gemma-3-4b-it-GGUF"),
    ("Qwen3.5-9B", "Q6_K", 7_359_259_040, "lmstudio-community/Qwen3.5-9B-GGUF"),
    ("Qwen3.6-35B-A3B", "Q4_K_M", 21_166_757_728, "lmstudio-community/Qwen3.6-35B-A3B-GGUF"),
)
"""Model, type, bytes of the whole file, repository on the Hugging Face Hub: of models whose mix has not changed since.
(A fused QKV has: Phi files of before 2026 are larger.)"""


@cache
def golden() -> dict[str, Any]:
    """What llama-quantize made of each small model; the file says which build and who ran it."""
    return json.loads((Path(__file__).parent.parent / "golden" / "planned_types.json").read_text(encoding="utf-8"))


def test_qwen3_8b_q4_k_m_to_the_byte_of_its_tensors() -> None:
    tensors = sized_tensors(resolve("Qwen3-8B"), get_file_type("Q4_K_M"))
    assert total_bytes(tensors) == 5_021_827_072
    assert round(bits_per_weight(tensors), 2) == 4.9


@pytest.mark.parametrize(("name", "file_type", "file_bytes", "repository"), PUBLISHED)
def test_a_published_file_is_its_tensors_and_a_vocabulary(
    name: str, file_type: str, file_bytes: int, repository: str
) -> None:
    tensors = sized_tensors(resolve(name), get_file_type(file_type))
    rest = file_bytes - total_bytes(tensors)
    # 20 to 65 bytes for each token (its text, its merge or score, its type), some 60 bytes for each tensor.
    assert 20 < rest / resolve(name).shape.vocabulary_size < 65, (repository, rest)


LOADED = (
    ("Qwen3.5-4B", "Q8_0", 4_471_435_264),
    ("Qwen3.6-27B", "Q4_K_M", 16_536_406_016),
    ("Qwen3.6-35B-A3B", "Q4_K_M", 21_155_768_832),
)
"""Model, type, bytes of its tensors as llama-server's `/v1/models` or llama-bench said them of a published file."""


@pytest.mark.parametrize(("name", "file_type", "nbytes"), LOADED)
def test_llama_cpp_counts_as_many_bytes_in_a_published_file(name: str, file_type: str, nbytes: int) -> None:
    assert total_bytes(sized_tensors(resolve(name), get_file_type(file_type))) == nbytes


MARCH_2026 = (
    ("Qwen3.5-2B", 1_270_808_032),
    ("Qwen3.5-4B", 2_707_513_696),
    ("Qwen3.5-9B", 5_627_044_256),
    ("Qwen3.5-35B-A3B", 21_169_116_992),
)
"""lmstudio-community's Q4_K_M files, made with llama.cpp b8185, which chose other layers for more bits."""


@pytest.mark.parametrize(("name", "file_bytes"), MARCH_2026)
def test_an_older_mix_of_a_hybrid_is_three_thousandths_off_at_most(name: str, file_bytes: int) -> None:
    planned = total_bytes(sized_tensors(resolve(name), get_file_type("Q4_K_M"))) + VOCABULARY_OF_QWEN35
    assert planned == pytest.approx(file_bytes, rel=0.003)


VOCABULARY_OF_QWEN35 = 7_359_259_040 - 7_348_291_584
"""Bytes of a GGUF beside its tensors: Qwen3.5-9B in Q6_K, a mix that did not change."""

UNSLOTH = (
    ("Qwen3.5-0.8B", 12, 0.812),
    ("Qwen3.5-2B", 12, 2.0),
    ("Qwen3.5-4B", 32, 4.5),
    ("Qwen3.5-9B", 32, 9.5),
    ("Qwen3.5-27B", 64, 28.6),
    ("Qwen3.5-35B-A3B", 20, 36.9),
    ("Qwen3.5-122B-A10B", 24, 129.9),
    ("Qwen3.5-397B-A17B", 30, 421.5),
)
"""Model, MiB of cache for 1024 tokens, GB of the Q8_0 file: ggml-org/Llama-macOS pull request 63."""


@pytest.mark.parametrize(("name", "mib", "gigabytes"), UNSLOTH)
def test_qwen35_is_as_large_and_keeps_as_much_as_a_catalogue_of_llama_cpp_says(
    name: str, mib: int, gigabytes: float
) -> None:
    anatomy = resolve(name)
    nbytes = total_bytes(sized_tensors(anatomy, get_file_type("Q8_0"))) + VOCABULARY_OF_QWEN35
    assert nbytes / 1e9 == pytest.approx(gigabytes, abs=0.0005 if gigabytes < 1 else 0.05)
    cache = [block.attention for block in kv_by_block(anatomy, Settings(context=1024))]
    assert sum(cache) == mib << 20
    assert sum(map(bool, cache)) == len(cache) // 4, "only the blocks that attend"


@pytest.mark.parametrize(("name", "file_bytes"), [("gpt-oss-20b", 12_109_566_560)])
def test_gpt_oss_is_planned_as_the_file_that_is_published(name: str, file_bytes: int) -> None:
    anatomy = resolve(name)
    assert anatomy.file_type == "MXFP4_MOE"
    # ggml-org/gpt-oss-20b-GGUF, gpt-oss-20b-mxfp4.gguf
    assert 20 < (file_bytes - total_bytes(sized_tensors(anatomy))) / anatomy.shape.vocabulary_size < 70


def test_two_files_of_one_vocabulary_have_the_same_rest() -> None:
    rests = {
        name: file_bytes - total_bytes(sized_tensors(resolve(name), get_file_type(file_type)))
        for name, file_type, file_bytes, _ in PUBLISHED
    }
    # 44 more tensors of about 60 bytes each in the header, nothing else.
    assert abs(rests["Qwen3-14B"] - rests["Qwen3-8B"]) < 44 * 80


@pytest.mark.parametrize("title", QUANTIZABLE)
def test_every_architectures_tensors_become_what_llama_quantize_made_of_them(title: str) -> None:
    anatomy, expected = tiny_anatomy(title), golden()["formats"][title]
    for file_type in ALL:
        if file_type.is_quantized and expected[file_type.name] != REFUSED:
            made = assign(anatomy.tensors, anatomy.shape, file_type)
            assert compact_formats((a.name, a.format) for a in made) == expected[file_type.name], file_type.name


def test_the_golden_covers_every_architecture_and_type() -> None:
    types = {file_type.name for file_type in ALL if file_type.is_quantized}
    assert {title: set(made) for title, made in golden()["formats"].items()} == dict.fromkeys(QUANTIZABLE, types)


def test_an_existing_quantized_file_is_planned_as_it_is(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", format="Q8_0")
    anatomy = resolve(str(path))
    with pytest.raises(BadRequest, match="is Q8_0 already"):
        sized_tensors(anatomy, get_file_type("Q4_K_M"))
    assert {t.format for t in sized_tensors(anatomy)} == {"F32", "Q8_0"}


@pytest.mark.slow
def test_every_model_of_the_catalogue_has_a_size_in_every_type() -> None:
    for model in catalogue.ALL:
        anatomy = anatomy_from_config(model.fields, name=model.name)
        if anatomy.file_type:  # published quantized, as gpt-oss is
            continue
        sizes = {t.name: total_bytes(sized_tensors(anatomy, t)) for t in ALL if t.is_quantized}
        assert sizes["Q2_K"] < sizes["Q4_K_M"] <= sizes["Q5_K_M"] <= sizes["Q6_K"] <= sizes["Q8_0"], model.name
