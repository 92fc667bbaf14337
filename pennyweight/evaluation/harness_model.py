"""A llama.cpp model as lm-evaluation-harness sees one: text in, log-likelihoods and answers out.

Needs the extra [tasks]; imported by `evaluation.tasks` when work begins, never at the top of a file.

Texts are tokenized as plain text (control tokens are not read), after BOS where the model adds it. Like the harness's
own models, spaces at the end of a context belong to the continuation, and the continuation is what remains of the whole
text's tokens after as many as the context alone has.

Source: lm-evaluation-harness lm_eval/api/model.py `LM`, `TemplateLM._encode_pair`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports] -- the extra [tasks]
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.core.progress import progress_bar
from pennyweight.evaluation.answers import Question, answer
from pennyweight.evaluation.continuations import (
    Continuation,
    ContinuationScore,
    input_tokens,
    rolling,
    score_continuations,
)
from pennyweight.evaluation.task_data import ReadingSettings
from pennyweight.runtimes.llama_cpp import Model, Sampling
from pennyweight.runtimes.llama_cpp.lanes import Lanes

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports] -- the extra [tasks]

Request = TypeVar("Request")
Result = TypeVar("Result")

USUAL_ANSWER_TOKENS = 256
"""Most tokens of an answer where the task does not say, as in the harness."""

_COUNTS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_KNOWN = {*_COUNTS, "until", "do_sample", "temperature", "top_k", "top_p", "min_p", "num_beams"}


class HarnessModel(LM):
    """`lm_eval.api.model.LM` over a loaded `Model`.

    Attributes:
        truncated: requests whose beginning did not fit the context and was cut, so far.
        longest: tokens of the longest text that was read, so far.
    """

    def __init__(self, model: Model, settings: ReadingSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.n_ctx = settings.ctx or model.facts.n_ctx_train
        self.truncated = self.longest = 0
        self.prefix = model.facts.bos if model.facts.bos >= 0 else model.facts.eos
        self._context_tokens = lru_cache(maxsize=8)(self._tokens)  # the choices of a question share one context

    def loglikelihood(self, requests: "list[Instance]") -> list[tuple[float, bool]]:
        """(context, continuation) → (log p of the continuation in nats, whether greedy decoding writes it)."""
        found = self._scores([self._pair(*request.args) for request in requests], "scoring")
        return [(score.log_likelihood, score.greedy) for score in found]

    def loglikelihood_rolling(self, requests: "list[Instance]") -> list[float]:
        """(text,) → log p of all its tokens in nats, the first after BOS, in windows of the context's length.

        One BOS: the harness's own transformers model puts two where the tokenizer adds one, and scores the second as
        text, so its perplexities of such models are higher (4.69 a byte where this gives 3.43, on four short lines).
        """
        texts = [
            rolling(self.model.tokenize(request.args[0]), self._require_prefix(), self.n_ctx) for request in requests
        ]
        scores = iter(self._scores([window for windows in texts for window in windows], "scoring texts"))
        return [sum(next(scores).log_likelihood for _ in windows) for windows in texts]

    def generate_until(self, requests: "list[Instance]") -> list[str]:
        """(prompt, options) → the answer, cut before the first of the options' stops."""
        questions = [self._question(index, *request.args) for index, request in enumerate(requests)]
        needed = [len(question.prompt) + question.count for question in questions]
        return self._in_lanes(answer, questions, needed, "answering")

    def _scores(self, requests: Sequence[Continuation], label: str) -> list[ContinuationScore]:
        needed = [input_tokens(request) for request in requests]
        self.truncated += sum(count > self.n_ctx for count in needed)
        return self._in_lanes(score_continuations, requests, needed, label)

    def _in_lanes(
        self,
        work: Callable[[Lanes, Sequence[Request], Callable[[int], None]], list[Result]],
        requests: Sequence[Request],
        needed: Sequence[int],
        label: str,
    ) -> list[Result]:
        """`work` over all requests in a context just large enough for the longest, at most `n_ctx`."""
        if not requests:
            return []
        n_ctx = min(max(needed), self.n_ctx)
        self.longest = max(self.longest, n_ctx)
        count = min(self.settings.parallel, len(requests))
        with (
            Lanes(self.model, count=count, n_ctx=n_ctx, threads=self.settings.threads) as lanes,
            progress_bar(label, len(requests), "requests") as advance,
        ):
            return work(lanes, requests, advance)

    def _pair(self, context: str, continuation: str) -> Continuation:
        """Raises: BadRequest where nothing of the continuation remains to be scored."""
        kept = context.rstrip()
        head = self._context_tokens(kept)
        whole = self._tokens(kept + context[len(kept) :] + continuation)
        tokens = whole[len(head) :]
        if not len(tokens):
            raise BadRequest(f"the task's continuation {continuation!r} has no token of its own after {kept[-40:]!r}")
        return Continuation(context=head if len(head) else np.array([self._require_prefix()], np.int32), tokens=tokens)

    def _tokens(self, text: str) -> NDArray[np.int32]:
        start = [self.prefix] if self.model.facts.add_bos else []  # never EOS, which some tokenizers would add
        return np.concatenate([np.array(start, np.int32), self.model.tokenize(text)])

    def _require_prefix(self) -> int:
        if self.prefix < 0:
            raise BadRequest(f"{self.model.path}: neither BOS nor EOS; a text without context cannot be scored")
        return self.prefix

    def _question(self, index: int, prompt: str, options: dict[str, Any]) -> Question:
        if unknown := sorted(set(options) - _KNOWN):
            raise BadRequest(
                f"the task asks for {', '.join(unknown)}; known ways to generate: {', '.join(sorted(_KNOWN))}"
            )
        if options.get("num_beams", 1) != 1:
            raise BadRequest(f"the task asks for {options['num_beams']} beams; only one is searched here")
        count = next((int(options[name]) for name in _COUNTS if name in options), USUAL_ANSWER_TOKENS)
        if count >= self.n_ctx:
            raise DoesNotFit(f"answers of {count} tokens leave no room in a context of {self.n_ctx}; raise -c")
        tokens = self._tokens(prompt)
        if not len(tokens):
            tokens = np.array([self._require_prefix()], np.int32)
        self.truncated += len(tokens) > self.n_ctx - count
        until = options.get("until") or ()
        stops = (until,) if isinstance(until, str) else until
        return Question(
            prompt=tokens[-(self.n_ctx - count) :],
            count=count,
            stops=tuple(stop.encode() for stop in stops if stop),
            sampling=replace(_sampling(options), seed=self.settings.seed + index),
        )


def _sampling(options: dict[str, Any]) -> Sampling:
    """Greedy unless the task asks to sample; a filter that it does not name keeps everything."""
    temperature = options.get("temperature")
    if not options.get("do_sample", False) or temperature == 0:
        return Sampling()
    return Sampling(
        temperature=1.0 if temperature is None else float(temperature),
        top_k=int(options.get("top_k", 0)),
        top_p=float(options.get("top_p", 1.0)),
        min_p=float(options.get("min_p", 0.0)),
    )
