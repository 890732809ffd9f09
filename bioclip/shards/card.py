"""README.md of a release, in the Hugging Face dataset-card form (YAML front matter, then Markdown)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml


def release_card(manifest: Mapping[str, Any], samples: list[dict[str, Any]]) -> str:
    """The card of a release; every number is taken from the manifest or counted from the samples."""
    kept = [sample for sample in samples if sample["split"]]
    front = yaml.safe_dump(
        {
            "pretty_name": f"{manifest['name']} {manifest['version']}",
            "license": "other",
            "license_name": "per-image",
            "task_categories": ["zero-shot-image-classification", "image-classification"],
            "tags": ["biology", "CV", "images", "taxonomy"],
        },
        sort_keys=False,
    )
    splits = [
        f"| {name} | {split['num_samples']:,} | {split['num_species']:,} | {len(split['shards'])} |"
        for name, split in manifest["splits"].items()
    ]
    sections = [
        f"---\n{front}---\n# {manifest['name']} {manifest['version']}\n",
        "Images of organisms with accepted lineages, made by bioclip-pipeline "
        f"{manifest['code_version']}. WebDataset shards; the ten text members of each sample are BioCLIP's.\n",
        "## Splits\n\n| split | images | species | shards |\n|-|-|-|-|\n" + "\n".join(splits) + "\n",
        "`val`: held-out occurrences of known species. `heldout`: species that `train` never sees.\n",
        _table("## Licences", "licence", Counter(sample["license"] or "not stated" for sample in kept)),
        "Holder, creator, licence text and address of every image are columns of `samples.parquet`; keep them when you redistribute.\n",
        _table("## Sources", "source", Counter(sample["source"] for sample in kept)),
        _table("## Left out", "reason", Counter(sample["drop_reason"] for sample in samples if sample["drop_reason"])),
    ]
    return "\n".join(sections)


def _table(title: str, head: str, counts: Counter[str]) -> str:
    rows = [f"| {name} | {count:,} |" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return f"{title}\n\n| {head} | images |\n|-|-|\n" + "\n".join(rows or ["| none | 0 |"]) + "\n"
