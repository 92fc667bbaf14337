"""Summaries: exactly N bullets whose pages exist, whatever the model says; refusals come before anything is loaded."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.core.errors import BadRequest, DoesNotFit, OutputError
from pennyweight.jobs import fit as fit_module
from pennyweight.jobs.bullets import Bullet, Wanted, bullets_after, page_grammar
from pennyweight.jobs.fit import Fit, Tokens
from pennyweight.jobs.here import budget_here
from pennyweight.jobs.speaking import Speaker, SpeakingOptions, speaker
from pennyweight.jobs.summarize import SummaryOptions, summarize
from pennyweight.jobs.summary_work import Watch
from pennyweight.planner.calibration_store import save_calibration
from pennyweight.planner.host import Host, host_rates
from pennyweight.planner.memory import Budget
from pennyweight.runtimes.chat_template import Message
from pennyweight.runtimes.llama_cpp import Sampling
from pennyweight.runtimes.llama_cpp.side_by_side import Tally, side_by_side
from pennyweight.store.database import open_store
from pennyweight.store.machine import hardware
from tests.cli.command import on_terminal, process, refused, run
from tests.papers import write_pdf
from tests.tiny_gguf import write_tiny_gguf

OPTIONS, ONE = SummaryOptions(bullets=3, seed=1), SpeakingOptions(threads=1)
TOKENS = Tokens(prompt_tokens=500, output_tokens=50)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", context=4096))


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pdf(tmp_path_factory.mktemp("papers") / "paper.pdf", pages=8, words=50)


@pytest.fixture(scope="module")
def loaded(model: str):
    with speaker(model, replace(ONE, ctx=2048)) as made:
        yield made


@given(st.sets(st.integers(1, 2000), min_size=1, max_size=60))
def test_the_grammar_of_pages_names_exactly_these(pages: set[int]) -> None:
    rule = page_grammar(pages).split("\n")[0].removeprefix("page ::= ")
    pattern = re.compile(rule.replace('"', "").replace(" ", ""))
    assert {n for n in range(1, 2100) if pattern.fullmatch(str(n))} == pages


@pytest.mark.parametrize("pages", [(7,), (3, 12), tuple(range(1, 2001))])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_model_that_knows_nothing_still_gives_n_bullets_with_existing_pages(
    pages: tuple[int, ...], temperature: float, loaded: Speaker
) -> None:
    asked = [Message(role="user", content="The keeper of the harbour")]
    sampling = Sampling(temperature=temperature, seed=3)
    wanted = Wanted(count=4, tokens=20, pages=pages, sampling=sampling)
    heard: list[str] = []
    tally = Tally()
    bullets = side_by_side(loaded.sessions, [bullets_after(asked, loaded, wanted, heard.append)], tally)[0]
    assert len(bullets) == 4
    for bullet in bullets:
        assert bullet.text
        assert bullet.pages
        assert set(bullet.pages) <= set(pages)
        assert "[" not in bullet.text
    lines = "".join(heard).splitlines()  # at U+2028 and its like too, which no bullet may hold
    assert len(lines) == 4
    assert not any(re.search(r"[\x00-\x1f\x7f-\x9f]", line) for line in lines)
    assert [" ".join(line.split()) for line in lines] == [f"- {bullet}" for bullet in bullets]
    assert all(re.fullmatch(r"- [^\[\]]+ \[p\. \d+(, \d+)*\]", line) for line in lines)
    assert tally.output_tokens <= wanted.room


def test_bullets_are_written_as_they_are_asked_for() -> None:
    assert str(Bullet(text="It weighed less.", pages=(3, 17))) == "It weighed less. [p. 3, 17]"


def test_a_paper_that_fits_is_read_at_once(model: str, paper: Path) -> None:
    text: list[str] = []
    result = summarize(paper, model, OPTIONS, ONE, Watch(text=text.append))
    assert (result.parts, len(result.bullets), result.pages) == (1, 3, 8)
    assert result.n_ctx <= 4096
    assert all(set(bullet.pages) <= set(range(1, 8)) for bullet in result.bullets)  # page 8 has references only
    assert "".join(text).count("\n- ") == 2
    assert result.predicted is not None
    assert abs(result.predicted.prompt_tokens - result.measured.prompt_tokens) <= 4
    assert 0 < result.seconds_to_first_token <= result.seconds_to_first_bullet <= result.seconds_in_all


def test_a_longer_one_is_read_part_by_part_within_the_context(model: str, paper: Path) -> None:
    result = summarize(paper, model, OPTIONS, replace(ONE, ctx=1024))
    assert result.parts > 2
    assert result.n_ctx == 1024
    assert len(result.bullets) == 3
    assert all(set(bullet.pages) <= set(range(1, 8)) for bullet in result.bullets)
    again = summarize(paper, model, OPTIONS, replace(ONE, ctx=1024))
    assert again.bullets == result.bullets


def test_parts_are_read_side_by_side_where_there_is_room(
    model: str, paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []
    result = summarize(paper, model, OPTIONS, replace(ONE, ctx=640), Watch(stage=stages.append))
    assert result.slots == min(8, result.parts)
    assert result.slots >= 4
    assert f"noting what matters in {result.parts} parts, {result.slots} side by side" in stages
    assert result.predicted is not None
    fit = Fit.of(model, ONE)
    alone, together = fit.memory(640), replace(fit, slots=result.slots).memory(640)
    assert alone is not None
    assert together is not None
    assert result.predicted.memory_bytes == round(together.host_total.value)
    between = (alone.host_total.value + together.host_total.value) / 2 / 2**30  # not all of them have room
    budgets = [
        gib for gib in (between + n / 1024 for n in range(200)) if replace(fit, budget=_budget(gib)).has_room(640)
    ]
    monkeypatch.setattr(fit_module, "budget_here", lambda layers: _budget(budgets[0]))
    narrow = summarize(paper, model, OPTIONS, replace(ONE, ctx=640))
    assert narrow.slots < result.slots
    assert narrow.parts == result.parts


def test_many_notes_are_summed_up_in_rounds(model: str, tmp_path: Path) -> None:
    result = summarize(write_pdf(tmp_path / "p.pdf", 60, 45), model, OPTIONS, replace(ONE, ctx=1024))
    assert result.parts > 10
    assert len(result.bullets) == 3


def test_predicted_and_measured_stand_side_by_side_in_the_store(model: str, paper: Path) -> None:
    summarize(paper, model, OPTIONS, ONE)
    with open_store() as store:
        names = {row.metric for row in store.query()}
    for name in ("summary_seconds", "summary_memory_bytes", "summary_prompt_tok_s", "summary_decode_tok_s"):
        assert {name, f"{name}_predicted"} <= names


def test_a_store_that_fails_at_the_end_takes_no_bullet(
    model: str, paper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("pennyweight.jobs.summarize.record", full)
    result = summarize(paper, model, OPTIONS, ONE)
    assert len(result.bullets) == 3
    assert "not kept in the measurement store: the disk is full" in result.notes


def _budget(gib: float) -> Budget:
    return Budget(cards=(), host=Host(memory_bytes=int(gib * 2**30), available_bytes=int(gib * 2**30)))


def _large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mib: float) -> str:
    """A model whose cache takes 1 KiB a token, on a machine with `mib` MiB free."""
    monkeypatch.setattr(fit_module, "budget_here", lambda layers: _budget(mib / 1024))
    return str(write_tiny_gguf(tmp_path / "tiny.gguf", context=262144))


def test_a_context_that_does_not_fit_is_refused_with_three_changes_that_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paper: Path
) -> None:
    model = _large(tmp_path, monkeypatch, 230)
    monkeypatch.setattr("pennyweight.jobs.summarize.speaker", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(DoesNotFit) as caught:
        summarize(paper, model, OPTIONS, replace(ONE, ctx=131072))
    line = str(caught.value)
    assert "\n" not in line
    found = re.search(r"\(1\) -c (\d+), \(2\) -ctk (\w+) -ctv \2.*\(3\) no -c", line)
    assert found, line
    fit = Fit.of(model, ONE)
    assert fit.has_room(int(found[1]))
    assert not fit.has_room(int(found[1]) + 256)
    assert fit.has_room(131072, replace(ONE, type_k=found[2], type_v=found[2]))


def test_without_a_context_the_largest_that_fits_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _large(tmp_path, monkeypatch, 120)
    fit = Fit.of(model, ONE)
    assert fit.trained == 262144
    assert 0 < fit.largest_context() < 262144
    monkeypatch.setattr(fit_module, "budget_here", lambda layers: _budget(0.001))
    with pytest.raises(DoesNotFit, match="its weights take"):
        Fit.of(model, ONE).largest_context()


def test_a_context_beyond_the_model_s_is_refused(model: str, paper: Path) -> None:
    with pytest.raises(DoesNotFit, match=r"trained for 4,096.*\(1\) -c 4096"):
        summarize(paper, model, OPTIONS, replace(ONE, ctx=8192))


def test_too_small_a_context_for_the_bullets_says_what_would_do(model: str, paper: Path) -> None:
    with pytest.raises(DoesNotFit, match="-c"):
        summarize(paper, model, replace(OPTIONS, bullets=40), replace(ONE, ctx=512))


@pytest.mark.parametrize("bullets", [0, 51])
def test_no_bullets_or_too_many_are_refused(bullets: int, model: str, paper: Path) -> None:
    with pytest.raises(BadRequest, match="1 to 50"):
        summarize(paper, model, SummaryOptions(bullets=bullets))


def test_a_published_name_without_a_file_says_auto(
    paper: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = refused(["summarize", str(paper), "-m", "Qwen3-14B"], monkeypatch, capsys)
    assert code == 2
    assert "--auto" in line
    assert "hf.co/Qwen/Qwen3-14B-GGUF:Q4_K_M" in line


def test_a_prediction_is_by_this_machine_s_calibration(
    model: str, monkeypatch: pytest.MonkeyPatch, own_store: Path
) -> None:
    before = Fit.of(model, ONE).predict(1024, TOKENS)
    host = budget_here(0).host
    slow = replace(host_rates(host), seconds_per_layer=0.5)
    with open_store() as store:
        save_calibration(store, hardware(), "llama.cpp", slow)
    after = Fit.of(model, ONE).predict(1024, TOKENS)
    assert before is not None
    assert after is not None
    assert (before.speed_basis, after.speed_basis) == ("heuristic", "calibrated")
    assert after.decode_tok_s == pytest.approx(1.0, rel=0.1)  # two layers of half a second


def test_a_broken_pdf_is_one_line_whatever_its_reader_has_to_say(model: str, tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\njunk")
    with process("summarize", str(tmp_path / "broken.pdf"), "-m", model) as refusing:  # its own logging, not pytest's
        shown, errors = refusing.communicate(timeout=60)
    assert (refusing.returncode, shown, errors.count("\n")) == (2, "", 1), errors
    assert "no PDF that can be read" in errors


def test_this_machine_has_memory() -> None:
    budget = budget_here(0)
    assert not budget.cards
    assert 0 <= budget.host.available_bytes <= budget.host.memory_bytes


def test_json_has_the_contract_s_keys(
    model: str, paper: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["summarize", str(paper), "-m", model, "-n", "2", "-t", "1", "--json"], monkeypatch) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    keys = {"bullets", "prompt_tokens", "output_tokens", "prompt_tok_s", "decode_tok_s", "seconds_to_first_token"}
    assert keys <= result.keys()
    assert all({"text", "pages"} == bullet.keys() for bullet in result["bullets"])
    assert re.search(r"predicted +measured", shown.err)
    assert "on the CPU" in shown.err


@pytest.mark.slow
def test_on_a_terminal_bullets_are_whole_lines_and_the_bars_are_gone_before_them(model: str, paper: Path) -> None:
    arguments = ("summarize", str(paper), "-m", model, "-n", "2", "-t", "1", "-c", "1k", "-s", "1")
    screen, lines = on_terminal(*arguments, stdout_too=False)
    assert re.search(r"noting .*parts", screen)
    assert "reading" in screen
    bullets = lines.splitlines()
    assert len(bullets) == 2
    assert all(re.fullmatch(r"- .+\]", bullet) for bullet in bullets)
    together, _ = on_terminal(*arguments, stdout_too=True)
    assert all(f"{bullet}\r\n" in together for bullet in bullets), together[-2000:]


def test_bullets_go_to_stdout_alone(
    model: str, paper: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["summarize", str(paper), "-m", model, "-n", "2", "-t", "1"], monkeypatch) == 0
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert len(lines) == 2
    assert all(line.startswith("- ") for line in lines)
