"""Anatomies from config.json: against the conversion tables, which tests hold against transformers' own models."""

import pytest

from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models import catalogue, families
from pennyweight.models.anatomy import Keeps
from pennyweight.models.describe import anatomy_from_config
from pennyweight.models.tensors import planned_tensors

CONVERTED = [m for m in catalogue.ALL if m.fields["architectures"][0] in {f.class_name for f in families.ALL}]


@pytest.mark.parametrize("model", CONVERTED, ids=lambda model: model.name)
def test_planning_and_conversion_name_the_same_tensors(model: catalogue.PublishedModel) -> None:
    planned = anatomy_from_config(model.fields, name=model.name).tensors
    assert {(t.name, t.shape, t.format) for t in planned} == {
        (t.name, t.shape, t.format) for t in planned_tensors(model.config)
    }
    assert len({t.name for t in planned}) == len(planned)


def test_every_block_of_a_dense_model_keeps_every_token() -> None:
    blocks = anatomy_from_config(catalogue.get("Qwen3-8B").fields, name="Qwen3-8B").blocks
    assert len(blocks) == 36
    assert {(b.keeps, b.key_width, b.value_width) for b in blocks} == {(Keeps.EVERY_TOKEN, 1024, 1024)}


def test_all_missing_fields_are_named_at_once() -> None:
    with pytest.raises(FormatError, match=r"lacks hidden_size, num_attention_heads, .*vocab_size"):
        anatomy_from_config({"architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 2}, name="x")


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="'WhateverForCausalLM' is not one whose tensors are known"):
        anatomy_from_config({"architectures": ["WhateverForCausalLM"]}, name="x")
