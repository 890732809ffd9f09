"""Dask clusters that a run starts and closes: processes of this machine, pods, Slurm jobs, or processes of machines over SSH.

`cluster.options` are the arguments of the library's own class, so everything that it can do is a setting.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from bioclip.errors import UsageError
from bioclip.settings import ClusterSettings

_EXTRAS = {"kubernetes": "dask_kubernetes", "slurm": "dask_jobqueue", "ssh": "asyncssh"}
"""The extra of each kind that needs one is named as the kind; the module shows whether it is installed."""


def start_cluster(settings: ClusterSettings, num_workers: int, scratch_dir: Path, log_path: Path) -> Any:
    """The started cluster of `settings.kind`, with a `close` method.

    Raises UsageError where the kind's library is not installed, refuses an option, or cannot start the cluster.
    """
    kind = settings.kind
    if kind in _EXTRAS and find_spec(_EXTRAS[kind]) is None:
        raise UsageError(f"cluster.kind {kind!r} needs {_EXTRAS[kind]}; pip install 'bioclip-pipeline[{kind}]'.")
    if kind == "local":
        return _start_local(num_workers, scratch_dir, log_path)
    try:
        return _STARTERS[kind](settings)
    except Exception as error:
        raise UsageError(
            f"the Dask cluster of cluster.kind {kind!r} does not start with these cluster.options: {type(error).__name__}: {error}"
        ) from error


def _start_local(num_workers: int, scratch_dir: Path, log_path: Path) -> Any:
    from distributed import LocalCluster

    scratch_dir.mkdir(parents=True, exist_ok=True)
    with _apart_from_the_terminal(log_path):
        return LocalCluster(
            n_workers=num_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(scratch_dir),
            silence_logs=40,
        )


def _start_kubernetes(settings: ClusterSettings) -> Any:
    from dask_kubernetes.operator import KubeCluster

    return KubeCluster(n_workers=settings.num_workers, **settings.options)


def _start_slurm(settings: ClusterSettings) -> Any:
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(**settings.options)
    cluster.scale(settings.num_workers)
    return cluster


def _start_ssh(settings: ClusterSettings) -> Any:
    from distributed import SSHCluster

    return SSHCluster(**settings.options)


_STARTERS: dict[str, Callable[[ClusterSettings], Any]] = {"kubernetes": _start_kubernetes, "slurm": _start_slurm, "ssh": _start_ssh}


@contextmanager
def _apart_from_the_terminal(log_path: Path) -> Iterator[None]:
    """Processes that are started inside never receive SIGINT and write their standard error to `log_path`.

    Ctrl-C ends this process, which then ends its workers, and what they write while they are ended is no message to the user.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    with log_path.open("wb") as log:
        os.dup2(log.fileno(), 2)
    resource_tracker.ensure_running()  # multiprocessing unblocks SIGINT in the thread that starts its tracker
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
        os.dup2(terminal, 2)
        os.close(terminal)
