"""Two processes that stay and run functions of the tests together, so that torch is imported once for all tests that need two.

`python -m tests.training.process_pair` reads jobs from its input, one JSON object a line, and writes a result for each.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import selectors
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]


class ProcessPair:
    """Two processes with the ranks 0 and 1, started at the first use; `run` calls a function in both."""

    def __init__(self) -> None:
        self._workers: list[subprocess.Popen[str]] = []
        self.folder = tempfile.TemporaryDirectory()

    def run(self, function: str, **arguments: Any) -> list[Any]:
        """The result of `module:function(**arguments)` in each process, as JSON; fails if one raises or writes to its error stream.

        Each call gets a free port in MASTER_PORT, for `join_processes`.
        """
        job = json.dumps({"function": function, "arguments": arguments, "port": str(free_ports(1))})
        for worker in self._workers or self._start():
            assert worker.stdin is not None
            worker.stdin.write(job + "\n")
            worker.stdin.flush()
        answers = self._answers()
        said = [path.read_text() for path in self._error_paths]
        assert said == ["", ""]
        assert all("result" in answer for answer in answers), answers
        return [answer["result"] for answer in answers]

    def _answers(self) -> list[dict[str, Any]]:
        """The answer of each process; if one fails, both are ended, since the other may wait for it forever."""
        answers: dict[int, dict[str, Any]] = {}
        with selectors.DefaultSelector() as selector:
            for rank, worker in enumerate(self._workers):
                assert worker.stdout is not None
                selector.register(worker.stdout, selectors.EVENT_READ, rank)
            while len(answers) < 2 and not any("error" in answer for answer in answers.values()):
                for key, _ in selector.select():
                    answers[key.data] = json.loads(key.fileobj.readline() or '{"error": "the process ended"}')  # type: ignore[union-attr]
                    selector.unregister(key.fileobj)
        if len(answers) < 2:
            for worker in self._workers:
                worker.kill()
            self.close()
        return [answers.get(rank, {"error": "ended after the error of the other process"}) for rank in range(2)]

    def close(self) -> None:
        """End both processes."""
        for worker in self._workers:
            worker.communicate(timeout=60)
        self._workers.clear()

    def _start(self) -> list[subprocess.Popen[str]]:
        shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        for rank, path in enumerate(self._error_paths):
            with path.open("w") as errors:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "tests.training.process_pair"],
                    env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": python_path},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    cwd=ROOT,
                )
            self._workers.append(worker)
        return self._workers

    @property
    def _error_paths(self) -> list[Path]:
        return [Path(self.folder.name, f"{rank}.txt") for rank in range(2)]


def serve() -> None:
    """Run the jobs of the input in this process."""
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(level=logging.ERROR)
    from bioclip.models.clip import import_open_clip

    import_open_clip()
    for line in sys.stdin:
        job = json.loads(line)
        module, _, name = job["function"].partition(":")
        os.environ["MASTER_PORT"] = job["port"]
        try:
            answer = {"result": getattr(importlib.import_module(module), name)(**job["arguments"])}
        except BaseException:  # noqa: BLE001
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
