"""croissant.json: the release in JSON-LD for dataset search and Croissant's loaders.

Format: Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html). Every file is a FileObject with size and SHA-256, the
images in the tars of a split are a FileSet, and two kinds of RecordSet read them: `catalog`, and one of images per split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from bioclip import layout
from bioclip.partitions import OutputFile
from bioclip.publishing.citation import bibtex
from bioclip.publishing.sample_counts import SampleCounts
from bioclip.schemas import CATALOG_SCHEMA
from bioclip.settings import CardSettings

CROISSANT_VERSION = "http://mlcommons.org/croissant/1.0"
_TERMS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated", "replace",
    "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_FORMATS = {
    "parquet": "application/x-parquet", "tar": "application/x-tar", "json": "application/json", "md": "text/markdown",
}  # fmt: skip
_KEY_PATTERN = r"([^/]+)\.jpg$"


def croissant(
    manifest: Mapping[str, Any], files: Iterable[OutputFile], counts: SampleCounts, licenses: pa.Table, card: CardSettings
) -> dict[str, Any]:
    """JSON-LD of a release. `files` are all except shards, named within the release; the manifest is left out because it states the digest
    of this file."""
    shards = {split: list(content["shards"]) for split, content in manifest["splits"].items()}
    objects = [_file_object(file.name, file.sha256, file.num_bytes) for file in sorted(files, key=lambda file: file.name)]
    objects += [_file_object(shard["name"], shard["sha256"], shard["num_bytes"]) for tars in shards.values() for shard in tars]
    stated = {
        "creator": [{"@type": "sc:Organization", "name": name} for name in card.creators],
        "url": card.url,
        "datePublished": card.date_published,
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CROISSANT_VERSION,
        "name": manifest["name"],
        "alternateName": card.title or f"{manifest['name']} {manifest['version']}",
        "description": card.description
        or f"{counts.num_samples:,} images of organisms with accepted lineages, {counts.num_species:,} species, as WebDataset shards.",
        "version": f"1.0.0+{manifest['version']}",
        "citeAs": bibtex(manifest, card),
        "license": sorted({row["url"] or row["license"] or layout.ATTRIBUTION_TEXT for row in licenses.to_pylist()}),
        "keywords": ["biology", "images", "species", "taxonomy"],
        "isAccessibleForFree": True,
        **{name: value for name, value in stated.items() if value},
        "distribution": [*objects, *(_file_set(split, tars) for split, tars in shards.items() if tars)],
        "recordSet": [_catalog(), *(_images(split) for split, tars in shards.items() if tars)],
    }


def _file_object(name: str, sha256: str, num_bytes: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": _identifier(name),
        "name": name,
        "contentUrl": name,
        "contentSize": f"{num_bytes} B",
        "encodingFormat": _FORMATS.get(name.rpartition(".")[2], "text/plain"),
        "sha256": sha256,
    }


def _identifier(name: str) -> str:
    """An id without the leading `../` of files in earlier releases, which an IRI would resolve away."""
    return name.removeprefix("../")


def _file_set(split: str, tars: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{split}-images",
        "name": f"{split}-images",
        "description": f"The JPEGs within the tars of {split}, named by record id; beside each lie its metadata and captions.",
        "containedIn": [{"@id": _identifier(tar["name"])} for tar in tars],
        "encodingFormat": "image/jpeg",
        "includes": "*.jpg",
    }


def _catalog() -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"catalog/{name}",
            "name": name,
            "dataType": "sc:URL" if name == "source_url" else "sc:Text",
            "source": {"fileObject": {"@id": layout.CATALOG}, "extract": {"column": name}},
        }
        for name in CATALOG_SCHEMA.names
        if name != "base_dataset_file_path"
    ]
    description = "A row for each sample, in the columns of TreeOfLife-200M; `uuid` is the name of its members in the tars."
    return {
        "@type": "cr:RecordSet",
        "@id": "catalog",
        "name": "catalog",
        "description": description,
        "key": {"@id": "catalog/uuid"},
        "field": fields,
    }


def _images(split: str) -> dict[str, Any]:
    file_set = {"@id": f"{split}-images"}
    key = {"fileSet": file_set, "extract": {"fileProperty": "filename"}, "transform": {"regex": _KEY_PATTERN}}
    content = {"fileSet": file_set, "extract": {"fileProperty": "content"}}
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"The images of {split}; `uuid` finds their rows in the catalog.",
        "key": {"@id": f"{split}/uuid"},
        "field": [
            {"@type": "cr:Field", "@id": f"{split}/uuid", "name": "uuid", "dataType": "sc:Text", "source": key},
            {"@type": "cr:Field", "@id": f"{split}/image", "name": "image", "dataType": "sc:ImageObject", "source": content},
        ],
    }
