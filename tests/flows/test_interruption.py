"""Ctrl-C and SIGTERM end a command in any stage: within seconds, with one sentence, and with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bioclip.sample.server import SampleServer
from tests.flows.test_pipeline import COMMAND, write_settings

pytestmark = pytest.mark.slow
_TIMEOUT_S = 300
_STAGE_MARKS: dict[str, Callable[[Path], bool]] = {
    "records": lambda folder: (folder / "state" / "dask").exists(),
    "images": lambda folder: any((folder / "workspace" / "images").rglob("*.parquet")),
    "shards": lambda folder: any((folder / "workspace").rglob("*.tar")),
    "training": lambda folder: any(path.stat().st_size for path in (folder / "state" / "logs").glob("training-*.jsonl")),
    "evaluation": lambda folder: any((folder / "state" / "logs").glob("evaluation-*.jsonl")),
}
"""Stage -> whether a run in that folder has come to it."""
_TERMINATED = ("images", "shards", "evaluation")
"""Stages that are ended by SIGTERM, the others by Ctrl-C."""
_ALWAYS_TESTED = ("images", "training")
"""One stage of Dask's workers and SIGTERM, one of a process of its own and Ctrl-C; every night tests the others."""


@pytest.fixture(scope="module")
def slow_server() -> Iterator[SampleServer]:
    with SampleServer(latency_s=0.02) as server:
        yield server


def started_in(folder: Path) -> list[str]:
    """Command lines of running processes that name `folder` or its run."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            if (str(folder) in line or f"OF_TEST={folder}" in environment) and int(entry.name) != os.getpid():
                lines.append(line)
    return lines


@pytest.fixture(scope="module")
def interrupted_run(slow_server: SampleServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose run is stopped in one stage after another; each test continues what the one before left."""
    folder = tmp_path_factory.mktemp("interrupted")
    write_settings(folder, slow_server.address, num_workers=2)
    return folder


@pytest.mark.parametrize(
    "stage", [stage if stage in _ALWAYS_TESTED else pytest.param(stage, marks=pytest.mark.nightly) for stage in _STAGE_MARKS]
)
def test_a_stage_ends_on_ctrl_c_and_sigterm_with_one_sentence(interrupted_run: Path, stage: str) -> None:
    """The signal goes to the whole process group, as a terminal sends it."""
    folder, number = interrupted_run, signal.SIGTERM if stage in _TERMINATED else signal.SIGINT
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {"OF_TEST": str(folder)}
    process = subprocess.Popen(
        [*COMMAND, str(folder / "settings.yaml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _TIMEOUT_S
        while not _STAGE_MARKS[stage](folder):
            assert process.poll() is None, "the run ended before it could be interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, number)
        _, printed = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    word, code = ("terminated", 143) if number == signal.SIGTERM else ("interrupted", 130)
    assert process.returncode == code, printed
    assert printed.count(f"treeoflife: {word}; completed work is kept, run the same command again to continue.") == 1
    assert "Traceback" not in printed
    assert "Error" not in printed
    while left := started_in(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_a_process_whose_work_does_not_end_is_ended(tmp_path: Path) -> None:
    """A thread that the interpreter waits for at its end does not keep the process."""
    program = (
        "import threading, time, sys\n"
        "from flows.commands.interruption import interruptible\n"
        "with interruptible(lambda code: print('stopped', int(code), flush=True)):\n"
        "    thread = threading.Thread(target=time.sleep, args=(3600,)); thread.start()\n"
        "    print('ready', flush=True)\n"
        "    try:\n        thread.join()\n    finally:\n        time.sleep(3600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert (rest, process.returncode) == ("stopped 130\n", 130)


def test_sigterm_waits_for_a_command_that_finishes_its_work(tmp_path: Path) -> None:
    """As a trainer that writes its checkpoint; Ctrl-C does not wait."""
    child = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(6), print('saved', flush=True), sys.exit(0)))"
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from bioclip.errors import TrainingError\nfrom tasks.processes import run_watched\n"
        "from flows.commands.interruption import interruptible\n"
        "with interruptible(lambda code: print('stopped', int(code), flush=True)):\n"
        f"    child = [sys.executable, '-c', {child!r} + '; open(sys.argv[1], \"w\"); time.sleep(3600)', sys.argv[1]]\n"
        "    run_watched(child, {}, Path(sys.argv[1] + '.jsonl'), print, TrainingError, 30)\n"
    )
    for number, reported in ((signal.SIGTERM, ""), (signal.SIGINT, "stopped 130\n")):
        mark = tmp_path / f"started-{number}"
        process = subprocess.Popen([sys.executable, "-c", program, str(mark)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + _TIMEOUT_S
        while not mark.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
        assert printed == reported
        if number == signal.SIGTERM:
            assert mark.with_suffix(".stderr").read_text() == "saved\n"


def test_the_sentence_is_printed_once_and_whole_however_the_end_is_reached() -> None:
    """Main thread and watcher reach the report at the same time, while a progress display holds its lock."""
    program = (
        "import sys, threading, time\n"
        "from rich.console import Console\nfrom rich.progress import Progress\n"
        "from flows.commands import cli\n"
        "def run(words, as_json):\n"
        "    with Progress(console=Console(file=sys.stderr)) as progress:\n"
        "        progress.add_task('x', total=1)\n"
        "        with progress._lock:\n"
        "            print('ready', flush=True)\n"
        "            try:\n                time.sleep(3600)\n"
        "            finally:\n                time.sleep(float(sys.argv[1]))\n"
        "cli._run = run\nsys.exit(cli.main(['check']))\n"
    )
    for delay in ("0", "3.5", "3600"):
        process = subprocess.Popen([sys.executable, "-c", program, delay], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
        assert (process.returncode, printed.count("treeoflife: interrupted; completed work is kept")) == (130, 1), delay
