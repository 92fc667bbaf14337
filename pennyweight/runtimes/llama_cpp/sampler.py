"""llama.cpp's own samplers, with a grammar where one is given: the next token, chosen in C.

    with Sampler(model, Sampling(temperature=0.8), grammar='root ::= "yes" | "no"') as sampler:
        token = sampler.sample(context)

The chain is llama.cpp's default order: top-k, top-p, min-p, temperature, a seeded draw. The grammar stands beside it
and not in it: the chain chooses first, and only a token that the grammar refuses costs a walk of the whole vocabulary.

Source: llama.cpp include/llama.h `llama_sampler_*`; common/sampling.cpp `common_sampler_sample` for that order.
"""

import ctypes
import weakref
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_float, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest
from pennyweight.runtimes.llama_cpp.context import Context
from pennyweight.runtimes.llama_cpp.generate import Sampling
from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.llama_cpp.shared_object import clear_log, library, why

_CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
"""`llama_token_data`."""

_AT_LEAST_ONE = 1


class Candidates(Structure):
    """`llama_token_data_array`: what a sampler reorders and cuts."""

    _fields_ = (("data", c_void_p), ("size", c_size_t), ("selected", c_int64), ("sorted", c_bool))


SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "llama_sampler_chain_init": (c_void_p, (c_bool,)),
    "llama_sampler_chain_add": (None, (c_void_p, c_void_p)),
    "llama_sampler_init_greedy": (c_void_p, ()),
    "llama_sampler_init_dist": (c_void_p, (c_uint32,)),
    "llama_sampler_init_top_k": (c_void_p, (c_int32,)),
    "llama_sampler_init_top_p": (c_void_p, (c_float, c_size_t)),
    "llama_sampler_init_min_p": (c_void_p, (c_float, c_size_t)),
    "llama_sampler_init_temp": (c_void_p, (c_float,)),
    "llama_sampler_init_grammar": (c_void_p, (c_void_p, c_char_p, c_char_p)),
    "llama_sampler_sample": (c_int32, (c_void_p, c_void_p, c_int32)),
    "llama_sampler_apply": (None, (c_void_p, POINTER(Candidates))),
    "llama_sampler_accept": (None, (c_void_p, c_int32)),
    "llama_sampler_free": (None, (c_void_p,)),
}
"""C function → (result, arguments). `llama_sampler_chain_params` is one bool, which travels as one."""


class Sampler:
    """Chooses tokens from a context's last logits; a context manager."""

    def __init__(self, model: Model, sampling: Sampling, grammar: str | None = None) -> None:
        """Raises: BadRequest for a grammar that llama.cpp cannot parse, with its reason."""
        self._lib = _bound()
        self.model = model
        self._chain = _chain(self._lib, sampling)
        self._free_chain = weakref.finalize(self, self._lib.llama_sampler_free, self._chain)
        self._grammar = _grammar(self._lib, model, grammar) if grammar else None
        self._free_grammar = weakref.finalize(self, _free, self._lib, self._grammar)

    def sample(self, context: Context, row: int = -1) -> int:
        """The token after a row of `context`'s last logits, counted from the end; the grammar moves on by it."""
        token = self._lib.llama_sampler_sample(self._chain, context.handle, row)
        return self._lawful(token, context.logits()[row]) if self._grammar else token

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The same from float32 (n_vocab,) logits of any engine with this vocabulary."""
        token = self._drawn(_all_tokens(logits))
        return self._lawful(token, logits) if self._grammar else token

    def close(self) -> None:
        """Free it; harmless when repeated."""
        self._free_chain()
        self._free_grammar()

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _lawful(self, token: int, logits: NDArray[np.float32]) -> int:
        """`token` where the grammar allows it, else the chain's choice among those that it allows; moves on by it."""
        one = np.zeros(1, _CANDIDATE)
        one["id"] = token
        self._lib.llama_sampler_apply(self._grammar, byref(_candidates(one)))
        if not np.isfinite(one["logit"][0]):  # a refused token's logit is -inf
            all_tokens = _all_tokens(logits)
            self._lib.llama_sampler_apply(self._grammar, byref(_candidates(all_tokens)))
            left = np.ascontiguousarray(all_tokens[np.isfinite(all_tokens["logit"])])
            if not len(left):
                raise BadRequest(f"{self.model.path}: no token of this vocabulary continues the grammar")
            token = self._drawn(left)
        self._lib.llama_sampler_accept(self._grammar, token)
        return token

    def _drawn(self, candidates: np.ndarray) -> int:
        described = _candidates(candidates)
        self._lib.llama_sampler_apply(self._chain, byref(described))
        return int(candidates["id"][described.selected])


def _all_tokens(logits: NDArray[np.float32]) -> np.ndarray:
    candidates = np.zeros(len(logits), _CANDIDATE)
    candidates["id"], candidates["logit"] = np.arange(len(logits)), logits
    return candidates


def _candidates(array: np.ndarray) -> Candidates:
    return Candidates(data=array.ctypes.data, size=len(array), selected=-1, sorted=False)


def _chain(lib: ctypes.CDLL, sampling: Sampling) -> int:
    chain = lib.llama_sampler_chain_init(True)  # without clocks
    for sampler in _links(lib, sampling):
        lib.llama_sampler_chain_add(chain, sampler)
    return chain


def _links(lib: ctypes.CDLL, sampling: Sampling) -> list[int]:
    if sampling.temperature == 0:
        return [lib.llama_sampler_init_greedy()]
    return [
        lib.llama_sampler_init_top_k(sampling.top_k),
        lib.llama_sampler_init_top_p(sampling.top_p, _AT_LEAST_ONE),
        lib.llama_sampler_init_min_p(sampling.min_p, _AT_LEAST_ONE),
        lib.llama_sampler_init_temp(sampling.temperature),
        lib.llama_sampler_init_dist(sampling.seed % 2**32),
    ]


def _grammar(lib: ctypes.CDLL, model: Model, grammar: str) -> int:
    clear_log()
    made = lib.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
    if not made:
        raise BadRequest(f"llama.cpp cannot parse the grammar: {why()}")
    return made


def _free(lib: ctypes.CDLL, sampler: int | None) -> None:
    if sampler:
        lib.llama_sampler_free(sampler)


@cache
def _bound() -> ctypes.CDLL:
    lib = library()
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
