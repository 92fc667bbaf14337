"""Work as tokens: the kinds, what replaces them, and what is refused."""

import pytest

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.planner.workloads import KINDS, WorkloadOptions, context_for, workload


def test_forty_pages_are_about_thirty_thousand_tokens_and_fit_a_context_of_32k() -> None:
    work = workload(WorkloadOptions(name="summarize", pages=40))
    assert 28_000 <= work.prompt_tokens <= 32_000
    assert work.tokens <= 32_768
    assert work.dense_prompt_tokens is not None
    assert work.dense_prompt_tokens > 32_768  # which the screen must say


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_its_reasons(name: str) -> None:
    work = workload(WorkloadOptions(name=name.upper()))
    assert work.name == name
    assert work.reasons
    assert work.tokens > 0


def test_what_the_operator_says_replaces_the_kinds_own() -> None:
    said = WorkloadOptions(name="rag", prompt_tokens=100, output_tokens=7, slots=3, accurate=False)
    work = workload(said)
    assert (work.prompt_tokens, work.output_tokens, work.slots, work.accurate) == (100, 7, 3, False)


@pytest.mark.parametrize(
    "options",
    [
        WorkloadOptions(name="summarize", pages=0),
        WorkloadOptions(name="summarize", pages=-4),
        WorkloadOptions(name="chat", pages=3),
        WorkloadOptions(prompt_tokens=0),
        WorkloadOptions(output_tokens=-1),
        WorkloadOptions(slots=0),
    ],
)
def test_counts_that_no_work_has_are_refused(options: WorkloadOptions) -> None:
    with pytest.raises(BadRequest):
        workload(options)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="did you mean summarize"):
        workload(WorkloadOptions(name="sumarize"))


def test_the_context_for_a_work_holds_it_and_stays_within_the_models() -> None:
    work = workload(WorkloadOptions(name="summarize", pages=40))
    assert context_for(work, 131_072) == 30_720
    assert context_for(work, 8192) == 8192
    assert context_for(workload(), 131_072) == 4096
