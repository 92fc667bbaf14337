"""llama.cpp in-process: right numbers, the model's own facts, and one clear line for everything that could crash it."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.core.errors import (
    BadRequest,
    DoesNotFit,
    FormatError,
    Missing,
    PennyweightError,
    UnknownName,
    UnsupportedModel,
)
from pennyweight.runtimes.llama_cpp import (
    BUILD,
    Context,
    ContextSettings,
    Model,
    Sampling,
    generate,
    shared_object,
    system_info,
)
from pennyweight.runtimes.llama_cpp.generate import choose
from pennyweight.runtimes.llama_cpp.structs import CONTEXT_FIELDS, ContextParams, unexpected_defaults
from tests import tiny_gguf
from tests.tiny_forward import forward
from tests.tiny_gguf import TINY_TEXT, TinyShape, write_tiny_gguf

SHAPE = TinyShape(format="F32")
EXACT = ContextSettings(n_ctx=256, n_seq_max=3, threads=1, type_k="f32", type_v="f32", flash_attention=False)
GREEDY = ContextSettings(n_ctx=256, threads=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", format="F32")


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return Model.load(path)


def test_importing_the_runtime_loads_no_shared_object() -> None:
    code = "import pennyweight.runtimes.llama_cpp, sys; print('xllamacpp' in open('/proc/self/maps').read())"
    if not Path("/proc/self/maps").exists():
        code = "import pennyweight.runtimes.llama_cpp, sys; print('xllamacpp' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_another_version_of_the_wheel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_object.importlib.metadata, "version", lambda name: "2026.11.1")
    with pytest.raises(Missing, match=r"2026\.11\.1 is installed.*2026\.10\.11549"):
        shared_object._find()


def test_an_absent_wheel_is_refused_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_object.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match="pip install xllamacpp=="):
        shared_object._find()


def test_a_struct_of_another_layout_is_noticed() -> None:
    params = shared_object.library().llama_context_default_params()
    assert unexpected_defaults(params, CONTEXT_FIELDS) == []
    shifted = ContextParams.from_buffer_copy(bytes(8) + bytes(params)[:-8])
    assert len(unexpected_defaults(shifted, CONTEXT_FIELDS)) > 5


def test_the_build_and_its_instruction_sets_are_named() -> None:
    assert BUILD == "b11549"
    assert system_info().startswith("CPU : ")


@pytest.mark.slow
def test_the_facts_are_those_that_were_written(model: Model) -> None:
    facts = model.facts
    assert (facts.n_vocab, facts.n_ctx_train, facts.n_layer, facts.n_embd) == (512, 1024, 2, 256)
    assert (facts.bos, facts.eos, facts.add_bos, facts.add_eos) == (0, 1, True, False)
    assert facts.description == "qwen3 ?B all F32"
    assert facts.parameters * 4 == facts.tensor_bytes
    assert (model.metadata("general.name"), model.metadata("no.such.key")) == ("tiny qwen3", None)


@pytest.mark.slow
def test_text_survives_the_tokenizer(model: Model) -> None:
    tokens = model.tokenize(TINY_TEXT, add_special=True)
    assert tokens.dtype == np.int32
    assert tokens[0] == 0
    assert len(tokens) < len(TINY_TEXT)  # merges were applied
    assert model.detokenize(tokens) == TINY_TEXT
    assert b"".join(model.piece(int(token)) for token in tokens) == TINY_TEXT.encode()


@pytest.mark.slow
@given(st.text(max_size=40))
@settings(max_examples=50, deadline=None)
def test_any_text_survives_the_tokenizer(model: Model, text: str) -> None:
    assert model.detokenize(model.tokenize(text)) == text


@pytest.mark.slow
def test_bytes_that_are_no_utf8_are_taken_as_they_are(model: Model) -> None:
    assert len(model.tokenize(b"scales \xff\xfe weigh")) > 0


@pytest.mark.slow
def test_control_tokens_are_read_and_written_only_when_asked(model: Model) -> None:
    assert model.tokenize("<s>", parse_special=True).tolist() == [0]
    assert len(model.tokenize("<s>")) > 1
    assert model.detokenize([0, 1]) == ""
    assert model.detokenize([0, 1], special=True) == "<s></s>"
    assert model.ends_generation(1)
    assert not model.ends_generation(2)


@pytest.mark.slow
def test_the_vocabulary_hash_tells_vocabularies_apart(tmp_path: Path, model: Model) -> None:
    same = Model.load(write_tiny_gguf(tmp_path / "same.gguf", seed=9, layers=1), vocabulary_only=True)
    no_bos = Model.load(write_tiny_gguf(tmp_path / "other.gguf", add_bos=False, layers=1), vocabulary_only=True)
    larger = Model.load(write_tiny_gguf(tmp_path / "larger.gguf", vocabulary=513, layers=1), vocabulary_only=True)
    assert same.vocabulary_hash == model.vocabulary_hash
    assert len({model.vocabulary_hash, no_bos.vocabulary_hash, larger.vocabulary_hash}) == 3
    with pytest.raises(BadRequest, match="only its vocabulary"):
        Context(same)


@pytest.mark.slow
def test_logits_are_those_of_the_definition(model: Model) -> None:
    tokens = np.random.default_rng(1).integers(2, 512, 48)
    expected = forward(SHAPE, tokens)
    with Context(model, EXACT) as context:
        context.decode(tokens, np.arange(48))
        got = context.logits()
        assert got.dtype == np.float32
        assert got.shape == (48, 512)
        np.testing.assert_allclose(got, expected, atol=2e-4 * expected.std())


@pytest.mark.slow
def test_sequences_side_by_side_do_not_see_each_other(model: Model) -> None:
    """Three sequences, interleaved, read in two calls, logits of some tokens only: each as if it were alone."""
    rng = np.random.default_rng(2)
    texts = rng.integers(2, 512, (3, 20))
    places, owners = np.repeat(np.arange(20), 3), np.tile(np.arange(3), 20)
    flat = texts[owners, places]
    wanted = rng.random(60) < 0.5
    with Context(model, EXACT) as context:
        context.decode(flat[:30], places[:30], owners[:30], outputs=False)
        context.decode(flat[30:], places[30:], owners[30:], wanted[30:])
        got = context.logits().copy()
    expected = np.stack([forward(SHAPE, text) for text in texts])[owners, places][30:][wanted[30:]]
    np.testing.assert_allclose(got, expected, atol=2e-4 * expected.std())


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"threads": 2}, {"n_ubatch": 16}, {"n_batch": 32}])
def test_speed_knobs_never_change_the_logits_beyond_rounding(model: Model, changes: dict[str, int]) -> None:
    tokens = np.random.default_rng(3).integers(2, 512, 32)
    rows = []
    for knobs in ({}, changes):
        with Context(model, ContextSettings(n_ctx=256, **({"threads": 1} | knobs))) as context:
            context.decode(tokens, np.arange(32))
            rows.append(context.logits().copy())
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "tolerance"), [("f16", 0.01), ("bf16", 0.05), ("q8_0", 0.05), ("q4_0", 0.5)])
def test_a_quantized_cache_stays_near(model: Model, stored: str, tolerance: float) -> None:
    tokens = np.random.default_rng(4).integers(2, 512, 32)
    expected = forward(SHAPE, tokens)
    with Context(model, ContextSettings(n_ctx=256, threads=1, type_k=stored, type_v=stored)) as context:
        context.decode(tokens, np.arange(32))
        error = np.sqrt(np.mean((context.logits() - expected) ** 2)) / expected.std()
    assert 1e-7 < error < tolerance


@pytest.mark.slow
def test_greedy_generation_takes_the_likeliest_token_of_the_definition(model: Model) -> None:
    tokens = [0, 75, 112, 259, 30]
    with Context(model, EXACT) as context:
        got = list(generate(context, tokens, 6))
    for _ in range(6):
        tokens.append(int(forward(SHAPE, tokens)[-1].argmax()))
    assert got == tokens[5:]


@pytest.mark.slow
def test_generation_is_repeatable_from_its_seed_and_a_prompt_may_exceed_a_batch(model: Model) -> None:
    prompt = np.random.default_rng(5).integers(2, 512, 70)
    with Context(model, ContextSettings(n_ctx=256, n_batch=32, threads=1)) as context:
        warm = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
        runs = [list(generate(context, prompt, 12, warm, ignore_eos=True)) for _ in range(2)]
        other = list(generate(context, prompt, 12, Sampling(temperature=1.0, top_k=0, seed=4), ignore_eos=True))
    assert runs[0] == runs[1] != other
    assert len(runs[0]) == 12


def test_sampling_keeps_exactly_the_tokens_that_its_filters_leave() -> None:
    rng = np.random.default_rng(6)
    logits = np.log(np.array([0.4, 0.05, 0.3, 0.2, 0.05], np.float32))
    picks = {
        "all": Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0),
        "top_k": Sampling(temperature=1.0, top_k=2, top_p=1.0, min_p=0.0),
        "top_p": Sampling(temperature=1.0, top_k=0, top_p=0.65, min_p=0.0),
        "min_p": Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.45),
    }
    seen = {name: {choose(logits, sampling, rng) for _ in range(400)} for name, sampling in picks.items()}
    assert seen == {"all": {0, 1, 2, 3, 4}, "top_k": {0, 2}, "top_p": {0, 2}, "min_p": {0, 2, 3}}


def test_sampling_at_temperature_one_draws_with_the_models_probabilities() -> None:
    rng = np.random.default_rng(7)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    draws = [
        choose(np.log(p).astype(np.float32), Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0), rng)
        for _ in range(4000)
    ]
    np.testing.assert_allclose(np.bincount(draws) / 4000, p, atol=4 * 0.5 / np.sqrt(4000))


@pytest.mark.slow
def test_the_clock_counts_the_tokens_that_were_read(model: Model) -> None:
    with Context(model, GREEDY) as context:
        context.reset_timings()
        list(generate(context, [5] * 40, 5, ignore_eos=True))
        timings = context.timings()
    assert (timings.prompt_tokens, timings.decode_tokens) == (40, 4)
    assert timings.prompt_seconds > 0


@pytest.mark.slow
def test_a_cleared_or_truncated_context_forgets(model: Model) -> None:
    with Context(model, GREEDY) as context:
        rows = []
        for forget in (context.clear, lambda: context.truncate(0)):
            context.decode([9, 8, 7], [0, 1, 2])
            rows.append(context.logits().copy())
            forget()
        context.decode([9, 8], [0, 1])
        context.truncate(1)
        context.decode([8, 7], [1, 2])
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message", "arguments"),
    [
        (BadRequest, "token 512 at 1 is outside", ([5, 512], [0, 1])),
        (BadRequest, "token -1 at 0 is outside", ([-1], [0])),
        (BadRequest, r"1 to 256 tokens", ([], [])),
        (BadRequest, r"1 to 256 tokens", ([5] * 257, range(257))),
        (DoesNotFit, "do not fit a context of 256", ([5], [256])),
        (DoesNotFit, "do not fit", ([5], [-1])),
        (BadRequest, "sequence 1 is outside", ([5], [0], 1)),
        (BadRequest, "consecutive", ([5], [7])),
    ],
)
def test_what_would_crash_llama_cpp_is_refused_in_one_line(
    model: Model, kind: type[PennyweightError], message: str, arguments: tuple
) -> None:
    with Context(model, GREEDY) as context:
        context.decode([5], [0])
        with pytest.raises(kind, match=message) as caught:
            context.decode(*arguments)
        assert "\n" not in str(caught.value)
        context.decode([5], [1])  # and the context still works


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (UnknownName, ContextSettings(type_k="q3_x")),
        (BadRequest, ContextSettings(type_v="q8_0", flash_attention=False)),
        (BadRequest, ContextSettings(n_seq_max=0)),
        (BadRequest, ContextSettings(n_seq_max=257)),
        (BadRequest, ContextSettings(n_ctx=0)),
        (BadRequest, ContextSettings(n_ctx=2**31)),
        (BadRequest, ContextSettings(n_batch=0)),
        (BadRequest, ContextSettings(n_ubatch=0)),
        (DoesNotFit, ContextSettings(n_ctx=2**30)),
    ],
)
def test_settings_that_cannot_be_are_refused(
    model: Model, kind: type[PennyweightError], settings: ContextSettings
) -> None:
    with pytest.raises(kind) as caught:
        Context(model, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_quantized_cache_of_narrow_heads_is_refused(tmp_path: Path) -> None:
    narrow = Model.load(write_tiny_gguf(tmp_path / "narrow.gguf", heads=8, head_dim=16))
    with pytest.raises(BadRequest, match="16 wide; use f16"):
        Context(narrow, ContextSettings(type_k="q8_0"))


@pytest.mark.slow
def test_an_answer_longer_than_the_context_is_refused_before_it_starts(model: Model) -> None:
    with Context(model, GREEDY) as context:
        with pytest.raises(DoesNotFit, match="need 300"):
            generate(context, [5] * 100, 200)
        with pytest.raises(BadRequest, match="no tokens"):
            generate(context, [], 5)


@pytest.mark.slow
def test_a_closed_model_closes_its_contexts_and_refuses_work(path: Path) -> None:
    with Model.load(path) as short_lived:
        context = Context(short_lived, GREEDY)
    with pytest.raises(ValueError, match="closed"):
        context.clear()
    with pytest.raises(ValueError, match="closed"):
        Context(short_lived)
    context.close()
    short_lived.close()


@pytest.mark.slow
def test_dropped_models_and_contexts_are_freed_in_a_safe_order(path: Path) -> None:
    """Also where both hang in one cycle, which the collector takes apart in any order it likes."""
    for _ in range(3):
        model = Model.load(path)
        knot: list[object] = [model, Context(model, GREEDY)]
        knot.append(knot)
        freed = [model._free, knot[1]._free]  # type: ignore[attr-defined]
        del model, knot
        gc.collect()
        gc.collect()  # the context's finalizer holds the model until it has run
        assert not any(finalizer.alive for finalizer in freed)


DAMAGE = {
    "magic": (b"GGUF", b"nope", "invalid magic"),
    "version": (b"GGUF\x03", b"GGUF\x09", "version 9"),
    "architecture": (b"\x05\0\0\0\0\0\0\0qwen3", b"\x05\0\0\0\0\0\0\0qwenz", "unknown model architecture: 'qwenz'"),
    "layers": (b"qwen3.block_count", b"qwen3.block_cound", "qwen3.block_count"),
    "tensor": (b"blk.0.attn_q.weight", b"blk.0.attn_z.weight", "'blk.0.attn_q.weight' not found"),
    "tokens": (b"tokenizer.ggml.tokens", b"tokenizer.ggml.tokenz", "cannot find tokenizer vocab"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_with_llama_cpps_reason(
    damage: str, path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    right, wrong, reason = DAMAGE[damage]
    (tmp_path / "bad.gguf").write_bytes(path.read_bytes().replace(right, wrong))
    with pytest.raises(FormatError) as caught:
        Model.load(tmp_path / "bad.gguf")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # llama.cpp itself prints nothing


@pytest.mark.slow
@pytest.mark.parametrize("length", [0, 3, 24, 1000, 9000, -1])
def test_a_cut_file_is_refused(length: int, path: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:length])
    with pytest.raises(FormatError, match="cannot load it"):
        Model.load(tmp_path / "cut.gguf")


@pytest.mark.slow
def test_a_tokenizer_that_disagrees_with_the_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_gguf, "vocabulary", lambda size, cut=tiny_gguf.vocabulary: cut(size - 12))
    with pytest.raises(FormatError, match=r"token_embd\.weight.*wrong shape"):
        Model.load(write_tiny_gguf(tmp_path / "odd.gguf"))


@pytest.mark.slow
def test_a_model_without_a_vocabulary_is_refused(path: Path, tmp_path: Path) -> None:
    bare = path.read_bytes().replace(b"\x04\0\0\0\0\0\0\0gpt2", b"\x04\0\0\0\0\0\0\0none")
    (tmp_path / "bare.gguf").write_bytes(bare)
    with pytest.raises((FormatError, UnsupportedModel)):
        Model.load(tmp_path / "bare.gguf")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no such file"):
        Model.load(tmp_path / "absent.gguf")
    with pytest.raises(BadRequest, match="is a directory"):
        Model.load(tmp_path)
