"""robots.txt and X-Robots-Tag are read as RFC 9309 and their users mean them."""

from __future__ import annotations

import pytest

from bioclip.download.outcomes import PERMANENT, RETRY_LATER, SUCCESS
from bioclip.download.robots import forbids_ai, parse_robots, product_token
from tests.download.asking import LOOPBACK, fetch
from tests.download.fault_server import FaultServer, answer

POLITE = LOOPBACK.model_copy(update={"respect_robots": True, "user_agent": "treeoflife/1.0 (+mailto:me@museum.example)", "max_attempts": 1})


@pytest.mark.parametrize(
    ("robots", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /private", "/private/a.jpg", False),
        ("User-agent: *\nDisallow: /private", "/photos/a.jpg", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: TreeOfLife\nDisallow:", "/a.jpg", True),
        ("User-agent: treeoflife\nUser-agent: other\nDisallow: /a", "/a.jpg", False),
        ("User-agent: *\nDisallow: /photos\nAllow: /photos/public", "/photos/public/a.jpg", True),
        ("User-agent: *\nAllow: /a\nDisallow: /a", "/a.jpg", True),
        ("User-agent: *\nDisallow: /*.jpg$", "/x/a.jpg", False),
        ("User-agent: *\nDisallow: /*.jpg$", "/x/a.jpg?size=big", True),
        ("User-agent: *\nDisallow: /*size=", "/x/a.jpg?size=big", False),
        ("User-agent: *\nDisallow: /a*b*c$", "/axbyc", False),
        ("User-agent: *\nDisallow: /a*b*c$", "/axbycz", True),
        ("User-agent: *\nDisallow: / # everything\n", "/robots.txt", True),
        ("Disallow: /", "/a.jpg", True),
        ("User-agent: *\nCrawl-delay: 9\nDisallow: /b", "/b", False),
    ],
)
def test_the_longest_rule_of_our_group_decides(robots: str, path: str, allowed: bool) -> None:
    assert parse_robots(robots, "treeoflife").allows(path) is allowed


@pytest.mark.parametrize(
    ("headers", "forbidden"),
    [
        (["noai"], True),
        (["noindex, NoImageAI"], True),
        (["noindex"], False),
        (["otherbot: noai"], False),
        (["treeoflife: noai"], True),
        (["otherbot: noindex", "noai"], True),
        ([], False),
    ],
)
def test_noai_is_heard_when_it_is_said_to_us(headers: list[str], forbidden: bool) -> None:
    assert forbids_ai(headers, product_token("treeoflife/1.0 (x)")) is forbidden


def test_a_host_s_robots_txt_is_read_once_and_obeyed() -> None:
    routes = {
        "/robots.txt": lambda h: answer(h, b"User-agent: treeoflife\nDisallow: /closed/\n"),
        "/open/a": lambda h: answer(h, b"x"),
        "/closed/a": lambda h: answer(h, b"x"),
    }
    with FaultServer(routes) as server:
        fetched = fetch(POLITE, *(f"http://{server.address}/{path}" for path in ("open/a", "closed/a", "open/a")))
    assert [(one.status, one.reason) for one in fetched] == [(SUCCESS, ""), (PERMANENT, "robots_disallowed"), (SUCCESS, "")]
    assert (server.counts["/robots.txt"], server.counts["/closed/a"]) == (1, 0)


@pytest.mark.parametrize(("status", "outcome"), [(404, (SUCCESS, "")), (403, (SUCCESS, "")), (500, (RETRY_LATER, "robots_unreachable"))])
def test_a_missing_robots_txt_allows_and_a_failing_one_forbids_for_now(status: int, outcome: tuple[str, str]) -> None:
    routes = {"/robots.txt": lambda h: answer(h, b"", status), "/a": lambda h: answer(h, b"x")}
    with FaultServer(routes) as server:
        [fetched] = fetch(POLITE, f"http://{server.address}/a")
    assert (fetched.status, fetched.reason) == outcome


def test_what_is_marked_noai_is_dropped_unless_settings_say_otherwise() -> None:
    routes = {"/a": lambda h: answer(h, b"x", headers={"X-Robots-Tag": "noai"})}
    with FaultServer(routes) as server:
        [heard] = fetch(LOOPBACK, f"http://{server.address}/a")
        [unheard] = fetch(LOOPBACK.model_copy(update={"respect_noai": False}), f"http://{server.address}/a")
    assert ((heard.status, heard.reason, heard.body), unheard.status) == ((PERMANENT, "noai", b""), SUCCESS)
