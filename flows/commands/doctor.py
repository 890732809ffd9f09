"""`treeoflife doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.answers import Answer
from flows.commands.exit_codes import ExitCode
from flows.commands.parameters import SETTINGS, SettingsOptions

if TYPE_CHECKING:
    from bioclip.settings import PipelineSettings
    from flows.commands.health.check import Check


def check_environment(*, options: SettingsOptions = SETTINGS) -> Answer:
    """Check versions, workspace, disk, servers, clock and GPU; exit code 1 on a failure.

    Each line is OK, WARN or FAIL, with what to do about it. Servers get 3 s to answer; nothing is changed.

    Example: `treeoflife doctor --settings settings.yaml`

    JSON keys: ok, checks.
    """
    from flows.commands.health.check import Status

    checks = _run_checks(options.load())
    numbers = {status: sum(one.status == status for one in checks) for status in Status}
    text = [line for one in checks for line in _lines(one)]
    text.append(", ".join(f"{number} {status}" for status, number in numbers.items()))
    is_ok = not numbers[Status.FAIL]
    return Answer({"ok": is_ok, "checks": checks}, text, ExitCode.DONE if is_ok else ExitCode.FAILED)


def _run_checks(settings: PipelineSettings) -> list[Check]:
    import os

    from flows.commands.health.clock import check_clock
    from flows.commands.health.installation import check_stages, check_versions
    from flows.commands.health.machine import check_disks, check_gpu
    from flows.commands.health.services import check_credentials, check_servers, check_workspace

    return [
        *check_versions(settings),
        check_workspace(settings),
        check_credentials(settings, os.environ),
        *check_disks(settings),
        *check_servers(settings, os.environ),
        check_clock(settings, os.environ),
        check_gpu(settings),
        check_stages(settings),
    ]


def _lines(check: Check) -> list[str]:
    line = f"{check.status:<5} {check.name:<24} {check.found}"
    return [line, f"{'':<30} -> {check.remedy}"] if check.remedy else [line]
