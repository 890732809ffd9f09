"""A loopback HTTP forwarder that spoils some requests on their way, as a test says; it ends with its block."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["", "slow_down", "unavailable", "forbidden", "no_such_upload", "cut_request", "cut_answer", "lose_answer"]
_TIMEOUT_S = 60
_ANSWERS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "unavailable": (503, "ServiceUnavailable", "Nobody is home."),
    "no_such_upload": (404, "NoSuchUpload", "The specified multipart upload does not exist."),
    "forbidden": (403, "AccessDenied", "Access Denied."),
}


@dataclass(frozen=True)
class Request:
    """What a fault is chosen by: `number` counts requests of this method from 0."""

    method: str
    path: str
    number: int

    @property
    def is_part(self) -> bool:
        """True for a part of a multipart upload."""
        return self.method == "PUT" and "partNumber=" in self.path


class Forwarder:
    """Forwards to `upstream` (`http://address:port`), request by request; `faults` counts what was spoiled, by method and fault."""

    def __init__(self, upstream: str, choose: Callable[[Request], Fault] = lambda request: "") -> None:
        self.choose = choose
        self.requests: Counter[str] = Counter()
        self.faults: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self, "upstream": urlsplit(upstream).netloc})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fault_of(self, method: str, path: str) -> Fault:
        """What happens to this request, counted."""
        with self._lock:
            request = Request(method, path, self.requests[method])
            self.requests[method] += 1
            if fault := self.choose(request):
                self.faults[method, fault] += 1
        return fault

    def __enter__(self) -> Forwarder:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Forwarder
    upstream: str
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S

    def forward(self) -> None:
        fault = self.owner.fault_of(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "cut_request":
            self.rfile.read(length // 2)
            self.hang_up()
            return
        body = self.rfile.read(length)
        if fault in _ANSWERS:
            status, code, message = _ANSWERS[fault]
            text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
            self.answer(status, [("Content-Type", "application/xml")], text, len(text))
            return
        try:
            status, headers, answer = self.ask(body)
        except (OSError, http.client.HTTPException):
            self.hang_up()  # as if the service itself were spoken to
            return
        if fault == "lose_answer":
            self.hang_up()
            return
        stated = next((int(value) for name, value in headers if name.lower() == "content-length"), len(answer))
        self.answer(status, headers, answer[: len(answer) // 2] if fault == "cut_answer" else answer, stated)
        if fault == "cut_answer":
            self.hang_up()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

    def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.upstream, timeout=_TIMEOUT_S)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            found = connection.getresponse()
            return found.status, found.getheaders(), found.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, stated: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(stated))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass
