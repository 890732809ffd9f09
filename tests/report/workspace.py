"""A small workspace as the stages write it: photographs of the bundled sample, real schemas, and hostile names."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bioclip.accounting import Counts
from bioclip.digests import canonical_json, digest_bytes, readable_json
from bioclip.evaluation.predictions import PREDICTION_SCHEMA
from bioclip.partitions import OutputFile, PartitionManifest, write_stage
from bioclip.records import RANKS, partition_of, record_id
from bioclip.sample import sample_path
from bioclip.schemas import (
    DUPLICATE_SCHEMA,
    IMAGE_SCHEMA,
    LABEL_CONFLICT_SCHEMA,
    LEAK_SCHEMA,
    LINEAGE_SCHEMA,
    OUTCOME_SCHEMA,
    SAMPLE_SCHEMA,
)
from bioclip.storage import Storage

SCRIPT = '<script>alert("x")</script>'
QUOTES = "\"' onmouseover='alert(1)' x=\""
RTL = "\u202egpj.exe\u202c شجرة الحياة"
LONG = "Verylongname" * 60
HOSTILE = (SCRIPT, QUOTES, RTL, LONG, "a\x00b\ud800c")
VERSION, MODEL_ID, EVALUATION_ID = "0a1b2c3d4e5f", "c0ffee000001", "e7a100000001"

LINEAGES = {
    "fish": [
        "Animalia|Chordata|Actinopterygii|Perciformes|Pomacentridae|Dascyllus|Dascyllus reticulatus",
        "Animalia|Chordata|Actinopterygii|Perciformes|Pomacentridae|Amphiprion|Amphiprion clarkii",
        "Animalia|Chordata|Actinopterygii|Perciformes|Chaetodontidae|Chaetodon|Chaetodon trifascialis",
        "Animalia|Chordata|Actinopterygii|Perciformes|Acanthuridae|Acanthurus|Acanthurus nigrofuscus",
    ],
    "plankton": ["Animalia|Arthropoda|Copepoda|Calanoida|||", "Chromista|Ochrophyta|Bacillariophyceae||||"],
    "fungi": [
        "Fungi|Basidiomycota|Agaricomycetes|Agaricales|Tricholomataceae|Collybia|Collybia nuda",
        "Fungi|Basidiomycota|Agaricomycetes|Agaricales|Physalacriaceae|Armillaria|Armillaria solidipes",
        "Fungi|Basidiomycota|Dacrymycetes|Dacrymycetales|Dacrymycetaceae|Dacrymyces|Dacrymyces chrysospermus",
    ],
    "grocery": ["Plantae|Tracheophyta|Magnoliopsida|Rosales|Rosaceae|Malus|Malus domestica"],
    "seedlings": [
        "Plantae|Tracheophyta|Magnoliopsida|Caryophyllales|Amaranthaceae|Beta|Beta vulgaris",
        "Plantae|Tracheophyta|Liliopsida|Poales|Poaceae|Zea|Zea mays",
    ],
}  # fmt: skip
"""Folder of media.zip -> kingdom|…|species."""


def sample_photos(per_folder: Mapping[str, int]) -> list[tuple[str, bytes]]:
    """(path, bytes) of the first photographs of each folder of the bundled media.zip."""
    with zipfile.ZipFile(sample_path("media")) as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        chosen = [[name for name in names if name.startswith(f"{folder}/")][:count] for folder, count in per_folder.items()]
        return [(name, archive.read(name)) for group in chosen for name in group]


def table_row(schema: pa.Schema, **values: Any) -> dict[str, Any]:
    """A row of `schema`; values that are not given are empty."""
    empty = {pa.string(): "", pa.float64(): None, pa.timestamp("ms", tz="UTC"): None}
    return {
        name: None if name in ("thumbnail", "phash_turned") else empty.get(schema.field(name).type, 0) for name in schema.names
    } | values


@dataclass
class Workspace:
    """Rows of a workspace to be written; tests change them before or after `write`."""

    root: Path
    num_partitions: int = 3
    images: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    names: list[dict[str, Any]] = field(default_factory=list)
    leaks: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    """Record id -> the provider's page."""

    @property
    def storage(self) -> Storage:
        return Storage(str(self.root))

    def add_photo(self, path: str, data: bytes, lineage: str, **values: Any) -> dict[str, Any]:
        """Add a downloaded image with its outcome; returns its row of the release."""
        url = f"https://media.example.org/{path}?n={len(self.images)}"
        identifier = record_id("field", path, url)
        with Image.open(io.BytesIO(data)) as image:
            width, height, file_format = image.width, image.height, str(image.format)
        sha256 = hashlib.sha256(data).hexdigest()
        size = {"width": width, "height": height, "original_width": width, "original_height": height}
        image_row = {"record_id": identifier, "sha256": sha256, "format": file_format, "image": data, **size}
        self.images.append(table_row(IMAGE_SCHEMA, **image_row))
        self.add_outcome(identifier, url, status="success", http_status=200, attempts=2 if len(self.images) % 17 == 0 else 1)
        ranks = dict(zip(RANKS, lineage.split("|"), strict=True))
        resolved = next((rank for rank in reversed(RANKS) if ranks[rank]), "")
        row = {"record_id": identifier, "sha256": sha256, "width": width, "height": height, "media_url": url, "source": "field", **ranks}
        row |= {"resolved_rank": resolved, "source_id": path, "occurrence_id": f"urn:{path[:-5]}", "license": "CC-BY-4.0"}
        row |= {"creator": "A. Naturalist", "verbatim_name": ranks["species"], "split": "train", **values}
        self.samples.append(table_row(SAMPLE_SCHEMA, **row))
        return self.samples[-1]

    def add_outcome(self, identifier: str, url: str, **values: Any) -> None:
        """Add the outcome of a download."""
        self.outcomes.append(
            table_row(OUTCOME_SCHEMA, record_id=identifier, media_url=url, **{"attempts": 1, "http_status": None} | values)
        )

    def add_group(self, kept: dict[str, Any], others: Iterable[tuple[dict[str, Any], str, int]]) -> None:
        """A duplicate group; `others` are (row, kind, distance), and are dropped from the release."""
        others = list(others)
        diameter = max((distance for _, _, distance in others), default=0)
        common = {"group_id": kept["record_id"], "kept_record_id": kept["record_id"], "diameter": diameter}
        self.groups.append({"record_id": kept["record_id"], "kind": "kept", "distance": 0, **common})
        for row, kind, distance in others:
            row |= {"split": "", "drop_reason": kind, "drop_detail": kept["record_id"]}
            self.groups.append({"record_id": row["record_id"], "kind": kind, "distance": distance, **common})

    def write(self) -> Storage:
        """Write all tables and manifests, with counts that follow from the rows."""
        storage, num_records = self.storage, len(self.outcomes)
        self._write_parts(storage)
        not_images = Counter(row["reason"] for row in self.outcomes if row["status"] != "success")
        kinds = Counter(row["kind"] for row in self.groups if row["kind"] != "kept")
        drops = Counter(row["drop_reason"] for row in self.samples if not row["split"])
        unresolved = Counter(row["reason"] for row in self.names if row["match_type"] == "NONE")
        samples = self._table("splits/samples.parquet", self.samples, SAMPLE_SCHEMA)
        groups = self._table(
            "duplicates/groups.parquet", sorted(self.groups, key=lambda r: (r["group_id"], r["record_id"])), DUPLICATE_SCHEMA
        )
        names = self._table("taxonomy/names.parquet", self.names, LINEAGE_SCHEMA)
        if self.conflicts:
            self._table("splits/conflicts.parquet", self.conflicts, LABEL_CONFLICT_SCHEMA)
        self._stage("records", num_records + 13, num_records, {"license_not_allowed": 9, "no_media_url": 4}, [])
        self._stage(
            "images",
            num_records,
            len(self.images),
            not_images,
            [self._output(f"images/part-{i:05d}.parquet") for i in range(self.num_partitions)],
        )
        self._stage("taxonomy", len(self.names), len(self.names) - sum(unresolved.values()), unresolved, [names])
        self._stage("duplicates", len(self.images), len(self.images) - sum(kinds.values()), kinds, [groups])
        self._stage("release", len(self.images), len(self.images) - sum(drops.values()), drops, [samples])
        self.write_release()
        return storage

    def write_release(self, **manifest: Any) -> None:
        folder = f"releases/{VERSION}"
        self._table(f"{folder}/samples.parquet", sorted(self.samples, key=lambda row: row["record_id"]), SAMPLE_SCHEMA)
        splits = {
            split: {"num_samples": sum(row["split"] == split for row in self.samples), "shards": []}
            for split in ("train", "val", "heldout")
        }
        if self.leaks:
            self._table(f"{folder}/leaks.parquet", self.leaks, LEAK_SCHEMA)
        if self.pages:
            pages = [{"record_id": record_id, "occurrence_url": url} for record_id, url in sorted(self.pages.items())]
            self._table(f"{folder}/attribution.parquet", pages, pa.schema([("record_id", pa.string()), ("occurrence_url", pa.string())]))
        values = {"name": "tree-of-life", "version": VERSION, "splits": splits, **manifest}
        self.storage.write_bytes(f"{folder}/manifest.json", readable_json(values))

    def write_model(self, model_id: str = MODEL_ID, num_steps: int = 1500) -> str:
        lines = [
            {
                "step": step,
                "loss": 4.2 * math.exp(-step / 500) + 0.9 + 0.12 * math.sin(step * 1.7),
                "learning_rate": 1e-4 * step / num_steps,
            }
            for step in range(1, num_steps + 1)
        ]
        self.storage.write_bytes(f"models/{model_id}/metrics.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        described = {
            "model_id": model_id,
            "release_version": VERSION,
            "settings": {"recipe": "demo_cpu", "num_steps": num_steps},
            "note": SCRIPT,
        }
        self.storage.write_bytes(f"models/{model_id}/model.json", readable_json(described))
        return model_id

    def write_scores(self, evaluation_id: str = EVALUATION_ID) -> str:
        rows = []
        for index, benchmark in enumerate(("known_species", "heldout_species")):
            common = {"benchmark": benchmark, "metric": "top1", "num_images": 120 - 40 * index, "num_classes": 40 - 20 * index}
            for place, caption in enumerate(("sci", "com", "taxon", "sci_com", "taxon_com")):
                value = 0.31 - 0.03 * place - 0.12 * index
                rows.append(
                    common | _score("zero_shot", value, 0.05, caption_type=caption, rank="species", chance=1 / common["num_classes"])
                )
            for place, rank in enumerate(RANKS[:-1]):
                value = 0.88 - 0.09 * place - 0.1 * index
                rows.append(common | _score("zero_shot", value, 0.04, caption_type="taxon_com", rank=rank, chance=0.4 / (place + 1)))
            rows += [common | _score("few_shot", 0.3 + shots / 20, 0.03, shots=shots, rank="species", chance=0.05) for shots in (1, 5)]
        self.storage.write_bytes(
            f"evaluations/{evaluation_id}/scores.json", readable_json({"evaluation_id": evaluation_id, "note": SCRIPT})
        )
        with self.storage.writer(f"evaluations/{evaluation_id}/scores.parquet") as stream:
            pq.write_table(pa.Table.from_pylist(rows), stream)
        return evaluation_id

    def write_predictions(self, answers: Iterable[tuple[str, str, str]], evaluation_id: str = EVALUATION_ID, **values: Any) -> None:
        """Zero-shot predictions on `known_species`; `answers` are (item id, true class, first answer)."""
        parameters = canonical_json({"caption_type": "taxon_com", "rank": "species"}).decode()
        common = {"benchmark": "known_species", "task": "zero_shot", "parameters": parameters, **values}
        rows = [
            {"item_id": item, "truth": truth, "truth_position": int(truth != answer), "num_tied": 1, "top": [answer], **common}
            for item, truth, answer in answers
        ]
        with self.storage.writer(f"evaluations/{evaluation_id}/outcomes.parquet") as stream:
            pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), stream)

    def _write_parts(self, storage: Storage) -> None:
        for index in range(self.num_partitions):
            for folder, rows, schema in (("images", self.images, IMAGE_SCHEMA), ("outcomes", self.outcomes, OUTCOME_SCHEMA)):
                mine = sorted((r for r in rows if partition_of(r["record_id"], self.num_partitions) == index), key=lambda r: r["record_id"])
                with storage.writer(f"{folder}/part-{index:05d}.parquet") as stream:
                    pq.write_table(pa.Table.from_pylist(mine, schema=schema), stream, row_group_size=7)

    def _table(self, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> OutputFile:
        with self.storage.writer(name) as stream:
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), stream)
        return self._output(name)

    def _output(self, name: str) -> OutputFile:
        sha256, num_bytes = self.storage.digest(name)
        return OutputFile(name, sha256, num_bytes)

    def _stage(self, stage: str, read: int, written: int, dropped: Mapping[str, int], outputs: list[OutputFile]) -> None:
        counts = Counts(read, written, dropped)
        write_stage(self.storage, stage, [PartitionManifest(stage, "part", digest_bytes(stage.encode()), tuple(outputs), counts)])


