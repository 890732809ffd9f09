"""Encyclopedia of Life: the archive of one connector, media_resource.tab joined to taxon.tab by taxon id.

Its meta.xml describes equal tables instead of a core with extensions, so it is not a Darwin Core Archive; the files' own header lines are
used. A medium may be of several taxa (ids joined by `;`): its record has the first, and the whole list is kept verbatim.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import read_headed
from bioclip.delimited.members import open_member
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Item, Noted, SourceFormat, damaged_media, damaged_others
from bioclip.sources.external.hash_join import HashJoin
from bioclip.sources.external.spill import DEFAULT_BUFFER_BYTES
from bioclip.sources.parsing.columns import degrees, filled, first_of, is_empty, per_distinct, verbatim_map
from bioclip.sources.parsing.media_urls import first_addresses

_MEDIA_REQUIRED = ("identifier", "taxonID", "accessURI")
_MEDIA_OPTIONAL = (
    "type", "format", "furtherInformationURL", "UsageTerms", "Owner", "rights", "creator", "contributor", "title",
    "CreateDate", "lat", "long",
)  # fmt: skip
_TAXON_TERMS = {
    "scientificName": "scientific_name",
    "scientificNameAuthorship": "scientific_name_authorship",
    "taxonRank": "taxon_rank",
    "kingdom": "kingdom",
    "phylum": "phylum",
    "class": "class_",
    "order": "order",
    "family": "family",
    "genus": "genus",
    "vernacularName": "vernacular_name",
}
_TABS = Dialect("\t", quote="")
_VERBATIM = ("taxonID", "contributor", "rights")


def read(source: SourceSettings, scratch: Path | None = None, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Iterator[Item]:
    """Stream the media, joined to the taxa; media of unknown taxa give records without a name, as in `eol`."""
    path = Path(source.path)
    with ExitStack() as stack:
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        media, taxa = DamageLog(source.max_damaged_share), DamageLog(source.max_damaged_share)
        join = HashJoin("_first_taxon", "_taxon", folder, buffer_bytes)
        for joined in join.join(lambda: _media(path, media), _taxa(path, taxa)):
            place = joined.column_names.index("accessURI")
            joined = joined.set_column(place, "accessURI", first_addresses(joined["accessURI"]))
            has_url = pc.invert(is_empty(joined["accessURI"]))
            is_still = per_distinct(joined["type"], lambda kind: not kind or kind.lower().endswith("stillimage"), pa.bool_())
            is_kept = pc.and_(has_url, is_still)
            num_urls, num_kept = pc.sum(has_url).as_py() or 0, pc.sum(is_kept).as_py() or 0
            counts = {"no_media_url": joined.num_rows - num_urls, "not_a_still_image": num_urls - num_kept}
            yield from (Dropped(reason, count) for reason, count in counts.items() if count)
            if num_kept:
                yield _records(joined.filter(is_kept))
        if join.num_repeated_right:
            yield Noted("taxon_repeated", join.num_repeated_right)
        yield from damaged_media(media)
        yield from damaged_others(taxa)


FORMAT = SourceFormat(read, uses_scratch=True)


def _media(path: Path, log: DamageLog) -> Iterator[pa.Table]:
    with open_member(path, "media_resource.tab") as (where, stream):
        for table in read_headed(stream, where, _TABS, _MEDIA_REQUIRED, _MEDIA_OPTIONAL, log):
            first = per_distinct(table["taxonID"], lambda ids: ids.split(";")[0].strip(), pa.string())
            yield table.append_column("_first_taxon", first)


def _taxa(path: Path, log: DamageLog) -> Iterator[pa.Table]:
    with open_member(path, "taxon.tab") as (where, stream):
        optional = [term for term in _TAXON_TERMS if term != "scientificName"]
        for table in read_headed(stream, where, _TABS, ("taxonID", "scientificName"), optional, log):
            yield pa.table({"_taxon": table["taxonID"]} | {name: table[term] for term, name in _TAXON_TERMS.items()})


def _records(joined: pa.Table) -> pa.Table:
    columns: dict[str, Any] = {
        "source_id": joined["identifier"],
        "media_url": joined["accessURI"],
        "license_verbatim": joined["UsageTerms"],
        "rights_holder": first_of(joined["Owner"], joined["rights"]),
        "creator": joined["creator"],
        "title": joined["title"],
        "media_format": joined["format"],
        "event_date": joined["CreateDate"],
        "latitude": degrees(joined["lat"], 90.0),
        "longitude": degrees(joined["long"], 180.0),
        "references": joined["furtherInformationURL"],
        "verbatim": verbatim_map(joined, _VERBATIM),
    }
    return pa.table(columns | {name: filled(joined[name]) for name in _TAXON_TERMS.values()})
