"""README.md of a release as a Hugging Face dataset card (YAML front matter, then Markdown).

Front matter: https://huggingface.co/docs/hub/datasets-cards; `configs` lets `load_dataset(<folder of the release>)` find the tars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import yaml

from bioclip import layout
from bioclip.captions import TEXT_MEMBERS
from bioclip.publishing.attribution import lacking_sentence, licenses_markdown
from bioclip.publishing.citation import bibtex
from bioclip.publishing.markdown import cell, counts_table, table
from bioclip.publishing.sample_counts import TROPIC_DEG, SampleCounts
from bioclip.records import LABEL_RANK
from bioclip.settings import CardSettings

_HUB_LICENSES = {
    "CC0-1.0", "MIT", "Apache-2.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0",
    *(f"CC-BY{rest}-{version}" for rest in ("", "-SA", "-NC", "-NC-SA", "-ND", "-NC-ND") for version in ("2.0", "3.0", "4.0")),
}  # fmt: skip
_HUB_SPELLING = {"ODbL-1.0": "odbl", "ODC-By-1.0": "odc-by", "PDDL-1.0": "pddl"}
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"), (10**8, "10M<n<100M"))
_SPLIT_MEANINGS = {
    "train": "for training",
    "val": "held-out occurrences of species that `train` knows",
    "heldout": "species that `train` never sees",
}


def release_card(manifest: Mapping[str, Any], counts: SampleCounts, licenses: pa.Table, card: CardSettings) -> str:
    """The card of a release; every number comes from the manifest or is counted from the samples."""
    front = yaml.safe_dump(front_matter(manifest, counts, card), sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{front}---\n# {card.title or manifest['name']} {manifest['version']}\n",
        _summary(manifest, counts, card),
        _splits(manifest),
        _loading(manifest),
        _fields(manifest),
        counts_table("## Sources", "source", counts.sources),
        "## Licences\n\n" + licenses_markdown(licenses),
        _attribution(licenses),
        _making(manifest),
        _left_out(manifest, counts),
        _limits(counts),
        f"## Citation\n\n```bibtex\n{bibtex(manifest, card)}```\n\nCite the providers too; `{layout.PROVENANCE}` names them.\n",
    ]
    return "\n".join(sections)


def front_matter(manifest: Mapping[str, Any], counts: SampleCounts, card: CardSettings) -> dict[str, Any]:
    """The YAML keys of the card, in the Hub's vocabulary."""
    return {
        "pretty_name": f"{card.title or manifest['name']} {manifest['version']}",
        "language": ["en", "la"],
        **_license_keys(list(counts.licenses)),
        "size_categories": [next((name for limit, name in _SIZES if counts.num_samples < limit), "100M<n<1B")],
        "task_categories": ["image-classification", "zero-shot-image-classification"],
        "tags": ["biology", "CV", "images", "taxonomy", "species", "webdataset", "croissant", "imbalanced"],
        "configs": [{"config_name": "default", "data_files": [entry for entry in _data_files(manifest) if entry["path"]]}],
    }


def _license_keys(licenses: list[str]) -> dict[str, str]:
    if len(licenses) == 1 and licenses[0] in _HUB_LICENSES:
        return {"license": _HUB_SPELLING.get(licenses[0], licenses[0].lower())}
    return {"license": "other", "license_name": "per-image", "license_link": layout.ATTRIBUTION_TEXT}


