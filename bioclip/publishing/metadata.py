"""Writing the descriptions of a release; a file is written after those that it describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.partitions import OutputFile, PartitionWriter, read_stage
from bioclip.publishing.attribution import attribution_text
from bioclip.publishing.card import release_card
from bioclip.publishing.catalog_tables import write_tables
from bioclip.publishing.croissant import croissant
from bioclip.publishing.sample_counts import SampleCounts
from bioclip.releases.manifest import SPLITS
from bioclip.settings import CardSettings
from bioclip.stages import manifest_stages
from bioclip.storage import Storage


def write_metadata(
    storage: Storage,
    writer: PartitionWriter,
    folder: str,
    manifest: Mapping[str, Any],
    samples_name: str,
    sample_counts: SampleCounts,
    card: CardSettings,
    others: Iterable[OutputFile] = (),
) -> None:
    """Write tables, attribution, card and, last, croissant.json into the release's `folder`.

    `manifest` is the release's, without its list of files; `samples_name` is its table of samples and `sample_counts` the counts of it;
    `others` are files of the release that another partition wrote, except tars.
    """
    licenses = write_tables(storage, writer, folder, samples_name, read_stage(storage, "records"))
    writer.write_bytes(f"{folder}/{layout.ATTRIBUTION_TEXT}", attribution_text(manifest, sample_counts, licenses).encode())
    writer.write_bytes(f"{folder}/{layout.CARD}", release_card(manifest, sample_counts, licenses, card).encode())
    files = [replace(file, name=file.name.removeprefix(f"{folder}/")) for file in [*others, *writer.outputs]]
    writer.write_bytes(f"{folder}/{layout.CROISSANT}", readable_json(croissant(manifest, files, sample_counts, licenses, card)))


def in_written_order(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest that was read, in the order in which texts are written from it; its file has splits and stages in alphabetical order."""
    counts, splits = manifest["counts"], manifest["splits"]
    return {
        **manifest,
        "splits": {split: splits[split] for split in SPLITS},
        "counts": {stage: counts[stage] for stage in manifest_stages()},
    }
