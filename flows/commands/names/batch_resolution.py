"""A table of names resolved against backbones, offline and in parallel."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bioclip.schemas import DECISION_SCHEMA
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.files import BackboneInfo, build_index, is_index, open_index, read_info
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.curation import read_curation
from bioclip.taxonomy.name_tables import NameTable, TableWriter, decisions_table, distinct_lineages

_PARALLEL_FROM, _MOST_IN_A_CHUNK = 20_000, 262_144


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


@dataclass(frozen=True)
class BatchCounts:
    """Counts and times of resolving a table of names."""

    num_names: int
    num_distinct: int
    by_reason: Mapping[tuple[str, str], int]
    """(match type, reason) -> rows."""
    seconds: Mapping[str, float]
    """Time of reading, resolving and writing."""


def resolve_file(path: Path, backbones: Sequence[Path], output: Path, strict: bool, curation: Path | None = None) -> BatchCounts:
    """Resolve a table of names and write the decisions; raises UsageError, BackboneError or ArchiveError."""
    names, writer = NameTable(path), TableWriter(output)
    files, infos = compiled_backbones(backbones)
    resolver = _Resolver(tuple(files), TaxonomySettings(allow_higher_rank=not strict), curation)
    times = [time.monotonic()]
    parts, codes = distinct_lineages(names)
    times.append(time.monotonic())
    decisions = _resolve_all(parts, resolver)
    times.append(time.monotonic())
    _write(names, codes, decisions, {name: info.digest for name, info in infos.items()}, writer)
    times.append(time.monotonic())
    seconds = dict(zip(("read", "resolved", "written"), (after - before for before, after in pairwise(times)), strict=True))
    return BatchCounts(sum(map(len, codes)), decisions.num_rows, _counts(decisions, codes), seconds)


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


def compiled_backbones(backbones: Sequence[Path]) -> tuple[list[tuple[Path, str]], dict[str, BackboneInfo]]:
    """(index file, name) of each backbone, and what each holds. A download is compiled once, into the user's cache."""
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
