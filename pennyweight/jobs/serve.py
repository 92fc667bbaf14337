"""serve: llama.cpp's OpenAI-compatible server with settings that the planner has checked."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from pennyweight.core.errors import BadRequest
from pennyweight.core.units import show_bytes
from pennyweight.jobs.fit import Fit
from pennyweight.jobs.runnable import runnable
from pennyweight.jobs.speaking import SpeakingOptions
from pennyweight.runtimes.llama_cpp.placement import gpu_names
from pennyweight.runtimes.llama_cpp.server import RunningServer, ServerSettings, check_address, start_server
from pennyweight.runtimes.llama_cpp.shared_object import BUILD
from pennyweight.runtimes.llama_cpp.structs import MAX_SEQUENCES
from pennyweight.runtimes.unused_gpu import unused_gpu

KEY_VARIABLE = "LLAMA_API_KEY"
"""Environment variable that holds an API key, as llama.cpp's server reads it."""

LOADING = SpeakingOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What to serve, and to whom.

    Attributes:
        loading: `ctx` is that of all slots together, as in llama.cpp; None for what each slot usually has.
        slots: requests answered at once.
        api_keys: of which clients must show one; those of the environment are added.
    """

    loading: SpeakingOptions = LOADING
    slots: int = 4
    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = ()


USUAL = ServeOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that is ready.

    Attributes:
        address: `http://127.0.0.1:8080`; the OpenAI client's `base_url` is this and `/v1`.
        n_ctx: of all slots together.
        memory_bytes: that the planner expects; None where it cannot say.
    """

    address: str
    model: str
    n_ctx: int
    slots: int
    key_needed: bool
    engine: str
    placement: str
    memory_bytes: int | None
    notes: tuple[str, ...]


def serve(
    model: str, options: ServeOptions = USUAL, *, on_ready: Callable[[Served], None] = lambda served: None
) -> None:
    """Serve MODEL until Ctrl-C or SIGTERM. Raises: as `serving`."""
    with serving(model, options) as served:
        on_ready(served)
        try:
            forever = Event()
            while not forever.wait(3600):  # a wait with an end is one that signals reach on every system
                pass
        except KeyboardInterrupt:
            return


@contextmanager
def serving(model: str, options: ServeOptions = USUAL) -> Iterator[Served]:
    """A server while the block lasts.

    Raises: DoesNotFit before loading, where memory is short; BadRequest for another address than loopback without a
        key; OutputError for a port in use; and what loading MODEL raises.
    """
    if not 1 <= options.slots <= MAX_SEQUENCES:
        raise BadRequest(f"{options.slots} slots; 1 to {MAX_SEQUENCES} are wanted")
    loading = options.loading
    if loading.engine != "llama.cpp":
        raise BadRequest("serve runs in llama.cpp; the torch engine is for `run`")
    keys = (*options.api_keys, *filter(None, os.environ.get(KEY_VARIABLE, "").split(",")))
    settings = _settings(model, options, keys)
    check_address(settings)  # before a second is spent on the model
    fit = Fit.of(model, loading, slots=options.slots)
    each = _context_of_slot(fit, loading.ctx, options.slots)
    with runnable(model) as path:
        server = start_server(path, replace(settings, n_ctx=each * options.slots, gpu_layers=fit.gpu_layers(each)))
        try:
            yield _served(server, model, each, options, fit, bool(keys))
        finally:
            server.close()


def _settings(model: str, options: ServeOptions, keys: tuple[str, ...]) -> ServerSettings:
    loading = options.loading
    return ServerSettings(
        n_ctx=0,
        slots=options.slots,
        host=options.host,
        port=options.port,
        api_keys=keys,
        alias=served_name(model),
        gpu_layers=loading.gpu_layers,
        type_k=loading.type_k,
        type_v=loading.type_v,
        flash_attention=loading.flash_attention,
        threads=loading.threads,
    )


def served_name(model: str) -> str:
    """What clients call MODEL: `Qwen3.5-4B` of ./models/Qwen3.5-4B.gguf, wherever it lies."""
    return Path(model).name.removesuffix(".gguf") or model


def _context_of_slot(fit: Fit, asked: int | None, slots: int) -> int:
    """Tokens of each slot. Raises: DoesNotFit."""
    if asked is None:
        return min(fit.usual_context, fit.largest_context())
    each = asked // slots
    if each < 1:
        raise BadRequest(f"-c {asked} leaves no token for each of {slots} slots")
    fit.require(each)
    return each


def _served(server: RunningServer, model: str, each: int, options: ServeOptions, fit: Fit, key: bool) -> Served:
    plan = fit.memory(each)
    idle = unused_gpu() if options.loading.gpu_layers else None
    return Served(
        address=server.address,
        model=model,
        n_ctx=each * options.slots,
        slots=options.slots,
        key_needed=key,
        engine=f"llama.cpp {BUILD}",
        placement=_placement(fit, each),
        memory_bytes=round(plan.host_total.value + plan.card_total.value) if plan else None,
        notes=(*fit.notes, *([idle] if idle else [])),
    )


def _placement(fit: Fit, each: int) -> str:
    """Where layers live as planned, which is what the server was told."""
    plan = fit.memory(each)
    if not fit.budget.cards or plan is None:
        return "all layers on the CPU" if not fit.budget.cards else f"layers on {', '.join(gpu_names())}"
    placement = plan.placement
    on_card = f"{placement.gpu_layers} of {placement.footprint.layers} layers on {', '.join(gpu_names())}"
    rest = "" if placement.whole else ", the others on the CPU"
    return f"{on_card} ({show_bytes(plan.card_total.value)}){rest}"
