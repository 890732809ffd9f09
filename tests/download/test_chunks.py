"""What is fetched outlives a kill, and the whole is the same however it came together."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes
from bioclip.download.chunks import ROW_GROUP_ROWS, ChunkLog
from bioclip.download.stage import plan_images, read_outcomes
from bioclip.partitions import PartitionJob, PartitionWriter, run_partition, write_stage
from bioclip.records import Record
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import build_settings
from bioclip.sources.parsing.columns import records_table
from bioclip.storage import Storage, open_workspace
from tests.download.asking import photograph
from tests.download.fault_server import FaultServer, answer


class KilledError(Exception):
    """Stands for the end of a worker in mid-partition."""


def write_records(storage: Storage, records: list[Record]) -> None:
    """A records stage of one partition."""
    job = PartitionJob("records", "part-00000", "records", 1, {str(len(records)): repr(records)}, "", _write, storage, {"records": records})
    write_stage(storage, "records", [run_partition(job).manifest])


def _write(storage: Storage, writer: PartitionWriter, *, records: list[Record]) -> Counts:
    writer.write_table("records/part-00000.parquet", records_table(records).sort_by("record_id"))
    return Counts(len(records), len(records))


def make_settings(workspace: Path, **download: Any) -> PipelineSettings:
    """One partition on loopback."""
    values = {"allow_networks": ["127.0.0.0/8"], "requests_per_second_per_host": 1e5, "backoff_s": 0.01, "max_attempts": 2, "store_px": 64}
    return build_settings({"workspace": {"uri": str(workspace)}, "ingest": {"num_partitions": 1}, "download": values | download})


def serve(num_images: int) -> FaultServer:
    """`/0` to `/n` are pictures that differ."""

    def route(index: int) -> Any:
        sink = io.BytesIO()
        Image.linear_gradient("L").rotate(index).save(sink, "PNG")
        return lambda handler: answer(handler, sink.getvalue(), headers={"ETag": f'"{index}"'})

    return FaultServer({f"/{index}": route(index) for index in range(num_images)})


def records_of(server: FaultServer, num_images: int) -> list[Record]:
    return [Record("test", str(index), f"http://{server.address}/{index}") for index in range(num_images)]


@pytest.mark.parametrize("kill_after", [1, 7, 17])
def test_a_killed_partition_loses_less_than_a_chunk_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_after: int
) -> None:
    with serve(20) as server:
        digests = []
        for name, chunk_records in (("calm", 512), ("torn", 4)):
            settings = make_settings(tmp_path / name, chunk_records=chunk_records, concurrency_per_host=1)
            storage = open_workspace(settings.workspace)
            write_records(storage, records_of(server, 20))
            [job] = plan_images(storage, settings)
            if name == "torn":
                before = server.counts.total()
                with monkeypatch.context() as patch:
                    kill_at_outcome(patch, kill_after)
                    with pytest.raises(KilledError):
                        run_partition(job)
                assert not storage.exists(layout.images_part(0)), "whole or absent"
                asked = server.counts.total() - before
            run_partition(job)
            digests.append(digest_bytes(storage.read_bytes(layout.images_part(0))))
    assert digests[0] == digests[1]
    assert not (tmp_path / "torn" / layout.unfinished_images_dir(0)).exists()
    assert server.counts.total() - before - 20 <= 4 + 4, (
        f"{asked} had been requested; at most a chunk and the requests in flight are repeated"
    )


def kill_at_outcome(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the log take `number` outcomes, then end the work as a kill would: without any farewell."""
    left, append = [number], ChunkLog.append

    async def append_or_die(log: ChunkLog, rows: list[dict[str, Any]]) -> None:
        await append(log, rows)
        left[0] -= 1
        if left[0] <= 0:
            raise KilledError

    patch.setattr(ChunkLog, "append", append_or_die)


def test_chunks_of_other_settings_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(8) as server:
        settings = make_settings(tmp_path, chunk_records=2, concurrency_per_host=1)
        storage = open_workspace(settings.workspace)
        write_records(storage, records_of(server, 8))
        [job] = plan_images(storage, settings)
        with monkeypatch.context() as patch:
            kill_at_outcome(patch, 5)
            with pytest.raises(KilledError):
                run_partition(job)
        assert storage.list(layout.unfinished_images_dir(0))
        other = settings.model_copy(update={"download": settings.download.model_copy(update={"store_px": 48})})
        result = run_partition(plan_images(storage, other)[0])
    assert result.effort["requests"] == 8
    images = pq.read_table(storage.uri(layout.images_part(0)))
    assert set(images["width"].to_pylist()) == {48}


