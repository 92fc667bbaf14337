"""The embedded model is what its configuration says, and what every K-quant, mix and runtime can take."""

import json
import re
import struct

import numpy as np
import pytest
from tokenizers import Tokenizer

from pennyweight.models.embedded import EMBEDDED, SURVEY

BOS, EOS, IM_START, IM_END = 0, 1, 2, 3
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_json(name: str) -> dict:
    return json.loads((EMBEDDED / name).read_text(encoding="utf-8"))


def read_header() -> tuple[dict, int, int]:
    """The safetensors header, the offset of its data and the file's size in bytes."""
    with open(EMBEDDED / "model.safetensors", "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        size = file.seek(0, 2)
    header.pop("__metadata__", None)
    return header, 8 + length, size


def expected_shapes(config: dict) -> dict[str, list[int]]:
    """Every tensor a Qwen3 checkpoint of this configuration holds, with its shape (rows, columns)."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {
        "model.embed_tokens.weight": [config["vocab_size"], hidden],
        "model.norm.weight": [hidden],
        "lm_head.weight": [config["vocab_size"], hidden],
    }
    block = {
        "input_layernorm": [hidden],
        "post_attention_layernorm": [hidden],
        "self_attn.q_proj": [queries, hidden],
        "self_attn.k_proj": [keys, hidden],
        "self_attn.v_proj": [keys, hidden],
        "self_attn.o_proj": [hidden, queries],
        "self_attn.q_norm": [head],
        "self_attn.k_norm": [head],
        "mlp.gate_proj": [inner, hidden],
        "mlp.up_proj": [inner, hidden],
        "mlp.down_proj": [hidden, inner],
    }
    for layer in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    return shapes


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))


def test_the_configuration_is_the_promised_small_qwen3() -> None:
    config = read_json("config.json")
    promised = {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "vocab_size": 4096,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 1024,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }
    assert {name: config.get(name) for name in promised} == promised


def test_the_checkpoint_holds_exactly_the_tensors_of_its_configuration() -> None:
    header, _, _ = read_header()
    assert {name: entry["shape"] for name, entry in header.items()} == expected_shapes(read_json("config.json"))


def test_there_are_eight_million_weights_all_in_bfloat16() -> None:
    header, data_start, size_bytes = read_header()
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    weights = sum(int(np.prod(entry["shape"])) for entry in header.values())
    assert weights == 8_393_984
    assert size_bytes == data_start + 2 * weights


def test_every_row_of_every_matrix_is_a_whole_number_of_super_blocks() -> None:
    header, _, _ = read_header()
    ragged = {name: entry["shape"] for name, entry in header.items() if len(entry["shape"]) == 2}
    assert not {name: shape for name, shape in ragged.items() if shape[-1] % 256}


def test_all_weights_are_finite_and_none_of_the_matrices_is_dead() -> None:
    header, data_start, _ = read_header()
    raw = np.fromfile(EMBEDDED / "model.safetensors", dtype=np.uint8)[data_start:]
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        # bfloat16 is the upper half of a float32; NumPy has no such dtype.
        values = (raw[start:end].view("<u2").astype(np.uint32) << 16).view(np.float32)
        assert np.isfinite(values).all(), name
        assert values.std() > 1e-3, name


def test_the_vocabulary_has_4096_entries_with_the_special_ones_first(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size(with_added_tokens=True) == 4096
    specials = ["<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
    assert [tokenizer.token_to_id(token) for token in specials] == [BOS, EOS, IM_START, IM_END]
    assert sorted(tokenizer.get_vocab().values()) == list(range(4096))


def test_every_byte_has_a_token_of_its_own(tokenizer: Tokenizer) -> None:
    merges = read_json("tokenizer.json")["model"]["merges"]
    assert len(tokenizer.get_vocab()) == 4 + 256 + len(merges)


def test_the_pre_tokenizer_is_qwen2s_letter_for_letter() -> None:
    split, byte_level = read_json("tokenizer.json")["pre_tokenizer"]["pretokenizers"]
    assert split["pattern"] == {"Regex": QWEN2_SPLIT}
    assert (split["behavior"], split["invert"]) == ("Isolated", False)
    assert (byte_level["type"], byte_level["add_prefix_space"], byte_level["use_regex"]) == ("ByteLevel", False, False)
    assert read_json("tokenizer.json")["normalizer"] == {"type": "NFC"}


@pytest.mark.parametrize(
    "text",
    [
        "It was the best of times.",
        "Bits per weight: 4.5, i.e. 144 bytes for 256 weights\n\n\tof Q4_K.",
        "“naïve” café — 数字 and 🦙, don't, WE'LL  see   \r\n",
        "\x00\x7f",
        "",
    ],
)
def test_text_survives_a_round_trip_and_begins_with_bos(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert ids[0] == BOS
    assert BOS not in ids[1:]
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode(text, add_special_tokens=False).ids == ids[1:]


def test_the_tokenizer_and_generation_configs_agree_with_the_vocabulary() -> None:
    config = read_json("tokenizer_config.json")
    assert (config["bos_token"], config["eos_token"], config["add_bos_token"]) == ("<|bos|>", "<|eos|>", True)
    assert config["model_max_length"] == read_json("config.json")["max_position_embeddings"]
    assert "<|im_start|>" in config["chat_template"]
    generation = read_json("generation_config.json")
    assert (generation["bos_token_id"], generation["eos_token_id"]) == (BOS, [EOS, IM_END])


def test_the_survey_is_sixty_kilobytes_of_prose_long_enough_for_36_chunks_of_512(tokenizer: Tokenizer) -> None:
    text = SURVEY.read_text(encoding="utf-8")
    assert 57_000 <= len(text.encode()) <= 63_000
    assert text.isascii()
    assert len(tokenizer.encode(text).ids) >= 36 * 512
    assert len(re.findall(r"^## ", text, flags=re.MULTILINE)) >= 20


def test_the_survey_repeats_no_paragraph_and_hardly_a_sentence() -> None:
    text = SURVEY.read_text(encoding="utf-8")
    paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
    assert len(set(paragraphs)) == len(paragraphs)
    sentences = [s for s in re.split(r"(?<=[.?!])\s+", text) if len(s) > 30]
    assert len(set(sentences)) == len(sentences)


def test_no_file_of_the_package_names_a_path_of_the_machine_it_was_made_on() -> None:
    for path in EMBEDDED.iterdir():
        if path.suffix in {".json", ".md"}:
            assert not re.search(r"/(home|root|tmp|work|Users)/", path.read_text(encoding="utf-8")), path.name
