"""A log that ends a training run at a chosen step."""

from __future__ import annotations

import io
import json


class KilledError(Exception):
    """Ends a run at a line of its log."""


class KillingLog(io.StringIO):
    """A log that raises KilledError at the line of step `step` or a later one."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def write(self, text: str) -> int:
        if json.loads(text).get("step", 0) >= self.step:
            raise KilledError
        return super().write(text)
