"""The catalogue: shapes that add up to the published numbers of parameters, to the last one."""

import pytest

from pennyweight.core.errors import UnknownName, UnsupportedModel
from pennyweight.models import catalogue
from pennyweight.models.describe import anatomy_from_config, weights_and_type
from pennyweight.models.families import ALL as CONVERTED_FAMILIES

_A3B = 30_532_122_624
_NEXT = 79_674_391_296
_QWEN35_27B = 26_895_998_464
_QWEN35_A3B = 34_660_610_688
_SEVENTY = 70_553_706_496
_V3 = 671_026_419_200

PARAMETERS = {
    "Qwen3-0.6B": 596_049_920,
    "Qwen3-1.7B": 1_720_574_976,
    "Qwen3-4B": 4_022_468_096,
    "Qwen3-4B-Instruct-2507": 4_022_468_096,
    "Qwen3-8B": 8_190_735_360,
    "Qwen3-14B": 14_768_307_200,
    "Qwen3-32B": 32_762_123_264,
    "Qwen3-30B-A3B": _A3B,
    "Qwen3-30B-A3B-Instruct-2507": _A3B,
    "Qwen3-Coder-30B-A3B-Instruct": _A3B,
    "Qwen3-235B-A22B": 235_093_634_560,
    "Qwen3-235B-A22B-Instruct-2507": 235_093_634_560,
    "Qwen3-Coder-480B-A35B-Instruct": 480_154_875_392,
    "Qwen3-Next-80B-A3B-Instruct": _NEXT,
    "Qwen3-Coder-Next": _NEXT,
    "Qwen3.5-0.8B": 752_393_024,
    "Qwen3.5-2B": 1_881_825_088,
    "Qwen3.5-4B": 4_205_751_296,
    "Qwen3.5-9B": 8_953_803_264,
    "Qwen3.5-27B": _QWEN35_27B,
    "Qwen3.6-27B": _QWEN35_27B,
    "Qwen3.8-27B": _QWEN35_27B,
    "Qwen3.5-35B-A3B": _QWEN35_A3B,
    "Qwen3.6-35B-A3B": _QWEN35_A3B,
    "Qwen3.5-122B-A10B": 122_111_526_912,
    "Qwen3.5-397B-A17B": 396_346_350_336,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-3B": 3_085_938_688,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen2.5-14B": 14_770_033_664,
    "Qwen2.5-32B": 32_763_876_352,
    "Qwen2.5-72B": 72_706_203_648,
    "Qwen2.5-Coder-7B": 7_615_616_512,
    "Qwen2.5-Coder-14B": 14_770_033_664,
    "Qwen2.5-Coder-32B": 32_763_876_352,
    "QwQ-32B": 32_763_876_352,
    "Meta-Llama-3-8B": 8_030_261_248,
    "Meta-Llama-3-70B": _SEVENTY,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-70B": _SEVENTY,
    "Llama-3.1-405B": 405_853_388_800,
    "Llama-3.2-1B": 1_235_814_400,
    "Llama-3.2-3B": 3_212_749_824,
    "Llama-3.3-70B-Instruct": _SEVENTY,
    "Llama-2-7B": 6_738_415_616,
    "Llama-2-13B": 13_015_864_320,
    "Llama-2-70B": 68_976_648_192,
    "Mistral-7B-v0.1": 7_241_732_096,
    "Mistral-7B-v0.3": 7_248_023_552,
    "Mistral-Nemo": 12_247_782_400,
    "Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "Mixtral-8x7B": 46_702_792_704,
    "Mixtral-8x22B": 140_620_634_112,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-270m": 268_098_176,
    "gemma-3-1b-it": 999_885_952,
    "gemma-3-4b": 3_880_099_328,
    "gemma-3-12b": 11_765_788_416,
    "gemma-3-27b": 27_009_002_240,
    "Phi-3-mini-4k-instruct": 3_821_079_552,
    "Phi-3-medium-4k-instruct": 13_960_238_080,
    "Phi-3.5-mini-instruct": 3_821_079_552,
    "phi-4": 14_659_507_200,
    "Phi-4-mini-instruct": 3_836_021_760,
    "Phi-3.5-MoE-instruct": 41_873_153_344,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "DeepSeek-V2-Lite": 15_706_484_224,
    "DeepSeek-V2": 235_741_434_880,
    "DeepSeek-V3": _V3,
    "DeepSeek-V3.1": _V3,
    "DeepSeek-R1": _V3,
    "GLM-4-9B-0414": 9_400_279_040,
    "GLM-4.5-Air": 106_852_251_264,
    "OLMo-2-0425-1B": 1_484_916_736,
    "OLMo-2-1124-7B": 7_298_617_344,
    "OLMo-2-1124-13B": 13_716_198_400,
    "OLMo-2-0325-32B": 32_234_279_936,
    "granite-4.0-h-micro": 3_191_396_096,
    "granite-4.0-h-tiny": 6_939_037_248,
    "granite-4.0-h-small": 32_207_337_984,
    "Nemotron-Nano-9B-v2": 8_888_227_328,
    # Published without the correction of its routers, 23 blocks of 128, which are buffers there: 31,577,937,344.
    "Nemotron-3-Nano-30B-A3B-BF16": 31_577_937_344 + 23 * 128,
}
"""Parameters as the publishers' safetensors count them, or llama.cpp's loader where they hold more (a vision tower, a
draft head); a tied output counted once. Gemma 3 as llama.cpp's converter cuts its vocabulary, to 262,144."""


