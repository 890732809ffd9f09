"""Faults on the running servers in named stages: `make chaos` prints and writes the table of what recovered, and how.

    python -m tests.stack.chaos [--faults NAMES] [--stages NAMES] [--output FILE]

One whole run gives the release and the weights that every cell must have. A cell copies that workspace, removes what the stage and
training made, starts the whole by its deployment, injects the fault when the stage has written its first file, and waits. A run that does
not complete is started again, at most twice. Release digest, weights and every file of the stage must then be those of the first run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioclip.sample.server import SampleServer
from bioclip.storage import Storage
from tests.stack.conftest import results
from tests.stack.real_servers import ENDED, RUN_S, Stack, running_stack

ORIGIN = "origin"
MADE_BY = {
    "images": ("images/", "outcomes/"),
    "duplicates": ("duplicates/",),
    "shards": ("releases/",),
    "train": ("models/",),
    "evaluate": ("evaluations/", "features/"),
}
"""Prefixes of what a stage writes."""
_VARYING = ("outcomes/", "reports/", ".jsonl", "mlflow.json", "metrics", "/_report.json")
"""Parts of the names of files that hold times or addresses."""
_CUT_S, _MAX_RERUNS = 20.0, 2


def _kill(pids: Sequence[int], end: int = signal.SIGKILL) -> None:
    for pid in pids:
        try:
            os.kill(pid, end)
        except ProcessLookupError:
            continue


def _killing(program: str) -> Callable[[Stack, str], None]:
    def fault(stack: Stack, run_id: str) -> None:
        pids = stack.pids(program)
        _kill(pids, signal.SIGSTOP)  # none of them acts on the death of another
        _kill(pids)

    return fault


def _kill_worker(stack: Stack, run_id: str) -> None:
    """The Prefect worker alone; its flow run is another process."""
    _kill(stack.pids("worker-data")[:1])


def _kill_flow(stack: Stack, run_id: str) -> None:
    _kill(flow_processes(run_id))


def _kill_training(stack: Stack, run_id: str) -> None:
    """The flow run of the pool `gpu`, as when its machine is preempted; its trainer gets SIGTERM."""
    for child in stack.children({"id": run_id}):
        _kill(flow_processes(child["id"]))


def _cut_s3(stack: Stack, run_id: str) -> None:
    """S3 is silent: connections stay open, and nothing is answered."""
    pids = stack.pids("s3")
    _kill(pids, signal.SIGSTOP)
    time.sleep(_CUT_S)
    _kill(pids, signal.SIGCONT)


def _fill_disk(stack: Stack, run_id: str) -> None:
    """The disk of S3 is full for 20 s."""
    data = stack.services.folder / "s3" / "data"
    filler = data / "filler"
    if not os.path.ismount(data):
        raise OSError("the data of S3 have no file system of their own, which only root can mount; run as root")
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError:
            pass
    time.sleep(_CUT_S)
    filler.unlink()


FAULTS: dict[str, Callable[[Stack, str], None]] = {
    "kill a Dask worker": _killing("dask-worker-0"),
    "kill the Dask scheduler": _killing("dask-scheduler"),
    "kill the Prefect worker": _kill_worker,
    "kill the flow": _kill_flow,
    "kill the training run": _kill_training,
    "kill the Prefect server": _killing("prefect"),
    "kill PostgreSQL": _killing("postgres"),
    "kill S3": _killing("s3"),
    "kill MLflow": _killing("mlflow"),
    "silence S3 for 20 s": _cut_s3,
    "fill the disk of S3 for 20 s": _fill_disk,
}


def flow_processes(run_id: str) -> list[int]:
    """Processes of a flow run on this machine."""
    mark = f"PREFECT__FLOW_RUN_ID={run_id}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@dataclass(frozen=True)
class Cell:
    """What happened."""

    fault: str
    stage: str
    recovered: str
    is_identical: bool
    remark: str = ""

    def row(self) -> str:
        """Line of the table."""
        return f"| {self.fault} | {self.stage} | {self.recovered} | {'yes' if self.is_identical else 'NO'} | {self.remark} |"


class Laboratory:
    """A complete workspace `origin`, and copies of it in which one stage runs again under a fault."""

    def __init__(self, stack: Stack, server_address: str, origin: str) -> None:
        self.stack, self._address, self._number = stack, server_address, 0
        self.origin = stack.workspace(origin)
        self.expected = results(self.origin, 0)

    def _settings(self, prefix: str) -> dict[str, Any]:
        return self.stack.settings(self._address, prefix)

    def run(self, fault: str, stage: str) -> Cell:
        """One cell."""
        self._number += 1
        prefix = f"cell-{self._number:02d}"
        storage = self._copy_without(prefix, stage)
        run_id = self.stack.start(self._settings(prefix))
        self._wait_for_first_file(storage, stage, run_id)
        FAULTS[fault](self.stack, run_id)
        _retrying(lambda: self.stack.wait(run_id))
        state, remark, reruns = self._state(run_id), "", 0
        while state != "COMPLETED" and reruns < _MAX_RERUNS:
            remark = remark or self._reason(run_id)
            reruns += 1
            run_id = _retrying(lambda: self.stack.start(self._settings(prefix)))
            _retrying(lambda run=run_id: self.stack.wait(run))
            state = self._state(run_id)
        recovered = ("by itself" if not reruns else f"by rerun ({reruns})") if state == "COMPLETED" else f"NO: {state}"
        return Cell(fault, stage, recovered, state == "COMPLETED" and self._is_identical(storage, stage), remark)

    def _copy_without(self, prefix: str, stage: str) -> Storage:
        storage = self.stack.workspace(prefix)
        for name in self.origin.list():
            if not name.startswith(MADE_BY[stage]) and not name.startswith(".state/"):
                storage.write_bytes(name, self.origin.read_bytes(name))
        return storage

    def _wait_for_first_file(self, storage: Storage, stage: str, run_id: str) -> None:
        end = time.monotonic() + RUN_S
        while time.monotonic() < end and self._state(run_id) not in ENDED:
            if any(name.startswith(MADE_BY[stage]) for name in storage.list()):
                return
            time.sleep(0.2)

    def _state(self, run_id: str) -> str:
        return str(_retrying(lambda: self.stack.run(run_id))["state_type"])

    def _reason(self, run_id: str) -> str:
        message = _retrying(lambda: self.stack.run(run_id))["state"]["message"] or ""
        return " ".join(str(message).replace("|", "/").split())[:160]

    def _is_identical(self, storage: Storage, stage: str) -> bool:
        found = results(storage, 0)
        names = [name for name in self.origin.list() if name.startswith(MADE_BY[stage]) and not any(part in name for part in _VARYING)]
        same_files = all(storage.digest(name)[0] == self.origin.digest(name)[0] for name in names)
        return same_files and (found.release, found.weights) == (self.expected.release, self.expected.weights)


def _retrying(call: Callable[[], Any], timeout_s: float = 300) -> Any:
    """The call's result, retried while a server is away."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except (OSError, AssertionError):
            if time.monotonic() > end:
                raise
            time.sleep(1)


