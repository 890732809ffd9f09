"""Encyclopedia of Life: the media manifest, joined to the Dynamic Hierarchy by page id.

The manifest is a tgz (or folder) of CSVs with the columns below; its content ids change between exports, so a record's identity
is derived from content id and URL. Names come from `taxa`, a taxon.tab of the Dynamic Hierarchy whose `eolID` is the page id; a page
missing from it gives a record without a name, which the taxonomy stage counts as `empty_name`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import read_headed
from bioclip.delimited.members import iterate_members
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Item, SourceFormat, damaged_media, damaged_others
from bioclip.sources.external.hash_join import HashJoin
from bioclip.sources.external.spill import DEFAULT_BUFFER_BYTES
from bioclip.sources.parsing.columns import filled, first_of, is_empty, per_distinct, verbatim_map
from bioclip.sources.parsing.media_urls import first_addresses

MANIFEST_COLUMNS = ("EOL content ID", "EOL page ID", "Medium Source URL", "EOL Full-Size Copy URL", "License Name", "Copyright Owner")
_TAXON_COLUMNS = ("taxonID", "parentNameUsageID", "scientificName", "taxonRank", "eolID")
_RANK_FIELDS = {"kingdom": "kingdom", "phylum": "phylum", "class": "class_", "order": "order", "family": "family", "genus": "genus"}
_NAME_FIELDS = ("scientific_name", "taxon_rank", *_RANK_FIELDS.values())
_MAX_DEPTH = 256
"""Steps up a hierarchy; real hierarchies have fewer than 100; the limit ends cycles."""


def read(source: SourceSettings, scratch: Path | None = None, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Iterator[Item]:
    """Stream the manifest, joined to the hierarchy's pages; the hierarchy is held in memory as Arrow columns."""
    with ExitStack() as stack:
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        media, taxa = DamageLog(source.max_damaged_share), DamageLog(source.max_damaged_share)
        pages = page_names(Path(source.options["taxa"]), taxa)
        join = HashJoin("EOL page ID", "_page", folder, buffer_bytes)
        for joined in join.join(lambda: _manifest(Path(source.path), media), [pages]):
            url = first_of(first_addresses(joined["EOL Full-Size Copy URL"]), first_addresses(joined["Medium Source URL"]))
            has_url = pc.invert(is_empty(url))
            if num_without := joined.num_rows - (pc.sum(has_url).as_py() or 0):
                yield Dropped("no_media_url", num_without)
                joined, url = joined.filter(has_url), url.filter(has_url)
            if joined.num_rows:
                yield _records(joined, url)
        yield from damaged_media(media)
        yield from damaged_others(taxa)


FORMAT = SourceFormat(read, options=frozenset({"taxa"}), required=frozenset({"taxa"}), paths=frozenset({"taxa"}), uses_scratch=True)


def _manifest(path: Path, log: DamageLog) -> Iterator[pa.Table]:
    for where, stream in iterate_members(path, ".csv", "a media manifest (tar of CSV files)"):
        yield from read_headed(stream, where, Dialect(","), MANIFEST_COLUMNS, log=log)


def _records(joined: pa.Table, url: Any) -> pa.Table:
    columns = {
        "source_id": joined["EOL content ID"],
        "media_url": url,
        "license_verbatim": joined["License Name"],
        "rights_holder": joined["Copyright Owner"],
        "references": joined["Medium Source URL"],
        "verbatim": verbatim_map(joined, ["EOL page ID"]),
    }
    return pa.table(columns | {name: filled(joined[name]) for name in _NAME_FIELDS})


def page_names(path: Path, log: DamageLog | None = None) -> pa.Table:
    """Names of every page of a Dynamic Hierarchy: `_page` and the record columns of names, one row per page id."""
    with path.open("rb") as stream:
        rows = read_headed(stream, str(path), Dialect("\t", quote=""), _TAXON_COLUMNS, ("canonicalName",), log)
        taxa = pa.concat_tables(rows).combine_chunks()
    names = first_of(taxa["canonicalName"], taxa["scientificName"]).combine_chunks()
    parents = pc.index_in(taxa["parentNameUsageID"], value_set=taxa["taxonID"].combine_chunks()).combine_chunks()
    ranks = per_distinct(taxa["taxonRank"], _rank_code, pa.int8()).to_numpy()
    ancestors = _ancestors(pc.fill_null(parents, -1).to_numpy(), ranks)
    has_page = pc.invert(is_empty(taxa["eolID"]))
    columns = {"_page": taxa["eolID"], "scientific_name": taxa["scientificName"], "taxon_rank": taxa["taxonRank"]}
    for field, rows in zip(_RANK_FIELDS.values(), ancestors, strict=True):
        columns[field] = filled(names.take(pa.array(rows, mask=rows < 0)))
    return pa.table(columns).filter(has_page)


def _rank_code(rank: str) -> int:
    known = list(_RANK_FIELDS)
    return known.index(rank.lower()) if rank.lower() in known else -1


def _ancestors(parents: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Row of the nearest ancestor-or-self of each rank, -1 where there is none: int64 of shape (num_ranks, num_taxa)."""
    found = np.full((len(_RANK_FIELDS), len(parents)), -1, np.int64)
    rows, here = np.arange(len(parents)), np.arange(len(parents))
    for _ in range(_MAX_DEPTH):
        is_ranked = ranks[here] >= 0
        places = ranks[here[is_ranked]], rows[is_ranked]
        found[places] = np.where(found[places] < 0, here[is_ranked], found[places])
        here = parents[here]
        rows, here = rows[here >= 0], here[here >= 0]
        if not len(here):
            break
    return found
