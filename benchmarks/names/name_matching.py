"""Names matched with backbones: distinct lineages per second for exact names, names per second with one edit, and a whole table of
millions of records through `treeoflife names resolve`, with its memory.

Backbones are downloads named by TREEOFLIFE_BACKBONES (separated as in PATH), else the small one of the bundled sample, whose
figures are not representative. Names are the backbones' own, with typos, synonyms, authors, missing and conflicting ranks
(`benchmarks.names.synthetic_names`). One core is one process (`resolve_table`, half of its CPU warmed up before); all cores are
the command's. Peers: none runs offline in Python. TaxonoPy 0.2.0 stops without a GNVerifier service; the published rates of
GNVerifier and nomer are listed in a table.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.measuring import Comparison, FactTable, Report
from benchmarks.names.synthetic_names import SHARES, make_lineages, write_names
from benchmarks.registry import Context
from bioclip.sample import sample_path
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.files import build_index, open_index
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.decision_table import LINEAGE_COLUMNS
from bioclip.taxonomy.names.batch_parsing import plain_names

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treeoflife" / "backbones"
_FIRST_COLUMNS = ("scientific_name", "scientific_name_authorship", "taxon_rank", "kingdom", "phylum", "class_", "order", "family", "genus")
_PEERS = (
    ("TaxonoPy 0.2.0", "-", "offline it halts: 'GNVerifier is not available via Docker or local installation' (run here)"),
    ("GNVerifier's matcher", "8,000 names/s", "published: 8 jobs, 100,000 strings of which 30 % real, Go, no classification"),
    ("GNVerifier", "5,000-10,000 names a request", "published: a service over a network; results change with it"),
    ("nomer", "16,700 names/s", "published: 1.16 million names with GBIF's backbone in 69 s, Java; exact only"),
    ("rWCVP", "0.2 fuzzy names/s", "published: 608 names in about an hour, R; 61,000 exact ones fast"),
)


def run(context: Context) -> Report:
    """Rates of the exact and the fuzzy path and of the whole command, and published rates of other tools."""
    downloads = [Path(path) for path in os.environ.get("TREEOFLIFE_BACKBONES", "").split(os.pathsep) if path] or [sample_path("backbone")]
    indexes = [open_index(build_index(path, _CACHE)[0]) for path in downloads]
    scale = 0.01 if context.quick else 1.0
    known, fuzzy = _known_lineages(indexes, int(400_000 * scale)), _fuzzy_lineages(indexes, int(60_000 * scale))
    exact = known.take(pa.array(plain_names(known).rows))
    repeats = 1 if context.quick else 3
    rows = [
        Comparison("exact path (plain names), one core", "", _seconds(exact, indexes, repeats), (), exact.num_rows, "lineages/s"),
        Comparison("exact path, all cores", "", _seconds_on_all(exact, downloads, repeats), (), exact.num_rows, "lineages/s"),
        Comparison("all known as written, one core", "", _seconds(known, indexes, repeats), (), known.num_rows, "lineages/s"),
        Comparison("one edit, one core", "", _seconds(fuzzy, indexes, repeats), (), fuzzy.num_rows, "names/s"),
    ]
    facts = []
    for title, make in (("known as written", _write_known), ("as in the wild", _write_wild)):
        path = context.scratch / f"{title.replace(' ', '-')}.parquet"
        make(path, indexes, scale)
        comparison, fact = _command(title, path, downloads)
        rows.append(comparison)
        facts.append(fact)
    whole = FactTable(
        "treeoflife resolve",
        ("records", "distinct", "s", "read", "resolved", "written", "distinct/s", "peak GiB", "by match type"),
        tuple(facts),
    )
    shares = FactTable("What was done to the names in the wild", ("what", "share"), tuple(SHARES.items()))
    sizes = FactTable(
        "Backbones", ("download", "usages"), tuple((path.name, len(index)) for path, index in zip(downloads, indexes, strict=True))
    )
    return Report(tuple(rows), (sizes, whole, shares, FactTable("Others", ("tool", "rate", "what is known"), _PEERS)))


def _known_lineages(indexes: list[BackboneIndex], num: int) -> pa.Table:
    none = dict.fromkeys(SHARES, 0.0)
    shares = {**none, "author in the name": 0.35, "author beside it": 0.25, "each rank column filled": 0.6}
    return _lineages([row for row in make_lineages(indexes, num, shares=shares) if row[0]])


def _fuzzy_lineages(indexes: list[BackboneIndex], num: int) -> pa.Table:
    shares = {**dict.fromkeys(SHARES, 0.0), "one edit in the epithet": 1.0, "each rank column filled": 0.6}
    known = set().union(*(set(index.column("key").to_pylist()) for index in indexes))
    plain = re.compile(r"[A-Z][a-z]+ [a-z]{4,}")
    rows = make_lineages(indexes, num, shares=shares)
    return _lineages([row for row in rows if plain.fullmatch(row[0]) and row[0].lower() not in known])


def _lineages(rows: list[tuple[str, ...]]) -> pa.Table:
    distinct = sorted(dict.fromkeys(rows))
    columns = dict(zip(_FIRST_COLUMNS, (pa.array(column, pa.string()) for column in zip(*distinct, strict=True)), strict=True))
    empty = pa.repeat(pa.scalar(""), len(distinct))
    return pa.table({name: columns.get(name, empty) for name in LINEAGE_COLUMNS})


def _seconds(lineages: pa.Table, indexes: list[BackboneIndex], repeats: int) -> tuple[float, ...]:
    pa.set_cpu_count(1)
    resolve_table(lineages.slice(0, 1_000), indexes, TaxonomySettings())
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        resolve_table(lineages, indexes, TaxonomySettings())
        seconds.append(time.process_time() - start)
    return tuple(seconds)


def _seconds_on_all(lineages: pa.Table, downloads: list[Path], repeats: int) -> tuple[float, ...]:
    """Wall seconds with one process per core, each warmed up and with an equal number of lineages."""
    num = os.cpu_count() or 1
    files = [build_index(path, _CACHE)[0] for path in downloads]
    size = -(-lineages.num_rows // num)
    parts = [lineages.slice(start, size) for start in range(0, lineages.num_rows, size)]
    context = multiprocessing.get_context("spawn")
    seconds = []
    with context.Pool(num, _open, (files,)) as pool:
        pool.map(_count_resolved, [lineages.slice(0, 20_000)] * num, chunksize=1)
        for _ in range(repeats):
            start = time.perf_counter()
            pool.map(_count_resolved, parts, chunksize=1)
            seconds.append(time.perf_counter() - start)
    return tuple(seconds)


_INDEXES: list[BackboneIndex] = []


def _open(files: list[Path]) -> None:
    pa.set_cpu_count(1)
    _INDEXES[:] = [open_index(file) for file in files]


def _count_resolved(lineages: pa.Table) -> int:
    return int(resolve_table(lineages, _INDEXES, TaxonomySettings()).num_rows)


def _write_known(path: Path, indexes: list[BackboneIndex], scale: float) -> None:
    from pyarrow.parquet import write_table

    lineages = _known_lineages(indexes, int(2_000_000 * scale))
    write_table(lineages.rename_columns([_COLUMN_OF.get(name, name) for name in lineages.column_names]), path)


_COLUMN_OF = {"scientific_name_authorship": "authorship", "taxon_rank": "rank", "class_": "class", "specific_epithet": "species"}


def _write_wild(path: Path, indexes: list[BackboneIndex], scale: float) -> None:
    write_names(path, indexes, int(10_000_000 * scale), int(2_500_000 * scale))


def _command(title: str, path: Path, downloads: list[Path]) -> tuple[Comparison, tuple[object, ...]]:
    output = path.with_suffix(".out.parquet")
    backbones = [argument for download in downloads for argument in ("--backbone", str(download))]
    command = [sys.executable, "-c", _MEASURED, "resolve", str(path), *backbones, "--output", str(output)]
    start = time.perf_counter()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds = time.perf_counter() - start
    records, distinct, rate = (
        int(text.replace(",", "")) for text in re.findall(r"^([\d,]+) names, ([\d,]+) distinct, ([\d,]+)", said, re.MULTILINE)[0]
    )
    phases = re.findall(r"read ([\d.]+), resolved ([\d.]+), written ([\d.]+)", said)[0]
    peak = json.loads(said.splitlines()[-1])["gib"]
    kinds = pc.value_counts(_column(output, "match_type")).to_pylist()
    types = " ".join(f"{row['values']} {row['counts']:,}" for row in sorted(kinds, key=lambda row: -row["counts"]))
    output.unlink()
    comparison = Comparison(f"{title}: the command, {os.cpu_count()} cores, {records:,} records", "", (seconds,), (), records, "records/s")
    return comparison, (records, distinct, round(seconds, 1), *phases, rate, peak, types)


_MEASURED = """
import json, os, sys, threading, time
from pathlib import Path

def resident(pid):
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, ValueError):
        return 0
    return int(fields["Pss"].split()[0]) + sum(resident(child) for child in children)

if __name__ == "__main__":
    from flows.commands.cli import main
    peak = [0]
    def watch():
        while True:
            peak[0] = max(peak[0], resident(os.getpid()))
            time.sleep(0.5)
    threading.Thread(target=watch, daemon=True).start()
    code = main(sys.argv[1:])
    print(json.dumps({"gib": round(peak[0] / 2**20, 2)}))
    sys.exit(code)
"""


def _column(path: Path, name: str) -> pa.ChunkedArray:
    from pyarrow.parquet import read_table

    return read_table(path, columns=[name])[name]