def test_every_model_has_a_published_count_to_be_checked_against() -> None:
    assert {model.name for model in catalogue.ALL} == set(PARAMETERS)
    assert len(catalogue.ALL) == len(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_tensors_add_up_to_the_published_number_of_parameters(name: str) -> None:
    tensors = anatomy_from_config(catalogue.get(name).fields, name=name).tensors
    # Rope factors are numbers of the config, which the converter stores as tensors.
    assert sum(tensor.weights for tensor in tensors if not tensor.name.startswith("rope_")) == PARAMETERS[name]


@pytest.mark.parametrize("model", catalogue.ALL, ids=lambda model: model.name)
def test_counting_blocks_that_are_alike_gives_the_weights_of_all_tensors(model: catalogue.PublishedModel) -> None:
    anatomy = anatomy_from_config(model.fields, name=model.name)
    assert weights_and_type(model.fields) == (sum(t.weights for t in anatomy.tensors), anatomy.file_type)


def test_a_model_is_found_by_name_or_repository_in_any_case() -> None:
    assert catalogue.get("qwen3-8b") is catalogue.get("Qwen/Qwen3-8B")
    assert catalogue.get("mixtral-8x7b").repository == "mistralai/Mixtral-8x7B-v0.1"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Llama-3.1-8B-Instruct", "Llama-3.1-8B"),
        ("gemma-3-12b-it", "gemma-3-12b"),
        ("llama-2-7b-chat-hf", "Llama-2-7B"),
        ("Mistral-7B-Instruct-v0.3", "Mistral-7B-v0.3"),
        ("Llama-3.3-70B", "Llama-3.3-70B-Instruct"),
    ],
)
def test_words_that_change_no_shape_may_be_said_or_left_out(said: str, name: str) -> None:
    assert catalogue.get(said).name == name


def test_no_two_models_share_a_plain_name() -> None:
    assert len({catalogue.plain_name(model.name) for model in catalogue.ALL}) == len(catalogue.ALL)


def test_somebody_elses_repository_is_not_the_publishers() -> None:
    assert catalogue.find("somebody/Qwen3-8B") is None


def test_an_unknown_name_answers_with_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"did you mean .*Qwen3-8B"):
        catalogue.get("Qwen3-8")


def test_a_model_can_be_converted_exactly_where_its_family_is() -> None:
    converted = {family.class_name for family in CONVERTED_FAMILIES}
    for model in catalogue.ALL:
        if model.fields["architectures"][0] in converted:
            assert model.config.block_count == model.fields["num_hidden_layers"]
        else:
            with pytest.raises(UnsupportedModel, match="not one of those read here"):
                _ = model.config
