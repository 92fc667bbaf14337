"""What the operator will do, as tokens: how many are read, how many written, by how many requests at once.

The counts are typical ones with their reason beside them; `-p` and `-n` replace them where the operator knows better.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pennyweight.core.errors import BadRequest, UnknownName

TOKENS_PER_PAGE = 750
"""A printed page has about 500 to 600 words; a token is about 3/4 of an English word (OpenAI's rule of thumb)."""

DENSE_PAGE_TOKENS = 1300
"""A page in two columns of small print has about 1,000 words."""

MOST_PAGES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of work.

    Attributes:
        name: as `--workload` takes it.
        prompt_tokens, output_tokens: of one request.
        slots: requests at once.
        accurate: whether small errors of the model show in the result, so that more bits are worth their room.
        reasons: where the counts come from, and why the work is accurate or not.
        dense_prompt_tokens: how many the prompt may be where pages are dense; None where that is no question.
    """

    name: str
    prompt_tokens: int
    output_tokens: int
    slots: int = 1
    accurate: bool
    reasons: tuple[str, ...]
    dense_prompt_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """Cells of the cache that one request fills."""
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadOptions:
    """What the operator said of the work; None for the kind's own.

    Attributes:
        name: the kind. pages: of a document, for `summarize`.
        prompt_tokens, output_tokens: `-p` and `-n`. slots: `-np`. accurate: `--accuracy`.
    """

    name: str = "chat"
    pages: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    slots: int | None = None
    accurate: bool | None = None


def _chat(_: int) -> Workload:
    return Workload(
        name="chat",
        prompt_tokens=2000,
        output_tokens=300,
        accurate=False,
        reasons=("a system prompt and some turns are about 2,000 tokens, an answer about 300",),
    )


def _summarize(pages: int) -> Workload:
    return Workload(
        name="summarize",
        prompt_tokens=pages * TOKENS_PER_PAGE + 200,
        output_tokens=300,
        accurate=True,
        reasons=(
            f"{pages} pages of {TOKENS_PER_PAGE} tokens (500 to 600 words of 4/3 tokens) and 200 of instructions; "
            "five bullet points are about 300",
            "long documents are where quantized models drift first (localbench, Gemma-4-31B at Q8_0: a KL divergence "
            "of 0.47 on them, of 0.07 on science)",
        ),
        dense_prompt_tokens=pages * DENSE_PAGE_TOKENS + 200,
    )


def _code(_: int) -> Workload:
    return Workload(
        name="code",
        prompt_tokens=6000,
        output_tokens=800,
        accurate=True,
        reasons=(
            "a few files of context are about 6,000 tokens, an edit about 800",
            "one wrong token breaks a program",
        ),
    )


def _rag(_: int) -> Workload:
    return Workload(
        name="rag",
        prompt_tokens=4500,
        output_tokens=300,
        accurate=True,
        reasons=(
            "eight passages of 512 tokens, instructions and a question are about 4,500",
            "an answer must repeat names and numbers as they stand in the passages",
        ),
    )


def _batch(_: int) -> Workload:
    return Workload(
        name="batch",
        prompt_tokens=1000,
        output_tokens=200,
        slots=16,
        accurate=False,
        reasons=("16 requests at once of about 1,000 tokens in and 200 out; they share every read of the weights",),
    )


KINDS: dict[str, Callable[[int], Workload]] = {
    "chat": _chat,
    "summarize": _summarize,
    "code": _code,
    "rag": _rag,
    "batch": _batch,
}
DEFAULT_PAGES = 40


def workload(options: WorkloadOptions = WorkloadOptions()) -> Workload:
    """The work that was asked for. Raises: UnknownName; BadRequest for counts that no work has."""
    if options.name.lower() not in KINDS:
        raise UnknownName.among("workload", options.name, KINDS)
    if options.pages is not None and options.name.lower() != "summarize":
        raise BadRequest(
            f"--pages counts a document for `--workload summarize`, not for `{options.name}`; use -p TOKENS"
        )
    pages = DEFAULT_PAGES if options.pages is None else options.pages
    if not 1 <= pages <= MOST_PAGES:
        raise BadRequest(f"--pages is {pages}; 1 to {MOST_PAGES} are wanted")
    found = KINDS[options.name.lower()](pages)
    return _with_counts(found, options)


def _with_counts(found: Workload, options: WorkloadOptions) -> Workload:
    """The kind, with what the operator said instead."""
    given = (("-p", options.prompt_tokens), ("-n", options.output_tokens), ("-np", options.slots))
    for flag, count in given:
        if count is not None and count < 1:
            raise BadRequest(f"{flag} is {count}; at least 1 is wanted")
    if options.prompt_tokens is not None:
        said = f"{options.prompt_tokens:,} tokens in, as asked for"
        found = replace(found, prompt_tokens=options.prompt_tokens, reasons=(said,), dense_prompt_tokens=None)
    if options.output_tokens is not None:
        found = replace(found, output_tokens=options.output_tokens)
    if options.slots is not None:
        found = replace(found, slots=options.slots)
    if options.accurate is not None:
        found = replace(found, accurate=options.accurate)
    return found


def context_for(work: Workload, longest: int) -> int:
    """Cells of a slot that the work needs, in steps of 1,024 and at least 4,096, within the model's `longest`."""
    wanted = max(4096, -(-work.tokens // 1024) * 1024)
    return max(1, min(wanted, longest)) if longest > 0 else wanted
