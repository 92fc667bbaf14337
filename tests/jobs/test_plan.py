"""plan: the whole question, on published models and named cards; nothing here asks the network."""

import json
import shlex
from dataclasses import replace

import pytest

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.jobs.plan import PlanOptions, plan
from pennyweight.jobs.plan_cliff import CliffResult, cliff
from pennyweight.jobs.plan_machine import MachineOptions, hardware_for
from pennyweight.planner.plan import Plan
from pennyweight.planner.request import Runtime
from pennyweight.planner.served_types import ALL as SERVED
from pennyweight.planner.workloads import WorkloadOptions
from pennyweight.recipes.grammar import parse_recipe
from pennyweight.report.plan_curve import sizes_text
from pennyweight.report.plan_screen import screen
from pennyweight.report.plan_table import elided, gib

FAMILY = ("Qwen3-14B", "Qwen3-8B", "Qwen3-4B")
PAPER = WorkloadOptions(name="summarize", pages=40)


@pytest.fixture(autouse=True)
def _no_store(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PENNYWEIGHT_STORE", str(tmp_path / "none.sqlite"))


def on(gpu: str, *models: str, **options) -> Plan:
    return plan(models or FAMILY, PlanOptions(machine=MachineOptions(gpu=gpu), **options))


def test_the_issues_example_fits_forty_pages_on_a_16_gb_card() -> None:
    found = on("RTX 4060 Ti 16GB", context=32_768, work=PAPER)
    assert found.chosen is not None
    assert found.chosen.model == "Qwen3-14B"
    assert found.chosen.fits
    assert found.chosen.total_bytes <= found.chosen.memory_bytes
    assert found.workload.prompt_tokens + found.workload.output_tokens <= 32_768
    assert found.chosen.kv_bytes == 40 * 8 * 128 * 2 * 32_768 * 2  # blocks · heads · length · K and V · cells · bytes


def test_on_12_gb_the_cache_shrinks_before_the_bits_do() -> None:
    found = on("RTX 3060 12GB", "Qwen3-14B", context=32_768, work=PAPER)
    assert found.chosen is not None
    assert found.chosen.key_type == "Q8_0"
    assert found.chosen.type in ("Q4_K_M", "IQ4_XS")
    assert found.chosen.kv_bytes == 40 * 8 * 128 * 2 * 32_768 * 34 // 32


def test_weights_of_qwen3_8b_q4_k_m_are_exact_to_the_byte() -> None:
    row = next(row for row in on("RTX 4090", "Qwen3-8B").candidates if row.type == "Q4_K_M")
    assert row.weights_bytes == 5_021_827_072  # Qwen3-8B-Q4_K_M.gguf of ggml-org, its tensors
    assert row.basis.weights_bytes == "exact"


def test_parts_add_up_to_the_total_of_every_row() -> None:
    for row in on("RTX 4060 Ti 16GB", context=32_768).candidates:
        parts = row.card_weights_bytes + row.kv_bytes + row.compute_bytes + row.overhead_bytes
        assert abs(parts - row.total_bytes) <= 4
        assert row.fits == (row.total_bytes <= row.memory_bytes)


def test_nothing_fits_says_what_would_have_to_change() -> None:
    found = on("RTX 3060 12GB", "Llama-3.1-70B")
    assert found.chosen is None
    assert any("Llama-3.1-8B" in change for change in found.changes)
    assert any("partial offload" in change and "tokens/s" in change for change in found.changes)


def test_a_context_beyond_the_models_is_warned_of_and_rope_scaling_named() -> None:
    found = on("RTX 4090", "Qwen3-8B", context=81_920)
    assert any("YaRN" in note and "×2" in note for note in found.notes)
    assert any("--rope-scaling yarn --rope-scale 2" in command for command in found.commands)


def test_a_context_of_0_is_the_models_own() -> None:
    assert on("RTX 4090", "Qwen3-8B", context=0).context == 40_960


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownName, match="RTX 3060 12GB"):
        on("RTX 3600 12GB", "Qwen3-8B")
    with pytest.raises(UnknownName, match="did you mean"):
        on("RTX 4090", "Qwen3-8X")


