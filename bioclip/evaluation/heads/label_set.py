"""A part of the classes: those of a list of names, of a clade, or of the names in an occurrence table of a region."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import open_headed
from bioclip.errors import ArchiveError, EvaluationError
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import SpeciesClass

_NAME_COLUMNS = ("species", "scientificName", "scientific_name", "name")
_TABLES = {".csv": ",", ".tsv": "\t"}
_MAX_NAMED = 5


@dataclass(frozen=True)
class LabelSet:
    """`chosen` [K] are positions of classes in order; `unknown` the asked names that no class has."""

    chosen: NDArray[np.int64]
    unknown: tuple[str, ...] = ()


def restrict(classes: Sequence[SpeciesClass], within: str) -> LabelSet:
    """The classes `within` a clade (`Aves`, or `class:Aves` where a name has several ranks or kingdoms) or a file of names.

    A file is a text file with a name on each line, or a CSV, TSV or Parquet table with a column of species, such as an occurrence table;
    a name counts without its authorship. Raises EvaluationError if fewer than two classes are left, or the clade is ambiguous.
    """
    path = Path(within).expanduser()
    is_file = path.suffix in {".txt", ".parquet", *_TABLES}
    found = among_names(classes, read_names(path)) if is_file else in_clade(classes, within)
    if len(found.chosen) < 2:
        examples = f" ({len(found.unknown)} unknown names, such as {', '.join(found.unknown[:_MAX_NAMED])})" if found.unknown else ""
        raise EvaluationError(
            f"evaluation.within = {within!r} leaves {len(found.chosen)} of {len(classes)} classes{examples}; "
            "name a clade or a list with more."
        )
    return found


def among_names(classes: Sequence[SpeciesClass], names: Collection[str]) -> LabelSet:
    """The classes whose species is among `names`."""
    wanted = {" ".join(name.split()) for name in names if name.strip()}
    chosen = [position for position, one in enumerate(classes) if one.lineage[-1] in wanted]
    known = {classes[position].lineage[-1] for position in chosen}
    binomials = {" ".join(name.split()[:2]): name for name in wanted - known}
    chosen += [position for position, one in enumerate(classes) if one.lineage[-1] in binomials]
    known |= {binomials[classes[position].lineage[-1]] for position in chosen if classes[position].lineage[-1] in binomials}
    return LabelSet(np.array(sorted(set(chosen)), dtype=np.int64), tuple(sorted(wanted - known)))


def in_clade(classes: Sequence[SpeciesClass], clade: str) -> LabelSet:
    """The classes below a taxon; raises EvaluationError for a name that several taxa have."""
    rank, _, name = clade.rpartition(":")
    ranks = [rank] if rank in RANKS else list(RANKS)
    found = {(one, c.lineage[: RANKS.index(one) + 1]) for one in ranks for c in classes if c.lineage[RANKS.index(one)] == name}
    if len(found) > 1:
        described = sorted(f"{one}:{name} in {path[0] or 'no kingdom'}" for one, path in found)
        raise EvaluationError(
            f"evaluation.within = {clade!r} names several taxa: {'; '.join(described)}; name one by its rank, or by a list."
        )
    paths = {path for _, path in found}
    chosen = [position for position, c in enumerate(classes) if any(c.lineage[: len(path)] == path for path in paths)]
    return LabelSet(np.array(chosen, dtype=np.int64), () if found else (clade,))


def read_names(path: Path) -> list[str]:
    """The names in a file; raises EvaluationError for a file that cannot be read or has no column of species."""
    try:
        if path.suffix == ".txt":
            return path.read_text(encoding="utf-8").splitlines()
        header, names = _read_parquet(path) if path.suffix == ".parquet" else _read_delimited(path)
    except (OSError, ValueError, ArchiveError) as error:
        raise EvaluationError(f"list of names {str(path)!r} cannot be read: {error}; name a text file or a table.") from None
    if names is None:
        raise EvaluationError(
            f"list of names {str(path)!r} has columns {', '.join(header)}, but none is {' or '.join(_NAME_COLUMNS)}; rename one."
        )
    return [name for name in dict.fromkeys(names) if name]


def _read_parquet(path: Path) -> tuple[list[str], list[str] | None]:
    """(columns, the names in the first known one, None without any)."""
    file = pq.ParquetFile(path)
    header = file.schema_arrow.names
    column = next((name for name in _NAME_COLUMNS if name in header), None)
    return header, None if column is None else [str(name or "") for name in file.read([column])[column].to_pylist()]


def _read_delimited(path: Path) -> tuple[list[str], list[str] | None]:
    """As `_read_parquet`; raises ArchiveError for a damaged row."""
    with path.open("rb") as stream:
        table = open_headed(stream, path.name, Dialect(delimiter=_TABLES[path.suffix]))
        column = next((name for name in _NAME_COLUMNS if name in table.header), None)
        return table.header, None if column is None else [row[column].strip() for _, row in table.records()]
