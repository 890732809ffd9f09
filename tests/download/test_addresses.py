"""Nothing private is contacted, however its address is spelt or reached."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from bioclip.download.addresses import AddressRefusedError, GuardedResolver, is_allowed_address, refuse_url
from bioclip.download.outcomes import PERMANENT
from bioclip.settings import DownloadSettings
from tests.download.asking import LOOPBACK, fetch
from tests.download.fault_server import FaultServer, answer


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("file:///etc/passwd", "scheme_refused"),
            ("ftp://example.org/a.jpg", "scheme_refused"),
            ("http:///a.jpg", "invalid_url"),
            ("http://127.0.0.1/a.jpg", "address_refused"),
            ("http://[::1]/a.jpg", "address_refused"),
            ("http://[::ffff:127.0.0.1]/a.jpg", "address_refused"),
            ("http://169.254.169.254/latest/meta-data", "address_refused"),
            ("http://10.0.0.1/a.jpg", "address_refused"),
            ("http://2130706433/a.jpg", "address_refused"),
            ("http://0177.0.0.1/a.jpg", "address_refused"),
            ("http://localhost/a.jpg", "address_refused"),
        ],
    )
    def test_private_places_are_refused_by_name(self, url: str, reason: str) -> None:
        [fetched] = fetch(DownloadSettings(max_attempts=1), url)
        assert (fetched.status, fetched.reason) == (PERMANENT, reason)

    def test_a_redirect_into_a_private_place_is_refused(self) -> None:
        with FaultServer({"/a": lambda h: answer(h, b"", 302, {"Location": "http://10.1.2.3/secret"})}) as server:
            [fetched] = fetch(LOOPBACK, f"http://{server.address}/a")
        assert (fetched.status, fetched.reason, fetched.final_url) == (PERMANENT, "address_refused", "http://10.1.2.3/secret")

    def test_a_name_that_leads_to_a_private_place_is_refused_when_it_connects(self) -> None:
        with FaultServer({"/a": lambda h: answer(h, b"secret")}) as server:
            settings = DownloadSettings(connect_to={"photos.example": server.address}, max_attempts=1)
            [fetched] = fetch(settings, "http://photos.example/a")
        assert (fetched.reason, server.counts.total()) == ("address_refused", 0)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://user:word@example.org/a.jpg", "credentials_refused"),
            ("http://example.org@127.0.0.1/a.jpg", "credentials_refused"),
            ("http://example.org:22/a.jpg", "port_refused"),
            ("http://example.org:6379/a.jpg", "port_refused"),
            ("http://example.org/a\r\nHost: other", "invalid_url"),
            ("http://example.org/a\x00.jpg", "invalid_url"),
            ("http://example.org:99999/a.jpg", "invalid_url"),
            ("http://" + "a" * 9000, "invalid_url"),
            ("http://[fe80::1%25eth0]/a.jpg", "address_refused"),
            ("http://0x7f000001/a.jpg", "address_refused"),
            ("http://127.1/a.jpg", "address_refused"),
            ("http://127.0.0.1./a.jpg", "address_refused"),
            ("http://[::127.0.0.1]/a.jpg", "address_refused"),
            ("http://[64:ff9b::a9fe:a9fe]/latest", "address_refused"),
            ("http://[2002:7f00:1::]/a.jpg", "address_refused"),
            ("gopher://example.org/a", "scheme_refused"),
            ("//example.org/a.jpg", "scheme_refused"),
            ("http://example.org:8443/a b.jpg", ""),
            ("https://ja.example.org/写真.jpg", ""),
        ],
    )
    def test_urls_are_judged_before_anything_is_sent(self, url: str, reason: str) -> None:
        assert refuse_url(url, ("http", "https"), ())[0] == reason

    @pytest.mark.parametrize(
        ("address", "public"),
        [
            ("8.8.8.8", True),
            ("2606:4700::1111", True),
            ("64:ff9b::808:808", True),
            ("100.64.0.1", False),
            ("224.0.0.1", False),
            ("0.0.0.0", False),
            ("255.255.255.255", False),
            ("fec0::1", False),
            ("fc00::1", False),
            ("ff02::1", False),
            ("::ffff:10.0.0.1", False),
            ("64:ff9b:1::a00:1", False),
            ("2001:0:4136:e378:8000:63bf:f5ff:fffe", False),
            ("2606:4700::5efe:10.0.0.1", False),
        ],
    )
    def test_only_public_unicast_addresses_pass(self, address: str, public: bool) -> None:
        assert is_allowed_address(ipaddress.ip_address(address), ()) is public

    def test_a_name_whose_answer_changes_after_the_check_does_not_get_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = iter(["8.8.8.8", "127.0.0.1"])

        async def resolve(self: ThreadedResolver, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
            found = ResolveResult(hostname=host, host=next(answers), port=port, family=2, proto=0, flags=0)
            return [found]

        monkeypatch.setattr(ThreadedResolver, "resolve", resolve)

        async def run() -> str:
            resolver = GuardedResolver((), {})
            [first] = await resolver.resolve("rebinding.example", 80)
            with pytest.raises(AddressRefusedError, match=r"rebinding.example is at 127.0.0.1"):
                await resolver.resolve("rebinding.example", 80)
            return str(first["host"])

        assert asyncio.run(run()) == "8.8.8.8", "what was judged is what is connected to"
