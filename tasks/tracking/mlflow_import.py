"""The import of MLflow, by one thread at a time."""

from __future__ import annotations

import importlib
import threading

_lock = threading.Lock()


def load_mlflow() -> None:
    """Import MLflow; raises ImportError where it is not installed.

    Its modules import each other in a circle. A second thread that imports one of them meanwhile would see a part of it, so every thread
    calls this before it imports from MLflow.
    """
    with _lock:
        importlib.import_module("mlflow")
        importlib.import_module("mlflow.tracking")