@pytest.mark.parametrize(
    "options",
    [
        PlanOptions(machine=MachineOptions(vram=0, bandwidth=3e11)),
        PlanOptions(machine=MachineOptions(vram=1 << 50, bandwidth=3e11)),
        PlanOptions(machine=MachineOptions(vram=1 << 33)),
        PlanOptions(machine=MachineOptions(vram=1 << 33, bandwidth=1.0)),
        PlanOptions(machine=MachineOptions(gpu="RTX 4090", ram=-1)),
        PlanOptions(machine=MachineOptions(gpu="RTX 4090"), context=-5),
        PlanOptions(machine=MachineOptions(gpu="RTX 4090"), context=1 << 40),
        PlanOptions(machine=MachineOptions(gpu="RTX 4090"), gpu_layers=-2),
        PlanOptions(machine=MachineOptions(gpu="RTX 4090"), runtime=Runtime.VLLM, utilization=1.5),
        PlanOptions(machine=MachineOptions(gpu="RTX 3090"), runtime=Runtime.VLLM, types=("FP8",)),
    ],
)
def test_sizes_and_counts_that_cannot_be_are_refused(options: PlanOptions) -> None:
    with pytest.raises(BadRequest):
        plan("Qwen3-8B", options)


@pytest.mark.parametrize("name", ["q9_9", "Q4_K", "fp8_e4m3", "I32"])
def test_a_cache_type_that_llama_cpp_has_not_is_refused_with_those_it_has(name: str) -> None:
    with pytest.raises(UnknownName, match=r"cache type.*Q8_0"):
        on("RTX 4090", "Qwen3-8B", key_type=name)


def test_a_name_that_two_cards_have_is_said_on_the_screen() -> None:
    assert any("16GB" in line for line in screen(on("4060ti", "Qwen3-4B"), 120))


def test_experts_on_the_host_name_its_bandwidth_among_the_sources() -> None:
    found = on("RTX 3060 12GB", "Qwen3-30B-A3B")
    assert found.chosen is not None
    assert found.chosen.cpu_moe_layers
    assert any(source.column == "speed" and "DDR5-5600 assumed" in source.words for source in found.sources)


def test_types_asked_for_are_the_only_ones_shown() -> None:
    found = on("RTX 4090", "Qwen3-8B", types=("q5_k_m", "Q4_0"))
    assert [row.type for row in found.candidates] == ["Q5_K_M", "Q4_0"]


def test_layers_asked_for_are_what_is_planned() -> None:
    found = on("RTX 3060 12GB", "Qwen3-8B", gpu_layers=10)
    assert all(row.layers_on_gpu == 10 for row in found.candidates)
    assert any("-ngl 10" in command for command in found.commands)


def test_a_batch_shares_every_read_of_the_weights() -> None:
    one = on("RTX 4090", "Qwen3-8B", work=WorkloadOptions(name="batch", slots=1), context=4096).chosen
    many = on("RTX 4090", "Qwen3-8B", work=WorkloadOptions(name="batch", slots=8), context=4096).chosen
    assert one is not None
    assert many is not None
    assert many.decode_tok_s > 3 * one.decode_tok_s
    assert many.kv_bytes == 8 * one.kv_bytes


def test_an_expert_model_keeps_four_bits_and_leaves_experts_to_the_host() -> None:
    found = plan(
        "Qwen3-30B-A3B", PlanOptions(machine=MachineOptions(gpu="RTX 3060 12GB", ram=32 << 30), context=16_384)
    )
    assert found.chosen is not None
    assert found.chosen.type == "Q4_K_M"
    assert found.chosen.cpu_moe_layers > 0
    assert found.chosen.total_bytes <= found.chosen.memory_bytes
    assert any(f"--n-cpu-moe {found.chosen.cpu_moe_layers}" in command for command in found.commands)
    slow = plan("Mixtral-8x22B", PlanOptions(machine=MachineOptions(gpu="RTX 4090", ram=128 << 30)))
    assert slow.chosen is None  # 4 bits would write 2 tokens a second
    assert any("partial offload" in change for change in slow.changes)
    little = MachineOptions(gpu="RTX 3060 12GB", ram=4 << 30)
    assert plan("Qwen3-30B-A3B", PlanOptions(machine=little, context=16_384)).chosen != found.chosen


def test_vllm_holds_the_requests_that_its_pages_do() -> None:
    found = on("L40S", "Llama-3.1-8B", context=8192, runtime=Runtime.VLLM, work=WorkloadOptions(name="batch"))
    assert found.chosen is not None
    assert found.chosen.requests >= 16
    assert any(command.startswith("vllm serve") for command in found.commands)


@pytest.mark.parametrize("name", [kind.name for kind in SERVED])
def test_a_served_checkpoint_is_made_by_a_recipe_that_exists_before_it_is_served(name: str) -> None:
    found = on("H100 SXM5 80GB", "Llama-3.1-8B", context=8192, runtime=Runtime.VLLM, types=(name,))
    if name == "W4A8KV4":
        assert found.commands == ()  # QServe's, which vLLM does not load
        return
    *makes, serve = (shlex.split(command) for command in found.commands)
    assert serve[:2] == ["vllm", "serve"]
    assert len(makes) == (name != "BF16")
    for make in makes:
        parse_recipe(make[make.index("--recipe") + 1])  # refuses what is none
        assert make[make.index("-o") + 1] == serve[2]


