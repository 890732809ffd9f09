"""`treeoflife resolve`, `names` and `explain`: names against backbones, without a network."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bioclip.errors import UsageError
from bioclip.sample import sample_path
from bioclip.schemas import DECISION_SCHEMA
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.files import BackboneInfo, build_index, is_index, open_index, read_info
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.curation import read_curation
from bioclip.taxonomy.matching.decisions import VerbatimLineage
from bioclip.taxonomy.matching.resolve import explain_lineage
from bioclip.taxonomy.name_tables import NameTable, TableWriter, decisions_table, distinct_lineages
from bioclip.taxonomy.names.parsing import parse_names

_PARALLEL_FROM, _MOST_IN_A_CHUNK = 20_000, 262_144
_PARSED_COLUMNS = ("verbatim", "canonical_name", "canonical_full", "authorship", "year", "rank", "hybrid", "parsed", "type")


@dataclass(frozen=True)
class _Resolver:
    """What a process needs to resolve names; opened once in each."""

    files: tuple[tuple[Path, str], ...]
    settings: TaxonomySettings
    curation: Path | None

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """LINEAGE_COLUMNS -> DECISION_SCHEMA."""
        indexes = [open_index(*file) for file in self.files]
        curation = read_curation(self.curation, indexes, self.settings) if self.curation else None
        return lambda lineages: resolve_table(lineages, indexes, self.settings, curation)


def resolve(path: Path, backbones: Sequence[Path], output: Path, strict: bool, curation: Path | None = None) -> int:
    """Resolve a table of names and write the decisions; prints counts by match type and reason."""
    names, writer = NameTable(path), TableWriter(output)
    files, infos = _compiled(backbones)
    resolver = _Resolver(tuple(files), TaxonomySettings(allow_higher_rank=not strict), curation)
    times = [time.monotonic()]
    parts, codes = distinct_lineages(names)
    times.append(time.monotonic())
    decisions = _resolve_all(parts, resolver)
    times.append(time.monotonic())
    _write(names, codes, decisions, {name: info.digest for name, info in infos.items()}, writer)
    times.append(time.monotonic())
    num_rows, seconds = sum(map(len, codes)), [after - before for before, after in pairwise(times)]
    print(f"{num_rows:,} names, {decisions.num_rows:,} distinct, {decisions.num_rows / max(seconds[1], 1e-9):,.0f} of these a second")
    print("{:.1f} s: read {:.1f}, resolved {:.1f}, written {:.1f}".format(sum(seconds), *seconds))
    for (kind, reason), number in _counts(decisions, codes).items():
        print(f"{kind:<12} {reason:<28} {number:>12,}")
    print(f"written: {output}")
    return 0


def _write(
    names: NameTable, codes: Sequence[npt.NDArray[np.int32]], decisions: pa.Table, digests: Mapping[str, str], writer: TableWriter
) -> None:
    first_row = 0
    with writer:
        for batch, rows in zip(names.batches(), codes, strict=True):
            writer.write(decisions_table(batch, first_row, decisions.take(pa.array(rows)), digests))
            first_row += len(rows)
        if not codes:
            nothing = pa.table({name: pa.array([], pa.string()) for name in names.columns})
            writer.write(decisions_table(nothing, 0, DECISION_SCHEMA.empty_table(), digests))


def _counts(decisions: pa.Table, codes: Sequence[npt.NDArray[np.int32]]) -> dict[tuple[str, str], int]:
    """(match type, reason) -> rows."""
    times = np.zeros(decisions.num_rows, np.int64)
    for rows in codes:
        times += np.bincount(rows, minlength=decisions.num_rows)
    counted = decisions.select(["match_type", "reason"]).append_column("times", pa.array(times))
    grouped = counted.group_by(["match_type", "reason"]).aggregate([("times", "sum")]).to_pylist()
    return {(row["match_type"], row["reason"]): row["times_sum"] for row in sorted(grouped, key=lambda r: (r["match_type"], r["reason"]))}


def names(path: Path, output: Path) -> int:
    """Parse every name of a text file (one a line) or table (column scientific_name) and write what each says."""
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise UsageError(f"{str(path)!r} is not there; name a .txt with a name a line, or a table.")
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    else:
        table = pa.concat_tables(NameTable(path).batches())
        if "scientific_name" not in table.column_names:
            raise UsageError(f"{str(path)!r} has no column scientific_name; rename the one that holds the names.")
        texts = [text or "" for text in table["scientific_name"].to_pylist()]
    parsed = parse_names(texts)
    columns = {name: [getattr(one, name) for one in parsed] for name in _PARSED_COLUMNS if name not in {"parsed", "type"}}
    columns |= {"parsed": [bool(one.canonical_name) for one in parsed], "type": [str(one.type) for one in parsed]}
    with TableWriter(output) as writer:
        writer.write(pa.table({name: columns[name] for name in _PARSED_COLUMNS}))
    for kind, number in sorted(Counter(str(one.type) for one in parsed).items()):
        print(f"{kind:<14} {number:>12,}")
    print(f"written: {output}")
    return 0


def explain(name: str, backbones: Sequence[Path], columns: dict[str, str]) -> int:
    """Print every candidate of a name with its score, and why the winner won; against the bundled backbone where none is named."""
    if not backbones:
        print("No --backbone: the small one of the bundled sample is asked.")
        backbones = [sample_path("backbone")]
    files, _ = _compiled(backbones)
    lines, _ = explain_lineage(VerbatimLineage(scientific_name=name, **columns), [open_index(*file) for file in files], TaxonomySettings())
    print("\n".join(lines))
    return 0


def _compiled(backbones: Sequence[Path]) -> tuple[list[tuple[Path, str]], dict[str, BackboneInfo]]:
    """Index files with the names they go by; a download is compiled once into the user's cache, an index is taken as it is."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treeoflife" / "backbones"
    files: list[tuple[Path, str]] = []
    infos: dict[str, BackboneInfo] = {}
    for path in backbones:
        file, info = (path, read_info(path)) if is_index(path) else build_index(path, cache)[:2]
        name = path.name if path.name not in infos else str(path)
        files.append((file, name))
        infos[name] = info
    return files, infos


def _resolve_all(parts: Sequence[pa.Table], resolver: _Resolver) -> pa.Table:
    """The decisions on all parts, in their order; many are shared among processes, one a core."""
    num_rows = sum(part.num_rows for part in parts)
    if num_rows < _PARALLEL_FROM:
        work = resolver.open()
        return pa.concat_tables([DECISION_SCHEMA.empty_table(), *(work(part) for part in parts)]).combine_chunks()
    num_processes = os.cpu_count() or 1
    size = max(_PARALLEL_FROM, min(_MOST_IN_A_CHUNK, -(-num_rows // num_processes)))
    chunks = [part.slice(start, size) for part in parts for start in range(0, part.num_rows, size)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context, initializer=_open, initargs=(resolver,)) as pool:
        return pa.concat_tables(list(pool.map(_resolve_chunk, chunks))).combine_chunks()


_WORK: list[Callable[[pa.Table], pa.Table]] = []


def _open(resolver: _Resolver) -> None:
    pa.set_cpu_count(1)
    _WORK[:] = [resolver.open()]


def _resolve_chunk(chunk: pa.Table) -> pa.Table:
    return _WORK[0](chunk)
