"""A file on a server, read by ranges: the same bounded header code that reads local files reads it, in a few requests.

A server may lie. What is asked for is what is taken: never more bytes than the range has, never more than a few
redirects, never another protocol than HTTP, and a wrong or missing length is one clear line.
"""

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from pennyweight.core.errors import BadRequest, FormatError, NotThere

MAX_REDIRECTS = 5
MAX_FILE_BYTES = 1 << 45  # 32 TiB; nobody's file is larger
TIMEOUT_SECONDS = 10.0  # huggingface_hub's own patience

_RANGE = re.compile(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How a server is asked.

    Attributes:
        headers: sent with each request to the first host; other hosts, to which it may redirect, get none of them.
        timeout_seconds: patience with each answer.
    """

    headers: Mapping[str, str]
    timeout_seconds: float = TIMEOUT_SECONDS


class RemoteSource:
    """A `Source` of ranged requests. Opening it asks for the first bytes, which tells the file's size."""

    __slots__ = ("_first", "_server", "name", "size", "url")

    def __init__(self, url: str, server: Server, first_bytes: int = 1 << 20) -> None:
        """Open `url`.

        Raises:
            BadRequest: no such file (NotThere), no leave to read it, or no connection.
            FormatError: an answer that contradicts itself.
        """
        self.url, self.name, self._server = url, url, server
        self._first, self.size = _ranged(url, server, 0, first_bytes, exactly=False)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises: FormatError, BadRequest."""
        end = offset + len(buffer)
        if end > self.size:
            raise FormatError(f"{self.name} ends at byte {self.size}, {end} are wanted")
        known = self._first[offset:end]
        buffer[: len(known)] = known
        if len(known) < len(buffer):
            start = offset + len(known)
            rest, size = _ranged(self.url, self._server, start, end - start, exactly=True)
            if size != self.size:
                raise FormatError(f"{self.name} had {self.size} bytes and now has {size}; ask again")
            buffer[len(known) :] = rest


def _ranged(url: str, server: Server, start: int, count: int, *, exactly: bool) -> tuple[bytes, int]:
    """Bytes [start, start + count) and the size of the whole file; fewer bytes at its end, unless `exactly`."""
    with open_url(url, server, {"Range": f"bytes={start}-{start + count - 1}"}) as answer:
        size = answered_size(answer, url, start)
        wanted = count if exactly else min(count, size - start)
        body = _read(answer, url, wanted)
    if len(body) < wanted:
        raise FormatError(f"{url}: the answer ends after {len(body)} bytes, {wanted} are wanted; cut short?")
    return body, size


def answered_size(answer: http.client.HTTPResponse, url: str, start: int) -> int:
    """The file's size, from an answer that must be the range asked for (or, from the start, the whole file).

    Raises: FormatError.
    """
    if answer.status == 206:
        match = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if not match or int(match[1]) != start:
            raise FormatError(f"{url}: asked for bytes from {start}, the server answers with another range")
        size = int(match[3])
    elif start == 0 and answer.headers.get("Content-Length", "").isdecimal():
        size = int(answer.headers["Content-Length"])
    else:
        raise FormatError(f"{url}: the server does not answer ranged requests, so a header cannot be read alone")
    if not start <= size <= MAX_FILE_BYTES:
        raise FormatError(f"{url}: the server says the file has {size} bytes")
    return size


def _read(answer: http.client.HTTPResponse, url: str, count: int) -> bytes:
    try:
        return answer.read(count)
    except (OSError, http.client.HTTPException) as error:
        raise BadRequest(f"{url}: reading the answer failed: {_reason(error)}") from error


def open_url(url: str, server: Server, extra: Mapping[str, str]) -> http.client.HTTPResponse:
    """The answer to a request, redirects followed; `extra`: headers of it. Raises: BadRequest (NotThere)."""
    opener = urllib.request.build_opener(_NoRedirect)
    first = urllib.parse.urlsplit(url).netloc
    place = url
    for _ in range(MAX_REDIRECTS + 1):
        parts = urllib.parse.urlsplit(place)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise BadRequest(f"{url} leads to {place!r}, which is no HTTP address")
        own = server.headers if parts.netloc == first else {}
        try:
            # Without an encoding of its own: a compressed body has other offsets.
            request = urllib.request.Request(place, headers={"Accept-Encoding": "identity", **own, **extra})
            answer = opener.open(request, timeout=server.timeout_seconds)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in (301, 302, 303, 307, 308):
                # The Hub says 401 of repositories that do not exist, so as not to tell which private ones do.
                kind = NotThere if error.code in (401, 404) else BadRequest
                raise kind(f"{url}: {_meaning(error.code)}") from error
            place = urllib.parse.urljoin(place, error.headers.get("Location", ""))
            continue
        except (OSError, http.client.HTTPException, ValueError) as error:
            hint = "without a network give a file that is here; HF_ENDPOINT names a mirror"
            raise BadRequest(f"{url}: no answer: {_reason(error)}; {hint}") from error
        return answer
    raise BadRequest(f"{url} is redirected more than {MAX_REDIRECTS} times")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects come back as errors: they are followed above, where headers are dropped for other hosts."""

    def redirect_request(self, *_: object) -> None:
        return None


def _meaning(code: int) -> str:
    known = {
        401: "no leave to read it (gated, private, or misspelt); log in with `hf auth login`",
        403: "no leave to read it (gated); accept its terms on the Hub and log in with `hf auth login`",
        404: "there is no such file",
        429: "the server asks for patience (too many requests)",
    }
    return known.get(code, f"the server answers with error {code}")


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = (isinstance(cause, OSError) and cause.strerror) or str(cause)
    return (text.splitlines() or [""])[0] or type(cause).__name__
