"""The numbers of a card, counted in one pass over samples.parquet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.parquet import read_batches
from bioclip.records import RANKS
from bioclip.releases.manifest import SPLITS
from bioclip.selection.splits import TRAIN
from bioclip.storage import Storage

TROPIC_DEG = 23.4
_COLUMNS = [
    "split", "drop_reason", *RANKS, "resolved_rank", "common_name", "source", "license", "rights_holder", "creator", "latitude",
    "longitude",
]  # fmt: skip


@dataclass
class SampleCounts:
    """Numbers of images; memory grows with the distinct species and holders, not with the images."""

    num_considered: int = 0
    num_samples: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    drop_reasons: Counter[str] = field(default_factory=Counter)
    kingdoms: Counter[str] = field(default_factory=Counter)
    resolved_ranks: Counter[str] = field(default_factory=Counter)
    holders: Counter[str] = field(default_factory=Counter)
    """By holder, or by creator where no holder is stated; the empty string where neither is."""
    species: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    """By split and accepted binomial; images labelled above species rank are left out."""
    num_common_names: int = 0
    zones: Counter[str] = field(default_factory=Counter)
    """Of the images with coordinates: `north`, `tropics` and `south` of the tropics at 23.4 degrees."""

    def add(self, rows: pa.Table) -> None:
        """Count a batch of SAMPLE_SCHEMA rows."""
        self.num_considered += rows.num_rows
        _add(self.drop_reasons, rows.filter(pc.not_equal(rows["drop_reason"], ""))["drop_reason"])
        kept = rows.filter(pc.not_equal(rows["split"], ""))
        self.num_samples += kept.num_rows
        for counter, column in (
            (self.splits, "split"),
            (self.licenses, "license"),
            (self.sources, "source"),
            (self.kingdoms, "kingdom"),
            (self.resolved_ranks, "resolved_rank"),
        ):
            _add(counter, kept[column])
        _add(self.holders, pc.if_else(pc.equal(kept["rights_holder"], ""), kept["creator"], kept["rights_holder"]))
        for split, counter in self.species.items():
            _add(counter, kept.filter(pc.and_(pc.equal(kept["split"], split), pc.not_equal(kept["species"], "")))["species"])
        self.num_common_names += pc.sum(pc.not_equal(kept["common_name"], "")).as_py() or 0
        located = kept.filter(pc.and_(pc.is_valid(kept["latitude"]), pc.is_valid(kept["longitude"])))["latitude"]
        for zone, is_there in (
            ("north", pc.greater(located, TROPIC_DEG)),
            ("tropics", pc.less_equal(pc.abs(located), TROPIC_DEG)),
            ("south", pc.less(located, -TROPIC_DEG)),
        ):
            self.zones[zone] += pc.sum(is_there).as_py() or 0

    @property
    def num_species(self) -> int:
        """Distinct species of all splits."""
        return len({name for counter in self.species.values() for name in counter})

    @property
    def num_located(self) -> int:
        """Images with coordinates."""
        return self.zones.total()

    def long_tail(self) -> dict[str, float]:
        """Of `train`: number of species, median and greatest number of images per species, species with fewer than 10 images, and the
        fraction of images in the tenth of species with most images."""
        numbers = np.sort(np.fromiter(self.species[TRAIN].values(), np.int64))[::-1]
        if not len(numbers):
            return {"species": 0, "median": 0, "most": 0, "below_10": 0, "head_share": 0.0}
        return {
            "species": len(numbers),
            "median": float(np.median(numbers)),
            "most": int(numbers[0]),
            "below_10": int((numbers < 10).sum()),
            "head_share": float(numbers[: -(-len(numbers) // 10)].sum() / numbers.sum()),
        }


def count_samples(storage: Storage, name: str) -> SampleCounts:
    """Count the rows of a samples.parquet."""
    sample_counts = SampleCounts()
    for rows in read_batches(storage, name, _COLUMNS):
        sample_counts.add(rows)
    return sample_counts


def _add(counter: Counter[str], values: pa.ChunkedArray) -> None:
    for entry in pc.value_counts(values).to_pylist():
        counter[entry["values"]] += entry["counts"]
