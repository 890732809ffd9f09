"""The synthetic workspace of the benchmark `release_scale` is one that the stages take for a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.releases.release_tables import Population, mixed, record_ids, write_tables
from benchmarks.releases.release_workspace import make_settings, release
from bioclip.records import partition_of
from bioclip.schemas import RECORD_SCHEMA
from bioclip.storage import Storage
from bioclip.verification.verify import verify_release


def test_ids_lie_in_their_partition_in_order_and_each_once() -> None:
    population = Population(4_000, 7)
    ids = [record_ids(population.partition(index)).to_pylist() for index in range(7)]
    assert [name for part in ids for name in part] == sorted({name for part in ids for name in part})
    assert sum(map(len, ids)) == 4_000
    assert all(partition_of(name, 7) == index for index, part in enumerate(ids) for name in part)


def test_hashes_are_as_even_as_chance() -> None:
    bits = mixed(np.arange(20_000), 3)
    ones = [int((bits >> np.uint64(place) & np.uint64(1)).sum()) for place in range(64)]
    assert len(set(bits.tolist())) == 20_000
    assert all(9_500 < number < 10_500 for number in ones)


def test_a_release_is_made_of_them_and_is_sound(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "workspace", 3, 200, parent="")
    write_tables(Storage(str(tmp_path / "workspace")), 1_500, 3)
    made = release(settings)
    # All rows are told one picture, which is not the one that their hashes speak of; nothing else may be found.
    found = verify_release(made.storage, deep=True).findings
    assert {finding.kind for finding in found} == {"picture_differs", "picture_twice"}
    assert verify_release(made.storage).findings == ()
    samples = made.samples(["split", "drop_reason", "record_id"]).to_pylist()
    assert len(samples) == 1_500
    assert {"duplicate_bytes", "duplicate_pixels", "duplicate_near", "not_in_backbone", ""} <= {row["drop_reason"] for row in samples}
    assert {"train", "val"} <= {row["split"] for row in samples}
    assert pq.read_schema(next(Path(tmp_path).rglob("records/museum/*/part-00001.parquet"))).equals(RECORD_SCHEMA)
