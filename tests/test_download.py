"""Every answer of a server ends in one named outcome; nothing private is contacted; no host is pressed."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bioclip.download.fetch import Fetcher
from bioclip.download.images import CheckedImage, RefusedImage, check_image, target_size
from bioclip.download.outcomes import PERMANENT, RETRY_LATER, SUCCESS, Fetched
from bioclip.download.stage import outcomes_name, plan_images, read_outcomes
from bioclip.partitions import run_partition
from bioclip.sample import sample_path
from bioclip.sample.server import SampleServer
from bioclip.settings import DownloadSettings
from bioclip.sources.stage import plan_records
from bioclip.storage import open_workspace
from tests.conftest import Curated, run_jobs, sample_settings
from tests.fault_server import FaultServer, answer

LOOPBACK = DownloadSettings(allow_networks=("127.0.0.0/8",), backoff_s=0.01, max_attempts=3, timeout_s=2, requests_per_second_per_host=1000)


def fetch(settings: DownloadSettings, *urls: str) -> list[Fetched]:
    """Ask for all URLs at once with one client."""

    async def run() -> list[Fetched]:
        async with Fetcher(settings) as fetcher:
            return list(await asyncio.gather(*(fetcher.fetch(url) for url in urls)))

    return asyncio.run(run())


def photograph(name: str = "plankton") -> bytes:
    """Bytes of a bundled JPEG."""
    import zipfile

    with zipfile.ZipFile(sample_path("media")) as media:
        return media.read(next(path for path in sorted(media.namelist()) if path.startswith(name) and path.endswith(".jpg")))


def after(fails: int, fault: Callable[[BaseHTTPRequestHandler], None], body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """A route that answers with `fault` so many times, then with `body`."""
    left = [fails]

    def route(handler: BaseHTTPRequestHandler) -> None:
        left[0] -= 1
        fault(handler) if left[0] >= 0 else answer(handler, body)

    return route


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


class TestImages:
    def test_a_photograph_that_fits_keeps_its_bytes(self) -> None:
        data = photograph()
        checked = check_image(data, DownloadSettings())
        assert isinstance(checked, CheckedImage)
        assert checked.data == data
        assert checked.sha256 == checked.original_sha256

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "empty_body"),
            (b"<!DOCTYPE html><p>Log in</p>", "not_an_image"),
            (b"\xff\xd8\xff\xe0junk", "not_an_image"),
            (b"BM\x00", "not_an_image"),
        ],
    )
    def test_what_is_no_image_is_named(self, body: bytes, reason: str) -> None:
        refused = check_image(body, DownloadSettings())
        assert isinstance(refused, RefusedImage)
        assert refused.reason == reason

    def test_a_cut_photograph_is_named(self) -> None:
        data = photograph("fish")
        refused = check_image(data[: len(data) // 2], DownloadSettings())
        assert isinstance(refused, RefusedImage)
        assert refused.reason == "image_truncated"

    def test_a_bomb_is_judged_by_its_header(self) -> None:
        refused = check_image(_encoded(Image.new("1", (8_000, 8_000)), "PNG"), DownloadSettings(max_pixels=1_000_000))
        assert isinstance(refused, RefusedImage)
        assert refused.reason == "too_many_pixels"

    def test_small_and_animated_images_are_named(self) -> None:
        small = check_image(_encoded(Image.new("RGB", (31, 90)), "PNG"), DownloadSettings())
        frames = io.BytesIO()
        Image.new("L", (64, 64)).save(frames, "GIF", save_all=True, append_images=[Image.new("L", (64, 64), 255)])
        animated = check_image(frames.getvalue(), DownloadSettings())
        assert [getattr(item, "reason", None) for item in (small, animated)] == ["image_too_small", "image_animated"]

    @pytest.mark.parametrize("mode", ["CMYK", "RGBA", "LA", "P", "I;16", "L", "1"])
    def test_every_mode_becomes_an_upright_rgb_image(self, mode: str) -> None:
        image = Image.open(io.BytesIO(photograph("fish"))).convert("RGB")
        source = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8) if mode == "I;16" else image.convert(mode)
        checked = check_image(_encoded(source, "TIFF" if mode == "CMYK" else "PNG"), DownloadSettings())
        assert isinstance(checked, CheckedImage)
        with Image.open(io.BytesIO(checked.data)) as stored:
            assert stored.size == image.size
            difference = np.abs(np.asarray(stored.convert("L"), float) - np.asarray(image.convert("L"), float)).mean()
        assert difference < (130 if mode in {"1", "P"} else 12)

    def test_orientation_is_applied_before_hashing_and_storing(self) -> None:
        image = Image.open(io.BytesIO(photograph("fish"))).convert("RGB")
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = io.BytesIO()
        image.rotate(90, expand=True).save(turned, "PNG", exif=exif)
        checked, plain = check_image(turned.getvalue(), DownloadSettings()), check_image(_encoded(image, "PNG"), DownloadSettings())
        assert isinstance(checked, CheckedImage)
        assert isinstance(plain, CheckedImage)
        assert (checked.width, checked.height, checked.exif_orientation) == (*image.size, 6)
        assert checked.hashes == plain.hashes

    @pytest.mark.parametrize(
        ("policy", "size", "expected"),
        [
            ("original", (900, 600), (900, 600)),
            ("longer_side", (900, 600), (300, 200)),
            ("shorter_side", (900, 600), (450, 300)),
            ("square", (900, 600), (300, 300)),
            ("longer_side", (200, 100), (200, 100)),
        ],
    )
    def test_sizes_follow_the_policy(self, policy: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
        assert target_size(size, policy, 300) == expected

    def test_a_large_photograph_is_stored_smaller_with_its_shape(self) -> None:
        large = Image.open(io.BytesIO(photograph("fish"))).convert("RGB").resize((2000, 1500))
        checked = check_image(_encoded(large, "JPEG"), DownloadSettings(store="longer_side", store_px=640))
        assert isinstance(checked, CheckedImage)
        assert (checked.width, checked.height, checked.format) == (640, 480, "JPEG")
        assert (checked.original_width, checked.original_height) == (2000, 1500)


def _encoded(image: Image.Image, format_: str) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format_)
    return sink.getvalue()


class TestStage:
    def test_each_fault_of_the_sample_server_ends_in_its_outcome(self, curated: Curated) -> None:
        outcomes = {row["media_url"]: row for index in range(8) for row in read_outcomes(curated.storage, index)}
        faults = {url.rsplit("/", 1)[1]: row for url, row in outcomes.items() if "/faults/" in url}
        assert {name: (row["status"], row["reason"]) for name, row in faults.items()} == {
            "missing.jpg": (PERMANENT, "http_404"),
            "landing-page.jpg": (PERMANENT, "not_an_image"),
            "busy.jpg": (SUCCESS, ""),
            "cut.jpg": (RETRY_LATER, "body_truncated"),
            "moved.jpg": (SUCCESS, ""),
            "unavailable.jpg": (RETRY_LATER, "http_503"),
        }
        assert len(outcomes) == sum(result.manifest.counts.written for result in curated.results["records"])

    def test_asking_again_for_failures_asks_for_nothing_else(self, sample_server: SampleServer, tmp_path: Path) -> None:
        settings = sample_settings(sample_server, tmp_path, download={"max_attempts": 1})
        storage = open_workspace(settings.workspace)
        run_jobs(storage, "records", plan_records(storage, settings))
        run_jobs(storage, "images", plan_images(storage, settings))
        before = sample_server.request_counts
        retrying = settings.model_copy(update={"download": settings.download.model_copy(update={"retry_failed": True})})
        run_jobs(storage, "images", plan_images(storage, retrying))
        asked = {path for path, count in sample_server.request_counts.items() if count > before.get(path, 0)}
        assert asked == {"faults/cut.jpg", "faults/unavailable.jpg"}

    def test_a_lost_manifest_costs_no_second_request(self, sample_server: SampleServer, tmp_path: Path) -> None:
        settings = sample_settings(sample_server, tmp_path, ingest={"num_partitions": 64})
        storage = open_workspace(settings.workspace)
        run_jobs(storage, "records", plan_records(storage, settings))
        jobs = {job.name: job for job in plan_images(storage, settings)}
        finals = (
            name for name, job in jobs.items() if "faults" not in str(pq.read_table(storage.uri(job.arguments["records"][0]))["media_url"])
        )
        job = jobs[next(finals)]
        first = run_partition(job)
        storage.remove(job.manifest_name)
        second = run_partition(job)
        assert second.manifest == first.manifest
        assert (first.effort["requests"] > 0, second.effort["requests"]) == (True, 0)
        third = run_partition(replace(job, settings="other settings"))
        assert third.effort["requests"] == 0, "only settings that change the image itself ask again"

    def test_the_ledger_says_when_and_how_often(self, curated: Curated) -> None:
        ledger = pq.read_table(curated.storage.uri(outcomes_name(0)))
        assert ledger["fetched_at"].null_count == 0
        assert min(ledger["attempts"].to_pylist()) == 1
