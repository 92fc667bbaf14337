"""KL divergence: live, from our stored base and from llama.cpp's, each held to a slow float64 computation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, FormatError
from pennyweight.evaluation.base import BaseLogits, LiveBase, exact_divergence
from pennyweight.evaluation.base_logits import HEADER, CompactBase, write_base
from pennyweight.evaluation.compact_rows import Sizes, compact_rows, default_sizes, divergence_from_rows, row_layout
from pennyweight.evaluation.divergence import Divergence, arithmetic_noise, compare
from pennyweight.evaluation.engine import cut
from pennyweight.evaluation.logits_file import LogitsFile, encode_rows, write_logits_file
from pennyweight.evaluation.logits_file import row_layout as llama_row_layout
from pennyweight.evaluation.softmax import row_sums
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp.logits import LlamaCppLogits
from tests.evaluation.array_engine import ArrayEngine, array_engine, log_softmax, near
from tests.tiny_forward import forward
from tests.tiny_gguf import TINY_TEXT, TinyShape, write_tiny_gguf

BASE = array_engine(chunks=7, n_ctx=32, n_vocab=2000, spread=2.5)
MODEL = near(BASE, 0.05)


def chunks_of(engine: ArrayEngine) -> NDArray[np.int32]:
    return cut(engine.tokens, engine.n_ctx)


def by_definition(base: NDArray[np.floating], model: NDArray[np.floating]) -> NDArray[np.float64]:
    """KL of each row, float64, every token."""
    log_p, log_q = log_softmax(base), log_softmax(model)
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def live(path: Path, engine: ArrayEngine) -> BaseLogits:
    return LiveBase(engine, chunks_of(engine), 0.0)


def compact(path: Path, engine: ArrayEngine) -> BaseLogits:
    write_base(path, engine, chunks_of(engine))
    return CompactBase(path)


def llama_cpp_file(path: Path, engine: ArrayEngine) -> BaseLogits:
    write_logits_file(path, engine, chunks_of(engine))
    return LogitsFile(path)


ROUTES = pytest.mark.parametrize("route", [live, compact, llama_cpp_file], ids=["live", "compact", "llama.cpp's file"])
Route = Callable[[Path, ArrayEngine], BaseLogits]


def test_every_figure_is_that_of_the_definition() -> None:
    found = compare(live(Path(), BASE), MODEL)
    kld = by_definition(BASE.logits, MODEL.logits).ravel()
    came = chunks_of(BASE)[:, 17:].ravel()
    rows = np.arange(len(came))
    p, q = (log_softmax(engine.logits).reshape(-1, 2000)[rows, came] for engine in (BASE, MODEL))
    same = (BASE.logits.argmax(-1) == MODEL.logits.argmax(-1)).mean()
    root = np.sqrt(len(kld))
    expected = Divergence(
        kld_mean=kld.mean(),
        kld_stderr=kld.std(ddof=1) / root,
        kld_median=np.median(kld),
        kld_p90=np.quantile(kld, 0.9),
        kld_p99=np.quantile(kld, 0.99),
        kld_p999=np.quantile(kld, 0.999),
        kld_max=kld.max(),
        storage_error=0.0,
        noise_floor=0.0,
        same_top=same,
        same_top_stderr=np.sqrt(same * (1 - same) / (len(kld) - 1)),
        rms_delta_p=np.sqrt(np.mean((np.exp(q) - np.exp(p)) ** 2)),
        delta_ln_ppl=(p - q).mean(),
        delta_ln_ppl_stderr=(p - q).std(ddof=1) / root,
        perplexity=np.exp(-q.mean()),
        perplexity_stderr=np.exp(-q.mean()) * q.std(ddof=1) / root,
        base_perplexity=np.exp(-p.mean()),
        base_perplexity_stderr=np.exp(-p.mean()) * p.std(ddof=1) / root,
        tokens=len(kld),
        chunks=7,
        n_ctx=32,
        engine="an array",
    )
    for name in Divergence.__slots__:
        value, wanted = getattr(found, name), getattr(expected, name)
        assert value == (wanted if isinstance(wanted, (str, int)) else pytest.approx(wanted, rel=2e-4, abs=1e-9)), name


@ROUTES
def test_every_route_gives_the_same_divergence_within_its_stated_error(tmp_path: Path, route: Route) -> None:
    found = compare(route(tmp_path / "base", BASE), MODEL)
    exact = compare(live(tmp_path, BASE), MODEL)
    assert (found.storage_error is None) == (route is llama_cpp_file), "not known, which is not 0"
    allowed = 2e-5 if found.storage_error is None else found.storage_error + 1e-7
    assert abs(found.kld_mean - exact.kld_mean) <= allowed < exact.kld_mean / 20
    assert found.delta_ln_ppl == pytest.approx(exact.delta_ln_ppl, abs=2e-4)
    assert found.same_top == pytest.approx(exact.same_top, abs=0.01)


@ROUTES
def test_a_base_does_not_diverge_from_itself(tmp_path: Path, route: Route) -> None:
    found = compare(route(tmp_path / "base", BASE), near(BASE, 0))
    bound = {live: 0.0, compact: 1e-7, llama_cpp_file: 1e-4}[route]  # type: ignore[index]
    assert abs(found.kld_mean) <= bound
    assert abs(found.kld_max) <= 4 * bound
    assert abs(found.delta_ln_ppl) <= max(bound, 1e-7)
    assert found.same_top >= 1 - bound * 100


@ROUTES
@pytest.mark.parametrize("abreast", [1, 3, 7])
def test_how_many_chunks_are_read_side_by_side_changes_nothing(tmp_path: Path, route: Route, abreast: int) -> None:
    base = route(tmp_path / "base", BASE)
    assert compare(base, replace(MODEL, abreast=abreast)) == compare(base, MODEL)


def test_threads_never_change_a_divergence(tmp_path: Path) -> None:
    base = array_engine(chunks=4, n_ctx=32, n_vocab=20_000)
    model = near(base, 0.1)
    for route in (live, compact, llama_cpp_file):
        opened = route(tmp_path / route.__name__, base)
        assert compare(opened, model, threads=3) == compare(opened, model, threads=1)


def test_the_paired_error_is_far_below_the_plain_one() -> None:
    found = compare(live(Path(), BASE), MODEL)
    plain = np.hypot(found.perplexity_stderr, found.base_perplexity_stderr) / found.perplexity
    assert found.delta_ln_ppl_stderr < plain / 10


@given(st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 4.0, 9.0]), st.sampled_from([0.0, 1e-3, 0.1, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_stored_base_keeps_its_stated_error_at_any_sharpness_and_distance(
    seed: int, spread: float, distance: float
) -> None:
    rng = np.random.default_rng(seed)
    base = (rng.standard_normal((40, 1500)) * spread).astype(np.float32)
    model = (base + rng.standard_normal(base.shape) * distance).astype(np.float32)
    rows = compact_rows(base, np.zeros(40, np.int32), row_sums(base), default_sizes(1500), rng)
    found = divergence_from_rows(rows, model, row_sums(model))
    error = found.kld.mean() - by_definition(base, model).mean()
    drawing = np.sqrt(found.variance.sum()) / 40
    assert abs(error) <= found.bound.mean() + 5 * drawing + 2e-7


def test_the_drawn_part_of_the_tail_has_no_bias() -> None:
    """Without it a small list reads 40 % low; with it, the mean over many draws is right."""
    rng = np.random.default_rng(3)
    base = (rng.standard_normal((2000, 300)) * 1.5).astype(np.float32)
    model = (base + rng.standard_normal(base.shape) * 0.2).astype(np.float32)
    rows = compact_rows(base, np.zeros(2000, np.int32), row_sums(base), Sizes(top_k=8, samples=2), rng)
    found = divergence_from_rows(rows, model, row_sums(model))
    exact = by_definition(base, model).mean()
    assert found.kld.mean() == pytest.approx(exact, abs=4 * np.sqrt(found.variance.sum()) / 2000)
    rows["log_p"], rows["drawn"] = rows["top"][:, None], rows["ids"][:, :1]
    rows["tail"] = -np.inf
    assert divergence_from_rows(rows, model, row_sums(model)).kld.mean() != pytest.approx(exact, rel=0.2)


@pytest.mark.parametrize("case", ["all equal", "one certain", "two tie", "list longer than needed"])
def test_a_stored_row_holds_at_the_corners(case: str) -> None:
    width = 60
    base = np.zeros((3, width), np.float32)
    if case == "one certain":
        base[:, 7] = 500
    if case == "two tie":
        base[:, [9, 4]] = 10
    sizes = Sizes(top_k=width if case == "list longer than needed" else 5, samples=3)
    rows = compact_rows(base, np.full(3, 7, np.int32), row_sums(base), sizes, np.random.default_rng(0))
    model = (base + np.random.default_rng(1).standard_normal(base.shape)).astype(np.float32)
    assert (rows["ids"][:, 0] == base.argmax(1)).all()
    assert divergence_from_rows(rows, base, row_sums(base)).kld.max() < 1e-6
    found = divergence_from_rows(rows, model, row_sums(model))
    assert np.isfinite(found.kld).all()
    if case in ("one certain", "list longer than needed"):
        np.testing.assert_allclose(found.kld, by_definition(base, model), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("n_vocab", [512, 4096, 32000, 151936])
def test_the_stored_base_takes_at_most_a_tenth_of_llama_cpps_file(n_vocab: int) -> None:
    n_ctx, chunks = 512, 20
    scored, tokens = 255 * chunks, 4 * n_ctx * chunks
    ours = HEADER.itemsize + tokens + scored * row_layout(n_vocab, default_sizes(n_vocab)).itemsize
    theirs = 20 + tokens + scored * llama_row_layout(n_vocab).itemsize
    assert ours <= theirs / 10


def test_the_stored_base_knows_its_noise_floor_and_its_vocabulary(tmp_path: Path) -> None:
    write_base(tmp_path / "base", BASE, chunks_of(BASE), arithmetic_noise=1e-5)
    base = CompactBase(tmp_path / "base")
    assert 1e-5 <= base.noise_floor < 1.01e-5  # storage adds a hundredth of that
    assert (base.engine, base.vocabulary_hash, base.n_vocab) == ("an array", BASE.vocabulary_hash, 2000)
    np.testing.assert_array_equal(base.chunks, chunks_of(BASE))
    with pytest.raises(BadRequest, match="different vocabularies"):
        compare(base, replace(MODEL, vocabulary_hash="00" * 32))


def test_arithmetic_noise_is_the_divergence_of_a_twin() -> None:
    twin = near(BASE, 0.01)
    few = chunks_of(BASE)[:2]
    expected = by_definition(BASE.logits[:2], twin.logits[:2]).mean()
    assert arithmetic_noise(BASE, twin, few) == pytest.approx(expected, rel=1e-3)


def test_another_context_or_vocabulary_is_refused() -> None:
    with pytest.raises(BadRequest, match="chunks of 32 tokens, MODEL reads 16"):
        compare(live(Path(), BASE), array_engine(n_vocab=2000))
    with pytest.raises(BadRequest, match="2000 tokens, MODEL of 500"):
        compare(live(Path(), BASE), array_engine())


def llama_cpp_rows(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], list[list[int]]]:
    """llama-perplexity's encoding, token by token in float32, as its loop has it."""
    f = np.float32
    scales, minima, codes = [], [], []
    for row in logits:
        top, low = max(row), min(row)
        low = max(low, top - f(16))
        log_sum = f(np.log(sum(float(np.exp(x - top)) for x in row)))
        scale = (top - low) / f(65535)
        inverse = f(1) / scale if scale else f(0)
        scales.append(scale)
        minima.append(low - top - log_sum)
        codes.append([int(np.rint(inverse * (x - low))) if x > low else 0 for x in row])
    return np.array(scales), np.array(minima), codes


