"""Every error this package raises on purpose, in one tree.

    TreeOfLifeError              exit code 1
    ├── UsageError               exit code 2: the caller can fix it by changing the command or its settings
    │   ├── SettingsError        a key, a value or a file of settings is wrong
    │   └── UnknownNameError     a source, backbone, benchmark, objective or recipe that is not registered
    ├── ArchiveError             a provider's archive breaks a rule: names file, line and rule
    │   └── LocalMediaError      an image in a local archive or folder cannot be read; carries its drop reason
    ├── BackboneError            a taxonomic backbone cannot be read or compiled
    ├── StorageError             a workspace cannot be read or written
    │   └── ShardError           a tar of samples or its index cannot be written, or is damaged
    ├── NothingLeftError         every row or image of a run is dropped: names the reasons and the settings that decide
    ├── AccountingError          read != written + dropped: a bug, never the user's fault
    ├── LeakageError             evaluation images were found in training and the gate is set to fail
    ├── UnreadableSetError       a set of images has none that can be read
    ├── ModelError               a model's weights, configuration or tokenizer cannot be found, read or used
    ├── TrainingError            training cannot start, continue or finish
    │   └── TrainingStoppedError exit code 75: a signal ended training after a checkpoint; the same command continues it
    ├── EvaluationError          a model or benchmark cannot be scored
    └── TrackingError            MLflow does not answer or refuses a request

Each message names the value, the rule it breaks and the remedy. The command line prints the message alone, without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable


class TreeOfLifeError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UsageError(TreeOfLifeError):
    """The command or its settings are wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """A key, a value or a file of settings is wrong."""


class UnknownNameError(UsageError):
    """A name that is not registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(f"{kind} {name!r} is not registered; known: {', '.join(self.known)}.")

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        return type(self), (self.kind, self.name, self.known)


class ArchiveError(TreeOfLifeError):
    """A provider's archive breaks a rule of its format."""


class BackboneError(TreeOfLifeError):
    """A taxonomic backbone cannot be read or compiled."""


class StorageError(TreeOfLifeError):
    """A location cannot be read or written."""


class ShardError(StorageError):
    """A tar of samples or its index cannot be written, or is damaged."""


class NothingLeftError(TreeOfLifeError):
    """A stage dropped everything. `reasons` is the message without the places of counts and report."""

    def __init__(self, reasons: str, counts_uri: str, report_uri: str = "") -> None:
        self.reasons, self.counts_uri, self.report_uri = reasons, counts_uri, report_uri
        report = f" The report is {report_uri}." if report_uri else ""
        super().__init__(f"nothing is left: {reasons}.{report} The counts are in {counts_uri}.")

    def __reduce__(self) -> tuple[type[NothingLeftError], tuple[str, str, str]]:
        return type(self), (self.reasons, self.counts_uri, self.report_uri)


class AccountingError(TreeOfLifeError):
    """A stage's counts do not add up."""


class LeakageError(TreeOfLifeError):
    """Evaluation material was found in training."""


class UnreadableSetError(TreeOfLifeError):
    """A set of images, for training or evaluation, has none that can be read: every comparison with it would pass."""


class ModelError(TreeOfLifeError):
    """A model's weights, configuration or tokenizer cannot be found, read or used."""


class TrainingError(TreeOfLifeError):
    """Training cannot start, continue or finish."""


class TrainingStoppedError(TrainingError):
    """A signal ended training at a step whose checkpoint is written, or before its first step."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class EvaluationError(TreeOfLifeError):
    """A model or a benchmark cannot be scored."""


class TrackingError(TreeOfLifeError):
    """MLflow does not answer or refuses a request."""