def _score(task: str, value: float, half: float, **values: Any) -> dict[str, Any]:
    parameters = {name: values.pop(name) for name in ("caption_type", "rank", "shots") if name in values}
    interval = {
        "ci_low": value - half,
        "ci_high": value + half,
        "interval_unit": "image",
        "num_units": 40,
        "majority": 0.1,
        "interval_method": "percentile_bootstrap",
    }
    return {"task": task, "parameters": json.dumps(parameters), "value": value, **interval, **values}


def fill(workspace: Workspace, per_folder: Mapping[str, int]) -> Workspace:
    """Photographs in all splits and dropped for all kinds of reasons, failed downloads, groups of two to six, and names."""
    for index, (path, data) in enumerate(sample_photos(per_folder)):
        folder = path.split("/")[0]
        lineage = LINEAGES[folder][index * index % len(LINEAGES[folder])]
        workspace.add_photo(path, data, lineage, split=("train", "train", "train", "val", "heldout")[index % 5])
    rows = workspace.samples
    for row, text in zip(rows, HOSTILE, strict=False):
        text = text.replace("\ud800", "")
        row |= {"creator": text, "species": text, "license": text[:80], "source": text[:60]}
    for row in rows[10:14]:
        row |= dict.fromkeys(RANKS, "") | {"split": "", "drop_reason": "not_in_backbone", "drop_detail": SCRIPT, "resolved_rank": ""}
    for row, place in zip(rows[5:10], ((51.5, 7.2), (51.6, 7.3), (-17.7, 168.3), (0.0, 0.0), (95.0, 10.0)), strict=True):
        row["latitude"], row["longitude"] = place
    for size in range(2, 7):
        path, data = f"fungi/copy-{size}.jpg", workspace.images[15 + size]["image"]
        kind = ("duplicate_near", "duplicate_pixels", "duplicate_bytes")[size % 3]
        copies = [workspace.add_photo(path, data, LINEAGES["fungi"][size % 3], license="") for _ in range(size - 1)]
        workspace.add_group(rows[15 + size], [(row, kind, 2 * (n % 3) if kind == "duplicate_near" else 0) for n, row in enumerate(copies)])
    _add_failures(workspace)
    _add_names(workspace)
    return workspace


