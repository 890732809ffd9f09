"""The stage `vernaculars`: vernacular names of accepted taxa in further languages, read from the backbones' own downloads.

English names are part of the compiled index, since matching and captions always use them; these tables are separate, so that adding a
language does not rerun compilation and resolution.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.settings import BackboneSettings, PipelineSettings
from bioclip.storage import Storage
from bioclip.taxonomy.backbones import open_backbone
from bioclip.taxonomy.backbones.usages import Vernacular
from bioclip.taxonomy.names.vernaculars import choose_vernaculars, language_code
from bioclip.taxonomy.stage import BACKBONES_STAGE

STAGE, _VERSION = "vernaculars", 1
VERNACULAR_SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("language", "accepted_id", "name", "source")])
"""taxonomy/vernaculars/<backbone>.parquet, sorted by (language, accepted_id): one name per taxon and language, `source` as stated by the
backbone."""
_COLUMNS = ["taxon_id", "rank", "status", "label", "infraspecific"]


def vernaculars_name(backbone: str) -> str:
    """Name of the table of a backbone."""
    return layout.vernaculars(backbone)


def plan_vernaculars(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job per backbone, for all of `release.languages`."""
    stage = read_stage(storage, BACKBONES_STAGE)
    keys = {partition.name: [partition.key, *(o.sha256 for o in partition.outputs)] for partition in stage.partitions}
    languages = tuple(sorted({language_code(language) for language in settings.release.languages}))
    return [
        PartitionJob(
            stage=STAGE,
            name=backbone.name,
            directory=layout.VERNACULARS_DIR,
            version=_VERSION,
            inputs={"backbone": digest_value(keys[backbone.name])},
            settings=digest_value(languages),
            work=write_vernaculars,
            storage=storage,
            arguments={"backbone": backbone, "languages": languages},
        )
        for backbone in settings.taxonomy.backbones
    ]


def write_vernaculars(storage: Storage, writer: PartitionWriter, *, backbone: BackboneSettings, languages: tuple[str, ...]) -> Counts:
    """Choose one name per taxon and language, by the rules of the English names.

    Dropped: `other_language`, `vernacular_dangling` (no usage of the index), `vernacular_below_label` (of a subspecies, say, whose names
    are not its species'), `not_chosen`.
    """
    with storage.reader(layout.backbone_index(backbone.name)) as stream:
        index = pq.read_table(stream, columns=_COLUMNS)
    spoken: defaultdict[str, list[Vernacular]] = defaultdict(list)
    num_read = 0
    for num_read, vernacular in enumerate(open_backbone(backbone).vernaculars(), 1):  # noqa: B007
        if vernacular.name.strip() and (code := language_code(vernacular.language)) in languages:
            spoken[code].append(vernacular)
    labels = _labels_with_names(index)
    dropped: Counter[str] = Counter(other_language=num_read - sum(map(len, spoken.values())))
    rows: list[dict[str, str]] = []
    for code in languages:
        rows += _chosen(code, spoken[code], index, labels, dropped)
    writer.write_table(vernaculars_name(backbone.name), pa.Table.from_pylist(rows, schema=VERNACULAR_SCHEMA))
    notes = {f"names_{code}": number for code, number in Counter(row["language"] for row in rows).items()}
    return Counts(num_read, len(rows), {reason: number for reason, number in dropped.items() if number}, notes)


def _labels_with_names(index: pa.Table) -> npt.NDArray[np.int64]:
    """For each row the label that its vernacular names belong to, or -1; names of a subspecies or subfamily are not used for their
    label."""
    labels = index["label"].to_numpy().astype(np.int64)
    own_rank = index["rank"].combine_chunks()
    is_level = pc.equal(own_rank, own_rank.take(pa.array(labels)))
    is_accepted_otherwise = pc.not_equal(index["status"].combine_chunks(), "synonym")
    climbs = pc.or_(pc.and_not(is_accepted_otherwise, is_level), pc.not_equal(index["infraspecific"].combine_chunks(), ""))
    return np.where(climbs.to_numpy(zero_copy_only=False), -1, labels)


def _chosen(
    code: str,
    spoken: list[Vernacular],
    index: pa.Table,
    labels: npt.NDArray[np.int64],
    dropped: Counter[str],
) -> list[dict[str, str]]:
    ids = pa.array([vernacular.taxon_id for vernacular in spoken], pa.string())
    rows = pc.fill_null(pc.index_in(ids, value_set=index["taxon_id"].combine_chunks()), -1).to_pylist()
    known: defaultdict[int, list[Vernacular]] = defaultdict(list)
    for row, vernacular in zip(rows, spoken, strict=True):
        if row < 0:
            dropped["vernacular_dangling"] += 1
        elif labels[row] < 0:
            dropped["vernacular_below_label"] += 1
        else:
            known[int(labels[row])].append(vernacular)
    chosen = choose_vernaculars(known)
    dropped["not_chosen"] += sum(map(len, known.values())) - len(chosen)
    taxa = index["taxon_id"].take(pa.array(list(chosen), pa.int64())).to_pylist()
    named = [
        {"language": code, "accepted_id": taxon, "name": " ".join(vernacular.name.split()), "source": vernacular.source}
        for taxon, vernacular in zip(taxa, chosen.values(), strict=True)
    ]
    return sorted(named, key=lambda row: row["accepted_id"])
