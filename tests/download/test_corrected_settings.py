"""A setting that was wrong is taken up once it is corrected, without asking for everything again."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bioclip.download.circumstances import DECIDED_BY
from bioclip.download.stage import plan_images
from bioclip.partitions import PartitionResult
from bioclip.sample import sample_path
from bioclip.sample.server import SampleServer
from bioclip.settings import DownloadSettings, SourceSettings
from bioclip.settings.base import is_operational
from bioclip.settings.loading import build_settings
from bioclip.sources import FORMATS, media_roots
from bioclip.sources.stage import plan_records
from bioclip.storage import open_workspace
from tests.conftest import run_jobs

NUM_PHOTOGRAPHS = 4


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of photographs and `list.csv` in the same place, with their paths relative to the folder."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    with zipfile.ZipFile(sample_path("media")) as media:
        for name in [name for name in sorted(media.namelist()) if name.startswith("fish") and name.endswith(".jpg")][:NUM_PHOTOGRAPHS]:
            (folder / Path(name).name).write_bytes(media.read(name))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "list.csv").write_text("file,species\n" + "".join(f"{path.name},Pica pica\n" for path in sorted(folder.iterdir())))
    return folder


def fetch(tmp_path: Path, sources: list[dict[str, Any]], **download: Any) -> list[PartitionResult]:
    settings = build_settings(
        {
            "workspace": {"uri": str(tmp_path / "workspace")},
            "sources": sources,
            "ingest": {"num_partitions": 2},
            "download": {"max_attempts": 1, "backoff_s": 0, **download},
        }
    )
    storage = open_workspace(settings.workspace)
    run_jobs(storage, "records", plan_records(storage, settings))
    return run_jobs(storage, "images", plan_images(storage, settings, None, media_roots(settings.sources)))


def table_of(tmp_path: Path, images: Path) -> list[dict[str, Any]]:
    return [{"name": "mine", "format": "table", "path": str(tmp_path / "list.csv"), "options": {"images": str(images)}}]


def written(results: list[PartitionResult]) -> int:
    return sum(result.manifest.counts.written for result in results)


def dropped(results: list[PartitionResult]) -> Counter[str]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.manifest.counts.dropped)
    return total


def test_a_corrected_media_root_is_read_and_an_unchanged_wrong_one_does_nothing(photographs: Path, tmp_path: Path) -> None:
    wrong = table_of(tmp_path, tmp_path / "elsewhere")
    assert dropped(fetch(tmp_path, wrong)) == {"media_missing": NUM_PHOTOGRAPHS}
    assert all(result.reused for result in fetch(tmp_path, wrong))
    assert written(fetch(tmp_path, table_of(tmp_path, photographs))) == NUM_PHOTOGRAPHS
    assert all(result.reused for result in fetch(tmp_path, table_of(tmp_path, photographs)))


def test_a_media_root_with_other_files_of_the_same_names_is_read_again(photographs: Path, tmp_path: Path) -> None:
    """The pictures of a wrong folder do not stay under the right names."""
    names = sorted(path.name for path in photographs.iterdir())
    for name, other in zip(names, reversed(names), strict=True):
        (tmp_path / "elsewhere" / name).write_bytes((photographs / other).read_bytes())
    first = fetch(tmp_path, table_of(tmp_path, tmp_path / "elsewhere"))
    second = fetch(tmp_path, table_of(tmp_path, photographs))
    assert written(second) == NUM_PHOTOGRAPHS
    assert [result.manifest.outputs for result in first] != [result.manifest.outputs for result in second]


def test_files_that_were_missing_damaged_or_outside_are_read_when_they_are_there(photographs: Path, tmp_path: Path) -> None:
    paths = sorted(photographs.iterdir())
    kept = {path: path.read_bytes() for path in paths[:3]}
    missing, damaged, outside = kept
    missing.unlink()
    damaged.write_bytes(b"no image")
    outside.unlink()
    outside.symlink_to("/etc/hostname")
    sources = table_of(tmp_path, photographs)
    assert dropped(fetch(tmp_path, sources)) == {"media_missing": 1, "not_an_image": 1, "unsafe_path": 1}
    outside.unlink()
    for path, data in kept.items():
        path.write_bytes(data)
    assert written(fetch(tmp_path, sources)) == NUM_PHOTOGRAPHS


def test_members_of_an_archive_are_read_once_the_archive_is_whole(photographs: Path, tmp_path: Path) -> None:
    archive = tmp_path / "photographs.zip"
    archive.write_bytes(b"PK broken")
    sources = table_of(tmp_path, archive)
    assert dropped(fetch(tmp_path, sources)) == {"archive_unreadable": NUM_PHOTOGRAPHS}
    with zipfile.ZipFile(archive, "w") as target:
        for path in photographs.iterdir():
            target.write(path, path.name)
    assert written(fetch(tmp_path, sources)) == NUM_PHOTOGRAPHS


def test_retry_failed_reads_local_files_again(photographs: Path, tmp_path: Path) -> None:
    """A file whose size and time are as before, on a disk that failed, is read again when asked for."""
    path = min(photographs.iterdir())
    data, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes(len(data)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    sources = table_of(tmp_path, photographs)
    assert dropped(fetch(tmp_path, sources)) == {"not_an_image": 1}
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert all(result.reused for result in fetch(tmp_path, sources))
    assert written(fetch(tmp_path, sources, retry_failed=True)) == NUM_PHOTOGRAPHS


def test_corrected_settings_of_the_download_are_taken_up(sample_server: SampleServer, tmp_path: Path) -> None:
    with zipfile.ZipFile(sample_path("media")) as media:
        name = next(name for name in sorted(media.namelist()) if name.startswith("fish"))
    (tmp_path / "list.csv").write_text(f"url,species\nhttp://127.0.0.1:{sample_server.address.rpartition(':')[2]}/{name},Pica pica\n")
    sources = [{"name": "mine", "format": "table", "path": str(tmp_path / "list.csv")}]
    assert dropped(fetch(tmp_path, sources)) == {"address_refused": 1}
    assert dropped(fetch(tmp_path, sources, allow_networks=["127.0.0.0/8"])).keys().isdisjoint({"address_refused"})


def test_the_settings_that_decide_a_failure_are_those_left_out_of_the_partition_key() -> None:
    """All others are in the key already, so a change of theirs runs the partition."""
    for names in DECIDED_BY.values():
        assert all(is_operational(DownloadSettings, name) for name in names)


@pytest.mark.parametrize(("format_name", "option"), [(name, option) for name in FORMATS for option in sorted(FORMATS[name].options)])
def test_every_option_of_every_format_is_taken_up_when_it_changes(format_name: str, option: str, tmp_path: Path) -> None:
    """Each enters the key of the records, by its value or by its file's content; a local media root is compared file by file."""
    keys, roots = [], []
    for value in ("first", "second"):
        for name in {*FORMATS[format_name].paths, *FORMATS[format_name].required, "path"}:
            (tmp_path / name).write_text("same")
        options = {name: str(tmp_path / name) for name in FORMATS[format_name].required}
        options[option] = value
        if option in FORMATS[format_name].paths:
            (tmp_path / value).write_text(value)
            options[option] = str(tmp_path / value)
        source = {"name": "mine", "format": format_name, "path": str(tmp_path / "path"), "options": options}
        settings = build_settings({"workspace": {"uri": str(tmp_path / "workspace")}, "sources": [source]})
        keys += [job.key for job in plan_records(open_workspace(settings.workspace), settings)]
        roots.append(media_roots((SourceSettings(**source),)))
    is_local_root = option == "images" and FORMATS[format_name].local_media
    assert (keys[0] != keys[1]) != is_local_root
    assert (roots[0] != roots[1]) == is_local_root