def _data_files(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A pattern if all tars of a split are in its own folder, else their names."""
    entries: list[dict[str, Any]] = []
    for split, content in manifest["splits"].items():
        names = [shard["name"] for shard in content["shards"]]
        own = f"{layout.split_dir(split)}/"
        entries.append({"split": split, "path": f"{own}*.tar" if names and all(name.startswith(own) for name in names) else names})
    return entries


def _summary(manifest: Mapping[str, Any], counts: SampleCounts, card: CardSettings) -> str:
    words = (
        f"{counts.num_samples:,} images of organisms, {counts.num_species:,} species, each with its accepted lineage, its captions in "
        f"BioCLIP's ten forms, its licence and where it came from. Made by bioclip-pipeline {manifest['code_version']}; "
        f"{counts.num_considered:,} downloaded images were considered."
    )
    return (f"{card.description}\n\n" if card.description else "") + words + "\n"


def _splits(manifest: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{split['num_samples']:,}", f"{split['num_species']:,}", f"{len(split['shards']):,}", _SPLIT_MEANINGS.get(name, ""))
        for name, split in manifest["splits"].items()
    ]
    return "## Splits\n\n" + table(("split", "images", "species", "shards", "what for"), rows)


def _loading(manifest: Mapping[str, Any]) -> str:
    shards = manifest["splits"]["train"]["shards"]
    last = f"shards/train/shard-{{00000..{max(len(shards) - 1, 0):05d}}}.tar"
    if [shard["name"] for shard in shards] != [layout.shard_name("train", index) for index in range(len(shards))]:
        last = "<tars of splits.train.shards in manifest.json>"
    return f"""## Loading

```python
from datasets import load_dataset          # Hugging Face
samples = load_dataset("path/to/this/folder", split="val", streaming=True)

import webdataset                          # tars as they are
samples = webdataset.WebDataset("{last}", shardshuffle=100).shuffle(1000).decode("pil")

import pyarrow.parquet                     # everything but the pixels
catalog = pyarrow.parquet.read_table("{layout.CATALOG}")
```
open_clip: `--dataset-type webdataset --train-data '{last}'`; `sizes.json` beside the tars tells it their number of samples.
`croissant.json` describes the same for Croissant's readers.
"""


def _fields(manifest: Mapping[str, Any]) -> str:
    image = manifest["settings"]["shards"]
    shape = f"{image['image_px']} x {image['image_px']} pixels" if image["square"] else f"longer side at most {image['image_px']} pixels"
    texts = " ".join(f"`{name}.txt`" for name in TEXT_MEMBERS)
    rows = [
        ("`jpg`", f"the image, {shape}"),
        ("`json`", "lineage by rank, common name, accepted id, source, address, licence, holder, creator, SHA-256"),
        (texts, "captions, worded as BioCLIP's"),
        ("`txt`", f"`{image['caption']}.txt` once more, for loaders that read one text"),
    ]
    files = [
        ("`samples.parquet`", "every image considered: split and shard, or why it was dropped"),
        (f"`{layout.CATALOG}` `{layout.PROVENANCE}`", "the samples in the columns of TreeOfLife-200M"),
        (f"`{layout.ATTRIBUTION}` `{layout.LICENSES}`", "licence and holder of every image; images by licence"),
        ("`fingerprints.parquet` `leaks.parquet`", "hashes of every sample; what the gate between training and evaluation found"),
        ("`manifest.json` `manifest.sha256`", "SHA-256 of every file, settings, inputs, counts; its seal"),
    ]
    return "## Fields\n\nMembers of a sample:\n\n" + table(("member", "content"), rows) + "\nFiles:\n\n" + table(("file", "content"), files)


def _attribution(licenses: pa.Table) -> str:
    return (
        f"## Attribution\n\n{lacking_sentence(licenses)} `{layout.ATTRIBUTION}` has a row for every image (licence and its text, holder, "
        f"creator, title, source, addresses); `{layout.ATTRIBUTION_TEXT}` sums it up. Keep both when you redistribute.\n"
    )


def _making(manifest: Mapping[str, Any]) -> str:
    settings = manifest["settings"]
    rows = [("code", f"bioclip-pipeline {cell(manifest['code_version'])}")]
    rows += [(f"source `{name}`", f"snapshot key `{digest}`") for name, digest in sorted(manifest["sources"].items())]
    rows += [(f"backbone `{name}`", f"index key `{digest}`") for name, digest in sorted(manifest["backbones"].items())]
    chosen = (
        ("licences admitted", settings["ingest"]["licenses"]),
        ("least side of an image, px", settings["download"]["min_side_px"]),
        ("pHash radius of duplicates, bits", settings["duplicates"]["radius"]),
        ("pHash radius of the leakage gate, bits", settings["leakage"]["radius"]),
        ("least rank of a training sample", settings["release"]["min_rank"]),
        ("seed of the splits", settings["release"]["seed"]),
    )
    rows += [(name, cell(", ".join(map(str, value)) if isinstance(value, list) else str(value))) for name, value in chosen]
    counts = [
        (stage, f"{values['read']:,}", f"{values['written']:,}", f"{sum(values['dropped'].values()):,}")
        for stage, values in manifest["counts"].items()
    ]
    return (
        "## Making\n\n" + table(("what", "value"), rows) + "\nAll settings are in `manifest.json`. Each stage accounts for all it read:\n\n"
        + table(("stage", "read", "written", "dropped"), counts)
    )  # fmt: skip


def _left_out(manifest: Mapping[str, Any], counts: SampleCounts) -> str:
    earlier = [
        (stage, f"`{reason}`", f"{number:,}")
        for stage in ("records", "images")
        for reason, number in manifest["counts"].get(stage, {}).get("dropped", {}).items()
    ]
    later = [
        ("release", f"`{reason}`", f"{number:,}")
        for reason, number in sorted(counts.drop_reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
    words = "Rows of `release` are in `samples.parquet`, each with its reason; what earlier stages dropped has no image.\n"
    return "## Left out\n\n" + table(("stage", "reason", "images"), [*earlier, *later]) + "\n" + words


def _limits(counts: SampleCounts) -> str:
    tail, samples = counts.long_tail(), max(counts.num_samples, 1)
    kingdoms = ", ".join(
        f"{name or 'none'} {number:,}" for name, number in sorted(counts.kingdoms.items(), key=lambda item: (-item[1], item[0]))
    )
    above = counts.num_samples - counts.resolved_ranks.get("species", 0) - counts.resolved_ranks.get(LABEL_RANK, 0)
    lines = [
        f"- **Long tail.** Of {tail['species']:,} training species {tail['below_10']:,} have fewer than 10 images; "
        f"median {tail['median']:g}, most {tail['most']:,}. The commonest tenth of the species "
        f"holds {100 * tail['head_share']:.0f} % of the images.",
        f"- **Branches.** Images by kingdom: {kingdoms or 'none'}.",
        f"- **Depth of labels.** {above:,} images ({100 * above / samples:.1f} %) are labelled above the species.",
        *_unplaced_labels(counts),
        f"- **Common names.** {counts.num_common_names:,} images ({100 * counts.num_common_names / samples:.1f} %) have one; in the "
        "others' captions the scientific name stands in.",
        _geography(counts),
        "- **Labels are the providers'.** Names were reconciled with the backbones above; whether a picture shows that species "
        "was not checked.",
    ]
    return "## Limits and biases\n\n" + "\n".join(lines) + "\n"


def _unplaced_labels(counts: SampleCounts) -> list[str]:
    labels, samples = counts.resolved_ranks.get(LABEL_RANK, 0), max(counts.num_samples, 1)
    share = f"{labels:,} images ({100 * labels / samples:.1f} %)"
    words = f"have a label that no backbone knows; it is in the place of the species, with `resolved_rank` `{LABEL_RANK}`."
    return [f"- **Unplaced labels.** {share} {words}"] if labels else []


def _geography(counts: SampleCounts) -> str:
    located, samples = counts.num_located, max(counts.num_samples, 1)
    if not located:
        return "- **Geography.** No image has coordinates: where they were taken, and how evenly, is not known."
    zones = ", ".join(f"{100 * counts.zones[zone] / located:.0f} % {words}" for zone, words in (
        ("north", f"north of {TROPIC_DEG}° N"), ("tropics", "between the tropics"), ("south", f"south of {TROPIC_DEG}° S"),
    ))  # fmt: skip
    return f"- **Geography.** {located:,} images ({100 * located / samples:.1f} %) have coordinates; of these {zones}."
