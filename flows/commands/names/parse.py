"""`treeoflife names parse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import ANSWER, AnswerOptions

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = ("verbatim", "canonical_name", "canonical_full", "authorship", "year", "rank", "hybrid", "parsed", "type")


def parse_names(
    names: Annotated[
        str, Parameter(metavar="NAMES", help=".txt with one name per line, or .csv, .tsv, .parquet with scientific_name (path or URL)")
    ],
    /,
    *,
    output: Annotated[str, Parameter(metavar="FILE", help=".parquet, .csv or .tsv of the parsed names (path or URL)")],
    options: AnswerOptions = ANSWER,
) -> Answer:
    """Parse scientific names into their parts, without a backbone.

    Example: `treeoflife names parse names.txt --output parsed.csv`

    JSON keys: num_names, types, written.
    """
    from collections import Counter

    import pyarrow as pa

    from bioclip.storage.local_copies import local_input, local_output
    from bioclip.taxonomy.name_tables import TableWriter
    from bioclip.taxonomy.names.parsing import parse_names

    with local_input(names, options.access) as path:
        parsed = parse_names(_read_names(path))
    columns = {name: [getattr(one, name) for one in parsed] for name in _COLUMNS if name not in {"parsed", "type"}}
    columns |= {"parsed": [bool(one.canonical_name) for one in parsed], "type": [str(one.type) for one in parsed]}
    with local_output(output, options.access) as target, TableWriter(target) as writer:
        writer.write(pa.table({name: columns[name] for name in _COLUMNS}))
    types = dict(sorted(Counter(columns["type"]).items()))
    text = [f"{kind:<14} {number:>12,}" for kind, number in types.items()]
    return Answer({"num_names": len(parsed), "types": types, "written": output}, [*text, f"written: {output}"])


def _read_names(path: Path) -> list[str]:
    import pyarrow as pa

    from bioclip.errors import UsageError
    from bioclip.taxonomy.name_tables import NameTable

    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise UsageError(f"{str(path)!r} not found; give a .txt with one name per line, or a table.")
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    table = pa.concat_tables(NameTable(path).batches())
    if "scientific_name" not in table.column_names:
        raise UsageError(f"{str(path)!r} has no column scientific_name; rename the column that holds the names.")
    return [text or "" for text in table["scientific_name"].to_pylist()]
