"""All commands of a test run share one Prefect server, which ends with the run."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.services.servers import ROOT, answers, wait_until

pytestmark = pytest.mark.service
RUN = """
import sys
from pathlib import Path
from tests.shared_prefect import prefect_environment
print(prefect_environment(Path(sys.argv[1]))["PREFECT_API_URL"], flush=True)
sys.stdin.read()
"""


def test_callers_share_a_server_that_ends_with_the_process_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    command = [sys.executable, "-c", RUN, str(tmp_path / "shared")]
    runs = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        with ThreadPoolExecutor(2) as pool:
            [url, same] = pool.map(lambda run: run.stdout.readline().strip(), runs)  # type: ignore[union-attr]
        assert url == same
        assert answers(f"{url}/health")
    finally:
        for run in runs:
            run.communicate("")
    wait_until(lambda: not answers(f"{url}/health"), 60, "the end of the server")