def run_cells(laboratory: Laboratory, cells: Sequence[tuple[str, str]]) -> Iterator[Cell]:
    """Each cell when it is done; one that raises is a finding, too."""
    for fault, stage in cells:
        try:
            yield laboratory.run(fault, stage)
        except Exception as error:  # noqa: BLE001 - the table goes on
            yield Cell(fault, stage, f"NO: {type(error).__name__}", False, " ".join(str(error).split())[:160])


HEAD = "| fault | in stage | recovered | identical release, weights and files | end of the first run |\n|-|-|-|-|-|\n"


def main(arguments: Sequence[str]) -> int:
    """The number of cells that did not recover with identical results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(FAULTS), help="names, separated by commas")
    parser.add_argument("--stages", default=",".join(MADE_BY), help="names, separated by commas")
    parser.add_argument("--cells", default="", help="fault:stage pairs, separated by commas, instead of all combinations")
    parser.add_argument("--output", type=Path, default=Path("build/chaos.md"), help="Markdown table, written after each cell")
    given = parser.parse_args(arguments)
    combined = ((fault, stage) for stage in given.stages.split(",") for fault in given.faults.split(","))
    pairs = [(fault, stage) for fault, stage in combined if stage == "train" or fault != "kill the training run"]
    if given.cells:
        pairs = [(fault, stage) for fault, _, stage in (one.partition(":") for one in given.cells.split(","))]
    given.output.parent.mkdir(parents=True, exist_ok=True)
    bad, rows = 0, HEAD
    with tempfile.TemporaryDirectory(prefix="treeoflife-chaos-", ignore_cleanup_errors=True) as folder, SampleServer() as server:
        Path(folder).chmod(0o755)
        with running_stack(Path(folder), is_s3_bounded=True) as stack:
            run = stack.wait(stack.start(stack.settings(server.address, ORIGIN)))
            assert run["state_type"] == "COMPLETED", stack.logs(run["id"])
            for cell in run_cells(Laboratory(stack, server.address, ORIGIN), pairs):
                print(cell.row(), flush=True)
                bad += not cell.is_identical
                rows += cell.row() + "\n"
                given.output.write_text(rows, encoding="utf-8")
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
