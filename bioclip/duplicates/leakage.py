"""The leakage gate: no copy of an evaluation image, no further image of its occurrence and no held-out species in training."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bioclip.duplicates.search import HashArray, near_pairs

LEAK_BYTES, LEAK_PIXELS, LEAK_NEAR = "leak_bytes", "leak_pixels", "leak_near"
LEAK_OCCURRENCE, LEAK_SPECIES = "leak_occurrence", "leak_species"


@dataclass(frozen=True)
class GateImages:
    """One side of the gate, arrays of one length. `phash` counts only where `is_flat` is false; empty strings never match."""

    record_id: npt.NDArray[np.object_]
    sha256: npt.NDArray[np.object_]
    pixel_sha256: npt.NDArray[np.object_]
    phash: HashArray
    is_flat: npt.NDArray[np.bool_]
    occurrence: npt.NDArray[np.object_]
    species: npt.NDArray[np.object_]

    def take(self, where: npt.NDArray[np.bool_]) -> GateImages:
        """The images where `where` holds."""
        return GateImages(*(getattr(self, name)[where] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Leak:
    """Evidence: a training image, the evaluation image or species that it gives away, and how."""

    record_id: str
    evaluation_record_id: str
    kind: str
    detail: str


def find_leaks(train: GateImages, evaluation: GateImages, heldout_species: frozenset[str], radius: int) -> list[Leak]:
    """Every training image that gives away an evaluation image, once, by the strongest evidence, in order of record id."""
    leaks: dict[str, Leak] = {}
    for kind, name in ((LEAK_BYTES, "sha256"), (LEAK_PIXELS, "pixel_sha256"), (LEAK_OCCURRENCE, "occurrence")):
        _equal(leaks, train, evaluation, kind, name)
    _near(leaks, train, evaluation, radius)
    for record_id, species in zip(train.record_id, train.species, strict=True):
        if species in heldout_species:
            leaks.setdefault(record_id, Leak(record_id, "", LEAK_SPECIES, f"{species} is held out"))
    return [leaks[record_id] for record_id in sorted(leaks)]


def _equal(leaks: dict[str, Leak], train: GateImages, evaluation: GateImages, kind: str, name: str) -> None:
    known: dict[str, str] = {}
    for value, record_id in zip(getattr(evaluation, name), evaluation.record_id, strict=True):
        if value:
            known.setdefault(value, record_id)
    for value, record_id in zip(getattr(train, name), train.record_id, strict=True):
        if value in known:
            leaks.setdefault(record_id, Leak(record_id, known[value], kind, f"same {name.removeprefix('pixel_')}"))


def _near(leaks: dict[str, Leak], train: GateImages, evaluation: GateImages, radius: int) -> None:
    sharp_train, sharp_evaluation = train.take(~train.is_flat), evaluation.take(~evaluation.is_flat)
    pairs = near_pairs(np.concatenate([sharp_train.phash, sharp_evaluation.phash]), radius)
    num_train = len(sharp_train.phash)
    suspects, witnesses = defaultdict[int, list[str]](list), defaultdict[int, list[str]](list)
    for unique, record_id in zip(pairs.inverse[:num_train].tolist(), sharp_train.record_id, strict=True):
        suspects[unique].append(record_id)
    for unique, record_id in zip(pairs.inverse[num_train:].tolist(), sharp_evaluation.record_id, strict=True):
        witnesses[unique].append(record_id)
    found = list(zip(pairs.distance.tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True))
    both_ways = [(0, unique, unique) for unique in witnesses] + found + [(d, second, first) for d, first, second in found]
    for distance, unique, other in sorted(both_ways):
        if unique in suspects and other in witnesses:
            for record_id in suspects[unique]:
                leaks.setdefault(record_id, Leak(record_id, min(witnesses[other]), LEAK_NEAR, f"pHash distance {distance}"))
