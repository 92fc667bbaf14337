"""llama.cpp's own OpenAI-compatible server, in this process, through xllamacpp's Server.

The one place where the wheel's Python module is imported. The server listens before the model is loaded (`/health` says
503 until then), answers on threads of its own, and ends when `close` is called.
"""

import errno
import ipaddress
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.core.errors import BadRequest, DoesNotFit, OutputError
from pennyweight.runtimes.llama_cpp.openmp import impatient_threads
from pennyweight.runtimes.llama_cpp.settings import check_threads

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LEAST_KEY_LETTERS = 16

PATIENCE_SECONDS = 60.0
"""For a server that listens and has loaded its model to answer its first question."""

READ_SECONDS, WRITE_SECONDS = 60, 10
"""How long a client may send nothing of its request, and read nothing of its answer once megabytes of it lie unread.
llama.cpp waits for an hour, in which such a client has its slot, and stopping waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How to serve.

    Attributes:
        n_ctx: tokens of context, shared evenly by the slots.
        slots: requests answered at once; more wait.
        host, port: where to listen; port 0 takes a free one.
        api_keys: of which a client must show one; none is fine on the loopback interface alone.
        alias: the model's name in answers.
    """

    n_ctx: int
    slots: int = 1
    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = ()
    alias: str
    gpu_layers: int = -1
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: bool | None = None
    threads: int | None = None
    micro_batch: int = 512


class RunningServer:
    """A server that answers until `close`; `address` is where."""

    def __init__(self, server: Any, address: str) -> None:
        self._server: Any = server
        self.address = address

    def close(self) -> None:
        """Stop answering and free the model; requests under way are cut. Harmless when repeated."""
        self._server = None  # its destructor ends the threads and waits for them


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(settings: ServerSettings) -> None:
    """Raises: BadRequest for an address that others reach without a key; OutputError for a port that is taken."""
    if not 0 <= settings.port <= 65535:
        raise BadRequest(f"port {settings.port}; 0 to 65535 are wanted")
    if not settings.host.strip():
        raise BadRequest("the address to listen on is empty; 127.0.0.1 is this machine alone")
    if any(len(key) < LEAST_KEY_LETTERS or not key.isprintable() for key in settings.api_keys):
        raise BadRequest(f"an API key has fewer than {LEAST_KEY_LETTERS} letters; a longer one is wanted")
    if not is_loopback(settings.host) and not settings.api_keys:
        raise BadRequest(
            f"others can reach {settings.host}; give an API key (--api-key-file F), or serve on 127.0.0.1 alone"
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that lingers is no server
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            other = "--host" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else "--port"
            raise OutputError(
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}; "
                f"choose another {other}"
            ) from error


def start_server(path: Path, settings: ServerSettings) -> RunningServer:
    """Load `path` and listen; returns when the model is ready.

    Raises: as `check_address`, `check_threads`; DoesNotFit where llama.cpp cannot load the model with these settings.
    """
    check_address(settings)
    check_threads(settings.threads)
    with impatient_threads():
        import xllamacpp as library

    xllamacpp: Any = library  # a compiled module, whose names no checker sees
    with _interrupts_later():
        try:
            server = xllamacpp.Server(_params(xllamacpp, path, settings))
        except RuntimeError as error:
            raise DoesNotFit(
                f"{path}: llama.cpp's server does not start with -c {settings.n_ctx} -np {settings.slots}; "
                "a smaller context or model is wanted, or another --port"
            ) from error
        _wait_until_it_works(server.listening_address, settings.api_keys)
    return RunningServer(server, server.listening_address)


def _wait_until_it_works(address: str, keys: tuple[str, ...]) -> None:
    """Until the loop that does the work has answered once: a server that ends before it began hangs (b11549)."""
    headers = {"Authorization": f"Bearer {keys[0]}"} if keys else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        with suppress(OSError):
            opener.open(urllib.request.Request(f"{address}/metrics", headers=headers), timeout=5).close()
            return
        time.sleep(0.02)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Ctrl-C and `kill` are heard at the end of the block: in its midst they would lose a server, which hangs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, frame: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    for number in came[:1]:
        signal.raise_signal(number)


def _params(library: Any, path: Path, settings: ServerSettings) -> Any:
    params = library.CommonParams()
    params.model.path, params.model_alias = str(path), {settings.alias}
    params.hostnames, params.port = [settings.host], settings.port
    params.api_keys = list(settings.api_keys)
    params.n_ctx, params.n_parallel, params.n_ubatch = settings.n_ctx, settings.slots, settings.micro_batch
    params.n_gpu_layers = settings.gpu_layers
    params.cache_type_k = _cache_type(library, settings.type_k)
    params.cache_type_v = _cache_type(library, settings.type_v)
    if settings.flash_attention is not None:
        words = library.llama_flash_attn_type
        params.flash_attn_type = (
            words.LLAMA_FLASH_ATTN_TYPE_ENABLED if settings.flash_attention else words.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
    if settings.threads:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.endpoint_metrics, params.endpoint_slots, params.ui = True, False, False
    params.use_jinja, params.verbosity = True, 0
    params.timeout_read, params.timeout_write = READ_SECONDS, WRITE_SECONDS
    # The planner sized it: llama.cpp's own fitting would quietly choose another context, and its cache of prompts
    # would take up to 8 GiB of host memory that nobody planned.
    params.fit_params, params.cache_ram_mib = False, 0
    # A page of any site may otherwise ask the server on this machine, and read its answers.
    params.cors_origins = f"http://{settings.host}:{settings.port}"
    return params


def _cache_type(library: Any, name: str) -> Any:
    return getattr(library.ggml_type, f"GGML_TYPE_{name.upper()}")
