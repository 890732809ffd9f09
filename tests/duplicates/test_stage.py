"""The stage on tables of images: what is missing is counted, and neither jobs nor an index change what comes out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.duplicates.duplicate_search import planted_hashes, with_hub
from bioclip import layout
from bioclip.accounting import Counts
from bioclip.duplicates import pair_index
from bioclip.duplicates.pair_index import plan_search, read_index
from bioclip.duplicates.stage import plan_duplicates
from bioclip.partitions import PartitionManifest, PartitionWriter, run_partition, write_stage
from bioclip.schemas import DUPLICATE_SCHEMA
from bioclip.settings.loading import build_settings
from bioclip.storage import Storage

IMAGE_TYPES = pa.schema(
    [
        ("record_id", pa.string()),
        ("original_sha256", pa.string()),
        ("pixel_sha256", pa.string()),
        ("phash", pa.uint64()),
        ("entropy_bits", pa.float32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("thumbnail", pa.binary(256)),
        ("phash_turned", pa.list_(pa.uint64())),
    ]
)


def image(number: int, phash: int | None, **values: Any) -> dict[str, Any]:
    """A row of the images table, unlike all others but for its hash; larger than those after it."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    row = {"record_id": f"{number:08x}-0000-5000-8000-000000000000", "original_sha256": digest, "pixel_sha256": digest, "phash": phash}
    return {**row, "entropy_bits": 5.0, "original_width": 100_000 - number, "original_height": 10, **values}


def workspace(folder: Path, rows: list[dict[str, Any]], num_partitions: int = 3, licenses: dict[int, str] | None = None) -> Storage:
    """A workspace whose stages `images` and `records` hold the rows, cut into partitions."""
    storage = Storage(str(folder))
    images, records = [], []
    columns = [name for name in IMAGE_TYPES.names if name not in {"thumbnail", "phash_turned"} or any(name in row for row in rows)]
    schema = pa.schema([IMAGE_TYPES.field(name) for name in columns])
    for part in range(num_partitions if rows else 0):
        chosen = rows[part::num_partitions]
        record_rows = [
            {
                "record_id": row["record_id"],
                "license": (licenses or {}).get(rows.index(row)),
                "scientific_name": "",
                "specific_epithet": None,
            }
            for row in (chosen if licenses is not None else chosen[:1])
        ]
        types = pa.schema([(name, pa.string()) for name in ("record_id", "license", "scientific_name", "specific_epithet")])
        for stage, table, manifests in (
            ("images", pa.Table.from_pylist(chosen, schema=schema), images),
            ("records", pa.Table.from_pylist(record_rows, schema=types), records),
        ):
            writer = PartitionWriter(storage)
            writer.write_table(f"{stage}/part-{part:05d}.parquet", table)
            counts = Counts(table.num_rows, table.num_rows)
            manifests.append(PartitionManifest(stage, f"part-{part:05d}", "", tuple(writer.outputs), counts))
    write_stage(storage, "images", images)
    write_stage(storage, "records", records)
    return storage


def group(storage: Storage, **settings: Any) -> Counts:
    """Run the stage in this process."""
    [job] = plan_duplicates(storage, build_settings({"duplicates": settings}))
    return run_partition(job).manifest.counts


def written(storage: Storage) -> list[dict[str, Any]]:
    """Rows of the groups."""
    with storage.reader(layout.DUPLICATE_GROUPS) as stream:
        table = pq.read_table(stream)
    assert table.schema.equals(DUPLICATE_SCHEMA)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def kept_numbers(storage: Storage) -> dict[int, int]:
    """Who is kept for whom, by number."""
    return {int(row["record_id"][:8], 16): int(row["kept_record_id"][:8], 16) for row in written(storage)}


def test_no_images_make_no_groups(tmp_path: Path) -> None:
    storage = workspace(tmp_path, [])
    assert group(storage).read == 0
    assert written(storage) == []