def test_a_model_that_is_published_quantized_is_fetched_from_where_its_file_is() -> None:
    assert on("RTX 4080", "gpt-oss-20b").commands[0].startswith("llama-server -hf ggml-org/gpt-oss-20b-GGUF ")


def test_a_family_that_is_not_converted_here_is_converted_by_llama_cpps_script_first() -> None:
    convert, make, serve = on("RTX 4080", "Qwen3.5-9B").commands
    whole = "Qwen3.5-9B-BF16.gguf"
    assert convert == f"python convert_hf_to_gguf.py --remote Qwen/Qwen3.5-9B --outtype bf16 --outfile {whole}"
    assert make.startswith(f"pennyweight quantize {whole} ")
    assert serve.startswith("llama-server -m Qwen3.5-9B-Q")


def test_few_bits_that_nobody_asked_for_name_a_smaller_model_and_the_host() -> None:
    found = on("GTX 1050 Ti", "Qwen3-8B")
    assert found.chosen is not None
    assert found.chosen.type == "Q2_K"
    assert any("Qwen3-4B Q4_K_M fits" in reason for reason in found.reasons)
    assert any("partial offload" in reason for reason in found.reasons)
    assert any("issue 21192" in reason for reason in found.reasons)  # what its 4-bit cache costs, and who says so
    asked = on("GTX 1050 Ti", "Qwen3-8B", types=("Q2_K",))
    assert "is what was asked for" in asked.reasons[0]
    assert not any("Better than" in reason for reason in asked.reasons)


def test_rows_beside_a_choice_with_experts_on_the_host_are_what_the_card_then_holds() -> None:
    machine = MachineOptions(gpu="RTX 3060 12GB", ram=32 << 30)
    found = plan("Qwen3-30B-A3B", PlanOptions(machine=machine, context=16_384))
    assert all(row.total_bytes <= row.memory_bytes for row in found.candidates)
    assert found.chosen in found.candidates


def test_the_next_smaller_model_is_of_the_same_generation_and_a_larger_one_of_another_family_is_named() -> None:
    found = on("RTX 4090", "Llama-3.3-70B", context=8192)
    said = next(change for change in found.changes if "next smaller" in change)
    assert "Llama-3.1-8B" in said
    assert "Qwen3.5-35B-A3B" in said


def test_fp8_is_offered_only_where_the_card_computes_it() -> None:
    for gpu, offered in (("RTX 3090", False), ("RTX 4090", True)):
        found = on(gpu, "Qwen3-8B", context=4096, runtime=Runtime.VLLM)
        assert ("FP8" in [row.type for row in found.candidates]) == offered


@pytest.mark.parametrize("width", [48, 60, 80, 120, 200])
@pytest.mark.parametrize(
    ("models", "gpu", "options"),
    [
        (FAMILY, "RTX 4060 Ti 16GB", {"context": 32_768, "work": PAPER}),
        (("Llama-3.1-70B",), "RTX 3060 12GB", {}),
        (("Qwen3-30B-A3B",), "RTX 3060 12GB", {"context": 16_384}),
        (("Qwen3-8B",), "L40S", {"runtime": Runtime.VLLM, "work": WorkloadOptions(name="batch")}),
    ],
)
def test_no_line_of_the_screen_is_wider_than_the_terminal(width, models, gpu, options) -> None:
    lines = screen(on(gpu, *models, **options), width)
    too_wide = [line for line in lines if len(line) > width]
    assert not too_wide


def test_the_screen_says_in_words_what_colour_says_too() -> None:
    found = on("RTX 3060 12GB", "Llama-3.1-70B")
    plain, tinted = screen(found, 100), screen(found, 100, colour=True)
    assert all("\x1b" not in line for line in plain)
    assert any("\x1b[33m" in line for line in tinted)
    assert any("/81" in line for line in plain)


def test_a_long_name_keeps_both_ends() -> None:
    assert elided("Qwen3-Coder-30B-A3B-Instruct", 15) == "Qwen3-C…nstruct"
    assert elided("short", 15) == "short"


def _drawn(found: CliffResult) -> list[str]:
    return sizes_text(found.sizes, found.room_bytes, 80)


def test_the_curve_falls_at_the_knee_and_nowhere_before() -> None:
    found = cliff("Llama-3.1-70B", PlanOptions(machine=MachineOptions(gpu="RTX 4090")))
    speeds = [point.tokens_per_second for point in found.layers.points]
    assert speeds == sorted(speeds)
    assert 0 < found.layers.knee.gpu_layers < 81
    inside = [point for point in found.sizes if point.weights_bytes <= found.room_bytes]
    assert inside[-1].weights_bytes == found.room_bytes
    assert any(line.startswith(f"{gib(found.room_bytes):>5} ") and "knee" in line for line in _drawn(found))
    assert all(point.card_share == 1 for point in inside)


