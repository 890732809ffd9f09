"""Summarises the release's table of images in one pass over its columns; only rows that are shown become objects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.drop_reasons import reasons_of_step
from bioclip.parquet import read_batches
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.report.data.counting import DistinctNumbers, IndexCounter, StringIndex, hash_strings, most_frequent, sizes_of
from bioclip.report.data.samples.origins import OriginCounter
from bioclip.report.data.samples.photo_choice import PhotoChoice
from bioclip.report.data.samples.photos import read_photos
from bioclip.report.data.samples.places import PlaceCounter
from bioclip.report.data.samples.sample_summary import DropGroup, NamedRanks, Photo, SampleSummary, SplitSummary
from bioclip.selection.splits import occurrence_key

SUNBURST_RANKS = RANKS[:6]
BALANCE_REASONS = reasons_of_step("balance")
"""Drop reasons of balancing: floor, threshold, cap."""
_BATCH_ROWS = 32_768
COUNTED_COLUMNS = [
    "record_id", "split", "drop_reason", *RANKS, "resolved_rank", "source", "source_id", "occurrence_id", "license", "rights_holder",
    "creator", "latitude", "longitude",
]  # fmt: skip


class SampleCounter:
    """Counts over batches of SAMPLE_SCHEMA rows in order of record id; `seed` decides the random draws."""

    def __init__(self, seed: str) -> None:
        self.num_images = 0
        self.lineages: Counter[tuple[str, ...]] = Counter()
        self.splits: Counter[str] = Counter()
        self.drops: Counter[tuple[str, bool]] = Counter()
        self.named: Counter[tuple[str, int, bool]] = Counter()
        self.choice = PhotoChoice(seed)
        self._species = StringIndex()
        self._per_species: defaultdict[str, IndexCounter] = defaultdict(IndexCounter)
        self._unbalanced = IndexCounter()
        self._occurrences: defaultdict[str, DistinctNumbers] = defaultdict(DistinctNumbers)
        self._licenses, self._sources = OriginCounter("license"), OriginCounter("source")
        self._places = PlaceCounter()

    def add(self, rows: pa.Table) -> None:
        """Count the rows, including dropped ones."""
        is_sample = pc.not_equal(rows["split"], "")
        samples, dropped = rows.filter(is_sample), rows.filter(pc.invert(is_sample))
        self.num_images += rows.num_rows
        self._add_named(rows)
        self._add_samples(samples)
        self._places.add(samples)
        self.choice.add_samples(samples)
        for (reason, rank), count in grouped(dropped, ["drop_reason", "resolved_rank"]):
            self.drops[reason, bool(rank)] += count
        self.choice.add_dropped(dropped)
        balanced = dropped.filter(pc.is_in(dropped["drop_reason"], value_set=pa.array(BALANCE_REASONS)))
        self._unbalanced.add(self._species.encode(balanced["species"].filter(pc.not_equal(balanced["species"], ""))))
        for origins in (self._licenses, self._sources):
            origins.add(samples, dropped, self._species)

    def _add_named(self, rows: pa.Table) -> None:
        flags = np.zeros(rows.num_rows, np.int64)
        for place, rank in enumerate(RANKS):
            flags |= pc.not_equal(rows[rank], "").to_numpy().astype(np.int64) << place
        table = pa.table({"kingdom": rows["kingdom"], "flags": flags, "is_sample": pc.not_equal(rows["split"], "")})
        for (kingdom, ranks, is_sample), count in grouped(table, ["kingdom", "flags", "is_sample"]):
            self.named[kingdom, ranks, is_sample] += count

    def _add_samples(self, samples: pa.Table) -> None:
        self.lineages.update(dict(grouped(samples, list(SUNBURST_RANKS))))
        for split in sorted(pc.unique(samples["split"]).to_pylist()):
            mine = samples.filter(pc.equal(samples["split"], split))
            self.splits[split] += mine.num_rows
            self._per_species[split].add(self._species.encode(mine["species"].filter(pc.not_equal(mine["species"], ""))))
            columns = (mine[name].to_pylist() for name in ("source", "occurrence_id", "source_id"))
            self._occurrences[split].add(hash_strings(occurrence_key(*key) for key in zip(*columns, strict=True)))

    def summary(self, shards: Mapping[str, int], photos: Mapping[str, Photo]) -> SampleSummary:
        """The summary; `shards` are the numbers of tars by split, `photos` those of `choice` by record id."""
        length = len(self._species)
        all_species = sum((counter.of(length) for counter in self._per_species.values()), np.zeros(length, np.int64))
        unbalanced = self._unbalanced.of(length)
        return SampleSummary(
            num_images=self.num_images,
            num_samples=sum(self.splits.values()),
            lineages=dict(sorted(self.lineages.items())),
            species_sizes=sizes_of(all_species),
            splits=tuple(self._split(split, shards.get(split, 0), photos) for split in sorted({*shards, *self.splits}, key=_split_order)),
            licenses=self._licenses.summary(),
            sources=self._sources.summary(),
            drops=self._drops(photos),
            specimens=_shown(self.choice.specimens.values(), photos),
            unbalanced_sizes=sizes_of(unbalanced + self._per_species["train"].of(length)) if unbalanced.any() else {},
            named=self._named(),
            places=self._places.summary(),
        )

    def _split(self, split: str, num_shards: int, photos: Mapping[str, Photo]) -> SplitSummary:
        sizes = sizes_of(self._per_species[split].of(len(self._species)))
        drawn = _shown(self.choice.draws[split].values(), photos) if split in self.choice.draws else ()
        return SplitSummary(split, self.splits[split], sum(sizes.values()), len(self._occurrences[split]), num_shards, sizes, drawn)

    def _drops(self, photos: Mapping[str, Photo]) -> tuple[DropGroup, ...]:
        totals: Counter[str] = Counter()
        for (reason, _), count in self.drops.items():
            totals[reason] += count
        return tuple(
            DropGroup("release", reason, count, _shown(self.choice.drops[reason], photos), num_unnamed=self.drops[reason, False])
            for reason, count in most_frequent(totals.items(), len(totals))
        )

    def _named(self) -> tuple[NamedRanks, ...]:
        kinds = sorted({(kingdom, flags) for kingdom, flags, _ in self.named})
        return tuple(
            NamedRanks(
                kingdom,
                tuple(bool(flags >> place & 1) for place in range(len(RANKS))),
                self.named[kingdom, flags, True],
                self.named[kingdom, flags, True] + self.named[kingdom, flags, False],
            )
            for kingdom, flags in kinds
        )


def summarize_samples(release: Release, wanted: Collection[str]) -> tuple[SampleSummary, dict[str, Photo]]:
    """The summary of the images of `release`, and the photos to show by record id, without thumbnails; `wanted` are further ids to read."""
    counter = SampleCounter(release.version)
    for rows in read_batches(release.storage, layout.SAMPLES, COUNTED_COLUMNS, _BATCH_ROWS):
        counter.add(rows)
    photos = read_photos(release, counter.choice.record_ids | set(wanted))
    shards = {split: len(content.get("shards", ())) for split, content in release.manifest["splits"].items()}
    return counter.summary(shards, photos), photos


def grouped(table: pa.Table, columns: list[str]) -> list[tuple[tuple[Any, ...], int]]:
    """Each combination of values with its number of rows, sorted."""
    counted = table.group_by(columns).aggregate([([], "count_all")])
    keys = zip(*(counted[column].to_pylist() for column in columns), strict=True)
    return sorted(zip(keys, counted["count_all"].to_pylist(), strict=True))


def _shown(record_ids: Iterable[str], photos: Mapping[str, Photo]) -> tuple[Photo, ...]:
    return tuple(photos[identifier] for identifier in record_ids)


def _split_order(split: str) -> tuple[int, str]:
    order = ("train", "val", "heldout")
    return (order.index(split) if split in order else len(order), split)