@pytest.mark.parametrize("n_vocab", [64, 65])
def test_llama_cpps_file_is_written_as_its_loop_writes_it(n_vocab: int) -> None:
    rng = np.random.default_rng(5)
    logits = (rng.standard_normal((6, n_vocab)) * 8).astype(np.float32)
    logits[0] = 1.5  # all equal: scale 0
    rows = encode_rows(logits)
    scales, minima, codes = llama_cpp_rows(logits)
    np.testing.assert_array_equal(rows["scale"], scales)
    np.testing.assert_allclose(rows["minimum"], minima, rtol=1e-6)
    np.testing.assert_array_equal(rows["codes"][:, :n_vocab], codes)
    assert rows.dtype.itemsize == 2 * (2 * ((n_vocab + 1) // 2) + 4)


def test_llama_cpps_file_has_its_header(tmp_path: Path) -> None:
    write_logits_file(tmp_path / "base", BASE, chunks_of(BASE))
    raw = (tmp_path / "base").read_bytes()
    assert raw[:8] == b"_logits_"
    assert np.frombuffer(raw, "<i4", 3, 8).tolist() == [32, 2000, 7]
    np.testing.assert_array_equal(np.frombuffer(raw, "<i4", 7 * 32, 20).reshape(7, 32), chunks_of(BASE))
    assert len(raw) == 20 + 4 * 7 * 32 + 7 * 15 * (8 + 2 * 2000)


@pytest.mark.parametrize("route", [compact, llama_cpp_file])
@pytest.mark.parametrize("damage", ["empty", "magic", "cut", "longer", "counts", "token"])
def test_a_damaged_base_is_refused(tmp_path: Path, route: Route, damage: str) -> None:
    path = tmp_path / "base"
    opener = type(route(path, BASE))
    raw = bytearray(path.read_bytes())
    tokens_at = HEADER.itemsize if route is compact else 20
    if damage == "empty":
        raw.clear()
    elif damage == "magic":
        raw[0] ^= 1
    elif damage == "cut":
        del raw[-1]
    elif damage == "longer":
        raw.append(0)
    elif damage == "counts":
        raw[8:20] = b"\xff\xff\xff\x7f" * 3
    elif damage == "token":
        raw[tokens_at : tokens_at + 4] = (2000).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="base: "):
        opener(path)


def test_a_stored_token_outside_the_vocabulary_is_refused_when_met(tmp_path: Path) -> None:
    write_base(tmp_path / "base", BASE, chunks_of(BASE))
    raw = bytearray((tmp_path / "base").read_bytes())
    ids_at = HEADER.itemsize + 4 * 7 * 32 + 16
    raw[ids_at : ids_at + 2] = b"\xff\xff"
    (tmp_path / "base").write_bytes(raw)
    with pytest.raises(FormatError, match="outside its vocabulary"):
        compare(CompactBase(tmp_path / "base"), MODEL)


def test_a_failed_recording_leaves_the_old_file(tmp_path: Path) -> None:
    write_base(tmp_path / "base", BASE, chunks_of(BASE))
    before = (tmp_path / "base").read_bytes()
    broken = near(BASE, 0)
    broken.logits[5, 0, 0] = np.nan
    for write in (write_base, write_logits_file):
        with pytest.raises(Exception, match="NaN"):
            write(tmp_path / "base", broken, chunks_of(BASE))
    assert (tmp_path / "base").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["base"]


@pytest.mark.slow
def test_llama_cpp_gives_the_divergence_of_the_definition(tmp_path: Path) -> None:
    """Two float32 models, one a little sharper: every token's divergence, against float64 NumPy forward passes."""
    shapes = [TinyShape(format="F32", sharpness=sharpness) for sharpness in (2.0, 2.1)]
    engines, models = [], []
    for index, shape in enumerate(shapes):
        path = write_tiny_gguf(tmp_path / f"{index}.gguf", format="F32", sharpness=shape.sharpness)
        models.append(Model.load(path))
        engines.append(LlamaCppLogits(models[-1], n_ctx=64, n_batch=128, threads=1))
    chunks = cut(engines[0].tokenize(TINY_TEXT.encode()), 64, 4)
    found = compare(LiveBase(engines[0], chunks), engines[1])
    write_base(tmp_path / "base", engines[0], chunks)
    stored = compare(CompactBase(tmp_path / "base"), engines[1])
    itself = compare(CompactBase(tmp_path / "base"), engines[0])
    kld = []
    for chunk in chunks:
        read = np.concatenate([[0], chunk[1:]])
        base, model = (forward(shape, read)[32:63] for shape in shapes)
        kld.append(by_definition(base, model))
    assert found.kld_mean == pytest.approx(np.mean(kld), rel=2e-3)
    assert stored.kld_mean == pytest.approx(found.kld_mean, abs=stored.storage_error)
    assert itself.kld_mean < 1e-6
    for model in models:
        model.close()


def test_equal_logits_diverge_by_exactly_nothing() -> None:
    rows = np.random.default_rng(0).standard_normal((20, 777)).astype(np.float32)
    sums = row_sums(rows)
    assert (exact_divergence(rows, sums, rows.copy(), sums) == 0).all()
