"""Local images are checked and stored like downloaded ones, and are read only below their source's media root."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow.parquet as pq

from bioclip.download.stage import plan_images
from bioclip.partitions import read_stage
from bioclip.sample import sample_path
from bioclip.settings.loading import build_settings
from bioclip.sources import media_roots
from bioclip.sources.stage import plan_records
from bioclip.storage import open_workspace
from tests.conftest import run_jobs


def test_a_folder_of_images_needs_no_server_and_may_move(tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "Pica pica"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.startswith("fish") and name.endswith(".jpg")][:5]
        for name in names:
            (folder / Path(name).name).write_bytes(media.read(name))
    digests = []
    for place in (tmp_path / "photos", tmp_path / "moved"):
        if not place.exists():
            (tmp_path / "photos").rename(place)
        settings = build_settings(
            {
                "workspace": {"uri": str(tmp_path / f"workspace-{place.name}")},
                "sources": [{"name": "mine", "format": "folder", "path": str(place)}],
                "ingest": {"num_partitions": 2},
            }
        )
        storage = open_workspace(settings.workspace)
        run_jobs(storage, "records", plan_records(storage, settings))
        results = run_jobs(storage, "images", plan_images(storage, settings, None, media_roots(settings.sources)))
        assert sum(result.manifest.counts.written for result in results) == 5
        digests.append(read_stage(storage, "images").digest)
    assert digests[0] == digests[1]


def test_an_archive_cannot_make_us_read_files_outside_its_own_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    with zipfile.ZipFile(sample_path("media")) as media:
        secret.write_bytes(media.read(next(name for name in sorted(media.namelist()) if name.startswith("fish"))))
    with zipfile.ZipFile(sample_path("field-observations")) as archive:
        archive.extractall(tmp_path / "archive")
    table = tmp_path / "archive" / "multimedia.txt"
    header, first, *_ = table.read_text().splitlines()
    row = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    lines = ["\t".join((row | {"identifier": url}).values()) for url in ("local:secret.jpg", f"file://{secret}")]
    table.write_text("\n".join([header, *lines]) + "\n")
    settings = build_settings(
        {
            "workspace": {"uri": str(tmp_path / "workspace")},
            "sources": [{"name": "field", "format": "dwca", "path": str(tmp_path / "archive")}],
            "ingest": {"num_partitions": 1},
        }
    )
    storage = open_workspace(settings.workspace)
    run_jobs(storage, "records", plan_records(storage, settings))
    [result] = run_jobs(storage, "images", plan_images(storage, settings, None, media_roots(settings.sources)))
    assert result.manifest.counts.dropped == {"media_missing": 1, "unsafe_path": 1}
    assert pq.read_table(storage.uri("images/part-00000.parquet")).num_rows == 0
