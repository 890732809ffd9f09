"""Samples that could not be read: counted over all processes and restarts of a run, and at most a set number."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from threading import Lock

from bioclip import layout
from bioclip.digests import canonical_json
from bioclip.errors import TrainingError
from bioclip.storage import Storage

_MAX_NAMED = 5


@dataclass
class UnreadableSamples:
    """Reason by id of each sample that this process could not read; with `storage`, kept in the model's folder until the run ends."""

    max_samples: int
    storage: Storage | None = None
    model_dir: str = ""
    rank: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        if self.storage is not None and self.storage.exists(self._file):
            self.reasons.update(json.loads(self.storage.read_bytes(self._file)))

    def add(self, name: str, reason: str) -> None:
        """Count a sample; raises TrainingError that names samples if there are more than `max_samples`."""
        with self._lock:
            if name not in self.reasons:
                self.reasons[name] = reason
                if self.storage is not None:
                    self.storage.write_bytes(self._file, canonical_json(self.reasons))
            found = self.of_all_processes()
        if len(found) > self.max_samples:
            named = "; ".join(f"{sample} ({why})" for sample, why in list(found.items())[:_MAX_NAMED])
            raise TrainingError(
                f"{len(found)} samples cannot be read, more than training.max_unreadable_samples = {self.max_samples}: {named}; "
                "check the release with `treeoflife release verify --deep`, or raise the setting."
            )

    def of_all_processes(self) -> dict[str, str]:
        """Reason by id of the samples that any process of the run could not read."""
        found = dict(self.reasons)
        if self.storage is not None:
            for name in self.storage.list(layout.unreadable_dir(self.model_dir)):
                found.update(json.loads(self.storage.read_bytes(name)))
        return dict(sorted(found.items()))

    def take_new(self) -> dict[str, str]:
        """Those of this process that an earlier call has not given."""
        with self._lock:
            new = {name: why for name, why in self.reasons.items() if name not in self._reported}
            self._reported |= new.keys()
        return new

    def clear(self) -> None:
        """Remove the files of all processes; call it when the model is finished."""
        if self.storage is not None:
            for name in self.storage.list(layout.unreadable_dir(self.model_dir)):
                self.storage.remove(name)
            self.storage.remove_empty_folders(layout.unreadable_dir(self.model_dir))

    @property
    def _file(self) -> str:
        return layout.unreadable_samples(self.model_dir, self.rank)
