"""The release's table of images, summed up in one pass."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.captions import scientific_name
from bioclip.records import RANKS
from bioclip.release import Release
from bioclip.release.splits import occurrence_key
from bioclip.report.batches import most, read_batches
from bioclip.report.data import DropGroup, Origin, Photo, SampleSummary, SplitSummary

MAX_PHOTOS_PER_REASON = 6
MAX_SPECIMENS = 14
MAX_ORIGINS = 25
SUNBURST_RANKS = RANKS[:6]
PHOTO_COLUMNS = [
    "record_id",
    "split",
    "drop_reason",
    "drop_detail",
    "width",
    "height",
    *RANKS,
    "resolved_rank",
    "source",
    "source_id",
    "occurrence_id",
    "media_url",
    "license",
    "rights_holder",
    "creator",
    "verbatim_name",
]


class DistinctCount:
    """Counts different strings by a 64-bit hash (BLAKE2b): 8 bytes each; 200 million meet one collision in a thousand runs."""

    _FOLD_AT = 1 << 20

    def __init__(self) -> None:
        self._seen: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._new: list[int] = []

    def add(self, text: str) -> None:
        """Count `text` unless it was seen before."""
        self._new.append(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))
        if len(self._new) >= self._FOLD_AT:
            self._fold()

    def __len__(self) -> int:
        self._fold()
        return len(self._seen)

    def _fold(self) -> None:
        self._seen = np.union1d(self._seen, np.array(self._new, np.uint64))
        self._new.clear()


class SampleTally:
    """Counts over batches of SAMPLE_SCHEMA rows that come in order of record id."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = pa.array(sorted(wanted), pa.string())
        self.photos: dict[str, Photo] = {}
        self.num_images = 0
        self.lineages: Counter[tuple[str, ...]] = Counter()
        self.species: dict[str, Counter[str]] = defaultdict(Counter)
        self.splits: Counter[str] = Counter()
        self.occurrences: defaultdict[str, DistinctCount] = defaultdict(DistinctCount)
        self.licenses: Counter[tuple[str, bool]] = Counter()
        self.sources: Counter[tuple[str, bool]] = Counter()
        self.drops: Counter[str] = Counter()
        self.drop_photos: defaultdict[str, list[Photo]] = defaultdict(list)
        self.specimens: dict[str, Photo] = {}

    def add(self, rows: pa.Table) -> None:
        """Count the rows, dropped ones included."""
        is_sample = pc.not_equal(rows["split"], "")
        samples, dropped = rows.filter(is_sample), rows.filter(pc.invert(is_sample))
        self.num_images += rows.num_rows
        for table, is_dropped in ((samples, False), (dropped, True)):
            for counter, column in ((self.licenses, "license"), (self.sources, "source")):
                counter.update({(name, is_dropped): count for (name,), count in _grouped(table, [column])})
        self._add_samples(samples)
        self._add_dropped(dropped)
        for photo in map(photo_of, rows.filter(pc.is_in(rows["record_id"], value_set=self._wanted)).to_pylist()):
            self.photos[photo.record_id] = photo

    def _add_samples(self, samples: pa.Table) -> None:
        self.lineages.update(dict(_grouped(samples, list(SUNBURST_RANKS))))
        for (split, species), count in _grouped(samples, ["split", "species"]):
            self.splits[split] += count
            if species:
                self.species[split][species] += count
        columns = (samples[name].to_pylist() for name in ("split", "source", "occurrence_id", "source_id"))
        for split, source, occurrence, source_id in zip(*columns, strict=True):
            self.occurrences[split].add(occurrence_key(source, occurrence, source_id))
        if len(self.specimens) < MAX_SPECIMENS:
            for row in samples.to_pylist():
                if row["order"] and len(self.specimens) < MAX_SPECIMENS:
                    self.specimens.setdefault(row["order"], photo_of(row))

    def _add_dropped(self, dropped: pa.Table) -> None:
        for (reason,), count in _grouped(dropped, ["drop_reason"]):
            self.drops[reason] += count
            if (missing := MAX_PHOTOS_PER_REASON - len(self.drop_photos[reason])) > 0:
                rows = dropped.filter(pc.equal(dropped["drop_reason"], reason)).slice(0, missing)
                self.drop_photos[reason] += map(photo_of, rows.to_pylist())

    def summary(self, release: Release) -> SampleSummary:
        """What was counted, with the release's splits in their own order."""
        species: Counter[str] = Counter()
        for counted in self.species.values():
            species.update(counted)
        return SampleSummary(
            num_images=self.num_images,
            num_samples=sum(self.splits.values()),
            lineages=dict(sorted(self.lineages.items())),
            species_sizes=dict(sorted(Counter(species.values()).items(), reverse=True)),
            splits=tuple(self._split(split, release) for split in sorted({*release.manifest["splits"], *self.splits}, key=_split_order)),
            licenses=_origins(self.licenses),
            sources=_origins(self.sources),
            drops=tuple(
                DropGroup("release", reason, count, photos=tuple(self.drop_photos[reason]))
                for reason, count in most(self.drops.items(), len(self.drops))
            ),
            specimens=tuple(self.specimens.values()),
        )

    def _split(self, split: str, release: Release) -> SplitSummary:
        num_shards = len(release.manifest["splits"].get(split, {}).get("shards", ()))
        return SplitSummary(split, self.splits[split], len(self.species[split]), len(self.occurrences[split]), num_shards)


def tally_samples(release: Release, wanted: Collection[str]) -> SampleTally:
    """Count the images of `release`; `wanted` are record ids whose rows are kept as photos without thumbnails."""
    tally = SampleTally(wanted)
    for batch in read_batches(release.storage, "samples.parquet", PHOTO_COLUMNS):
        tally.add(pa.Table.from_batches([batch]))
    return tally


def _grouped(table: pa.Table, columns: list[str]) -> list[tuple[tuple[str, ...], int]]:
    counted = table.group_by(columns).aggregate([([], "count_all")])
    keys = zip(*(counted[column].to_pylist() for column in columns), strict=True)
    return sorted(zip(keys, counted["count_all"].to_pylist(), strict=True))


def photo_of(row: dict[str, Any]) -> Photo:
    """A row of PHOTO_COLUMNS, without its thumbnail."""
    return Photo(
        record_id=row["record_id"],
        label=scientific_name(row) or row["verbatim_name"],
        resolved_rank=row["resolved_rank"],
        source=row["source"],
        license=row["license"],
        credit=row["creator"] or row["rights_holder"],
        media_url=row["media_url"],
        width=row["width"],
        height=row["height"],
        split=row["split"],
        drop_reason=row["drop_reason"],
        drop_detail=row["drop_detail"],
    )


def _origins(counted: Counter[tuple[str, bool]]) -> tuple[Origin, ...]:
    totals: Counter[str] = Counter()
    for (name, _), count in counted.items():
        totals[name] += count
    largest = [name for name, _ in most(totals.items(), MAX_ORIGINS)]
    return tuple(Origin(name, counted[name, False], counted[name, True]) for name in largest)


def _split_order(split: str) -> tuple[int, str]:
    order = ("train", "val", "heldout")
    return (order.index(split) if split in order else len(order), split)
