"""The two stages of taxonomy: backbones compiled once each, then every distinct verbatim lineage resolved once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.accounting import Counts
from bioclip.digests import digest_path, digest_value
from bioclip.errors import BackboneError, SettingsError
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.records import LINEAGE_SCHEMA, RANKS, VERBATIM_NAME_COLUMNS
from bioclip.settings import BackboneSettings, PipelineSettings, TaxonomySettings
from bioclip.storage import Storage, explain_os_error
from bioclip.taxonomy.backbone_index import load_index
from bioclip.taxonomy.backbones import open_backbone
from bioclip.taxonomy.index import compile_source
from bioclip.taxonomy.matching import resolve_lineages
from bioclip.taxonomy.resolutions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.vernaculars import choose_verbatim_name

BACKBONES_STAGE, BACKBONES_DIRECTORY, BACKBONES_VERSION = "backbones", "taxonomy/backbones", 4
NAMES_STAGE, NAMES_DIRECTORY, NAMES_VERSION = "taxonomy", "taxonomy", 3
NAMES_FILE = "taxonomy/names.parquet"
_INDEX_GROUP_ROWS = 100_000


def index_file(backbone: str) -> str:
    """Where the compiled index of a backbone lies."""
    return f"{BACKBONES_DIRECTORY}/{backbone}.parquet"


def plan_backbones(storage: Storage, settings: PipelineSettings, force: bool = False) -> list[PartitionJob]:
    """One job a backbone. Raises SettingsError without one, UnknownNameError, and BackboneError for a path that cannot be read."""
    return [
        PartitionJob(
            stage=BACKBONES_STAGE,
            name=backbone.name,
            directory=BACKBONES_DIRECTORY,
            version=BACKBONES_VERSION,
            inputs={"backbone": _digest(backbone)},
            settings=digest_value([backbone.name, backbone.format]),
            work=write_index,
            storage=storage,
            arguments={"backbone": backbone},
            force=force,
        )
        for backbone in _configured(settings.taxonomy)
    ]


def plan_names(storage: Storage, settings: PipelineSettings, force: bool = False) -> list[PartitionJob]:
    """The one job that resolves names; raises SettingsError without a backbone, StorageError when a stage before it is missing."""
    taxonomy = settings.taxonomy
    backbones = [backbone.name for backbone in _configured(taxonomy)]
    records, indexes = read_stage(storage, "records"), read_stage(storage, BACKBONES_STAGE)
    decisive = {
        "backbones": backbones,
        "min_confidence": taxonomy.min_confidence,
        "allow_higher_rank": taxonomy.allow_higher_rank,
        "inexact": taxonomy.inexact,
    }
    return [
        PartitionJob(
            stage=NAMES_STAGE,
            name="names",
            directory=NAMES_DIRECTORY,
            version=NAMES_VERSION,
            inputs={"records": records.digest, "backbones": indexes.digest},
            settings=digest_value(decisive),
            work=write_names,
            storage=storage,
            arguments={"record_files": [o.name for o in records.outputs if o.name.endswith(".parquet")], "taxonomy": taxonomy},
            force=force,
        )
    ]


def write_index(storage: Storage, writer: PartitionWriter, backbone: BackboneSettings) -> Counts:
    """Compile one backbone into its index."""
    del storage
    source = open_backbone(backbone)
    compiled = compile_source(source)
    if not compiled.counts.written:
        raise BackboneError(
            f"backbone {backbone.name!r} ({backbone.path!r}, format {backbone.format!r}) has no usable name among {compiled.counts.read} "
            f"usages ({dict(compiled.counts.dropped)}); check its format."
        )
    writer.write_table(index_file(backbone.name), compiled.table, row_group_rows=_INDEX_GROUP_ROWS)
    return compiled.counts


def write_names(storage: Storage, writer: PartitionWriter, record_files: Sequence[str], taxonomy: TaxonomySettings) -> Counts:
    """Resolve the distinct lineages of all records and write them, sorted by lineage_id."""
    lineages = read_distinct_lineages(storage, record_files)
    ids = sorted(lineages)
    names = [lineages[lineage_id][0] for lineage_id in ids]
    num_records = [lineages[lineage_id][1] for lineage_id in ids]
    indexes = [load_index(storage, index_file(backbone.name), backbone.name) for backbone in taxonomy.backbones]
    resolved = resolve_lineages(names, indexes, taxonomy)
    resolutions = fill_common_names(names, resolved, num_records)
    writer.write_table(NAMES_FILE, lineage_table(ids, names, num_records, resolutions))
    dropped = Counter(resolution.reason for resolution in resolutions if not resolution.is_resolved)
    notes = Counter(f"match_{resolution.match_type.lower()}" for resolution in resolutions)
    pairs = list(zip(resolved, resolutions, strict=True))
    notes["common_name_from_backbone"] = sum(bool(before.common_name) for before, _ in pairs)
    notes["common_name_from_records"] = sum(bool(after.common_name) and not before.common_name for before, after in pairs)
    return Counts(len(ids), len(ids) - sum(dropped.values()), dict(dropped), dict(notes))


def read_distinct_lineages(storage: Storage, record_files: Sequence[str]) -> dict[str, tuple[VerbatimLineage, int]]:
    """lineage_id -> (verbatim names, number of records), over all files; one file is in memory at a time."""
    columns = ["lineage_id", *VERBATIM_NAME_COLUMNS]
    found: dict[str, tuple[VerbatimLineage, int]] = {}
    for name in sorted(record_files):
        with storage.reader(name) as stream:
            table = pq.read_table(stream, columns=columns)
        for row in table.group_by(columns).aggregate([([], "count_all")]).to_pylist():
            lineage_id, num = row["lineage_id"], row["count_all"]
            if lineage_id in found:
                found[lineage_id] = (found[lineage_id][0], found[lineage_id][1] + num)
            else:
                found[lineage_id] = (VerbatimLineage(**{column: row[column] or "" for column in VERBATIM_NAME_COLUMNS}), num)
    return found


def fill_common_names(names: Sequence[VerbatimLineage], resolutions: Sequence[Resolution], num_records: Sequence[int]) -> list[Resolution]:
    """Where the backbone has no English name, the vernacular name that most records of that very taxon give.

    Records resolved to a higher rank do not vote, since their vernacular names mean something narrower.
    """
    given: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, resolution, num in zip(names, resolutions, num_records, strict=True):
        vernacular = " ".join(name.vernacular_name.split())
        if _names_its_taxon(resolution) and vernacular:
            given[resolution.backbone, resolution.accepted_id][vernacular] += num
    chosen = {taxon: choose_verbatim_name(votes) for taxon, votes in given.items()}
    return [
        replace(resolution, common_name=resolution.common_name or chosen.get((resolution.backbone, resolution.accepted_id), ""))
        for resolution in resolutions
    ]


def _names_its_taxon(resolution: Resolution) -> bool:
    return resolution.match_type in {MatchType.EXACT, MatchType.NORMALIZED} and not resolution.infraspecific


def lineage_table(
    ids: Sequence[str],
    names: Sequence[VerbatimLineage],
    num_records: Sequence[int],
    resolutions: Sequence[Resolution],
) -> pa.Table:
    """LINEAGE_SCHEMA table of parallel sequences."""
    same = {
        "canonical_name", "match_type", "confidence", "margin", "reason", "matched_id", "matched_name", "accepted_id",
        "accepted_name", "resolved_rank", "infraspecific", "qualifier", "common_name", "backbone",
    }  # fmt: skip
    columns: dict[str, list[Any]] = {"lineage_id": list(ids), "num_records": list(num_records)}
    for column in VERBATIM_NAME_COLUMNS:
        columns[f"verbatim_{column.rstrip('_')}"] = [getattr(name, column) for name in names]
    for column in same:
        columns[column] = [getattr(resolution, column) for resolution in resolutions]
    for index, rank in enumerate(RANKS):
        columns[rank] = [resolution.lineage[index] for resolution in resolutions]
    return pa.table({name: columns[name] for name in LINEAGE_SCHEMA.names}, schema=LINEAGE_SCHEMA)


def _configured(taxonomy: TaxonomySettings) -> Sequence[BackboneSettings]:
    if not taxonomy.backbones:
        raise SettingsError("taxonomy.backbones is empty; give at least one backbone: a name, a format and the path of your download.")
    names: Mapping[str, int] = Counter(backbone.name for backbone in taxonomy.backbones)
    if twice := sorted(name for name, num in names.items() if num > 1):
        raise SettingsError(f"taxonomy.backbones: the name {twice[0]!r} is used twice; give each backbone a name of its own.")
    return taxonomy.backbones


def _digest(backbone: BackboneSettings) -> str:
    open_backbone(backbone)
    try:
        return digest_path(Path(backbone.path).expanduser())
    except OSError as error:
        raise BackboneError(f"backbone {backbone.name!r}: {explain_os_error(error, backbone.path)}") from None