@pytest.mark.parametrize(
    ("model", "gpu", "context"), [("Qwen3-30B-A3B", "RTX 3060 12GB", 16_384), ("Qwen3-14B", "RTX 3060 12GB", 32_768)]
)
def test_the_curve_is_of_what_the_plan_chose_and_its_knee_holds_whole_layers(model, gpu, context) -> None:
    options = PlanOptions(machine=MachineOptions(gpu=gpu, ram=32 << 30), context=context)
    chosen, found = plan(model, options).chosen, cliff(model, options)
    assert chosen is not None
    assert (found.model, found.type) == (chosen.model, chosen.type)
    layers = found.layers.knee.gpu_layers
    same = replace(options, types=(chosen.type,), key_type=chosen.key_type, value_type=chosen.value_type)
    assert plan(model, replace(same, gpu_layers=layers)).candidates[0].fits
    assert layers == chosen.layers or not plan(model, replace(same, gpu_layers=layers + 1)).candidates[0].fits


def test_a_damaged_store_is_said_and_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_text("no database")
    monkeypatch.setenv("PENNYWEIGHT_STORE", str(path))
    assert any("left out" in note for note in on("RTX 4090", "Qwen3-8B").notes)


def test_bases_are_words_of_the_contract() -> None:
    found = on("RTX 4060 Ti 16GB", context=32_768)
    words = {"exact", "measured", "calibrated", "published", "heuristic", "unknown"}
    for row in found.candidates:
        assert {getattr(row.basis, name) for name in row.basis.__dataclass_fields__} <= words
    json.dumps(found.context)


def test_a_shared_memory_that_nobody_sized_is_asked_for() -> None:
    with pytest.raises(BadRequest, match=r"M4 Max 32c shares the machine's memory"):
        hardware_for(MachineOptions(gpu="M4 Max"), None)
    sized = hardware_for(MachineOptions(gpu="M4 Max", ram=64 << 30), None)
    named = hardware_for(MachineOptions(gpu="M4 Max 64GB"), None)
    assert sized.budget.cards[0].usable_bytes == named.budget.cards[0].usable_bytes == 48 << 30


UNKNOWN = {
    "architectures": ["NobodyForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 12_288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": False,
}
"""The numbers of Qwen3-8B, of an architecture that nobody has heard of."""


@pytest.fixture
def unknown(tmp_path) -> str:
    directory = tmp_path / "Nobody-8B"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(UNKNOWN))
    return str(directory / "config.json")


@pytest.mark.parametrize("directory", [False, True])
def test_an_unknown_architecture_gets_bounds_that_the_true_model_lies_between(unknown: str, directory: bool) -> None:
    model = unknown.removesuffix("/config.json") if directory else unknown
    found, true = on("RTX 4090", model, types=("Q4_K_M",)), on("RTX 4090", "Qwen3-8B", types=("Q4_K_M",))
    bound, exact = found.candidates[0], true.candidates[0]
    assert bound.bounds
    assert bound.basis.weights_bytes == "heuristic"
    assert bound.weights_range is not None
    assert bound.weights_range[0] <= exact.weights_bytes <= bound.weights_range[1]
    assert bound.kv_range is None or bound.kv_range[0] <= exact.kv_bytes <= bound.kv_range[1]
    assert bound.total_bytes >= exact.total_bytes
    assert bound.decode_tok_s <= exact.decode_tok_s
    assert any("NobodyForCausalLM" in note and "bounds" in note for note in found.notes)
    assert not bound.quantizable
    assert not found.commands, "nothing here makes a file of it"


def test_what_only_the_least_of_the_bounds_fits_is_not_promised(unknown: str) -> None:
    size = next(row for row in on("RTX 4090", unknown, types=("Q4_K_M",)).candidates)
    assert size.total_range is not None
    middle = int(sum(size.total_range) / 2)
    options = PlanOptions(machine=MachineOptions(vram=middle, bandwidth=4e11), types=("Q4_K_M",), gpu_layers=999)
    found = plan(unknown, options)
    assert found.chosen is None
    assert found.candidates[0].may_fit
    assert any("Nothing fits for certain" in line for line in screen(found, 80))
    assert any("the least it can" in change for change in found.changes)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_bounds_are_marked_as_such_on_the_screen(unknown: str, width: int) -> None:
    lines = screen(on("RTX 4090", unknown), width)
    assert any("≤" in line and "≥" in line for line in lines)
    assert all(len(line) <= width for line in lines)
