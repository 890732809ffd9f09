"""The two stages of taxonomy: backbones compiled once each, then every distinct verbatim lineage resolved once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_path, digest_value
from bioclip.errors import BackboneError, SettingsError
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.records import VERBATIM_NAME_COLUMNS
from bioclip.schemas import DECISION_SCHEMA, LINEAGE_SCHEMA
from bioclip.settings import BackboneSettings, PipelineSettings, TaxonomySettings
from bioclip.sources import are_all_labelled
from bioclip.storage import Storage, explain_os_error, explain_user_file
from bioclip.taxonomy.backbones import open_backbone
from bioclip.taxonomy.index.build import compile_source
from bioclip.taxonomy.index.lookup import BackboneIndex, load_index
from bioclip.taxonomy.labels import keep_labels
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.curation import Curation, read_curation
from bioclip.taxonomy.matching.decision_table import LINEAGE_COLUMNS
from bioclip.taxonomy.matching.decisions import MatchType
from bioclip.taxonomy.names.vernaculars import choose_verbatim_name

BACKBONES_STAGE, BACKBONES_VERSION = "backbones", 7
NAMES_STAGE, NAMES_VERSION = "taxonomy", 8
_INDEX_GROUP_ROWS = 100_000
_PART_ROWS = 262_144


def plan_backbones(storage: Storage, settings: PipelineSettings, force: bool = False) -> list[PartitionJob]:
    """One job per backbone. Raises SettingsError without one, UnknownNameError, and BackboneError for a path that cannot be read."""
    return [
        PartitionJob(
            stage=BACKBONES_STAGE,
            name=backbone.name,
            directory=layout.BACKBONES_DIR,
            version=BACKBONES_VERSION,
            inputs={"backbone": _digest(backbone)},
            settings=digest_value([backbone.name, backbone.format]),
            work=write_index,
            storage=storage,
            arguments={"backbone": backbone},
            force=force,
        )
        for backbone in configured_backbones(settings)
    ]


def plan_names(storage: Storage, settings: PipelineSettings, force: bool = False) -> list[PartitionJob]:
    """The one job that resolves names; raises SettingsError without a backbone, StorageError if an earlier stage has not run."""
    taxonomy = settings.taxonomy
    backbones = [backbone.name for backbone in configured_backbones(settings)]
    records, indexes = read_stage(storage, "records"), read_stage(storage, BACKBONES_STAGE)
    decisive = {
        "backbones": backbones,
        "min_confidence": taxonomy.min_confidence,
        "allow_higher_rank": taxonomy.allow_higher_rank,
        "inexact": taxonomy.inexact,
        "keep_labels": taxonomy.keep_labels,
    }
    inputs = {"records": records.digest, "backbones": indexes.digest}
    if taxonomy.curation:
        inputs["curation"] = _curation_digest(taxonomy.curation)
    return [
        PartitionJob(
            stage=NAMES_STAGE,
            name="names",
            directory=layout.TAXONOMY_DIR,
            version=NAMES_VERSION,
            inputs=inputs,
            settings=digest_value(decisive),
            work=write_names,
            storage=storage,
            arguments={"record_files": [o.name for o in records.outputs if o.name.endswith(layout.PARQUET)], "taxonomy": taxonomy},
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
    writer.write_table(layout.backbone_index(backbone.name), compiled.table, row_group_rows=_INDEX_GROUP_ROWS)
    return compiled.counts


def write_names(storage: Storage, writer: PartitionWriter, record_files: Sequence[str], taxonomy: TaxonomySettings) -> Counts:
    """Resolve the distinct lineages of all records and write them, sorted by lineage_id."""
    lineages = read_distinct_lineages(storage, record_files)
    indexes = [load_index(storage, layout.backbone_index(backbone.name), backbone.name) for backbone in taxonomy.backbones]
    curation = read_curation(Path(taxonomy.curation), indexes, taxonomy) if taxonomy.curation else None
    resolved = resolve_sorted(lineages.select(LINEAGE_COLUMNS), indexes, taxonomy, curation)
    decisions = fill_common_names(lineages, resolved)
    if taxonomy.keep_labels:
        decisions = keep_labels(lineages, decisions)
    writer.write_table(layout.NAMES, lineage_table(lineages, decisions))
    is_open = pc.equal(decisions["accepted_id"], "")
    dropped = _times(decisions["reason"].filter(is_open))
    notes = {f"match_{name.lower()}": num for name, num in _times(decisions["match_type"]).items()}
    before, after = (pc.not_equal(table["common_name"], "") for table in (resolved, decisions))
    notes["common_name_from_backbone"] = pc.sum(before).as_py() or 0
    notes["common_name_from_records"] = pc.sum(pc.and_not(after, before)).as_py() or 0
    notes["contradicted"] = pc.sum(pc.not_equal(decisions["contradicts"], "")).as_py() or 0
    notes["curated"] = pc.sum(pc.not_equal(decisions["curation"], "")).as_py() or 0
    return Counts(lineages.num_rows, lineages.num_rows - sum(dropped.values()), dropped, notes)


def read_distinct_lineages(storage: Storage, record_files: Sequence[str]) -> pa.Table:
    """`lineage_id`, LINEAGE_COLUMNS and `num_records` of all files, sorted by lineage_id; one file's records are in memory at a time."""
    known = pa.table({name: pa.array([], pa.string()) for name in ("lineage_id", *VERBATIM_NAME_COLUMNS)})
    known = known.append_column("num_records", pa.array([], pa.int64()))
    waiting: list[pa.Table] = []
    for name in sorted(record_files):
        with storage.reader(name) as stream:
            table = pq.read_table(stream, columns=["lineage_id", *VERBATIM_NAME_COLUMNS])
        filled = {column: pc.fill_null(table[column], "") for column in table.column_names}
        waiting.append(_grouped(pa.table(filled | {"num_records": pa.repeat(pa.scalar(1), table.num_rows)})))
        if sum(one.num_rows for one in waiting) > max(_PART_ROWS, known.num_rows):
            known, waiting = _grouped(pa.concat_tables([known, *waiting])), []
    return _grouped(pa.concat_tables([known, *waiting])).sort_by("lineage_id").combine_chunks()


