"""The stage `evaluation-sets`: each set from outside is read, hashed and reconciled with the release's own backbones, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.evaluation_sets.reading import RANK_COLUMNS, read_evaluation_set, set_files
from bioclip.images.hashing import HASH_VERSION
from bioclip.leakage import EvaluationSide, gate_table
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.settings import DownloadSettings, EvaluationSetSettings, PipelineSettings, TaxonomySettings, meaningful
from bioclip.sources.digest_cache import DigestCache
from bioclip.storage import Storage, state_dir
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.decisions import VerbatimLineage
from bioclip.taxonomy.matching.resolve import resolve_lineages
from bioclip.taxonomy.names.parsing import parse_name
from bioclip.taxonomy.stage import load_indexes

STAGE = "evaluation-sets"
_VERSION = 1


def plan_evaluation_sets(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job a set of `leakage.against`, digested by content. Raises SettingsError for one that is not there."""
    cache = DigestCache(state_dir(settings.workspace) / layout.EVALUATION_SET_DIGESTS)
    names = digest_value([meaningful(settings.taxonomy), read_stage(storage, "backbones").digest])
    jobs = [
        PartitionJob(
            stage=STAGE,
            name=one.name,
            directory=layout.EVALUATION_SETS_DIR,
            version=_VERSION,
            inputs={"files": digest_value([cache.digest(path) for path in set_files(one)]), "taxonomy": names},
            settings=digest_value([meaningful(one), meaningful(settings.download), settings.duplicates.min_entropy_bits, HASH_VERSION]),
            work=write_evaluation_set,
            storage=storage,
            arguments={"evaluation_set": one, "settings": settings},
        )
        for one in settings.leakage.against
    ]
    cache.save()
    return jobs


def write_evaluation_set(
    storage: Storage, writer: PartitionWriter, *, evaluation_set: EvaluationSetSettings, settings: PipelineSettings
) -> Counts:
    """Read, hash, reconcile and write one set; what could not be hashed is dropped from the hashes, not from the set."""
    indexes = load_indexes(storage, settings.taxonomy)
    table, counts = load_evaluation_set(evaluation_set, settings.download, settings.duplicates.min_entropy_bits, indexes, settings.taxonomy)
    writer.write_table(layout.evaluation_set(evaluation_set.name), table)
    return counts


def load_evaluation_set(
    settings: EvaluationSetSettings,
    download: DownloadSettings,
    min_entropy_bits: float,
    indexes: Sequence[BackboneIndex],
    taxonomy: TaxonomySettings,
) -> tuple[pa.Table, Counts]:
    """(FINGERPRINT_SCHEMA and `path`, counts of image files). Notes: `images`, `species_resolved`, `names_unresolved`."""
    read = read_evaluation_set(settings, download, min_entropy_bits)
    taxa = resolve_names(read.table, indexes, taxonomy)
    columns = {name: read.table[name] for name in read.table.column_names if name not in {"path", "scientific_name", *RANK_COLUMNS}}
    table = gate_table({**columns, **taxa}, read.table.num_rows)
    num_resolved = table.num_rows - table["species"].null_count
    notes = {"images": table.num_rows, "species_resolved": num_resolved, "names_unresolved": table["species"].null_count}
    counts = Counts(read.counts.read, read.counts.written, read.counts.dropped, notes)
    return table.append_column("path", read.table["path"]), counts


def resolve_names(table: pa.Table, indexes: Sequence[BackboneIndex], taxonomy: TaxonomySettings) -> dict[str, list[Any]]:
    """`species`, `accepted_id` and `canonical_name` of verbatim names, each distinct one resolved once."""
    verbatim = [{name: value or "" for name, value in row.items()} for row in table.select(["scientific_name", *RANK_COLUMNS]).to_pylist()]
    names = [VerbatimLineage(**{"class_" if name == "class" else name: value for name, value in row.items()}) for row in verbatim]
    distinct = list(dict.fromkeys(names))
    known = dict(zip(distinct, resolve_lineages(distinct, indexes, taxonomy), strict=True)) if indexes else {}
    canonical = {name: (known[name].canonical_name if known else parse_name(name.scientific_name).canonical_name) for name in distinct}
    at_species = {name: one for name, one in known.items() if one.resolved_rank == "species"}
    return {
        "species": [at_species[name].lineage[-1] if name in at_species else None for name in names],
        "accepted_id": [
            accepted_key(at_species[name].backbone, at_species[name].accepted_id) if name in at_species else None for name in names
        ],
        "canonical_name": [canonical[name] or None for name in names],
    }


def accepted_key(backbone: str, accepted_id: str) -> str:
    """An accepted id that is comparable between sets."""
    return f"{backbone}:{accepted_id}"


def read_sides(storage: Storage, settings: PipelineSettings) -> list[EvaluationSide]:
    """The sets that the stage wrote, without embeddings."""
    sides = []
    for one in settings.leakage.against:
        with storage.reader(layout.evaluation_set(one.name)) as stream:
            sides.append(EvaluationSide(one.name, pq.read_table(stream).drop_columns(["path"]), one.holds_out_species))
    return sides


def image_paths(storage: Storage, name: str) -> pa.Table:
    """`record_id` and `path` of the images of a set."""
    with storage.reader(layout.evaluation_set(name)) as stream:
        return pq.read_table(stream, columns=["record_id", "path"])
