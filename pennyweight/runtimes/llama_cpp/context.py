"""A llama.cpp context: the KV cache and buffers in which one model reads tokens and gives logits.

llama.cpp ends the whole process where an internal assertion fails, so what a caller can get wrong (token ids,
positions, sequence ids, batch and context sizes, cache types that a head cannot take) is checked before each call.
"""

import ctypes
import weakref
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight.core.errors import BadRequest, DoesNotFit, PennyweightError, UnsupportedModel
from pennyweight.core.parallel import default_threads
from pennyweight.runtimes.llama_cpp.batch import BatchArrays
from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.llama_cpp.settings import MOST_THREADS, ContextSettings, check_settings
from pennyweight.runtimes.llama_cpp.shared_object import clear_log, library, raise_interrupt, why
from pennyweight.runtimes.llama_cpp.structs import CACHE_TYPES, FLASH_ATTENTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """llama.cpp's own clock since the last `reset_timings`: batches are prompt, single tokens are decode."""

    prompt_tokens: int
    prompt_seconds: float
    decode_tokens: int
    decode_seconds: float


class Context:
    """One KV cache over one model; a context manager. Used by one thread at a time."""

    def __init__(
        self,
        model: Model,
        settings: ContextSettings | None = None,
        *,
        evaluation_callback: "ctypes._CFunctionType | None" = None,
    ) -> None:
        """Allocate it. Raises: BadRequest for settings that cannot be; DoesNotFit where memory is short.

        `evaluation_callback` is called before and after every operation (see `activations`).
        """
        self._evaluation_callback = evaluation_callback
        self.model = model
        self.settings = settings or ContextSettings()
        self.threads = self.settings.threads or min(default_threads(), MOST_THREADS)
        check_settings(model, self.settings)
        clear_log()
        self._handle = library().llama_init_from_model(model.handle, self._params())
        if not self._handle:
            raise DoesNotFit(f"{model.path}: llama.cpp makes no context of {self.settings}: {why()}")
        # The model and the callback are held until the context is freed, whoever drops what first.
        self._free = weakref.finalize(self, _free_context, self._handle, model, evaluation_callback)
        raise_interrupt(self.close)
        self._outputs = 0
        self.n_batch: int = library().llama_n_batch(self._handle)
        self.n_ctx: int = library().llama_n_ctx_seq(self._handle)
        self._batch = BatchArrays(self.n_batch)
        model.adopt(self)

    def close(self) -> None:
        """Free it; harmless when repeated. Arrays from `logits` must not be used afterwards."""
        self._free()

    def __enter__(self) -> "Context":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def handle(self) -> int:
        """The C pointer. Raises: ValueError once closed (a bug of the caller, and a crash in C)."""
        if not self._free.alive:
            raise ValueError(f"{self.model.path}: the context is closed")
        return self._handle

    def clear(self) -> None:
        """Forget every token of every sequence."""
        library().llama_memory_clear(library().llama_get_memory(self.handle), True)

    def truncate(self, length: int, sequence: int = 0) -> None:
        """Forget the tokens of `sequence` from position `length` on. Raises: UnsupportedModel (recurrent models)."""
        self._check_sequences(np.array([sequence]))
        if not library().llama_memory_seq_rm(library().llama_get_memory(self.handle), sequence, length, -1):
            raise UnsupportedModel(f"{self.model.path}: this model's memory cannot forget part of a sequence")

    def decode(
        self, tokens: ArrayLike, positions: ArrayLike, sequences: ArrayLike = 0, outputs: ArrayLike = True
    ) -> None:
        """Read tokens into the cache and compute the logits that are asked for.

        Args:
            tokens: int (n,), 1 ≤ n ≤ n_batch.
            positions: int (n,), each token's place in its sequence, continuing what the cache holds.
            sequences: int (n,) or one for all, 0 ≤ id < n_seq_max.
            outputs: bool (n,) or one for all: whose logits are wanted.

        Raises: BadRequest for what the arguments above rule out; DoesNotFit where the cache is full.
        """
        ids = self.model.checked(np.atleast_1d(np.asarray(tokens)))
        if ids.ndim != 1 or not 1 <= len(ids) <= self.n_batch:
            raise BadRequest(f"a batch has shape {ids.shape}; 1 to {self.n_batch} tokens are wanted")
        batch = self._batch.fill(ids, positions, sequences, outputs)
        self._check_places(self._batch.positions[: len(ids)])
        self._check_sequences(self._batch.sequences[: len(ids)])
        clear_log()
        self._outputs = 0
        status = library().llama_decode(self.handle, batch)
        if status:
            raise _refusal(self, status)
        self._outputs = int(np.count_nonzero(self._batch.outputs[: len(ids)]))

    def logits(self) -> NDArray[np.float32]:
        """Logits of the last `decode`, float32 (outputs asked for, n_vocab), in the order of the tokens.

        A view of llama.cpp's own buffer: no copy is made, and the next `decode` or `close` takes it away.
        """
        shape = (self._outputs, self.model.facts.n_vocab)
        pointer = library().llama_get_logits(self.handle) if self._outputs else None
        if not pointer:
            raise ValueError("no logits: the last decode asked for none")
        return np.ctypeslib.as_array(pointer, shape)

    def synchronize(self) -> None:
        """Wait until everything asked for is computed (matters on a GPU, and for clocks)."""
        library().llama_synchronize(self.handle)

    def timings(self) -> Timings:
        """What llama.cpp's clock says since `reset_timings`."""
        data = library().llama_perf_context(self.handle)
        return Timings(
            prompt_tokens=data.n_p_eval,
            prompt_seconds=data.t_p_eval_ms / 1e3,
            decode_tokens=data.n_eval,
            decode_seconds=data.t_eval_ms / 1e3,
        )

    def reset_timings(self) -> None:
        """Set the clock of `timings` to zero."""
        library().llama_perf_context_reset(self.handle)

    def _params(self) -> ctypes.Structure:
        want, params = self.settings, library().llama_context_default_params()
        params.n_ctx, params.n_seq_max = want.n_ctx * want.n_seq_max, want.n_seq_max
        params.n_batch, params.n_ubatch = want.n_batch, want.n_ubatch
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k, params.type_v = CACHE_TYPES[want.type_k], CACHE_TYPES[want.type_v]
        params.flash_attn_type = FLASH_ATTENTION[want.flash_attention]
        params.no_perf = False  # two clock readings a call
        params.swa_full = False  # as llama.cpp's own programs set it
        if self._evaluation_callback is not None:
            params.cb_eval = ctypes.cast(self._evaluation_callback, ctypes.c_void_p)
        return params

    def _check_places(self, places: NDArray[np.int32]) -> None:
        if places.min() < 0 or places.max() >= self.n_ctx:
            raise DoesNotFit(
                f"positions {places.min()} to {places.max()} do not fit a context of {self.n_ctx} tokens; raise n_ctx"
            )

    def _check_sequences(self, owners: NDArray[np.integer]) -> None:
        if owners.min() < 0 or owners.max() >= self.settings.n_seq_max:
            raise BadRequest(f"sequence {owners.max()} is outside 0 … {self.settings.n_seq_max - 1}; raise n_seq_max")


def _free_context(handle: int, *_held: object) -> None:
    library().llama_free(handle)


def _refusal(context: Context, status: int) -> PennyweightError:
    """`llama_decode`'s status as an error: 1 no room, -1 bad batch, else a failure inside."""
    path = context.model.path
    if status == 1:
        return DoesNotFit(f"{path}: the cache of {context.n_ctx} tokens a sequence is full; raise n_ctx")
    return BadRequest(f"{path}: llama.cpp refused the tokens (status {status}): {why()}")