def test_nulls_flat_and_one_coloured_images_are_counted_and_compared_by_content(tmp_path: Path) -> None:
    same = {"original_sha256": "a" * 64, "pixel_sha256": "b" * 64}
    rows = [image(n, None) for n in range(40)] + [image(n, 1 << 63) for n in range(40, 90)]
    rows += [image(n, 123, entropy_bits=0.5) for n in range(90, 100)]
    rows += [image(100, None, **same), image(101, None, **same), image(102, 1 << 63, original_sha256="", pixel_sha256="")]
    rows += [image(103, 1 << 63, original_sha256="", pixel_sha256="")]
    storage = workspace(tmp_path, rows)
    counts = group(storage)
    assert counts.notes["without_phash"] == 42
    assert counts.notes["too_flat_for_phash"] == 62
    assert counts.dropped == {"duplicate_bytes": 1}
    assert kept_numbers(storage) == {100: 100, 101: 100}


def test_a_hundred_percent_of_one_picture_are_one_group(tmp_path: Path) -> None:
    storage = workspace(tmp_path, [image(n, 0xF0F0F0F0F0F0F0F0) for n in range(3_000)])
    counts = group(storage)
    assert (counts.read, counts.written, counts.dropped) == (3_000, 1, {"duplicate_near": 2_999})
    assert set(kept_numbers(storage).values()) == {0}


def test_more_pixels_then_a_free_licence_then_the_record_id_decide_who_is_kept(tmp_path: Path) -> None:
    area = {"original_width": 10, "original_height": 10}
    rows = [image(0, 5, **area), image(1, 5, **area), image(2, 5, **area), image(3, 0xFFF << 40, **area), image(4, 0xFFF << 40)]
    storage = workspace(tmp_path, rows, licenses={0: "CC-BY-NC-4.0", 1: "CC-BY-4.0", 2: "CC-BY-4.0", 3: "CC0-1.0", 4: ""})
    group(storage)
    assert kept_numbers(storage) == {0: 1, 1: 1, 2: 1, 3: 4, 4: 4}


@pytest.mark.parametrize("crowd", [0, 2_000])
def test_a_distributed_search_gives_the_same_bytes(tmp_path: Path, crowd: int) -> None:
    hashes = with_hub(planted_hashes(2_000, 3), crowd, seed=1).tolist() if crowd else planted_hashes(2_000, 3).tolist()
    rows = [image(n, phash) for n, phash in enumerate(hashes)]
    storages = [workspace(tmp_path / name, rows) for name in ("whole", "jobs")]
    settings = [{"crowd_size": 64, **more} for more in ({}, {"distribute_above": 10, "search_jobs": 4})]
    jobs = plan_search(storages[1], build_settings({"duplicates": settings[1]}))
    assert [job.name for job in jobs] == [f"part-{part:03d}-of-004" for part in range(4)]
    for job in jobs[:2]:
        run_partition(job)
    counts = [group(storage, **chosen) for storage, chosen in zip(storages, settings, strict=True)]
    assert counts[0] == counts[1]
    assert written(storages[0]) == written(storages[1])
    assert bool(counts[0].notes["comparisons_left_out"]) == bool(crowd)
    assert plan_search(storages[0], build_settings({"duplicates": settings[0]})) == []


def test_the_partitioning_changes_nothing(tmp_path: Path) -> None:
    rows = [image(n, phash) for n, phash in enumerate(planted_hashes(600, 3).tolist())]
    storages = [workspace(tmp_path / str(parts), rows, parts) for parts in (1, 7)]
    assert group(storages[0]) == group(storages[1])
    assert Path(storages[0].uri(layout.DUPLICATE_GROUPS)).read_bytes() == Path(storages[1].uri(layout.DUPLICATE_GROUPS)).read_bytes()


