"""Which URLs and addresses may be contacted.

URLs are parsed by the parser of the connecting client (yarl), so guard and client read them the same way. Addresses are checked in the
resolver: a connection goes to exactly the address that was checked, so a DNS answer that changes between check and use has no effect, and
decimal, octal or hexadecimal spellings of an address are checked as the address they resolve to.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Mapping
from urllib.parse import quote, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_URL_CHARS = 8_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EMBEDDING = {prefix: ipaddress.IPv6Network(prefix) for prefix in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")}
_ISATAP = (0x00005EFE, 0x02005EFE)
# fmt: off
REFUSED_PORTS = frozenset({
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115,
    117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587,
    601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080, 11211,
})
# fmt: on
"""Ports of other protocols: those that browsers refuse (WHATWG Fetch, "bad port"), and two databases with text protocols."""


class AddressRefusedError(Exception):
    """A host resolves to an address that may not be contacted."""


def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Networks in CIDR form; raises ValueError for anything else."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def is_allowed_address(address: Address, allowed: tuple[Network, ...]) -> bool:
    """True for public unicast addresses, and for any in `allowed`; IPv6 forms of an IPv4 address are checked as that address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None and not any(address in network for network in allowed if network.version == 6):
            return is_allowed_address(inner, allowed)
        if address.is_site_local:
            return any(address in network for network in allowed if network.version == 6)
    if any(address in network for network in allowed if network.version == address.version):
        return True
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address embeds: mapped, compatible, 6to4, Teredo, NAT64 (RFC 6052, 8215) or ISATAP; else None."""
    if found := address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None):
        return found
    low = int(address) & 0xFFFFFFFF
    if any(address in network for network in _EMBEDDING.values()) and int(address) > 1:
        return ipaddress.IPv4Address(low)
    return ipaddress.IPv4Address(low) if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP else None


_IN_PATH = "/%:@!$&'()*+,;=~-._"
_IN_QUERY = _IN_PATH + "?"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FILE_SUFFIX = re.compile(r"\.(?:jpe?g|jpe|png|gif|webp|tiff?|bmp|jp2|avif)$", re.IGNORECASE)


def request_url(url: str) -> URL:
    """The URL to request: percent-encodings as they are written, other characters encoded where they must be.

    A `#` within a file name (`a#1.jpg`) is part of the path; one after a file name begins a fragment, which is not sent.
    """
    address, mark, fragment = url.partition("#")
    if mark and _FILE_SUFFIX.search(fragment.partition("?")[0]) and not _FILE_SUFFIX.search(address.partition("?")[0]):
        address = f"{address}%23{fragment}"
    parts, base = urlsplit(address), URL(address)
    path = quote(_STRAY_PERCENT.sub("%25", parts.path), safe=_IN_PATH) or "/"
    query = quote(_STRAY_PERCENT.sub("%25", parts.query), safe=_IN_QUERY)
    return URL(f"{base.scheme}://{base.raw_authority}{path}{'?' if query else ''}{query}", encoded=True)


def refuse_url(text: str, schemes: Collection[str], allowed: tuple[Network, ...]) -> tuple[str, str]:
    """(reason, detail) why `text` must not be requested, or ('', '').

    Reasons: invalid_url, scheme_refused, credentials_refused, port_refused, address_refused. Names are checked later, in the resolver;
    addresses in the URL are checked here, because they never reach the resolver.
    """
    if len(text) > MAX_URL_CHARS:
        return "invalid_url", f"{len(text)} characters; at most {MAX_URL_CHARS}"
    if _CONTROL.search(text):
        return "invalid_url", "holds control characters"
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except (ValueError, UnicodeError) as error:
        return "invalid_url", " ".join(str(error).split())
    if url.scheme.lower() not in schemes:
        return "scheme_refused", f"{url.scheme or 'no scheme'}; known: {', '.join(sorted(schemes))}"
    if url.scheme.lower() not in {"http", "https"}:
        return "", ""
    if not host or len(host) > 253:
        return "invalid_url", "no usable host name"
    if url.raw_user is not None or url.raw_password is not None:
        return "credentials_refused", "a user name or password in the address"
    if port in REFUSED_PORTS or port == 0:
        return "port_refused", f"port {port} belongs to another protocol"
    address = _written_address(host)
    return ("", "") if address is None or is_allowed_address(address, allowed) else ("address_refused", f"{host} is {address}")


def _written_address(host: str) -> Address | None:
    """The address in `host`, decimal, octal and hexadecimal forms of IPv4 included; None for a name."""
    host = host.split("%")[0].rstrip(".")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


class GuardedResolver(AbstractResolver):
    """Resolves names, redirects `connect_to` hosts, and refuses addresses that may not be contacted."""

    def __init__(self, allowed: tuple[Network, ...], connect_to: Mapping[str, str]) -> None:
        self._allowed = allowed
        self._connect_to = dict(connect_to)
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Checked addresses of `host`; raises AddressRefusedError if one of them is refused, OSError if there is none."""
        name = host
        if target := self._connect_to.get(host):
            name, _, target_port = target.rpartition(":")
            port = int(target_port)
        found = await self._inner.resolve(name.strip("[]"), port, family)
        for result in found:
            if not is_allowed_address(ipaddress.ip_address(result["host"].split("%")[0]), self._allowed):
                raise AddressRefusedError(f"{host} is at {result['host']}, which is not a public address")
        return [ResolveResult(**{**result, "hostname": host}) for result in found]

    async def close(self) -> None:
        """Release the resolver."""
        await self._inner.close()
