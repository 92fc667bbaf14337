"""A server on this machine that speaks as much of the Hub's interface as a header costs, lies included on request."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class HubServer(ThreadingHTTPServer):
    """Repositories as `{"user/repo": {"file": bytes}}`; files that do not end in .json are redirected, as on the Hub.

    Attributes:
        lies: file name → what to do instead of answering right: `loop`, `cut`, `no ranges`, `other range`,
            `size` (a size of 2^60), `file:` (a redirect to a local file), `403`.
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


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        parts = self.path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            files = self.server.repositories.get("/".join(parts[2:]))
            listed = {"siblings": [{"rfilename": name} for name in files]} if files is not None else None
            self._answer(json.dumps(listed).encode() if listed else None)
            return
        repository, file = "/".join(parts[:2]), "/".join(parts[4:])
        lie = self.server.lies.get(file)
        if lie in ("loop", "file:"):
            self._redirect(self.path if lie == "loop" else "file:///etc/hostname")
        elif lie == "403":
            self.send_error(403)
        elif parts[2] == "resolve" and not file.endswith(".json"):
            # Another host, as a content network is: it must not be given the user's leave.
            self._redirect(f"http://localhost:{self.server.server_port}/{repository}/cdn/main/{file}")
        else:
            self._answer(self.server.repositories.get(repository, {}).get(file), lie)

    def _redirect(self, place: str) -> None:
        self.send_response(302)
        self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, body: bytes | None, lie: str | None = None) -> None:
        if body is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        start, end = (int(n) for n in asked.removeprefix("bytes=").split("-")) if asked else (0, len(body) - 1)
        part = body[start : end + 1]
        self.send_response(200 if lie == "no ranges" else 206)
        size = 1 << 60 if lie == "size" else len(body)
        begin = start + 1 if lie == "other range" else start
        if lie != "no ranges":
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{size}")
        sent = body if lie == "no ranges" else part[: len(part) // 2] if lie == "cut" else part
        self.send_header("Content-Length", str(len(body) if lie == "no ranges" else len(part)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):  # the reader has taken what it wanted and left
            self.wfile.write(sent)


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
