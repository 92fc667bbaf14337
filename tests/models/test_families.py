"""The tables of families against llama.cpp's own map of tensor names, and against themselves."""

import gguf
import pytest

from pennyweight.models import families
from pennyweight.models.config import config_from_json
from pennyweight.models.families import OUTPUT, Family, Heads, Part
from tests.checkpoints.tiny_huggingface import BLOCKS, EXPERTS, config

BY_FAMILY = pytest.mark.parametrize("family", families.ALL, ids=lambda family: family.model_type)


def _llama_cpps_map(family: Family) -> gguf.TensorNameMap:
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    return gguf.get_tensor_name_map(architecture, BLOCKS)


@BY_FAMILY
def test_every_plain_name_is_the_one_llama_cpps_converter_gives(family: Family) -> None:
    names = _llama_cpps_map(family)
    for rule in family.tensors:
        for source in rule.sources:
            if "{expert}" in source.name or source.part is not Part.ALL or "experts" in source.name:
                continue
            stored, suffix = source.name.format(block=1).rsplit(".", 1)
            assert f"{names.get_name(stored)}.{suffix}" == rule.name.format(block=1)


@BY_FAMILY
def test_every_canonical_name_is_one_that_llama_cpp_has_for_the_architecture(family: Family) -> None:
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    known = {gguf.TENSOR_NAMES[tensor].replace("{bid}", "{block}") for tensor in gguf.MODEL_TENSORS[architecture]}
    assert {rule.name.rsplit(".", 1)[0] for rule in family.tensors} <= known


@BY_FAMILY
def test_names_are_used_once_and_dimensions_are_known(family: Family) -> None:
    names = [rule.name for rule in family.tensors]
    sources = [(source.name, source.part) for rule in family.tensors for source in rule.sources]
    assert len(set(names)) == len(names)
    assert len(set(sources)) == len(sources)
    found = config_from_json(config(family.model_type))
    for rule in family.tensors:
        assert all(found.dimension(name) > 0 for name in rule.shape), rule.name
        assert len(rule.shape) == (
            1 if rule.name.endswith((".bias", "_norm.weight")) else 3 if "_exps" in rule.name else 2
        )


@BY_FAMILY
def test_only_the_llama_architecture_has_reordered_heads(family: Family) -> None:
    permuted = {rule.name.split(".")[2]: rule.permuted for rule in family.tensors if rule.permuted}
    assert permuted == ({"attn_q": Heads.QUERY, "attn_k": Heads.KEY} if family.architecture == "llama" else {})
    assert family.frequency_factors == (family.architecture == "llama")


def test_families_are_told_apart_by_class_and_only_the_output_is_tied() -> None:
    assert len({family.class_name for family in families.ALL}) == len(families.ALL) == 6
    for family in families.ALL:
        outer = {rule.name: rule.optional for rule in family.tensors if "{block}" not in rule.name}
        assert outer == {"token_embd.weight": False, "output_norm.weight": False, OUTPUT: True}


def test_experts_are_counted_in_sparse_families_only() -> None:
    sparse = {family.model_type for family in families.ALL if family.expert_width_key}
    assert sparse == {"mixtral", "qwen3_moe"}
    assert [config_from_json(config(name)).expert_count for name in ("llama", "mixtral")] == [0, EXPERTS]
