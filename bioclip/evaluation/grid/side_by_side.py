"""The scores of a grid as one table: tidy Parquet, JSON, and the folder of the workspace that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from bioclip import layout
from bioclip.digests import digest_value, readable_json
from bioclip.evaluation.grid.cells import CellResult
from bioclip.evaluation.grid.principal_components import map_results
from bioclip.evaluation.grid.rival_differences import find_differences
from bioclip.evaluation.results import MEASUREMENT_SCHEMA, Headline, headlines, load_scores
from bioclip.leakage import LEAK_SCHEMA
from bioclip.parquet import table_bytes
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage

COMPARISON_VERSION = 3
COMPARISON_SCHEMA = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_kind", pa.string(), nullable=False),
        pa.field("model_digest", pa.string(), nullable=False),
        pa.field("evaluation_id", pa.string(), nullable=False),
        pa.field("leak_status", pa.string(), nullable=False),
        pa.field("leak_releases", pa.list_(pa.string()), nullable=False),
        pa.field("num_leaking", pa.int64()),
        *MEASUREMENT_SCHEMA,
    ]
)
"""comparisons/<id>/comparison.parquet, one row per measurement of one model: the model's label in the comparison, its kind
(`bioclip.models.reference`), the digest of its weights, architecture, preprocessing and tokenizer, the evaluation that has its outcomes,
the status of its leak check (`unknown`, `none`, `found`) with the releases compared and the number of leaking benchmark images
(null where it is unknown), and the
columns of MEASUREMENT_SCHEMA."""
LEAK_EVIDENCE_SCHEMA = pa.schema([pa.field("model", pa.string(), nullable=False), *LEAK_SCHEMA])
"""comparisons/<id>/benchmark-leaks.parquet: rows of LEAK_SCHEMA with the model whose training images leak."""


@dataclass(frozen=True)
class Comparison:
    """`comparison.json`, its tables (COMPARISON_SCHEMA, LEAK_EVIDENCE_SCHEMA, DIFFERENCE_SCHEMA, COMPONENTS_SCHEMA) and its folder in the
    workspace."""

    comparison_id: str
    folder: str
    info: dict[str, Any]
    table: pa.Table
    leaks: pa.Table
    differences: pa.Table
    places: pa.Table

    def files(self) -> dict[str, bytes]:
        """The content of its files by name, the description last."""
        files = {
            layout.COMPARISON_TABLE: table_bytes(self.table),
            layout.COMPARISON_LEAKS: table_bytes(self.leaks),
            layout.COMPARISON_DIFFERENCES: table_bytes(self.differences),
            layout.COMPARISON_COMPONENTS: table_bytes(self.places),
        }
        return files | {layout.COMPARISON_INFO: readable_json(self.info)}


def write_comparison(results: Sequence[CellResult], settings: EvaluationSettings, storage: Storage) -> Comparison:
    """Gather the scores of all cells into `comparisons/<id>/`; the id is a digest of its evaluations, so the same grid has the same."""
    rows: list[dict[str, Any]] = []
    leaks = [
        one.leaks.evidence.add_column(0, "model", pa.array([one.model.label] * one.leaks.evidence.num_rows, pa.string())) for one in results
    ]
    cells: list[dict[str, Any]] = []
    for result in results:
        cells.append(_describe(result))
        if result.info is not None:
            common = {
                "model": result.model.label,
                "model_kind": result.model.ref.kind,
                "model_digest": result.model.identity.digest,
                "evaluation_id": result.info.evaluation_id,
                "leak_status": result.leaks.status,
                "leak_releases": list(result.leaks.releases),
            }
            leaking = result.leaks.num_leaking
            rows += [
                common | row | {"num_leaking": leaking.get(row["benchmark"])}
                for row in load_scores(storage, result.info.evaluation_id).table.to_pylist()
            ]
    info = {"version": COMPARISON_VERSION, "cells": cells}
    comparison_id = digest_value(["comparison", info])[:12]
    table = pa.Table.from_pylist(rows, schema=COMPARISON_SCHEMA)
    evidence = pa.concat_tables([LEAK_EVIDENCE_SCHEMA.empty_table(), *(one.cast(LEAK_EVIDENCE_SCHEMA) for one in leaks)])
    folder, differences = layout.comparison_dir(comparison_id), find_differences(results, storage)
    places = map_results(results, settings, storage)
    made = Comparison(comparison_id, folder, info | {"comparison_id": comparison_id}, table, evidence, differences, places)
    for name, data in made.files().items():
        storage.write_bytes(f"{made.folder}/{name}", data)
    return made


def cell_headlines(result: CellResult, storage: Storage) -> list[Headline]:
    """The headline scores of one cell; empty where it failed."""
    return headlines(load_scores(storage, result.info.evaluation_id)) if result.info else []


def _describe(result: CellResult) -> dict[str, Any]:
    """What `comparison.json` states about a cell: the model, the benchmarks with counts and notes, and a failure or the evaluation."""
    identity = result.model.identity
    model = {"label": result.model.label, "kind": result.model.ref.kind, "digest": identity.digest, "by_name": identity.by_name}
    found = {"model": model, "target": result.target.name, "failure": result.failure, "leaks": result.leaks.to_dict()}
    if result.info is None:
        return found
    return found | {"evaluation_id": result.info.evaluation_id, "benchmarks": result.info.benchmarks}
