"""Samples of the machine and of one process with its children, as lines of a JSON-lines file.

The machine's metrics are those of MLflow's own monitors, under the names that its UI shows as system metrics. They go to a file first,
so that they outlive a time without MLflow.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.tracking.mlflow_import import load_mlflow

_FIRST_SAMPLE_S = 2.0


class SystemSampler:
    """Appends a sample to `path` every `every_s` seconds from `start` to `stop`, in a thread.

    `pid` returns the process of interest, or None while there is none. Without psutil there are no samples, without pynvml none of GPUs.
    """

    def __init__(self, path: Path, pid: Callable[[], int | None], every_s: float) -> None:
        self._path, self._pid, self._every_s = path, pid, every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-samples", daemon=True)
        self._processes: dict[int, Any] = {}

    def start(self) -> None:
        """Begin, unless `every_s` is 0."""
        if self._every_s:
            self._thread.start()

    def stop(self) -> None:
        """End; does not wait for a sample in progress."""
        self._stopping.set()

    def _run(self) -> None:
        monitors = _open_monitors()
        if monitors:
            self._sample(monitors)  # psutil counts CPU time from its first call
        wait_s = min(_FIRST_SAMPLE_S, self._every_s)
        while monitors and not self._stopping.wait(wait_s):
            line = {"time": round(time.time(), 3), "system": self._sample(monitors)}
            with self._path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            wait_s = self._every_s

    def _sample(self, monitors: list[Any]) -> dict[str, float]:
        values: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return values | self._sample_process()

    def _sample_process(self) -> dict[str, float]:
        """CPU time since the last sample and resident memory, summed over the process and its children; {} once it has ended."""
        import psutil

        pid = self._pid()
        if pid is None:
            return {}
        with contextlib.suppress(psutil.Error):
            leader = self._processes.setdefault(pid, psutil.Process(pid))
            family = [self._processes.setdefault(one.pid, one) for one in [leader, *leader.children(recursive=True)]]
            cpu_percent, num_bytes = 0.0, 0
            for one in family:
                with contextlib.suppress(psutil.Error):
                    cpu_percent += one.cpu_percent()
                    num_bytes += one.memory_info().rss
            return {"process_cpu_percentage": round(cpu_percent, 1), "process_memory_megabytes": round(num_bytes / 1e6, 1)}
        return {}


def _open_monitors() -> list[Any]:
    """MLflow's monitors that work on this machine."""
    try:
        load_mlflow()
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    except ImportError:  # psutil is optional
        return []
    monitors = []
    for monitor in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor):
        with contextlib.suppress(ImportError, RuntimeError, AttributeError, OSError):  # no pynvml, no GPU, or no counters in a container
            monitors.append(monitor())
    return monitors
