"""The stage `scores`: every filter's score of every image; thresholds are applied by a later stage."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.schemas import FILTER_SCORE_SCHEMA
from bioclip.scorers import build_scorer
from bioclip.selection.filters import SCORES_STAGE
from bioclip.settings import FilterSettings, PipelineSettings
from bioclip.storage import Storage

_VERSION = 1
_DECIMALS = 6


def plan_scores(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job per filter and partition of images; its key does not include the threshold. Raises UnknownNameError and SettingsError."""
    jobs = []
    outputs = read_stage(storage, "images").outputs if settings.release.filters else ()
    for one in settings.release.filters:
        identity = build_scorer(one.scorer, one.options, one.batch_size).identity
        for output in outputs:
            part = layout.file_stem(output.name)
            jobs.append(
                PartitionJob(
                    stage=SCORES_STAGE,
                    name=f"{one.name}-{part}",
                    directory=layout.filter_scores_dir(one.name),
                    version=_VERSION,
                    inputs={"images": output.sha256},
                    settings=digest_value([one.scorer, identity]),
                    work=score_partition,
                    storage=storage,
                    arguments={"images": output.name, "part": part, "filter_": one},
                )
            )
    return jobs


def score_partition(storage: Storage, writer: PartitionWriter, *, images: str, part: str, filter_: FilterSettings) -> Counts:
    """Score the stored images of one partition; those that cannot be decoded are dropped as `image_undecodable`."""
    scorer = build_scorer(filter_.scorer, filter_.options, filter_.batch_size)
    scores: list[tuple[str, float]] = []
    num_read = 0
    with storage.reader(images) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(filter_.batch_size, columns=["record_id", "image"]):
            num_read += batch.num_rows
            scores += scorer.score(list(zip(batch["record_id"].to_pylist(), batch["image"].to_pylist(), strict=True)))
    rows = [{"record_id": record_id, "score": round(score, _DECIMALS)} for record_id, score in scores]
    writer.write_table(layout.filter_scores(filter_.name, part), pa.Table.from_pylist(rows, schema=FILTER_SCORE_SCHEMA))
    return Counts(num_read, len(rows), {"image_undecodable": num_read - len(rows)} if num_read > len(rows) else {})
