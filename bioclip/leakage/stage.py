"""The stage `evaluation-sets`: each set from outside is read, hashed and resolved by the release's own backbones, once."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.images.hashing import HASH_VERSION
from bioclip.leakage.guards import SetFingerprints
from bioclip.leakage.set_fingerprints import fingerprint_set
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.settings import DownloadSettings, EvaluationSetSettings, PipelineSettings, TaxonomySettings, meaningful
from bioclip.sources.digest_cache import DigestCache
from bioclip.storage import Storage, state_dir
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.stage import load_indexes

STAGE = "evaluation-sets"
_VERSION = 3


def plan_evaluation_sets(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job a set of `leakage.against`, digested by content. Raises SettingsError for one that cannot be read."""
    cache = DigestCache(state_dir(settings.workspace) / layout.EVALUATION_SET_DIGESTS)
    names = digest_value([meaningful(settings.taxonomy), read_stage(storage, "backbones").digest])
    jobs = [
        PartitionJob(
            stage=STAGE,
            name=one.name,
            directory=layout.EVALUATION_SETS_DIR,
            version=_VERSION,
            inputs={"content": read_evaluation_set(one, cache.digest).revision, "taxonomy": names},
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
    """Read, hash, resolve and write one set; counts as of `fingerprint_set`."""
    indexes = load_indexes(storage, settings.taxonomy)
    table, counts = load_fingerprints(evaluation_set, settings.download, settings.duplicates.min_entropy_bits, indexes, settings.taxonomy)
    writer.write_table(layout.evaluation_set(evaluation_set.name), table)
    return counts


def load_fingerprints(
    settings: EvaluationSetSettings,
    download: DownloadSettings,
    min_entropy_bits: float,
    indexes: Sequence[BackboneIndex],
    taxonomy: TaxonomySettings,
) -> tuple[pa.Table, Counts]:
    """`fingerprint_set` of the set at the path that `settings` name."""
    return fingerprint_set(read_evaluation_set(settings), download, min_entropy_bits, indexes, taxonomy)


def read_sides(storage: Storage, settings: PipelineSettings) -> list[SetFingerprints]:
    """The sets that the stage wrote, without embeddings."""
    sides = []
    for one in settings.leakage.against:
        with storage.reader(layout.evaluation_set(one.name)) as stream:
            sides.append(SetFingerprints(one.name, pq.read_table(stream), one.holds_out_species))
    return sides