def test_row_groups_are_sorted_and_bounded_for_any_chunks(tmp_path: Path) -> None:
    number = ROW_GROUP_ROWS + 44
    with serve(10) as server:
        settings = make_settings(tmp_path, chunk_records=32, concurrency_per_host=16)
        storage = open_workspace(settings.workspace)
        records = [Record("test", str(index), f"http://{server.address}/{index % 10}?{index}") for index in range(number)]
        write_records(storage, [replace(record, media_url=record.media_url.split("?")[0]) for record in records])
        run_partition(plan_images(storage, settings)[0])
        assert server.counts == {f"/{index}": 1 for index in range(10)}, "a URL that many records share is asked for once"
    file = pq.ParquetFile(storage.uri(layout.images_part(0)))
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [ROW_GROUP_ROWS, 44]
    names = file.read(columns=["record_id"])["record_id"].to_pylist()
    assert names == sorted(names)


def test_records_of_one_picture_get_a_part_each(tmp_path: Path) -> None:
    with FaultServer({"/a": lambda h: answer(h, photograph("fish"))}) as server:
        settings = make_settings(tmp_path, store="original")
        storage = open_workspace(settings.workspace)
        whole = (None, None, None, None)
        boxes = [whole, (0, 0, 40, 50), (10, 10, 60, 70), (99_999, 0, 40, 40), (0, 0, None, 40)]
        records = [
            Record("test", str(index), f"http://{server.address}/a", crop_x=x, crop_y=y, crop_width=width, crop_height=height)
            for index, (x, y, width, height) in enumerate(boxes)
        ]
        write_records(storage, records)
        run_partition(plan_images(storage, settings)[0])
        assert server.counts["/a"] == 1
        images = {row["record_id"]: row for row in pq.read_table(storage.uri(layout.images_part(0))).to_pylist()}
        outcomes = {row["record_id"]: row for row in read_outcomes(storage, 0)}
        assert [(images[r.id]["width"], images[r.id]["height"]) for r in records[1:3]] == [(40, 50), (60, 70)]
        assert images[records[0].id]["sha256"] == images[records[0].id]["original_sha256"] == digest_bytes(photograph("fish"))
        assert [outcomes[r.id]["reason"] for r in records] == ["", "", "", "crop_empty", "crop_empty"]
        write_records(storage, [records[0], replace(records[1], crop_width=44), *records[2:]])
        again = run_partition(plan_images(storage, settings)[0])
    assert (again.effort["fetched"], again.effort["carried_over"]) == (1, 4), "a corrected box is cropped again, the others are kept"


def test_a_refetch_keeps_what_the_server_calls_unchanged(tmp_path: Path) -> None:
    bodies = {f"/{index}": photograph(name) for index, name in enumerate(("fish", "plankton", "fungi"))}
    versions = dict.fromkeys(bodies, '"v1"')
    asked: list[tuple[str, str | None]] = []
    gone: set[str] = set()

    def route(handler: Any) -> None:
        path, known = handler.path, handler.headers.get("If-None-Match")
        asked.append((path, known))
        if path in gone:
            answer(handler, b"", 503)
        elif known == versions[path]:
            answer(handler, b"", 304)
        else:
            answer(handler, bodies[path], headers={"ETag": versions[path]})

    with FaultServer(dict.fromkeys(bodies, route)) as server:
        settings = make_settings(tmp_path)
        storage = open_workspace(settings.workspace)
        write_records(storage, records_of(server, 3))
        first = run_partition(plan_images(storage, settings)[0])
        before = pq.read_table(storage.uri(layout.images_part(0))).to_pylist()
        asked.clear()
        versions["/1"], bodies["/1"] = '"v2"', photograph("herbarium")
        gone.add("/2")
        refetch = settings.model_copy(update={"download": settings.download.model_copy(update={"refetch": True})})
        second = run_partition(plan_images(storage, refetch)[0])
    assert {known for _, known in asked} == {'"v1"'}
    assert (second.effort["not_modified"], second.manifest.counts) == (1, first.manifest.counts)
    after = {row["final_url"][-1]: row["sha256"] for row in pq.read_table(storage.uri(layout.images_part(0))).to_pylist()}
    changed = {row["final_url"][-1] for row in before if after[row["final_url"][-1]] != row["sha256"]}
    assert changed == {"1"}, "unchanged and unreachable ones keep their image"


def test_what_failed_lately_waits_its_time(tmp_path: Path) -> None:
    with FaultServer({"/0": lambda h: answer(h, b"", 503)}) as server:
        settings = make_settings(tmp_path, max_attempts=1)
        storage = open_workspace(settings.workspace)
        write_records(storage, records_of(server, 1))
        run_partition(plan_images(storage, settings)[0])
        for wait_s, requests in ((3600.0, 1), (0.0, 2)):
            values = {"retry_failed": True, "retry_later_after_s": wait_s}
            run_partition(plan_images(storage, settings.model_copy(update={"download": settings.download.model_copy(update=values)}))[0])
            assert server.counts["/0"] == requests


def test_an_error_in_one_asker_comes_out_as_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(3) as server:
        settings = make_settings(tmp_path)
        storage = open_workspace(settings.workspace)
        write_records(storage, records_of(server, 3))
        kill_at_outcome(monkeypatch, 1)
        with pytest.raises(KilledError):
            run_partition(plan_images(storage, settings)[0])
