"""The services that a flow needs, checked before it starts. Imports nothing heavy, so that commands start fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioclip.settings import PipelineSettings


@contextmanager
def open_services(settings: PipelineSettings, verbose: bool, is_tracked: bool = True) -> Iterator[None]:
    """A writable workspace and a Prefect API: the server that PREFECT_API_URL names, or an embedded one.

    Raises TreeOfLifeError, before anything is started, for a server that does not answer; MLflow is asked where the flow is tracked.
    """
    from bioclip.storage import open_workspace
    from flows.embedded_prefect import embedded_prefect
    from flows.environment import prepare_environment
    from tasks.context import state_dir

    open_workspace(settings.workspace).check_writable()
    _check_servers(settings, is_tracked and settings.tracking.enabled)
    state = state_dir(settings)
    prepare_environment(state, verbose)
    if not os.environ.get("PREFECT_API_URL"):
        print("Starting Prefect's embedded server …", file=sys.stderr)
    with embedded_prefect(state / "logs" / "prefect.log"):
        yield


def _check_servers(settings: PipelineSettings, is_tracked: bool) -> None:
    from bioclip.errors import TreeOfLifeError
    from flows.commands.health.check import Status
    from flows.commands.health.services import check_servers

    for check in check_servers(settings, os.environ):
        if check.status == Status.FAIL and (is_tracked or check.name != "MLflow"):
            raise TreeOfLifeError(f"{check.name}: {check.found}; {check.remedy}.")
