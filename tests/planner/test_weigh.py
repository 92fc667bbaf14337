"""Footprints of catalogue models against logs of llama.cpp and published counts."""

from pathlib import Path

import pytest

from pennyweight.core.units import MIB
from pennyweight.models import catalogue
from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.footprint import Family, Footprint, place
from pennyweight.planner.kv import kv_by_block, kv_bytes
from pennyweight.planner.request import Settings
from pennyweight.planner.resolve import from_catalogue, resolve
from pennyweight.planner.sizes import sized_tensors, total_bytes
from pennyweight.planner.weigh import graph_shape, weigh
from pennyweight.recipes.file_types import get_file_type
from tests.models.tiny_configs import CONFIGS, write_planned_gguf
from tests.planner.reads import reads_per_token


def footprint(name: str, file_type: str, settings: Settings) -> Footprint:
    anatomy = from_catalogue(name)
    tensors = sized_tensors(anatomy, get_file_type(file_type))
    return weigh(anatomy, tensors, kv_by_block(anatomy, settings), settings)


def test_llama_3_8b_lies_on_the_card_as_its_log_says() -> None:
    # XiongjieDai's logs: CUDA0 buffer 4403.49 MiB, CPU buffer 281.81 MiB, KV 1024 MiB at 8192 tokens
    made = footprint("Llama-3.1-8B", "Q4_K_M", Settings(context=8192))
    placement = place(made)
    assert placement.card_weights / MIB == pytest.approx(4403.49, abs=0.02)
    assert placement.host_weights / MIB == pytest.approx(281.81, abs=0.02)
    assert placement.card_cache == 1024 * MIB


def test_llama_2_7b_float16_lies_on_the_card_as_its_log_says() -> None:
    made = footprint("Llama-2-7B", "F16", Settings(context=512))
    assert place(made).card_weights / MIB == pytest.approx(12603.02, abs=0.02)
    assert made.cache == 256 * MIB


def test_a_token_of_qwen3_30b_a3b_reads_a_tenth_of_it() -> None:
    made = footprint("Qwen3-30B-A3B", "Q4_K_M", Settings(context=4096))
    assert made.parameters_used == pytest.approx(3.3e9 - 0.31e9, rel=0.02), "3.3 billion active, less the embedding"
    assert 0.09 < made.read / made.weights < 0.12
    assert (made.expert_count, made.expert_used) == (128, 8)


def test_a_block_is_recurrent_where_a_state_and_a_feed_forward_are_in_it() -> None:
    made = footprint("Qwen3-Coder-Next", "Q4_K_M", Settings(context=4096))
    assert [block.recurrent for block in made.blocks] == [i % 4 != 3 for i in range(48)], "full_attention_interval 4"
    mixers_alone = footprint("Nemotron-3-Nano-30B-A3B-BF16", "Q4_K_M", Settings(context=4096))
    assert any(block.state for block in mixers_alone.blocks)
    assert not any(block.recurrent for block in mixers_alone.blocks)


def test_a_tied_output_is_read_and_lies_on_the_card() -> None:
    made = footprint("Llama-3.2-1B", "Q4_K_M", Settings(context=4096))
    assert made.tied
    assert made.output > made.embedding > 0
    assert made.read == made.output + sum(block.weights for block in made.blocks)


def test_the_families_of_a_k_quant_are_what_its_tensors_have() -> None:
    shares = dict(footprint("Llama-3.1-8B", "Q4_K_M", Settings(context=4096)).shares)
    assert shares[Family.K] > 0.99
    assert sum(shares.values()) == pytest.approx(1)
    assert dict(footprint("Llama-3.1-8B", "Q8_0", Settings(context=4096)).shares)[Family.Q8_0] > 0.99


def test_depth_reads_what_the_cache_holds() -> None:
    settings = Settings(context=8192, key_type="Q8_0", value_type="Q8_0")
    made = footprint("Qwen3-8B", "Q4_K_M", settings)
    assert made.depth_read(8192) == made.cache == 36 * 8 * 128 * 2 * 8192 * 34 // 32
    assert made.cache_family is Family.Q8_0


def test_a_graph_has_the_widths_of_its_model() -> None:
    anatomy = from_catalogue("Llama-3.1-8B")
    graph = graph_shape(anatomy, footprint("Llama-3.1-8B", "Q4_K_M", Settings(context=512)))
    assert (graph.vocabulary, graph.width, graph.feed_forward) == (128_256, 4096, 14_336)
    assert (graph.heads, graph.kv_heads, graph.head_length, graph.expert_used) == (32, 8, 128, 0)


@pytest.mark.parametrize("name", [model.name for model in catalogue.ALL])
def test_every_byte_of_every_published_model_is_weighed_once(name: str) -> None:
    anatomy, settings = from_catalogue(name), Settings(context=4096)
    tensors = sized_tensors(anatomy, None if anatomy.file_type else get_file_type("Q8_0"))
    made = weigh(anatomy, tensors, kv_by_block(anatomy, settings), settings)
    shown = sum(tensor.nbytes for tensor in tensors if tensor.name == "token_embd.weight") * made.tied
    assert made.weights == total_bytes(tensors) + shown, "a tied embedding lies on the card as well"
    reads = reads_per_token(anatomy, tensors)
    assert made.read == pytest.approx(reads.per_token, rel=1e-6)
    assert made.cache == kv_bytes(anatomy, settings)


@pytest.mark.parametrize("title", ["qwen35", "qwen35moe"])
def test_a_draft_head_in_a_file_takes_no_memory_and_no_time(title: str, tmp_path: Path) -> None:
    plain, drafting = (
        resolve(str(write_planned_gguf(tmp_path / f"{head}.gguf", CONFIGS[title], with_draft=head)))
        for head in (False, True)
    )
    sizes, weighed = zip(*((total_bytes(sized_tensors(a)), _weighed(a)) for a in (plain, drafting)), strict=True)
    assert sizes[1] > sizes[0]
    assert (weighed[1].weights, weighed[1].read) == (weighed[0].weights, weighed[0].read)
    assert [block.idle for block in weighed[1].blocks] == [False] * len(plain.blocks) + [True]


def _weighed(anatomy: Anatomy) -> Footprint:
    settings = Settings(context=4096)
    return weigh(anatomy, sized_tensors(anatomy), kv_by_block(anatomy, settings), settings)