def test_an_increment_searches_new_hashes_only_and_gives_the_groups_of_a_full_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [image(n, phash, thumbnail=thumbnail(n % 2)) for n, phash in enumerate(planted_hashes(3_000, 3).tolist())]
    grown, fresh = workspace(tmp_path / "grown", rows[:2_500]), workspace(tmp_path / "fresh", rows[200:])
    group(grown)
    workspace(tmp_path / "grown", rows[200:])
    assert plan_search(grown, build_settings({"duplicates": {"distribute_above": 10}})) == []
    with monkeypatch.context() as patch:
        patch.setattr(pair_index, "near_pairs", lambda *_: pytest.fail("everything was searched again"))
        increment = group(grown)
    assert increment == group(fresh)
    for name in (layout.DUPLICATE_GROUPS, layout.INDEXED_HASHES, layout.INDEXED_PAIRS):
        assert Path(grown.uri(name)).read_bytes() == Path(fresh.uri(name)).read_bytes()


def test_an_index_that_is_not_the_manifests_is_not_read(tmp_path: Path) -> None:
    storage = workspace(tmp_path, [image(n, phash) for n, phash in enumerate(planted_hashes(300, 3).tolist())])
    assert read_index(storage, "duplicates/_groups.json") is None
    group(storage)
    assert read_index(storage, "duplicates/_groups.json") is not None
    storage.write_bytes(layout.INDEXED_PAIRS, b"killed here")
    assert read_index(storage, "duplicates/_groups.json") is None


def thumbnail(number: int) -> bytes:
    """A thumbnail of noise; those of different numbers do not correlate."""
    return np.random.default_rng(number).integers(0, 256, 256, np.uint8).tobytes()


def test_near_pairs_need_thumbnails_that_correlate_at_every_radius(tmp_path: Path) -> None:
    signals = [thumbnail(1), thumbnail(1), thumbnail(2), None]
    rows = [image(n, bits, thumbnail=signal) for n, (bits, signal) in enumerate(zip([7, 7 << 1, 7 << 3, 7 << 6], signals, strict=True))]
    storage = workspace(tmp_path, rows)
    counts = group(storage, radius=6)
    assert counts.notes["near_pairs_refused"] == 2
    assert counts.notes["near_pairs_unconfirmed"] == 3
    assert kept_numbers(storage) == {0: 0, 1: 0, 3: 0}
    assert group(storage, radius=2).notes["near_pairs_refused"] == 0
    assert "near_pairs_refused" not in group(storage, radius=6, min_correlation=-1).notes
    plain = workspace(tmp_path / "plain", [{k: v for k, v in row.items() if k != "thumbnail"} for row in rows])
    assert group(plain, radius=6).notes["near_pairs_unconfirmed"] == 6


def test_thumbnails_are_read_alike_from_any_partitioning(tmp_path: Path) -> None:
    hashes = planted_hashes(600, 3).tolist()
    rows = [image(n, phash, thumbnail=thumbnail(n % 7) if n % 5 else None) for n, phash in enumerate(hashes)]
    storages = [workspace(tmp_path / str(parts), rows, parts) for parts in (1, 7)]
    counts = [group(storage) for storage in storages]
    assert counts[0] == counts[1]
    assert counts[0].notes["near_pairs_refused"] > 0 < counts[0].notes["near_pairs"]
    assert Path(storages[0].uri(layout.DUPLICATE_GROUPS)).read_bytes() == Path(storages[1].uri(layout.DUPLICATE_GROUPS)).read_bytes()


def test_a_job_of_other_images_is_not_believed(tmp_path: Path) -> None:
    rows = [image(n, phash) for n, phash in enumerate(planted_hashes(400, 3).tolist())]
    storage = workspace(tmp_path, rows[:300])
    settings = build_settings({"duplicates": {"distribute_above": 10, "search_jobs": 2}})
    stale = [run_partition(job).manifest for job in plan_search(storage, settings)]
    storage = workspace(tmp_path, rows)
    [job] = plan_duplicates(storage, settings)
    counts = run_partition(replace(job, force=True)).manifest.counts
    assert counts == group(workspace(tmp_path / "fresh", rows))
    assert {manifest.key for manifest in stale}.isdisjoint(job.key for job in job.arguments["searches"])
