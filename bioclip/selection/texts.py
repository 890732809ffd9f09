"""Texts of a release in addition to BioCLIP's ten: vernacular names in further languages, and descriptions from a user's table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.captions import scientific_name
from bioclip.errors import SettingsError, StorageError
from bioclip.partitions import read_stage
from bioclip.records import RANKS
from bioclip.schemas import TEXTS_SCHEMA
from bioclip.selection.candidates import Candidates
from bioclip.selection.name_lists import accepted_species, file_digest, names_digest, read_named_rows
from bioclip.settings import PipelineSettings, ReleaseSettings
from bioclip.storage import Storage
from bioclip.taxonomy.vernacular_stage import STAGE as VERNACULARS_STAGE
from bioclip.taxonomy.vernacular_stage import plan_vernaculars, vernaculars_name

_SENTENCE = "a photo of {}."

TextKey = tuple[str, str]
"""(accepted id, scientific name), since ids are unique only within one backbone."""
Texts = dict[TextKey, dict[str, str]]
"""Texts by member name, by taxon."""


def more_languages(settings: ReleaseSettings) -> tuple[str, ...]:
    """Languages other than English, sorted."""
    return tuple(sorted(set(settings.languages) - {"en"}))


def text_inputs(storage: Storage, settings: PipelineSettings) -> dict[str, str]:
    """Digests of the inputs of texts; empty if no setting asks for texts. Raises SettingsError, and StorageError for an earlier stage
    that has not run, or ran for other languages."""
    inputs = {"vernaculars": _vernaculars_digest(storage, settings)} if more_languages(settings.release) else {}
    if path := settings.release.descriptions:
        inputs |= {"descriptions": file_digest(path, "release.descriptions"), "names": names_digest(storage, settings.taxonomy)}
    return inputs


def _vernaculars_digest(storage: Storage, settings: PipelineSettings) -> str:
    # Names of a language that was not read would look like missing names.
    stage = read_stage(storage, VERNACULARS_STAGE)
    keys = {partition.name: partition.key for partition in stage.partitions}
    if any(keys.get(job.name) != job.key for job in plan_vernaculars(storage, settings)):
        raise StorageError(
            f"stage {VERNACULARS_STAGE!r} of {storage.root!r} was run for other languages or backbones than the settings name; "
            "run `treeoflife curate` again."
        )
    return stage.digest


def release_texts(storage: Storage, candidates: Candidates, settings: PipelineSettings) -> tuple[pa.Table | None, dict[str, int]]:
    """(TEXTS_SCHEMA of the samples' taxa or None if no setting asks for texts, notes). Raises SettingsError for an invalid table.

    If a taxon has no name in a language, its scientific name is used, as in BioCLIP's English members; a species without a
    description has no such member. Notes: `samples_named_<code>`, `samples_with_description` and outcomes of the table's rows.
    """
    languages, path = more_languages(settings.release), settings.release.descriptions
    if not languages and not path:
        return None, {}
    taxa: dict[TextKey, Mapping[str, Any]] = {}
    num_samples: Counter[TextKey] = Counter()
    lineages, rows = candidates.combined("backbone", "accepted_id", *RANKS)
    for taxon, size in zip(rows, np.bincount(lineages[candidates.split > 0], minlength=len(rows)).tolist(), strict=True):
        if size:
            taxa.setdefault(text_key(taxon), taxon)
            num_samples[text_key(taxon)] += size
    notes: Counter[str] = Counter()
    names = _names(storage, settings) if languages else {}
    described = _descriptions(storage, settings, {row["species"] for row in taxa.values()}, notes) if path else {}
    found: list[dict[str, str]] = []
    for key, row in sorted(taxa.items()):
        for code in languages:
            name, source = names.get((row["backbone"], row["accepted_id"], code), ("", ""))
            notes[f"samples_named_{code}"] += num_samples[key] if name else 0
            sentence = settings.release.sentences.get(code, _SENTENCE)
            found += [
                _text(key, f"com.{code}", sentence.replace("{}", name or key[1]), source),
                _text(key, f"common_name.{code}", name or key[1], source),
            ]
        if one := described.get(row["species"]):
            notes["samples_with_description"] += num_samples[key]
            found.append(_text(key, "description", one["description"], one.get("source", ""), one.get("license", "")))
    return pa.Table.from_pylist(found, schema=TEXTS_SCHEMA), {name: number for name, number in notes.items() if number}


def text_key(row: Mapping[str, Any]) -> TextKey:
    """The taxon of a row with SAMPLE_SCHEMA's ranks and `accepted_id`."""
    return row["accepted_id"], scientific_name(row)


def changed_taxa(now: pa.Table | None, before: pa.Table | None) -> set[TextKey]:
    """Taxa whose texts differ between two TEXTS_SCHEMA tables; None counts as a table without rows."""
    one, other = (_by_taxon(table) if table is not None else {} for table in (now, before))
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def read_texts(storage: Storage, name: str) -> Texts:
    """Texts by taxon of a TEXTS_SCHEMA file."""
    with storage.reader(name) as stream:
        return _by_taxon(pq.read_table(stream))


def _by_taxon(table: pa.Table) -> Texts:
    texts: Texts = {}
    for row in table.select(["accepted_id", "scientific_name", "member", "text"]).to_pylist():
        texts.setdefault((row["accepted_id"], row["scientific_name"]), {})[row["member"]] = row["text"]
    return texts


def _text(key: TextKey, member: str, text: str, source: str, license_: str = "") -> dict[str, str]:
    return {"accepted_id": key[0], "scientific_name": key[1], "member": member, "text": text, "source": source, "license": license_}


def _names(storage: Storage, settings: PipelineSettings) -> dict[tuple[str, str, str], tuple[str, str]]:
    """(backbone, accepted id, language) -> (name, source)."""
    names = {}
    for backbone in settings.taxonomy.backbones:
        with storage.reader(vernaculars_name(backbone.name)) as stream:
            for row in pq.read_table(stream).to_pylist():
                names[backbone.name, row["accepted_id"], row["language"]] = (row["name"], row["source"])
    return names


def read_described(path: str) -> list[dict[str, str]]:
    """Rows of `release.descriptions`, each with `name` and `description`; raises SettingsError."""
    rows = read_named_rows(path, "release.descriptions")
    if "description" not in rows[0]:
        raise SettingsError(f"release.descriptions {path!r} has no columns scientific_name and description; its first line must name them.")
    return rows


def _descriptions(storage: Storage, settings: PipelineSettings, known: set[str], notes: Counter[str]) -> dict[str, dict[str, str]]:
    """Accepted binomial -> the first row of the table that describes it."""
    rows = read_described(settings.release.descriptions)
    described: dict[str, dict[str, str]] = {}
    for row, species in zip(rows, accepted_species(rows, storage, settings.taxonomy), strict=True):
        name, text = species or row["name"], " ".join(row["description"].split())
        if not text:
            notes["descriptions_empty"] += 1
        elif name not in known:
            notes["descriptions_without_image" if species else "descriptions_not_resolved"] += 1
        elif name in described:
            notes["descriptions_repeated"] += 1
        else:
            described[name] = {**row, "description": text}
            notes["descriptions_used"] += 1
    return described