def _grouped(lineages: pa.Table) -> pa.Table:
    """One row per lineage_id, with the sum of its records; the id is a digest of the other columns."""
    columns: list[tuple[str, str]] = [(name, "min") for name in VERBATIM_NAME_COLUMNS]
    grouped = lineages.group_by("lineage_id").aggregate([*columns, ("num_records", "sum")])
    return grouped.rename_columns([name.removesuffix("_min").removesuffix("_sum") for name in grouped.column_names]).select(
        lineages.column_names
    )


def resolve_sorted(
    lineages: pa.Table, indexes: Sequence[BackboneIndex], taxonomy: TaxonomySettings, curation: Curation | None = None
) -> pa.Table:
    """`resolve_table` in parts, in the order of names, so that look-ups are local; rows are returned in their original order."""
    order = pc.sort_indices(lineages["scientific_name"])
    parts = [
        resolve_table(lineages.take(order[start : start + _PART_ROWS]), indexes, taxonomy, curation)
        for start in range(0, lineages.num_rows, _PART_ROWS)
    ]
    back = np.empty(lineages.num_rows, np.int64)
    back[order.to_numpy()] = np.arange(lineages.num_rows)
    return pa.concat_tables([DECISION_SCHEMA.empty_table(), *parts]).combine_chunks().take(pa.array(back))


def fill_common_names(lineages: pa.Table, decisions: pa.Table) -> pa.Table:
    """For taxa without an English name in the backbone, the most frequent vernacular name in records of the same taxon.

    Records resolved to a higher rank are excluded, since their vernacular names mean a narrower taxon.
    """
    names = pc.utf8_trim_whitespace(pc.replace_substring_regex(lineages["vernacular_name"], r"\s+", " "))
    taxa = pc.binary_join_element_wise(decisions["backbone"], decisions["accepted_id"], "\x1f")
    is_its = pc.is_in(decisions["match_type"], value_set=pa.array([MatchType.EXACT.value, MatchType.NORMALIZED.value]))
    votes = pc.and_(pc.and_(is_its, pc.equal(decisions["infraspecific"], "")), pc.not_equal(names, ""))
    given: defaultdict[str, Counter[str]] = defaultdict(Counter)
    columns = (column.filter(votes).to_pylist() for column in (taxa, names, lineages["num_records"]))
    for taxon, name, num in zip(*columns, strict=True):
        given[taxon][name] += num
    chosen = {taxon: choose_verbatim_name(counted) for taxon, counted in given.items()}
    place = pc.index_in(taxa, value_set=pa.array(list(chosen), pa.string()))
    of_records = pc.fill_null(pa.array(list(chosen.values()), pa.string()).take(place.combine_chunks()), "")
    common = pc.if_else(pc.equal(decisions["common_name"], ""), of_records, decisions["common_name"])
    return decisions.set_column(decisions.column_names.index("common_name"), DECISION_SCHEMA.field("common_name"), common)


def lineage_table(lineages: pa.Table, decisions: pa.Table) -> pa.Table:
    """LINEAGE_SCHEMA table of `read_distinct_lineages` with the decisions on its rows."""
    columns: dict[str, Any] = {name: lineages[name] for name in ("lineage_id", "num_records")}
    columns |= {f"verbatim_{name.rstrip('_')}": lineages[name] for name in VERBATIM_NAME_COLUMNS}
    columns |= {name: decisions[name] for name in decisions.column_names}
    return pa.table([columns[name] for name in LINEAGE_SCHEMA.names], schema=LINEAGE_SCHEMA).combine_chunks()


def _times(column: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in sorted(column.value_counts().to_pylist(), key=lambda row: str(row["values"]))}


def configured_backbones(settings: PipelineSettings) -> Sequence[BackboneSettings]:
    """The backbones of the settings. Raises SettingsError for a name that is used twice, and without a backbone, unless every source gives
    labels of the user's own, which are classes without one."""
    taxonomy = settings.taxonomy
    if not taxonomy.backbones and not (taxonomy.keep_labels and settings.sources and are_all_labelled(settings.sources)):
        raise SettingsError(
            "taxonomy.backbones is empty; give at least one backbone: a name, a format and the path of your download. Only labels of your "
            "own (class folders, a column mapped to `label`) need none."
        )
    names: Mapping[str, int] = Counter(backbone.name for backbone in taxonomy.backbones)
    if twice := sorted(name for name, num in names.items() if num > 1):
        raise SettingsError(f"taxonomy.backbones: the name {twice[0]!r} is used twice; give each backbone a distinct name.")
    return taxonomy.backbones


def _curation_digest(path: str) -> str:
    try:
        return digest_path(Path(path).expanduser())
    except OSError as error:
        raise SettingsError(explain_user_file(error, "taxonomy.curation", path)) from None


def _digest(backbone: BackboneSettings) -> str:
    open_backbone(backbone)
    try:
        return digest_path(Path(backbone.path).expanduser())
    except OSError as error:
        raise BackboneError(f"backbone {backbone.name!r}: {explain_os_error(error, backbone.path)}") from None


def load_indexes(storage: Storage, taxonomy: TaxonomySettings) -> list[BackboneIndex]:
    """The compiled backbones of a workspace, in order of precedence."""
    return [load_index(storage, layout.backbone_index(backbone.name), backbone.name) for backbone in taxonomy.backbones]
