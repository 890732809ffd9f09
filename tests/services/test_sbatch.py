"""The sbatch file of training, with stand-ins for Slurm's commands and for the trainer."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.services.servers import ROOT, wait_until

SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then printf 'node-1\\nnode-2\\n'; else echo "$*" >>"$RECORDS/requests"; fi
"""
SRUN = '#!/usr/bin/env bash\nshift\nexec "$@"\n'
TRAINER = """#!/usr/bin/env bash
# Ends with 75 at SIGTERM after a moment, as the trainer does after a checkpoint; else with $ENDS_WITH.
trap 'sleep 0.3; exit 75' TERM
printf '%s\\n' "$@" >"$RECORDS/arguments"
[ -z "${ENDS_WITH:-}" ] || exit "$ENDS_WITH"
while :; do sleep 0.05; done
"""


def submit(folder: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start the job's script as Slurm does on the first node."""
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN), ("trainer", TRAINER)):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "8"}
    ours = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHON": str(folder / "trainer"), "RECORDS": str(folder), "LOG_DIR": str(folder)}
    command = ["bash", str(ROOT / "infra/slurm/train.sbatch"), "settings.yaml", "9ac0542178f3"]
    return subprocess.Popen(command, env=os.environ | slurm | ours | more)


def test_each_node_gets_one_torchrun_that_meets_the_others_at_the_first_node(tmp_path: Path) -> None:
    assert submit(tmp_path, ENDS_WITH="0").wait(30) == 0
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[:2] == ["-m", "torch.distributed.run"]
    assert {"--nnodes=2", "--nproc-per-node=8", "--rdzv-id=7", "--rdzv-backend=c10d", "--rdzv-endpoint=node-1:29500"} < set(arguments)
    trainer = arguments[arguments.index("bioclip.training") + 1 :]
    assert trainer == ["--settings", "settings.yaml", "--release", "9ac0542178f3", "--log-path", f"{tmp_path}/train-7.jsonl"]
    assert not (tmp_path / "requests").exists()


@pytest.mark.parametrize("code", ["1", "75"])
def test_a_training_that_ends_by_itself_gives_its_code_to_slurm(tmp_path: Path, code: str) -> None:
    assert submit(tmp_path, ENDS_WITH=code).wait(30) == int(code)
    assert not (tmp_path / "requests").exists()


def test_a_job_that_slurm_stops_waits_for_the_checkpoint_and_is_queued_again(tmp_path: Path) -> None:
    job = submit(tmp_path)
    wait_until((tmp_path / "arguments").exists, 30, "the start of training")
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 75
    assert (tmp_path / "requests").read_text() == "requeue 7\n"
