"""A server on this machine that speaks as much of the Hub's interface as headers and downloads cost, lies included."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c" * 40
LARGE = (".gguf", ".safetensors")
"""Files that a repository would keep in large-file storage, under their SHA-256."""


class HubServer(ThreadingHTTPServer):
    """Repositories as `{"user/repo": {"file": bytes}}`; files that do not end in .json are redirected, as on the Hub.

    Attributes:
        lies: file name → what to do instead of answering right: `loop`, `cut` (half of what was asked for), `cut once`
            (that once, then right), `no ranges`, `other range`, `size` (a size of 2^60), `damaged` (one bit),
            `file:` (a redirect to a local file), `403`.
        asked: (path, Range, who) of every request, in order.
    """

    daemon_threads = True

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.lies = repositories, dict[str, str]()
        self.asked: list[tuple[str, str | None, str | None]] = []

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def bytes_sent_for(self, file: str) -> int:
        """Bytes of all ranges asked of a file."""
        ranges = [r.removeprefix("bytes=").split("-") for path, r, _ in self.asked if r and path.endswith(file)]
        return sum(int(end) - int(start) + 1 for start, end in ranges)

    def ranges_of(self, file: str) -> list[str | None]:
        """The ranges asked of a file where its bytes lie, in order."""
        return [r for path, r, _ in self.asked if "/cdn/" in path and path.endswith(file)]


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        self._serve()

    def _serve(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._answer(self._listed("/".join(parts[2:4]), parts[4:]))
            return
        repository, file = "/".join(parts[:2]), "/".join(parts[4:])
        body = self.server.repositories.get(repository, {}).get(file)
        lie = self.server.lies.get(file)
        if lie in ("loop", "file:"):
            self._redirect(self.path if lie == "loop" else "file:///etc/hostname", b"")
        elif lie == "403":
            self.send_error(403)
        elif parts[2] == "resolve" and not file.endswith(".json") and body is not None:
            # Another host, as a content network is: it must not be given the user's leave.
            self._redirect(f"http://localhost:{self.server.server_port}/{repository}/cdn/main/{file}", body)
        else:
            if lie == "cut once":
                self.server.lies[file], lie = "", "cut"
            self._answer(body, lie, file)

    def _listed(self, repository: str, what: list[str]) -> bytes | None:
        """The list of a repository's files, in one of the two forms that are asked for."""
        files = self.server.repositories.get(repository)
        if files is None:
            return None
        if what[:1] == ["tree"]:
            return json.dumps([_entry(name, body) for name, body in files.items()]).encode()
        siblings = [{"rfilename": name, **_stored(name, body, "sha256")} for name, body in files.items()]
        return json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()

    def _redirect(self, place: str, body: bytes) -> None:
        self.send_response(302)
        self.send_header("Location", place)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(body)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, body: bytes | None, lie: str | None = None, file: str = "") -> None:
        if body is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        first, _, last = asked.removeprefix("bytes=").partition("-") if asked else ("0", "", "")
        start, end = int(first), min(int(last or len(body)), len(body) - 1)
        part = body[start : end + 1]
        if lie == "damaged":
            part = bytes([part[0] ^ 1]) + part[1:]
        self.send_response(200 if lie == "no ranges" or not asked else 206)
        size = 1 << 60 if lie == "size" else len(body)
        begin = start + 1 if lie == "other range" else start
        if lie != "no ranges" and asked:
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{size}")
        sent = body if lie == "no ranges" else part[: len(part) // 2] if lie == "cut" else part
        self.send_header("Content-Length", str(len(body) if lie == "no ranges" else len(part)))
        self.send_header("ETag", f'"{_git_hash(body)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command == "GET":
            with suppress(OSError):  # the reader has taken what it wanted and left
                self.wfile.write(sent)


def _git_hash(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()


def _stored(name: str, body: bytes, key: str) -> dict[str, Any]:
    """Of a large file, where it lies; its SHA-256 is called `sha256` in one list and `oid` in the other."""
    large = {key: hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}
    return {"lfs": large} if name.endswith(LARGE) and body else {}


def _entry(name: str, body: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(body), "oid": _git_hash(body), **_stored(name, body, "oid")}


@contextmanager
def serving(repositories: dict[str, dict[str, bytes]]) -> Iterator[HubServer]:
    """The server, for as long as the block runs."""
    server = HubServer(repositories)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