def _add_failures(workspace: Workspace) -> None:
    failures = [
        *(("http_404", 404, "permanent", f"https://gone.example.net/photo/{n}.jpg") for n in range(9)),
        ("not_an_image", 200, "permanent", "https://media.example.org/landing.html"),
        ("timeout", None, "retry_later", "https://slow.example.com/" + "a" * 300),
        ("invalid_url", None, "permanent", "javascript:alert(document.domain)"),
        ("invalid_url", None, "permanent", f"http://[::1/{SCRIPT}"),
        ("address_refused", None, "permanent", f"http://10.0.0.1/{QUOTES}"),
    ]
    for reason, http_status, status, url in failures:
        values = {"reason": reason, "http_status": http_status, "status": status, "detail": f"{reason}: {SCRIPT}"}
        workspace.add_outcome(record_id("field", url, url), url, attempts=4 if status == "retry_later" else 1, **values)


def _add_names(workspace: Workspace) -> None:
    decided = [
        ("Collybia nuda", "EXACT", "", "1", "1", 30), ("Clitocybe nuda", "EXACT", "", "2", "1", 12),
        ("Lepista nuda", "EXACT", "", "3", "1", 7),
        ("Coreopsis binctorte", "NONE", "not_in_backbone", "", "", 3), (SCRIPT, "NONE", "unparsable", "", "", 5),
        ("Oenanthe", "AMBIGUOUS", "homonym_ambiguous", "", "", 2), ("Zea maiz", "FUZZY", "one_letter", "9", "9", 4),
    ]  # fmt: skip
    for index, (name, match_type, reason, matched, accepted, num_records) in enumerate(decided):
        values = {
            "verbatim_scientific_name": name,
            "canonical_name": name,
            "match_type": match_type,
            "reason": reason,
            "num_records": num_records,
        }
        accepted_name = "Collybia nuda" if accepted == "1" else name if accepted else ""
        values |= {"matched_id": matched, "matched_name": name, "accepted_id": accepted, "accepted_name": accepted_name}
        workspace.names.append(table_row(LINEAGE_SCHEMA, lineage_id=f"{index:032x}", **values))
