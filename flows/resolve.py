"""`treeoflife resolve`, `names` and `explain`: names against backbones, without a network."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa

from bioclip.errors import UsageError
from bioclip.sample import sample_path
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.backbone_index import BackboneIndex
from bioclip.taxonomy.index_files import BackboneInfo, build_index, open_index
from bioclip.taxonomy.matching import explain_lineage, resolve_lineages
from bioclip.taxonomy.name_tables import decisions_table, lineages_of, read_names, write_names
from bioclip.taxonomy.names import parse_names
from bioclip.taxonomy.resolutions import Resolution, VerbatimLineage

_PARALLEL_FROM, _CHUNK = 20_000, 5_000
_INDEXES: list[BackboneIndex] = []
_PARSED_COLUMNS = ("verbatim", "canonical_name", "canonical_full", "authorship", "year", "rank", "hybrid", "parsed", "type")


def resolve(path: Path, backbones: Sequence[Path], output: Path, strict: bool) -> int:
    """Resolve a table of names and write the decisions; prints counts by match type and reason."""
    names = read_names(path)
    files, infos = _compiled(backbones)
    started = time.monotonic()
    lineages = lineages_of(names)
    distinct = list(dict.fromkeys(lineages))
    decided = dict(zip(distinct, _resolve_all(distinct, files, TaxonomySettings(allow_higher_rank=not strict)), strict=True))
    resolutions = [decided[lineage] for lineage in lineages]
    write_names(decisions_table(names, resolutions, {name: info.digest for name, info in infos.items()}), output)
    seconds = time.monotonic() - started
    print(f"{len(lineages):,} names, {len(distinct):,} distinct, {len(distinct) / max(seconds, 1e-9):,.0f} a second")
    for (kind, reason), number in sorted(Counter((one.match_type, one.reason) for one in resolutions).items()):
        print(f"{kind:<12} {reason:<28} {number:>12,}")
    print(f"written: {output}")
    return 0


def names(path: Path, output: Path) -> int:
    """Parse every name of a text file (one a line) or table (column scientific_name) and write what each says."""
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise UsageError(f"{str(path)!r} is not there; name a .txt with a name a line, or a table.")
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    else:
        table = read_names(path)
        if "scientific_name" not in table.column_names:
            raise UsageError(f"{str(path)!r} has no column scientific_name; rename the one that holds the names.")
        texts = [text or "" for text in table["scientific_name"].to_pylist()]
    parsed = parse_names(texts)
    columns = {name: [getattr(one, name) for one in parsed] for name in _PARSED_COLUMNS if name not in {"parsed", "type"}}
    columns |= {"parsed": [bool(one.canonical_name) for one in parsed], "type": [str(one.type) for one in parsed]}
    write_names(pa.table({name: columns[name] for name in _PARSED_COLUMNS}), output)
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
    """Index files with the names they go by: compiled once into the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treeoflife" / "backbones"
    files: list[tuple[Path, str]] = []
    infos: dict[str, BackboneInfo] = {}
    for path in backbones:
        file, info, _ = build_index(path, cache)
        name = path.name if path.name not in infos else str(path)
        files.append((file, name))
        infos[name] = info
    return files, infos


def _resolve_all(lineages: list[VerbatimLineage], files: list[tuple[Path, str]], settings: TaxonomySettings) -> list[Resolution]:
    if len(lineages) < _PARALLEL_FROM:
        return resolve_lineages(lineages, [open_index(*file) for file in files], settings)
    chunks = [(lineages[start : start + _CHUNK], settings) for start in range(0, len(lineages), _CHUNK)]
    with ProcessPoolExecutor(initializer=_open, initargs=(files,)) as pool:
        return [one for part in pool.map(_resolve_chunk, chunks) for one in part]


def _open(files: list[tuple[Path, str]]) -> None:
    _INDEXES[:] = [open_index(*file) for file in files]


def _resolve_chunk(chunk: tuple[list[VerbatimLineage], TaxonomySettings]) -> list[Resolution]:
    return resolve_lineages(chunk[0], _INDEXES, chunk[1])
