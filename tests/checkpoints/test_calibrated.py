"""Calibrated checkpoints written and read back: the same codes, whatever the layout and the family."""

import json
from pathlib import Path

import numpy as np
import pytest

from pennyweight.checkpoints import layouts
from pennyweight.checkpoints.base import Checkpoint, LazyTensor
from pennyweight.checkpoints.calibrated import packed_modules
from pennyweight.checkpoints.calibrated_writer import WriterOptions, open_writer
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.checkpoints.scheme import Codes
from pennyweight.containers.safetensors import open_safetensors
from pennyweight.core.errors import BadRequest, BadWeights, OutputError
from pennyweight.formats.codes import Float8Codes, IntegerCodes
from tests.checkpoints.nearest_codes import Wish, nearest
from tests.checkpoints.tiny_huggingface import fused_experts, tensors, write_huggingface

CASES = [
    *(("gptq", Wish(bits=bits, group_size=16)) for bits in (2, 4, 8)),
    ("gptq", Wish(bits=4, group_size=0)),
    *(("gptq_v2", Wish(bits=bits, group_size=8, symmetric=False)) for bits in (2, 4, 8)),
    ("awq", Wish(bits=4, group_size=8, symmetric=False)),
    *(("pack-quantized", Wish(bits=bits, group_size=8)) for bits in (2, 3, 4, 5, 8)),
    *(("pack-quantized", Wish(bits=bits, group_size=8, symmetric=False)) for bits in (3, 4, 8)),
    ("pack-quantized", Wish(bits=4, group_size=0)),
    ("int-quantized", Wish()),
    ("float-quantized", Wish()),
    ("float-quantized", Wish(per_tensor=True, input_scale=0.03125)),
    ("bitsandbytes", Wish()),
]


USUAL = Wish()


def linear(tensor: LazyTensor) -> bool:
    return tensor.name.startswith("blk.") and len(tensor.shape) > 1 and "gate_inp" not in tensor.name


def written(
    source: Checkpoint, output: Path, layout: str, wish: Wish = USUAL, **options: int
) -> dict[str, list[Codes]]:
    """Quantize every linear layer of the blocks; canonical name → codes, one for each expert."""
    made: dict[str, list[Codes]] = {}
    with open_writer(layouts.get(layout), output, source, WriterOptions(**options)) as writer:
        for tensor in filter(linear, source.tensors):
            matrices = tensor.read_rows(0, tensor.rows).reshape(-1, *tensor.shape[-2:])
            made[tensor.name] = [nearest(matrix, layout, wish) for matrix in matrices]
            for expert, codes in enumerate(made[tensor.name]):
                writer.write(tensor.name, codes, expert if len(tensor.shape) == 3 else None)
    return made


def decoded(codes: list[Codes]) -> np.ndarray:
    return np.concatenate([matrix.decode() for matrix in codes])


@pytest.mark.parametrize(("layout", "wish"), CASES, ids=lambda case: str(case).removeprefix("Wish"))
def test_what_was_written_reads_back_to_the_bit(layout: str, wish: Wish, tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "llama"))
    made = written(source, tmp_path / "out", layout, wish)
    found = open_huggingface(tmp_path / "out")
    for before, after in zip(source.tensors, found.tensors, strict=True):
        assert before.name == after.name
        expected = decoded(made[before.name]) if before.name in made else before.read_rows(0, before.rows)
        np.testing.assert_array_equal(after.read_rows(0, after.rows), expected, err_msg=before.name)
        if before.name in made:
            assert after.format.startswith(("INT", "FP8")), after.format
            for start, stop in ((0, 1), (3, min(18, after.rows)), (after.rows - 1, after.rows)):
                np.testing.assert_array_equal(after.read_rows(start, stop), expected[start:stop])


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_experts_are_written_one_by_one_and_stacked_again(family: str, tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", family))
    made = written(source, tmp_path / "out", "pack-quantized", Wish(group_size=8), shard_bytes=20_000)
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 2
    for tensor in open_huggingface(tmp_path / "out").tensors:
        if tensor.name in made:
            np.testing.assert_array_equal(tensor.read_rows(0, tensor.rows), decoded(made[tensor.name]))


def test_experts_that_were_fused_come_out_one_by_one(tmp_path: Path) -> None:
    stored = fused_experts(tensors("qwen3_moe"))
    source = open_huggingface(write_huggingface(tmp_path / "source", "qwen3_moe", stored=stored))
    name = "blk.1.ffn_up_exps.weight"
    tensor = next(t for t in source.tensors if t.name == name)
    matrices = tensor.read_rows(0, tensor.rows).reshape(tensor.shape)
    made = [nearest(matrix, "pack-quantized", Wish(group_size=8)) for matrix in matrices]
    with open_writer(layouts.get("pack-quantized"), tmp_path / "out", source) as writer:
        with pytest.raises(BadRequest, match=r"no blk\.1\.ffn_up_exps\.weight to write"):
            writer.write(name, made[0])
        for expert, codes in enumerate(made):
            writer.write(name, codes, expert)
    before = {t.name: t.read_rows(0, t.rows) for t in source.tensors} | {name: decoded(made)}
    for after in open_huggingface(tmp_path / "out").tensors:
        np.testing.assert_array_equal(after.read_rows(0, after.rows), before[after.name], err_msg=after.name)


def test_a_checkpoint_without_codes_is_none(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "llama"))
    with (
        pytest.raises(BadRequest, match="no matrix was quantized"),
        open_writer(layouts.get("awq"), tmp_path / "out", source),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_numbers_given_in_place_of_the_sources_are_written_in_its_dtype(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "llama"))
    folded = np.linspace(1, 2, 32, dtype=np.float32)
    matrix = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    with open_writer(layouts.get("awq"), tmp_path / "out", source) as writer:
        tensor = next(t for t in source.tensors if t.name == "blk.0.attn_k.weight")
        writer.write("blk.0.attn_k.weight", nearest(tensor.read_rows(0, tensor.rows), "awq"))
        writer.write_array("blk.0.attn_norm.weight", folded)
        writer.write_array("blk.0.attn_q.weight", matrix)
    found = {t.name: t for t in open_huggingface(tmp_path / "out").tensors}
    np.testing.assert_array_equal(found["blk.0.attn_norm.weight"].read_rows(0, 1)[0], folded)
    np.testing.assert_array_equal(found["blk.0.attn_q.weight"].read_rows(0, 32), matrix)


