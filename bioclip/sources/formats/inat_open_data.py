"""iNaturalist open data: photos, observations, observers and taxa, as published at https://github.com/inaturalist/inaturalist-open-data.

`path` is a folder, zip or tar of the four tables (`.csv` or `.csv.gz`): tab separated, without quoting, although quotes occur in names.
A taxon's ancestry is a `/`-joined list of ids from the root. A photo's URL is made of its id and extension.
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
from bioclip.delimited.members import open_member
from bioclip.licenses import normalize_license
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Item, Noted, SourceFormat, damaged_media, damaged_others
from bioclip.sources.external.hash_join import POSITION, HashJoin
from bioclip.sources.external.spill import DEFAULT_BUFFER_BYTES
from bioclip.sources.parsing.columns import constant, degrees, filled, first_of, is_empty, per_distinct, verbatim_map

PHOTO_URL = "https://inaturalist-open-data.s3.amazonaws.com/photos/{photo_id}/original.{extension}"
_PHOTOS = ("photo_id", "observation_uuid", "extension", "license", "position")
_OBSERVATIONS = ("observation_uuid", "observer_id", "latitude", "longitude", "taxon_id", "quality_grade", "observed_on")
_OBSERVERS = ("observer_id", "login", "name")
_TAXA = ("taxon_id", "ancestry", "rank_level", "rank", "name", "active")
_RANK_LEVELS = {"70": "kingdom", "60": "phylum", "50": "class_", "40": "order", "30": "family", "20": "genus"}
_TAXON_FIELDS = ("scientific_name", "taxon_rank", *_RANK_LEVELS.values())


def read(source: SourceSettings, scratch: Path | None = None, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Iterator[Item]:
    """Stream the photos, joined to their observations with observer and taxon."""
    path = Path(source.path)
    with ExitStack() as stack:
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        media, others = DamageLog(source.max_damaged_share), DamageLog(source.max_damaged_share)
        join = HashJoin("observation_uuid", "_observation", folder / "photos", buffer_bytes)
        observations = _observations(path, folder, buffer_bytes, others)
        num_inactive = 0
        for joined in join.join(lambda: _table(path, "photos.csv", _PHOTOS, media), observations):
            orphans = pc.is_null(joined[POSITION])
            if num_orphans := pc.sum(orphans).as_py():
                yield Dropped("media_without_occurrence", num_orphans)
                joined = joined.filter(pc.invert(orphans))
            no_photo = is_empty(joined["photo_id"])
            if num_without := pc.sum(no_photo).as_py():
                yield Dropped("no_media_url", num_without)
                joined = joined.filter(pc.invert(no_photo))
            num_inactive += pc.sum(pc.equal(filled(joined["active"]), "false")).as_py() or 0
            if joined.num_rows:
                yield _records(joined)
        counts = {"occurrence_without_media": join.num_unmatched_right, "taxon_inactive": num_inactive}
        yield from (Noted(name, count) for name, count in counts.items() if count)
        yield from damaged_media(media)
        yield from damaged_others(others)


FORMAT = SourceFormat(read, uses_scratch=True)


def _table(path: Path, name: str, columns: tuple[str, ...], log: DamageLog) -> Iterator[pa.Table]:
    with open_member(path, name) as (where, stream):
        yield from read_headed(stream, where, Dialect("\t", quote=""), columns, log=log)


def _observations(path: Path, folder: Path, buffer_bytes: int, log: DamageLog) -> Iterator[pa.Table]:
    taxa = HashJoin("taxon_id", "_taxon", folder / "taxa", buffer_bytes)
    observers = HashJoin("observer_id", "_observer", folder / "observers", buffer_bytes)

    def named() -> Iterator[pa.Table]:
        for table in taxa.join(lambda: _table(path, "observations.csv", _OBSERVATIONS, log), [_taxa(path, log)]):
            yield table.drop_columns([POSITION])

    people = (table.rename_columns(["_observer", "login", "person"]) for table in _table(path, "observers.csv", _OBSERVERS, log))
    for table in observers.join(named, people):
        columns = {name: table[name] for name in table.column_names if name not in {POSITION, "observation_uuid"}}
        yield pa.table({"_observation": table["observation_uuid"]} | columns)


def _taxa(path: Path, log: DamageLog) -> pa.Table:
    """`_taxon`, `active` and the record columns of names; all taxa are held in memory as Arrow columns meanwhile."""
    taxa = pa.concat_tables(_table(path, "taxa.csv", _TAXA, log)).combine_chunks()
    names, ids = taxa["name"].combine_chunks(), taxa["taxon_id"].combine_chunks()
    levels = per_distinct(taxa["rank_level"], _level_code, pa.int8()).to_numpy()
    lists = pc.split_pattern(taxa["ancestry"].combine_chunks(), "/")
    owners = pc.list_parent_indices(lists).to_numpy()
    ancestors = pc.fill_null(pc.index_in(pc.list_flatten(lists), value_set=ids), -1).to_numpy()
    owners, ancestors = owners[ancestors >= 0], ancestors[ancestors >= 0]
    owners, ancestors = np.concatenate([owners, np.arange(len(ids))]), np.concatenate([ancestors, np.arange(len(ids))])
    columns = {"_taxon": ids, "active": taxa["active"], "scientific_name": names, "taxon_rank": taxa["rank"]}
    for code, field in enumerate(_RANK_LEVELS.values()):
        rows = np.full(len(ids), -1, np.int64)
        is_of_rank = levels[ancestors] == code
        rows[owners[is_of_rank]] = ancestors[is_of_rank]
        columns[field] = filled(names.take(pa.array(rows, mask=rows < 0)))
    return pa.table(columns)


def _level_code(level: str) -> int:
    known = list(_RANK_LEVELS)
    level = level.removesuffix(".0")
    return known.index(level) if level in known else -1


def _records(joined: pa.Table) -> pa.Table:
    url = pc.binary_join_element_wise(PHOTO_URL.split("{")[0], joined["photo_id"], "/original.", joined["extension"], "")
    page = pc.binary_join_element_wise("https://www.inaturalist.org/photos/", joined["photo_id"], "")
    columns: dict[str, Any] = {
        "source_id": joined["observation_uuid"],
        "occurrence_id": joined["observation_uuid"],
        "media_url": url,
        "media_index": per_distinct(joined["position"], _position, pa.int32()),
        "observer": filled(joined["login"]),
        "creator": first_of(filled(joined["person"]), filled(joined["login"])),
        "license": per_distinct(joined["license"], _license, pa.string()),
        "license_verbatim": joined["license"],
        "basis_of_record": constant("HumanObservation", joined.num_rows),
        "image_type": constant("citizen_science", joined.num_rows),
        "quality_grade": joined["quality_grade"],
        "event_date": joined["observed_on"],
        "latitude": degrees(joined["latitude"], 90.0),
        "longitude": degrees(joined["longitude"], 180.0),
        "references": page,
        "verbatim": verbatim_map(joined, ["taxon_id", "photo_id", "observer_id"]),
    }
    return pa.table(columns | {name: filled(joined[name]) for name in _TAXON_FIELDS})


def _position(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _license(text: str) -> str:
    return "LicenseRef-public-domain" if text == "PD" else normalize_license(text)
