"""Lists for loaders, card, attribution and Croissant: recomputed from the manifest and the tables, and compared byte for byte."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa

from bioclip import __version__, layout
from bioclip.digests import readable_json
from bioclip.parquet import read_batches
from bioclip.partitions import OutputFile
from bioclip.publishing.attribution import attribution_text
from bioclip.publishing.card import release_card
from bioclip.publishing.croissant import croissant
from bioclip.publishing.metadata import in_written_order
from bioclip.publishing.sample_counts import count_samples
from bioclip.releases.manifest import SPLITS
from bioclip.schemas import LICENSES_SCHEMA
from bioclip.shards.index import shard_lists
from bioclip.storage import Storage
from bioclip.verification.findings import Finding
from bioclip.verification.manifest import stated_settings


def check_shard_lists(storage: Storage, manifest: Mapping[str, Any], unread: Collection[str]) -> Iterator[Finding]:
    """sizes.json and shardindex.json of each split."""
    for split in SPLITS:
        shards = [OutputFile(s["name"], s["sha256"], s["num_bytes"], s["num_samples"]) for s in manifest["splits"][split]["shards"]]
        for name, wanted in shard_lists(shards, split, f"{manifest['name']}-{manifest['version']}-{split}"):
            if name not in unread:
                yield from _compared(storage, name, wanted)


def is_same_code(manifest: Mapping[str, Any]) -> bool:
    """Whether this version of the product wrote the texts; other versions may word them differently."""
    return bool(manifest.get("code_version") == __version__)


def check_texts(storage: Storage, manifest: Mapping[str, Any], unread: Collection[str]) -> Iterator[Finding]:
    """README.md, ATTRIBUTION.md and croissant.json."""
    for name, data in expected_texts(storage, manifest).items():
        if name not in unread:
            yield from _compared(storage, name, data)


def expected_texts(storage: Storage, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """README.md, ATTRIBUTION.md and croissant.json as this version of the product writes them for this manifest and these tables."""
    licenses = pa.concat_tables([LICENSES_SCHEMA.empty_table(), *read_batches(storage, layout.LICENSES, LICENSES_SCHEMA.names)])
    sample_counts, card, manifest = count_samples(storage, layout.SAMPLES), stated_settings(manifest).card, in_written_order(manifest)
    files = [OutputFile(name, file["sha256"], file["num_bytes"]) for name, file in manifest["files"].items() if name != layout.CROISSANT]
    return {
        layout.ATTRIBUTION_TEXT: attribution_text(manifest, sample_counts, licenses).encode(),
        layout.CARD: release_card(manifest, sample_counts, licenses, card).encode(),
        layout.CROISSANT: readable_json(croissant(manifest, files, sample_counts, licenses, card)),
    }


def _compared(storage: Storage, name: str, wanted: bytes) -> Iterator[Finding]:
    found = storage.read_bytes(name)
    if found == wanted:
        return
    mine, theirs = (data.decode("utf-8", "replace").split("\n") for data in (found, wanted))
    line = next((place for place, (one, other) in enumerate(zip(mine, theirs, strict=False)) if one != other), min(len(mine), len(theirs)))
    one, other = (lines[line].strip()[:120] if line < len(lines) else "" for lines in (mine, theirs))
    yield Finding("text_differs", name, f"line {line + 1}: {one!r}; expected {other!r} from manifest and tables")
