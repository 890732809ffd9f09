"""A loopback HTTP server whose paths misbehave as a test says; it remembers when each request came and how many ran at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class FaultServer:
    """`routes` maps a path to a function that writes the whole answer through the handler; everything else is a 404."""

    def __init__(self, routes: dict[str, Callable[[BaseHTTPRequestHandler], None]]) -> None:
        self.counts: Counter[str] = Counter()
        self.starts: list[float] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with owner._lock:
                    owner.counts[self.path] += 1
                    owner.starts.append(time.monotonic())
                    owner._now += 1
                    owner.most_at_once = max(owner.most_at_once, owner._now)
                try:
                    routes.get(self.path, lambda handler: answer(handler, b"nothing here", status=404))(self)
                finally:
                    with owner._lock:
                        owner._now -= 1

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def answer(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    status: int = 200,
    headers: dict[str, str] | None = None,
    claimed_length: int | None = None,
) -> None:
    """A whole answer; `claimed_length` above the body's length makes it a truncated one."""
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body) if claimed_length is None else claimed_length))
    handler.end_headers()
    handler.wfile.write(body)
    if claimed_length is not None:
        handler.close_connection = True
