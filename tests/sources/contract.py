"""The contract of every reader, for formats whose media may be on this machine."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from bioclip.records import Record
from bioclip.sample import sample_path
from bioclip.settings import SourceSettings
from bioclip.sources import Dropped
from bioclip.sources.parsing.columns import records_table
from tests.sources.formats.test_dwca_and_eol import SourceContract, read

__all__ = ["FormatContract", "drops", "only_record", "photos", "read", "records", "write_json", "write_tar"]

STATED = {"license": "CC-BY-4.0", "rights_holder": "The Collection"}


def records(source: SourceSettings) -> list[Record]:
    """The records of a source."""
    return [item for item in read(source) if isinstance(item, Record)]


def only_record(source: SourceSettings) -> Record:
    """The one record of a source."""
    [record] = records(source)
    return record


def drops(source: SourceSettings) -> dict[str, int]:
    """Reason -> rows."""
    counts: Counter[str] = Counter()
    for item in read(source):
        if isinstance(item, Dropped):
            counts[item.reason] += item.count
    return dict(counts)


def photos(count: int) -> list[tuple[str, bytes]]:
    """Real photographs of the sample: (name, JPEG bytes)."""
    with zipfile.ZipFile(sample_path("media")) as archive:
        names = [name for name in archive.namelist() if name.startswith("fish/")][:count]
        return [(Path(name).name, archive.read(name)) for name in names]


def write_json(path: Path, value: Any) -> Path:
    """A JSON file, gzipped when its name says so."""
    data = json.dumps(value).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A plain tar of the members in their order."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return path


class FormatContract(SourceContract):
    """`make` writes an archive as the provider does and returns its settings."""

    url_prefix = "http"
    has_kingdom = True

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _archive(self, tmp_path: Path) -> None:
        folder = tmp_path / "as-published"
        folder.mkdir()
        self.source = self.make(folder)

    def test_records_say_whose_they_are_and_under_which_licence(self) -> None:
        found = records(self.source)
        assert found
        assert {record.source for record in found} == {self.source.name}
        assert all(record.source_id and record.media_url.startswith(self.url_prefix) for record in found)
        assert all(record.license and record.license_verbatim and record.rights_holder for record in found)
        assert len({record.id for record in found}) == len(found)

    def test_most_records_have_a_name_and_a_kingdom(self) -> None:
        found = records(self.source)
        assert sum(bool(record.scientific_name and (record.kingdom or not self.has_kingdom)) for record in found) > 0.7 * len(found)

    def test_records_are_what_the_table_of_records_holds(self) -> None:
        assert records_table(records(self.source)).num_rows == len(records(self.source))

    def test_the_same_archive_elsewhere_gives_the_same_ids(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "moved"
        elsewhere.mkdir()
        assert [record.id for record in records(self.make(elsewhere))] == [record.id for record in records(self.source)]
