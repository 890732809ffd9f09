"""Which addresses may be contacted.

The check sits in the resolver: a connection goes to exactly the address that was checked, so a DNS answer that changes between check
and use never gets through, and decimal or octal spellings of an address are seen as what they resolve to.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressRefusedError(Exception):
    """A host resolves to an address that may not be contacted."""


def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Networks in CIDR form; raises ValueError for anything else."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def is_allowed_address(address: Address, allowed: tuple[Network, ...]) -> bool:
    """True for public unicast addresses, and for any in `allowed`; IPv6 forms of an IPv4 address are judged as that one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return is_allowed_address(inner, allowed)
    if any(address in network for network in allowed if network.version == address.version):
        return True
    return address.is_global and not address.is_multicast


def refuse_url(url: str, allowed: tuple[Network, ...]) -> str:
    """Reason why `url` must not be asked for (`scheme_refused`, `invalid_url`, `address_refused`), or ''.

    Names are judged later, in the resolver; addresses written in the URL here, since these never reach it.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "invalid_url"
    if parts.scheme.lower() not in {"http", "https"}:
        return "scheme_refused"
    if not host:
        return "invalid_url"
    address = _written_address(host)
    return "" if address is None or is_allowed_address(address, allowed) else "address_refused"


def _written_address(host: str) -> Address | None:
    """The address that `host` spells, decimal, octal and hexadecimal forms of IPv4 included; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


class GuardedResolver(AbstractResolver):
    """Resolves names, sends `connect_to` hosts elsewhere, and refuses addresses that may not be contacted."""

    def __init__(self, allowed: tuple[Network, ...], connect_to: Mapping[str, str]) -> None:
        self._allowed = allowed
        self._connect_to = dict(connect_to)
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Checked addresses of `host`; raises AddressRefusedError when one of them is refused, OSError when there is none."""
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
