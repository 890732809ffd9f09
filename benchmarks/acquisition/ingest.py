"""Reading a Darwin Core Archive of millions of media rows: rows per second and peak memory.

The archive is a zip in the layout of GBIF's downloads: occurrence.txt and multimedia.txt, tab separated, made from the real rows of the
bundled sample with ids, URLs, names, licences, dates and places varied; about 1.5 media per occurrence. Each measurement runs in a separate
process; CPU seconds (imports included) and peak memory are its `getrusage`. `read` is only the reader, `ingest` the whole stage: ids,
licences, predicates, sorted Parquet partitions. The smallest size shows that memory is constant. Peer: python-dwca-reader, the maintained
library for the format, iterating core rows with their extension rows; it copies the archive's files out first, and does not build records.
It is compared with `read` at half a million rows.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import Comparison, FactTable, Report, alternate
from benchmarks.registry import Context

_ROWS, _PEER_ROWS, _QUICK_ROWS = (500_000, 5_000_000), 500_000, 3_000
_LICENSES = (
    "http://creativecommons.org/licenses/by/4.0/legalcode",
    "http://creativecommons.org/licenses/by-nc/4.0/",
    "http://creativecommons.org/publicdomain/zero/1.0/legalcode",
    "CC BY-SA 3.0",
    "© the museum, all rights reserved",
    "",
)
_CHUNK = 20_000

_PEER = """
import json, resource, sys, time
from dwca.read import DwCAReader
start, rows = time.perf_counter(), 0
with DwCAReader(sys.argv[1]) as archive:
    for row in archive:
        rows += len(row.extensions)
used = resource.getrusage(resource.RUSAGE_SELF)
cpu = used.ru_utime + used.ru_stime
print(json.dumps({"rows": rows, "seconds": time.perf_counter() - start, "cpu": cpu, "rss": used.ru_maxrss}))
"""


def make_archive(path: Path, num_rows: int) -> None:
    """Write an archive of `num_rows` media rows; occurrences alternate between one and two media."""
    from bioclip.sample import sample_path

    with (
        zipfile.ZipFile(sample_path("field-observations")) as sample,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out,
    ):
        for name in ("meta.xml", "eml.xml"):
            out.writestr(name, sample.read(name))
        occurrences = sample.read("occurrence.txt").decode().splitlines()
        media = sample.read("multimedia.txt").decode().splitlines()
        num_occurrences = num_rows * 2 // 3 + (num_rows * 2 % 3 > 0)
        names = _names()
        _write(out, "occurrence.txt", occurrences[0], _occurrence_rows(occurrences, names, num_occurrences))
        _write(out, "multimedia.txt", media[0], _media_rows(media, num_rows))


def _write(out: zipfile.ZipFile, name: str, header: str, rows: Iterator[str]) -> None:
    with out.open(name, "w", force_zip64=True) as stream:
        chunk = [header]
        for row in rows:
            chunk.append(row)
            if len(chunk) >= _CHUNK:
                stream.write(("\n".join(chunk) + "\n").encode())
                chunk = []
        stream.write(("\n".join(chunk) + "\n").encode())


def _names() -> list[tuple[str, str]]:
    """(scientific name, rank) of the sample's slice of the Dynamic Hierarchy."""
    from bioclip.sample import sample_path

    lines = sample_path("eol-taxon").read_text(encoding="utf-8").splitlines()
    header = lines[0].split("\t")
    name, rank = header.index("scientificName"), header.index("taxonRank")
    return [(row[name], row[rank]) for row in (line.split("\t") for line in lines[1:])]


