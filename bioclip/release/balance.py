"""Caps, floors and balancing of training images by taxon; evaluation splits are never touched.

Who stays is decided by the hash of an image's own id: among images of a taxon those of lowest hash stay under the cap and under the
threshold alike, whatever order they come in, and adding images of other taxa changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bioclip.release.splits import TRAIN, unit_hash
from bioclip.release.tail import tail_statistics
from bioclip.settings import ReleaseSettings

TAIL_NAME = "splits/tail.json"
"""Statistics of training by species and by taxon, before and after; written where a rule of balance is set."""
SPECIES_TOO_RARE, TAXON_BALANCED, SPECIES_OVER_CAP = "species_too_rare", "taxon_balanced", "species_over_cap"


def balance_training(rows: Sequence[dict[str, Any]], settings: ReleaseSettings) -> dict[str, Any]:
    """Take the training images out that the settings' floor, threshold and cap refuse, in that order; returns the tail before and after.

    Rows are changed in place: `split`, `drop_reason`, `drop_detail`. Without any rule nothing is done and the result is empty.
    Balancing by a threshold is MetaCLIP's (Xu et al. 2024, Demystifying CLIP Data, ICLR), over accepted taxa of every rank in place of
    search terms; one image of each taxon always stays.
    """
    if not (settings.min_per_species or settings.max_per_species or settings.balance_threshold):
        return {}
    before = _tail(rows)
    for refused in (_too_rare(rows, settings.min_per_species), _thinned(rows, settings), _over_cap(rows, settings)):
        for row, reason, detail in list(refused):
            row.update(split="", drop_reason=reason, drop_detail=detail)
    return {"before": before, "after": _tail(rows)}


def taxon_of(row: Mapping[str, Any]) -> str:
    """Key of the accepted taxon that an image is labelled with, of whatever rank."""
    return f"{row['backbone']}:{row['accepted_id']}"


Refused = Iterator[tuple[dict[str, Any], str, str]]


def _too_rare(rows: Sequence[dict[str, Any]], least: int) -> Refused:
    for species, members in _groups(rows, "species"):
        if len(members) < least:
            for row in members:
                yield row, SPECIES_TOO_RARE, f"{species}: {len(members)} training images, at least {least} are wanted"


def _thinned(rows: Sequence[dict[str, Any]], settings: ReleaseSettings) -> Refused:
    threshold = settings.balance_threshold
    for _, members in _groups(rows, "taxon") if threshold else ():
        if len(members) > threshold:
            share = threshold / len(members)
            for value, row in _by_hash(members, settings.seed)[1:]:
                if value >= share:
                    yield row, TAXON_BALANCED, f"threshold {threshold} of {len(members)} training images of its taxon"


def _over_cap(rows: Sequence[dict[str, Any]], settings: ReleaseSettings) -> Refused:
    cap = settings.max_per_species
    for species, members in _groups(rows, "species") if cap else ():
        for _, row in _by_hash(members, settings.seed)[cap:]:
            yield row, SPECIES_OVER_CAP, f"{species}: at most {cap} of {len(members)} training images"


def _groups(rows: Sequence[dict[str, Any]], kind: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Training images of each species, or of each taxon of whatever rank."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["split"] == TRAIN and (key := row["species"] if kind == "species" else taxon_of(row)):
            groups.setdefault(key, []).append(row)
    yield from sorted(groups.items())


def _by_hash(members: Sequence[dict[str, Any]], seed: int) -> list[tuple[float, dict[str, Any]]]:
    hashed = [(unit_hash(f"balance:{seed}", row["record_id"]), row) for row in members]
    return sorted(hashed, key=lambda pair: (pair[0], pair[1]["record_id"]))


def _tail(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    training = [row for row in rows if row["split"] == TRAIN]
    species = Counter(row["species"] for row in training if row["species"])
    return {"species": tail_statistics(species.values()), "taxa": tail_statistics(Counter(map(taxon_of, training)).values())}
