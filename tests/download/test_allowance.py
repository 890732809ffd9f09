"""What a host allows holds over everyone who asks, in one process or many; a failing host is left alone, then probed."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bioclip.download.allowance import ANSWERED, FAILED, GRANTED, PAUSED, UNUSED, HostAllowances
from bioclip.download.allowance_service import AllowanceAddress, RemoteAllowances, serve_allowances
from bioclip.download.outcomes import RETRY_LATER
from bioclip.errors import TreeOfLifeError
from bioclip.settings import DownloadSettings, HostSettings
from tests.download.asking import LOOPBACK, fetch
from tests.download.fault_server import FaultServer, answer

FAST = DownloadSettings(concurrency_per_host=2, requests_per_second_per_host=10_000, pause_host_after=3, host_pause_s=60)


class TestBreaker:
    def test_a_host_is_paused_after_failures_in_a_row_then_probed_by_one(self) -> None:
        now = [0.0]

        async def run() -> None:
            allowances = HostAllowances(FAST, clock=lambda: now[0])
            for _ in range(3):
                now[0] += 1
                assert await allowances.acquire("a") == GRANTED
                allowances.release("a", FAILED)
            assert await allowances.acquire("a") == PAUSED
            assert await allowances.acquire("b") == GRANTED
            now[0] += 61
            assert await allowances.acquire("a") == GRANTED
            second = asyncio.create_task(allowances.acquire("a"))
            await asyncio.sleep(0.01)
            assert not second.done(), "one probe at a time"
            allowances.release("a", FAILED)
            assert await second == PAUSED
            now[0] += 61
            assert await allowances.acquire("a") == PAUSED, "a failed probe doubles the pause"
            now[0] += 61
            assert await allowances.acquire("a") == GRANTED
            allowances.release("a", ANSWERED)
            now[0] += 1
            assert [await allowances.acquire("a")] == [GRANTED]

        asyncio.run(run())

    def test_an_answer_in_between_starts_the_count_anew(self) -> None:
        async def run() -> list[str]:
            allowances, verdicts = HostAllowances(FAST), []
            for verdict in (FAILED, FAILED, ANSWERED, FAILED, FAILED):
                verdicts.append(await allowances.acquire("a"))
                allowances.release("a", verdict)
            return verdicts

        assert asyncio.run(run()) == [GRANTED] * 5

    def test_what_is_skipped_is_for_later_and_costs_no_request(self) -> None:
        settings = LOOPBACK.model_copy(update={"pause_host_after": 3, "max_attempts": 1, "concurrency_per_host": 1})
        with FaultServer({"/a": lambda h: answer(h, b"", 500)}) as server:
            fetched = fetch(settings, *[f"http://{server.address}/a"] * 8)
        assert [(one.status, one.reason) for one in fetched[3:]] == [(RETRY_LATER, "host_paused")] * 5
        assert server.counts["/a"] == 3


class TestLimits:
    def test_a_host_has_its_own_limits_and_names_below_a_star_share_theirs(self) -> None:
        hosts = {"slow.example": HostSettings(concurrency=1), "*.cdn.example": HostSettings(concurrency=3)}
        settings = FAST.model_copy(update={"hosts": hosts})

        async def granted(*names: str) -> int:
            allowances = HostAllowances(settings)
            asking = [asyncio.create_task(allowances.acquire(name)) for name in names for _ in range(5)]
            await asyncio.sleep(0.05)
            return sum(task.done() for task in asking) + sum(task.cancel() * 0 for task in asking)

        assert asyncio.run(granted("slow.example")) == 1
        assert asyncio.run(granted("a.cdn.example", "b.cdn.example")) == 3
        assert asyncio.run(granted("other.example", "slow.example:8080")) == 3

    def test_who_stops_waiting_leaves_nothing_taken(self) -> None:
        async def run() -> str:
            allowances = HostAllowances(FAST)
            for _ in range(2):
                await allowances.acquire("a")
            impatient = asyncio.create_task(allowances.acquire("a"))
            await asyncio.sleep(0)
            impatient.cancel()
            allowances.release("a", UNUSED)
            async with asyncio.timeout(2):
                return await allowances.acquire("a")

        assert asyncio.run(run()) == GRANTED

    def test_a_pause_that_one_was_asked_for_holds_for_all(self) -> None:
        busy_until = [time.monotonic() + 0.5]

        async def run() -> float:
            allowances = HostAllowances(FAST)
            await allowances.acquire("a")
            busy_until[0] = time.monotonic() + 0.4
            allowances.release("a", FAILED, 0.4)
            await allowances.acquire("a")
            return time.monotonic()

        assert asyncio.run(run()) >= busy_until[0]


class TestService:
    def test_workers_in_other_processes_share_rate_and_concurrency(self, tmp_path: Path) -> None:
        settings = LOOPBACK.model_copy(update={"requests_per_second_per_host": 25.0, "concurrency_per_host": 2})
        script = tmp_path / "worker.py"
        script.write_text(
            "import sys\nfrom bioclip.download.allowance_service import AllowanceAddress\nfrom bioclip.settings import DownloadSettings\n"
            "from tests.download.asking import fetch\nsettings = DownloadSettings.model_validate_json(sys.argv[1])\n"
            "address = AllowanceAddress('127.0.0.1', int(sys.argv[2]), sys.argv[3])\n"
            "assert all(one.body == b'x' for one in fetch(settings, *[sys.argv[4]] * 10, address=address))\n"
        )
        with (
            FaultServer({"/a": lambda h: (time.sleep(0.05), answer(h, b"x"))[1]}) as server,
            serve_allowances(settings) as address,
        ):
            command = [sys.executable, str(script), settings.model_dump_json(), str(address.port), address.token]
            environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
            workers = [subprocess.Popen([*command, f"http://{server.address}/a"], env=environment) for _ in range(2)]
            assert [worker.wait() for worker in workers] == [0, 0]
        assert server.counts["/a"] == 20
        assert server.most_at_once <= 2
        assert (len(server.starts) - 1) / (server.starts[-1] - server.starts[0]) <= 25 * 1.02

    def test_leases_of_a_worker_that_is_gone_come_back(self) -> None:
        settings = FAST.model_copy(update={"concurrency_per_host": 1})

        async def run(address: AllowanceAddress) -> str:
            async with RemoteAllowances(address) as first:
                assert await first.acquire("a") == GRANTED
            async with RemoteAllowances(address) as second, asyncio.timeout(5):
                return await second.acquire("a")

        with serve_allowances(settings) as address:
            assert asyncio.run(run(address)) == GRANTED

    def test_who_cannot_name_the_token_is_hung_up_on(self) -> None:
        with serve_allowances(FAST) as address, socket.create_connection((address.host, address.port), timeout=5) as stranger:
            stranger.sendall(b"guess\n" + json.dumps({"wanted": {"a": 1}}).encode() + b"\n")
            with suppress(ConnectionResetError):
                assert stranger.recv(100) == b""
        assert address.token not in repr(address)

    def test_a_service_that_is_gone_is_said_so(self) -> None:
        with serve_allowances(FAST) as address:
            pass

        async def run() -> None:
            async with RemoteAllowances(address):
                pass

        with pytest.raises(TreeOfLifeError, match="cannot be reached"):
            asyncio.run(run())

    def test_waiting_workers_hear_when_the_service_ends(self) -> None:
        settings = FAST.model_copy(update={"concurrency_per_host": 1})

        async def wait(address: AllowanceAddress, stop: asyncio.Event) -> None:
            async with RemoteAllowances(address) as allowances:
                await allowances.acquire("a")
                stop.set()
                await allowances.acquire("a")

        async def run() -> None:
            with serve_allowances(settings) as address:
                stop = asyncio.Event()
                waiting = asyncio.create_task(wait(address, stop))
                await stop.wait()
            with pytest.raises(TreeOfLifeError, match="the connection ended"):
                await waiting

        asyncio.run(run())
