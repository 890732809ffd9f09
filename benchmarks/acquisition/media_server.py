"""A loopback media server in a separate process: images from memory, keep-alive, a deep backlog, HTTP or HTTPS.

Run as `python -m benchmarks.acquisition.media_server FOLDER [CERTIFICATE KEY]`. It prints its port and serves `/NAME[?anything]`
until it is ended.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

_BACKLOG = 4096


class _Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, images: dict[str, bytes]) -> None:
        self._images = images
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport for responses."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        assert self._transport is not None
        self._received += data
        while b"\r\n\r\n" in self._received and not self._transport.is_closing():
            request, self._received = self._received.split(b"\r\n\r\n", 1)
            name = request.split(b" ", 2)[1].partition(b"?")[0].decode().lstrip("/")
            body = self._images.get(name, b"")
            status = b"200 OK" if name in self._images else b"404 Not Found"
            last = b"connection: close" in request.lower()
            closing = b"Connection: close\r\n" if last else b""
            self._transport.write(b"HTTP/1.1 %b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), closing))
            self._transport.write(body)
            if last:
                self._transport.close()


async def _serve(folder: Path, tls: list[str]) -> None:
    images = {path.name: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(images), "127.0.0.1", 0, backlog=_BACKLOG, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def served(folder: Path, tls: tuple[Path, Path] | None) -> Iterator[str]:
    """The address (scheme://127.0.0.1:port) of a server for the JPEGs in `folder`."""
    command = [sys.executable, "-m", "benchmarks.acquisition.media_server", str(folder), *map(str, tls or ())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        finally:
            server.terminate()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, valid for a day, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now - timedelta(hours=1), now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_path.write_bytes(private)
    return certificate_path, key_path


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2:]))
