"""Two threads that import MLflow at once, as the log's reader and the sampler of the machine do."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORT_IN_THREADS = """
import threading
from tasks.tracking.client import _import_client
from tasks.tracking.system_samples import _open_monitors
failures, barrier = [], threading.Barrier(2)

def call(function):
    barrier.wait()
    try:
        function()
    except Exception as error:
        failures.append(repr(error))

threads = [threading.Thread(target=call, args=(one,)) for one in (lambda: _import_client(5), _open_monitors)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failures)
"""


@pytest.mark.slow
def test_threads_that_import_mlflow_at_once_see_all_of_it() -> None:
    for _ in range(3):
        answer = subprocess.run([sys.executable, "-c", IMPORT_IN_THREADS], capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == "[]"
