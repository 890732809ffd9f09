"""Every answer of a server ends in one named outcome, and no host is pressed."""

from __future__ import annotations

import asyncio
import gzip
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from bioclip.download.fetch import SCHEMES, Fetcher
from bioclip.download.outcomes import NOT_MODIFIED, PERMANENT, RETRY_LATER, SUCCESS, Fetched
from bioclip.errors import SettingsError
from tests.download.asking import LOOPBACK, after, fetch
from tests.download.fault_server import FaultServer, answer


class TestOutcomes:
    def test_a_busy_server_is_asked_again_after_the_pause_it_wants(self) -> None:
        busy = after(1, lambda h: answer(h, b"", 429, {"Retry-After": "1"}), b"ok")
        with FaultServer({"/a": busy}) as server:
            [fetched] = fetch(LOOPBACK, f"http://{server.address}/a")
        assert (fetched.status, fetched.attempts, fetched.body) == (SUCCESS, 2, b"ok")
        assert server.starts[1] - server.starts[0] >= 1.0

    def test_a_pause_longer_than_allowed_ends_the_attempts(self) -> None:
        with FaultServer({"/a": lambda h: answer(h, b"", 503, {"Retry-After": "9999"})}) as server:
            [fetched] = fetch(LOOPBACK, f"http://{server.address}/a")
        assert (fetched.status, fetched.reason, fetched.attempts, server.counts["/a"]) == (RETRY_LATER, "http_503", 1, 1)

    def test_a_missing_page_is_final_at_once(self) -> None:
        with FaultServer({}) as server:
            [fetched] = fetch(LOOPBACK, f"http://{server.address}/a")
        assert (fetched.status, fetched.reason, fetched.attempts) == (PERMANENT, "http_404", 1)

    def test_a_truncated_body_is_asked_for_again_and_never_taken_for_whole(self) -> None:
        with FaultServer({"/a": lambda h: answer(h, b"half", claimed_length=9)}) as server:
            [fetched] = fetch(LOOPBACK, f"http://{server.address}/a")
        assert (fetched.status, fetched.reason, fetched.attempts, fetched.body) == (RETRY_LATER, "body_truncated", 3, b"")

    def test_a_server_that_does_not_answer_is_a_timeout(self) -> None:
        settings = LOOPBACK.model_copy(update={"timeout_s": 0.2, "max_attempts": 1})
        with FaultServer({"/a": lambda h: time.sleep(1)}) as server:
            [fetched] = fetch(settings, f"http://{server.address}/a")
        assert (fetched.status, fetched.reason) == (RETRY_LATER, "timeout")

    def test_a_body_over_the_limit_is_not_read_to_its_end(self) -> None:
        settings = LOOPBACK.model_copy(update={"max_body_bytes": 10})
        with FaultServer({"/a": lambda h: answer(h, bytes(11))}) as server:
            [fetched] = fetch(settings, f"http://{server.address}/a")
        assert (fetched.status, fetched.reason, fetched.body) == (PERMANENT, "body_too_large", b"")

    def test_redirects_are_followed_within_their_bound(self) -> None:
        routes = {
            "/a": lambda h: answer(h, b"", 302, {"Location": "/b"}),
            "/b": lambda h: answer(h, b"moved"),
            "/loop": lambda h: answer(h, b"", 301, {"Location": "/loop"}),
        }
        with FaultServer(routes) as server:
            good, loop = fetch(LOOPBACK, f"http://{server.address}/a", f"http://{server.address}/loop")
        assert (good.body, good.final_url) == (b"moved", f"http://{server.address}/b")
        assert (loop.status, loop.reason) == (PERMANENT, "too_many_redirects")

    def test_a_compressed_body_is_inflated_within_the_same_bound(self) -> None:
        settings = LOOPBACK.model_copy(update={"max_body_bytes": 1000})
        routes = {
            "/good": lambda h: answer(h, gzip.compress(b"x" * 900), headers={"Content-Encoding": "gzip"}),
            "/bomb": lambda h: answer(h, gzip.compress(bytes(100_000)), headers={"Content-Encoding": "gzip"}),
            "/cut": lambda h: answer(h, gzip.compress(bytes(range(256)))[:-9], headers={"Content-Encoding": "gzip"}),
            "/other": lambda h: answer(h, b"x", headers={"Content-Encoding": "br"}),
        }
        with FaultServer(routes) as server:
            good, *others = fetch(settings, *(f"http://{server.address}{path}" for path in routes))
        assert good.body == b"x" * 900
        assert [one.reason for one in others] == ["body_too_large", "body_truncated", "content_encoding_refused"]

    def test_a_body_that_drips_ends_at_the_deadline_of_the_whole_request(self) -> None:
        def drip(handler: BaseHTTPRequestHandler) -> None:
            answer(handler, b"", claimed_length=1000)
            with suppress(OSError):
                for _ in range(60):
                    handler.wfile.write(b"x")
                    time.sleep(0.05)

        settings = LOOPBACK.model_copy(update={"timeout_s": 0.4, "max_attempts": 1})
        with FaultServer({"/a": drip}) as server:
            started = time.monotonic()
            [fetched] = fetch(settings, f"http://{server.address}/a")
        assert (fetched.status, fetched.reason) == (RETRY_LATER, "timeout")
        assert time.monotonic() - started < 2

    def test_unchanged_is_an_answer_to_a_conditional_request_only(self) -> None:
        seen: list[str | None] = []

        def route(handler: BaseHTTPRequestHandler) -> None:
            seen.append(handler.headers.get("If-None-Match"))
            answer(handler, b"", 304)

        async def run(url: str) -> list[Fetched]:
            async with Fetcher(LOOPBACK) as fetcher:
                return [await fetcher.fetch(url, {"If-None-Match": '"v1"'}), await fetcher.fetch(url)]

        with FaultServer({"/a": route}) as server:
            conditional, plain = asyncio.run(run(f"http://{server.address}/a"))
        assert (conditional.status, plain.status, plain.reason) == (NOT_MODIFIED, PERMANENT, "http_304")
        assert seen == ['"v1"', None]

    def test_a_file_without_certificates_is_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "authorities.pem").write_text("none")
        settings = LOOPBACK.model_copy(update={"ca_file": str(tmp_path / "authorities.pem")})
        with pytest.raises(SettingsError, match="holds no certificates"):
            fetch(settings, "http://127.0.0.1:9/a")

    def test_a_scheme_is_added_in_one_line_and_no_redirect_leads_to_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def recite(fetcher: Fetcher, url: str, headers: object, hand_over: object) -> Fetched:
            return Fetched(SUCCESS, body=url.encode(), final_url=url)

        monkeypatch.setitem(SCHEMES, "local", recite)
        with FaultServer({"/a": lambda h: answer(h, b"", 302, {"Location": "local://a/b"})}) as server:
            direct, redirected = fetch(LOOPBACK, "local://a/b", f"http://{server.address}/a")
        assert (direct.body, redirected.reason) == (b"local://a/b", "scheme_refused")


class TestManners:
    def test_rate_and_concurrency_of_a_host_stay_below_the_settings(self) -> None:
        settings = LOOPBACK.model_copy(update={"requests_per_second_per_host": 50.0, "concurrency_per_host": 3})
        with FaultServer({"/a": lambda h: (time.sleep(0.1), answer(h, b"x"))[1]}) as server:
            fetch(settings, *[f"http://{server.address}/a"] * 20)
        assert server.most_at_once <= 3
        assert (len(server.starts) - 1) / (server.starts[-1] - server.starts[0]) <= 50 * 1.1

    def test_one_slow_host_does_not_hold_up_another(self) -> None:
        settings = LOOPBACK.model_copy(update={"concurrency": 4, "concurrency_per_host": 2})
        with (
            FaultServer({"/slow": lambda h: (time.sleep(1.0), answer(h, b"x"))[1]}) as slow,
            FaultServer({"/a": lambda h: answer(h, b"x")}) as fast,
        ):
            urls = [f"http://{slow.address}/slow"] * 6 + [f"http://{fast.address}/a"] * 20
            fetch(settings, *urls)
            assert fast.starts[-1] - slow.starts[0] < 1.0
