"""A loopback web server for the sample's photographs, with simulated faults.

It answers for any host name, so `http://media.treeoflife.example/fish/x.jpg` sent to `SampleServer.address` is answered
from media.zip. faults.json names the paths with faults that real hosts have:

    not_found     404
    html          200 and `image/jpeg`, but the body is a web page
    busy_once     429 with Retry-After the first time, the photograph from then on
    truncated     Content-Length of the whole photograph, half of the body, connection closed
    redirect      302 to another path of the same host
    unavailable   503
"""

import argparse
import hashlib
import json
import socket
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from bioclip.sample import sample_path

LAST_MODIFIED = "Tue, 01 Jan 1980 00:00:00 GMT"
MIME_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
LANDING_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Please sign in.</p></body></html>\n"


@dataclass(frozen=True)
class MediaBody:
    """One served file: bytes, media type and the quoted entity tag."""

    body: bytes
    mime_type: str
    etag: str


def load_media(zip_path: Path) -> dict[str, MediaBody]:
    """Read a media zip into memory, by path; raises zipfile.BadZipFile if a member is damaged."""
    media = {}
    with zipfile.ZipFile(zip_path) as archive:
        for name in archive.namelist():
            body = archive.read(name)
            mime_type = MIME_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
            media[name] = MediaBody(body, mime_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return media


class SampleServer:
    """Serve the sample on loopback while the `with` block lasts.

    `address` is `127.0.0.1:PORT` and valid from construction on; requests are answered between `__enter__` and `__exit__`,
    each in its own thread. Raises OSError when the port is taken. `latency_s` delays every response, like a distant host.
    """

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self.media = load_media(sample_path("media"))
        self.faults: dict[str, dict[str, Any]] = json.loads(sample_path("faults").read_text(encoding="utf-8"))
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._http = _HttpServer((host, port), self)
        self.address = f"{host}:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def request_counts(self) -> Counter[str]:
        """Number of requests by path (without leading slash), as a copy; redirects and 304 count too."""
        with self._lock:
            return self._counts.copy()

    def count_request(self, path: str) -> int:
        """Count a request and return the number of requests for this path, including this one."""
        with self._lock:
            self._counts[path] += 1
            return self._counts[path]

    def serve_forever(self) -> None:
        """Serve in the calling thread until interrupted; do not mix with the `with` form."""
        try:
            self._http.serve_forever()
        finally:
            self._http.server_close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _HttpServer(ThreadingHTTPServer):
    """ThreadingHTTPServer with a deep accept queue, which also hangs up on kept-alive clients when it closes."""

    request_queue_size = 512

    def __init__(self, address: tuple[str, int], sample: SampleServer) -> None:
        self.sample = sample
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._open_lock:
            clients = list(self._open)
        for client in clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client disconnected first

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects during a response; print any other error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; one instance per connection."""

    protocol_version = "HTTP/1.1"
    server_version = "TreeOfLifeSample/1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: _HttpServer

    def do_GET(self) -> None:
        sample = self.server.sample
        path = unquote(urlsplit(self.path).path).lstrip("/")
        asked = sample.count_request(path)
        if sample.latency_s > 0:
            time.sleep(sample.latency_s)
        fault = sample.faults.get(path)
        if fault is None or (fault["fault"] == "busy_once" and asked > 1):
            self._send_media(path)
        else:
            _FAULT_ANSWERS[fault["fault"]](self, path, fault)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class names it so)
        """Keep quiet: `request_counts` is the log."""

    def _answer(self, status: HTTPStatus, headers: dict[str, str], body: bytes = b"", length: int | None = None) -> None:
        """Send one response; `length` overrides the true Content-Length, and then the connection closes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        if length is not None:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_media(self, path: str) -> None:
        found = self.server.sample.media.get(path)
        if found is None:
            self._send_not_found(path, {})
            return
        headers = {"ETag": found.etag, "Last-Modified": LAST_MODIFIED}
        tags = [tag.strip() for tag in self.headers.get("If-None-Match", "").split(",")]
        if found.etag in tags or "*" in tags:
            self._answer(HTTPStatus.NOT_MODIFIED, headers)
        else:
            self._answer(HTTPStatus.OK, {"Content-Type": found.mime_type, **headers}, found.body)

    def _send_not_found(self, path: str, fault: dict[str, Any]) -> None:
        self._answer(HTTPStatus.NOT_FOUND, {"Content-Type": "text/plain"}, b"not found\n")

    def _send_html(self, path: str, fault: dict[str, Any]) -> None:
        self._answer(HTTPStatus.OK, {"Content-Type": "image/jpeg"}, LANDING_PAGE)

    def _send_busy(self, path: str, fault: dict[str, Any]) -> None:
        self._answer(HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(fault["retry_after_s"])}, b"busy\n")

    def _send_truncated(self, path: str, fault: dict[str, Any]) -> None:
        body = self.server.sample.media[path].body
        self._answer(HTTPStatus.OK, {"Content-Type": "image/jpeg"}, body[: len(body) // 2], length=len(body))

    def _send_redirect(self, path: str, fault: dict[str, Any]) -> None:
        self._answer(HTTPStatus.FOUND, {"Location": "/" + fault["location"]})

    def _send_unavailable(self, path: str, fault: dict[str, Any]) -> None:
        self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"Content-Type": "text/plain"}, b"unavailable\n")


_FAULT_ANSWERS: dict[str, Callable[[_Handler, str, dict[str, Any]], None]] = {
    "not_found": _Handler._send_not_found,
    "html": _Handler._send_html,
    "busy_once": _Handler._send_busy,
    "truncated": _Handler._send_truncated,
    "redirect": _Handler._send_redirect,
    "unavailable": _Handler._send_unavailable,
}


def main() -> None:
    """Serve in the foreground until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve the bundled sample's photographs on loopback.")
    parser.add_argument("--port", type=int, default=8471, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--latency-s", type=float, default=0.0, help="seconds to wait before each response")
    arguments = parser.parse_args()
    server = SampleServer(arguments.port, latency_s=arguments.latency_s)
    print(f"serving {len(server.media)} files on http://{server.address}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