def _occurrence_rows(real: list[str], names: list[tuple[str, str]], num_occurrences: int) -> Iterator[str]:
    header, *parsed = [row.split("\t") for row in real]
    for index in range(num_occurrences):
        row = dict(zip(header, parsed[index % len(parsed)], strict=True))
        row["gbifID"] = str(1_000_000_000 + index)
        row["occurrenceID"] += f":{index}"
        row["eventDate"] = f"20{index % 24:02d}-{index % 12 + 1:02d}-{index % 28 + 1:02d}"
        row["decimalLatitude"] = f"{index * 7919 % 180_000 / 1000 - 90:.5f}"
        row["decimalLongitude"] = f"{index * 104_729 % 360_000 / 1000 - 180:.5f}"
        if index % 3 == 0:
            row["scientificName"], row["taxonRank"] = names[index // 3 % len(names)]
            row["scientificNameAuthorship"] = f"Author, {1750 + sum(map(ord, row['scientificName'])) % 250}"
        yield "\t".join(row.values())


def _media_rows(real: list[str], num_rows: int) -> Iterator[str]:
    header, *parsed = [row.split("\t") for row in real]
    for index in range(num_rows):
        row = dict(zip(header, parsed[index % len(parsed)], strict=True))
        row["coreid"] = str(1_000_000_000 + index // 3 * 2 + (index % 3 > 0))
        stem, _, suffix = row["identifier"].rpartition(".")
        row["identifier"] = f"{stem}-{index}.{suffix}"
        row["license"] = _LICENSES[index % len(_LICENSES)]
        yield "\t".join(row.values())


def measure_read(archive: Path) -> int:
    """Media rows that the reader accounts for."""
    import pyarrow as pa

    from bioclip.settings import IngestSettings, SourceSettings
    from bioclip.sources import Dropped, source_format
    from bioclip.sources.parsing.prefetch import Prefetched

    source, num_rows = SourceSettings(name="bench", format="dwca", path=str(archive)), 0
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        items = Prefetched(source_format(source).items(source, Path(scratch), IngestSettings().buffer_bytes))
        for item in items:
            num_rows += item.num_rows if isinstance(item, pa.Table) else item.count if isinstance(item, Dropped) else 0
        items.close()
    return num_rows


def measure_ingest(archive: Path) -> int:
    """Media rows that the whole stage read; its output is written next to the archive and removed."""
    from bioclip.partitions import run_partition
    from bioclip.settings import IngestSettings, PipelineSettings, SourceSettings, WorkspaceSettings
    from bioclip.sources.stage import plan_records
    from bioclip.storage import open_workspace

    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        settings = PipelineSettings(
            workspace=WorkspaceSettings(uri=folder),
            sources=(SourceSettings(name="bench", format="dwca", path=str(archive)),),
            ingest=IngestSettings(num_partitions=128),
        )
        [job] = plan_records(open_workspace(settings.workspace), settings)
        return run_partition(job).manifest.counts.read


_MEASURES = {"read": measure_read, "ingest": measure_ingest}


def run(context: Context) -> Report:
    """Rows per second of the reader and of the stage, and the reader against its peer."""
    rows: list[tuple[str | int | float, ...]] = []
    for num_rows in (_QUICK_ROWS,) if context.quick else _ROWS:
        archive = context.scratch / f"{num_rows}.zip"
        make_archive(archive, num_rows)
        for what in _MEASURES:
            values = _measure(what, archive)
            rate, peak_mb = values["rows"] / values["seconds"], values["rss"] / 1024
            rows.append(
                (what, int(values["rows"]), round(rate), round(values["cpu"], 1), round(peak_mb), archive.stat().st_size // 1_000_000)
            )
            print("  ".join(map(str, rows[-1])), flush=True)
        archive.unlink()
    header = ("what", "media rows", "rows/s", "CPU s", "peak MB", "zip MB")
    return Report((_compare(context),), (FactTable("Rows a second and peak memory, one process each", header, tuple(rows)),))


def _compare(context: Context) -> Comparison:
    num_rows = _QUICK_ROWS if context.quick else _PEER_ROWS
    archive = context.scratch / "peer.zip"
    make_archive(archive, num_rows)
    python = context.peers.python("dwca")
    name = context.peers.version("dwca", "python-dwca-reader") + ("" if python else " is not installed")
    peer = (lambda: _run_child([str(python), "-c", _PEER, str(archive)])["seconds"]) if python else None
    seconds = alternate(lambda: _measure("read", archive)["seconds"], peer, repeats=1 if context.quick else 3)
    return Comparison(f"reading {num_rows:,} media rows", name, *seconds, amount=num_rows, unit="rows/s")


def _measure(what: str, archive: Path) -> dict[str, float]:
    return _run_child([sys.executable, "-m", "benchmarks.acquisition.ingest", what, str(archive)])


def _run_child(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def _report_on(what: str, archive: str) -> None:
    started = time.perf_counter()
    num_rows = _MEASURES[what](Path(archive))
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"rows": num_rows, "seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss}))


if __name__ == "__main__":
    _report_on(*sys.argv[1:])
