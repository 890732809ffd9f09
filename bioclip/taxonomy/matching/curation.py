"""Manual decisions from a file, which override matching.

A CSV with the columns `name`, `decision`, `who`, `why`, and any of `authorship`, `rank`, `kingdom` … `genus`, which limit a line to
records with the same values. `name` is a verbatim scientific name or a canonical one; `decision` is an identifier or a name in one
of the backbones, or `reject` for names without a taxon.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.reading import DelimitedTable
from bioclip.errors import ArchiveError, UsageError
from bioclip.records import RANKS
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.decisions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.matching.queries import name_to_parse
from bioclip.taxonomy.matching.resolve import resolution_of_usage, resolve_lineage
from bioclip.taxonomy.names.parsing import NameType, clean_name, parse_name

REQUIRED_COLUMNS = ("name", "decision", "who", "why")
_CONDITIONS = {"authorship": "scientific_name_authorship", "rank": "taxon_rank"} | {
    rank: "class_" if rank == "class" else rank for rank in RANKS[:-1]
}
REJECT = "reject"


@dataclass(frozen=True)
class _Line:
    number: int
    conditions: Mapping[str, str]
    resolution: Resolution

    def fits(self, verbatim: VerbatimLineage) -> bool:
        return all(_same_text(getattr(verbatim, field)) == value for field, value in self.conditions.items())


class Curation:
    """The decisions of a file, looked up by verbatim and by canonical name."""

    def __init__(self, lines: Mapping[str, Sequence[_Line]]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return sum(len(lines) for lines in self._lines.values())

    def rows(self, lineages: pa.Table) -> npt.NDArray[np.intp]:
        """The rows of LINEAGE_COLUMNS whose names may be among those of the file."""
        name, genus, epithet = (lineages[column].combine_chunks() for column in ("scientific_name", "genus", "specific_epithet"))
        of_columns = pc.binary_join_element_wise(genus, epithet, " ")
        found = [self._mask(name), *(self._mask(pc.if_else(pc.equal(name, ""), text, "")) for text in (of_columns, epithet))]
        return np.flatnonzero(np.logical_or.reduce(found))

    def _mask(self, texts: pa.Array) -> npt.NDArray[np.bool_]:
        encoded = texts.dictionary_encode()
        is_named = np.array([self._may_name(text) for text in encoded.dictionary.to_pylist()], bool)
        return is_named[encoded.indices.to_numpy()] if len(is_named) else np.zeros(len(texts), bool)

    def _may_name(self, text: str) -> bool:
        words = _same_text(text).split(" ")
        return any(" ".join(words[:num]) in self._lines for num in {1, 2, 3, len(words)})

    def decide(self, verbatim: VerbatimLineage) -> Resolution | None:
        """The decision on a record's name: of the matching lines, the one with the most conditions."""
        text = name_to_parse(verbatim)
        parsed = parse_name(text, verbatim.scientific_name_authorship, verbatim.taxon_rank)
        canonical = parsed.canonical_full if parsed.type is NameType.SCIENTIFIC else ""
        for form in (_same_text(text), canonical.casefold()):
            if fitting := [line for line in self._lines.get(form, ()) if line.fits(verbatim)]:
                found = max(fitting, key=lambda line: len(line.conditions)).resolution
                return replace(found, canonical_name=parsed.canonical_name, qualifier=parsed.qualifier)
        return None


def read_curation(path: Path, indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> Curation:
    """The decisions of a file; raises UsageError for one that is missing, malformed, repeats a decision or does not name a single taxon."""
    lines: defaultdict[str, list[_Line]] = defaultdict(list)
    for number, row in read_curation_rows(path):
        where = f"{path.name}, line {number}"
        line = _read_line(number, row, where, indexes, settings)
        name = _same_text(row["name"])
        if twice := [other for other in lines[name] if other.conditions == line.conditions]:
            raise UsageError(
                f"{where}: {row['name']!r} is already decided on line {twice[0].number}; keep one, or distinguish them by another column."
            )
        lines[name].append(line)
    return Curation(lines)


def read_curation_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, columns) of each decision, unchanged; raises UsageError for a file that is missing or malformed."""
    try:
        with path.expanduser().open("rb") as stream:
            table = DelimitedTable(stream, f"curation file {str(path)!r}", Dialect(), is_padded=True)
            table.header = header = [name.strip() for name in table.header]
            _check_columns(path, header)
            return list(table.records())
    except ArchiveError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"curation file {str(path)!r} cannot be read: {error}; give a CSV in UTF-8.") from None


def _check_columns(path: Path, header: Sequence[str]) -> None:
    known = {*REQUIRED_COLUMNS, *_CONDITIONS}
    if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
        raise UsageError(f"curation file {str(path)!r} lacks the column {missing[0]!r}; it needs {', '.join(REQUIRED_COLUMNS)}.")
    if unknown := [name for name in header if name not in known]:
        raise UsageError(f"curation file {str(path)!r} has the column {unknown[0]!r}; optional columns are {', '.join(_CONDITIONS)}.")


def _read_line(number: int, row: Mapping[str, str], where: str, indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> _Line:
    for column in REQUIRED_COLUMNS:
        if not row[column].strip():
            raise UsageError(f"{where}: {column!r} is empty; every decision needs a name, a decision, who made it, and why.")
    conditions = {field: _same_text(row[column]) for column, field in _CONDITIONS.items() if row.get(column, "").strip()}
    signed = f"{row['who'].strip()}: {row['why'].strip()}"
    decision = row["decision"].strip()
    if decision.casefold() == REJECT:
        return _Line(number, conditions, Resolution(MatchType.NONE, "curated", confidence=100, margin=100, curation=signed))
    found = _by_id(decision, indexes) or _by_name(decision, row, where, indexes, settings)
    return _Line(number, conditions, replace(found, reason="curated", confidence=100, margin=100, contradicts="", curation=signed))


def _by_id(identifier: str, indexes: Sequence[BackboneIndex]) -> Resolution | None:
    for index in indexes:
        row = pc.index(index.column("taxon_id"), identifier).as_py()
        if row >= 0:
            return resolution_of_usage(index, index.candidates_at([row])[0])
    return None


def _by_name(name: str, row: Mapping[str, str], where: str, indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> Resolution:
    strict = settings.model_copy(update={"allow_higher_rank": False, "inexact": "none"})
    found = resolve_lineage(VerbatimLineage(scientific_name=name, kingdom=row.get("kingdom", "")), indexes, strict)
    if not found.is_resolved:
        backbones = ", ".join(index.name for index in indexes)
        raise UsageError(
            f"{where}: the decision {name!r} is neither an id nor one name in {backbones} ({found.reason}); give an id or `reject`."
        )
    return found


def _same_text(text: str) -> str:
    return clean_name(text).casefold()
