"""Shapes from GGUF metadata of any architecture, with llama.cpp's defaults."""

from typing import Any

import pytest

from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.core.errors import FormatError
from pennyweight.models.shape import shape_from_metadata

NEEDED = {"block_count": 3, "context_length": 128, "embedding_length": 64}


def metadata(architecture: str = "falcon", **keys: Any) -> dict[str, GGUFValue]:
    """Architecture keys, `__` for a dot; lists become arrays; None removes a key."""
    found = {"general.architecture": GGUFValue.scalar(ValueType.STRING, architecture)}
    for key, value in (NEEDED | keys).items():
        name = f"{architecture}.{key.replace('__', '.')}"
        if isinstance(value, list):
            found[name] = GGUFValue.array(ValueType.INT32, value)
        elif value is not None:
            found[name] = GGUFValue.scalar(ValueType.STRING if isinstance(value, str) else ValueType.INT32, value)
    return found


def test_absent_keys_default_as_in_llama_cpp() -> None:
    shape = shape_from_metadata(metadata(attention__head_count=4))
    assert (shape.head_count, shape.head_count_kv, shape.head_counts_kv) == (4, 4, (4, 4, 4))
    assert (shape.key_length, shape.value_length) == (16, 16)
    assert (shape.expert_count, shape.expert_used_count, shape.feed_forward_length) == (0, 0, 0)
    assert (shape.vocabulary_size, shape.name, shape.architecture) == (0, "", "falcon")


def test_a_model_without_attention_has_heads_of_no_length() -> None:
    shape = shape_from_metadata(metadata("mamba"))
    assert (shape.head_count, shape.head_count_kv, shape.key_length) == (0, 0, 0)


def test_counts_may_differ_by_block() -> None:
    keys = metadata(attention__head_count=8, attention__head_count_kv=[0, 2, 4], feed_forward_length=[96, 0, 128])
    shape = shape_from_metadata(keys)
    assert shape.head_counts_kv == (0, 2, 4)
    assert shape.feed_forward_lengths == (96, 0, 128)
    assert shape.feed_forward_length == 96


def test_the_vocabulary_is_counted_where_no_key_says_its_size() -> None:
    keys = metadata()
    keys["tokenizer.ggml.tokens"] = GGUFValue.array(ValueType.STRING, ["a", "b"])
    assert shape_from_metadata(keys).vocabulary_size == 2
    assert shape_from_metadata(keys | metadata(vocab_size=320)).vocabulary_size == 320


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"block_count": None}, r"falcon\.block_count is missing"),
        ({"block_count": 0}, "block_count is 0; wanted 1 to 512"),
        ({"block_count": 1 << 30}, "block_count is 1073741824; wanted 1 to 512"),
        ({"embedding_length": -4}, "embedding_length is -4"),
        ({"context_length": "long"}, "context_length is 'long'"),
        ({"attention__head_count": [4, 4]}, "head_count has 2 values of int32; wanted 3"),
        ({"attention__head_count": "four"}, "head_count is 'four'"),
        ({"attention__head_count": -4}, "head_count is -4"),
        ({"attention__head_count": [4, 4, -4]}, "head_count has 3 values of int32; wanted 3 counts, none below 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(FormatError, match=line):
        shape_from_metadata(metadata(**keys))


def test_metadata_without_an_architecture_are_refused() -> None:
    with pytest.raises(FormatError, match=r"general\.architecture is None"):
        shape_from_metadata({})
    strings = metadata() | {"falcon.feed_forward_length": GGUFValue.array(ValueType.STRING, ["a", "b", "c"])}
    with pytest.raises(FormatError, match=r"feed_forward_length is StringArray"):
        shape_from_metadata(strings)