def test_the_configuration_names_what_stayed_as_it_was(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "mixtral"))
    written(source, tmp_path / "out", "pack-quantized", Wish(group_size=8))
    said = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    routers = [f"model.layers.{block}.block_sparse_moe.gate" for block in range(2)]
    assert sorted(said["ignore"]) == ["lm_head", *routers]
    assert said["config_groups"]["group_0"]["targets"] == ["Linear"]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "source" / name).read_bytes()


def test_static_activations_are_said_and_their_scale_comes_back(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "llama"))
    written(source, tmp_path / "out", "float-quantized", Wish(per_tensor=True, input_scale=0.03125))
    said = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    inputs, weights = (said["config_groups"]["group_0"][key] for key in ("input_activations", "weights"))
    assert (inputs["dynamic"], inputs["strategy"], weights["strategy"]) == (False, "tensor", "tensor")
    modules = packed_modules(open_safetensors(tmp_path / "out").tensors, said)
    assert len(modules) == 2 * 7
    for module in modules:
        assert module.scheme.static_input
        assert module.scheme.per_tensor
        codes = module.codes(0, 1)
        assert isinstance(codes, Float8Codes)
        assert codes.input_scale == 0.03125


def test_two_schemes_are_two_groups_of_compressed_tensors_and_no_gptq(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "qwen3"))
    some = [t for t in source.tensors if linear(t)][:2]

    def write(layout: str) -> None:
        with open_writer(layouts.get(layout), tmp_path / layout, source) as writer:
            for tensor, bits in zip(some, (4, 8), strict=True):
                matrix = tensor.read_rows(0, tensor.rows)
                writer.write(tensor.name, nearest(matrix, layout, Wish(bits=bits, group_size=8)))

    write("pack-quantized")
    with pytest.raises(BadRequest, match="one scheme for the whole model"):
        write("gptq")
    assert not (tmp_path / "gptq").exists()
    formats = {t.name: t.format for t in open_huggingface(tmp_path / "pack-quantized").tensors}
    assert [formats[t.name] for t in some] == ["INT4_G8", "INT8_G8"]


def test_what_a_layout_cannot_carry_is_refused_with_the_reason(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "llama"))
    tensor = next(t for t in source.tensors if t.name == "blk.0.ffn_up.weight")
    matrix = tensor.read_rows(0, tensor.rows)
    refusals = [
        ("awq", Wish(bits=3), "4-bit integers, not INT3_G16"),
        ("int-quantized", Wish(bits=8), "one scale per row, not INT8_G16"),
        ("float-quantized", Wish(), "FP8 numbers, not INT4_G16"),
        ("gptq", Wish(bits=5), "2, 3, 4 or 8 bits, not INT5_G16"),
        ("gptq", Wish(bits=4, symmetric=False), "zero point of 0 cannot be stored in GPTQ version 1"),
        ("spqr", Wish(), "two-level codes, not INT4_G16"),
    ]
    for layout, wish, why in refusals:
        codes = nearest(np.abs(matrix) if not wish.symmetric else matrix, "pack-quantized", wish)
        with pytest.raises(BadRequest, match=why), open_writer(layouts.get(layout), tmp_path / "out", source) as writer:
            writer.write(tensor.name, codes)
        assert not (tmp_path / "out").exists()
    with open_writer(layouts.get("awq"), tmp_path / "out", source) as writer:
        writer.write(tensor.name, nearest(matrix, "awq"))
        with pytest.raises(BadRequest, match="written already"):
            writer.write(tensor.name, nearest(matrix, "awq"))
        with pytest.raises(BadRequest, match=r"no blk\.7\.ffn_up\.weight to write"):
            writer.write("blk.7.ffn_up.weight", nearest(matrix, "awq"))
        with pytest.raises(BadRequest, match="only linear layers"):
            writer.write("token_embd.weight", nearest(matrix, "awq"))


def test_nothing_is_left_after_an_error_and_nothing_is_written_over(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "llama"))
    tensor = next(t for t in source.tensors if linear(t))
    codes = nearest(tensor.read_rows(0, tensor.rows), "awq")
    assert isinstance(codes, IntegerCodes)
    codes.scale[3, 0] = np.nan
    with pytest.raises(BadWeights, match="NaN"), open_writer(layouts.get("awq"), tmp_path / "out", source) as writer:
        writer.write(tensor.name, codes)
    for scale in (np.nan, np.inf, 0.0, -1.0):
        static = nearest(tensor.read_rows(0, tensor.rows), "float-quantized", Wish(input_scale=scale))
        with (
            pytest.raises(BadWeights, match="activations' scale is"),
            open_writer(layouts.get("float-quantized"), tmp_path / "out", source) as writer,
        ):
            writer.write(tensor.name, static)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    with pytest.raises(OutputError, match="not empty"):
        open_writer(layouts.get("awq"), tmp_path / "source", source)
    (tmp_path / ".out.tmp-dead").mkdir()
    written(source, tmp_path / "out", "awq")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
