"""catalog, provenance, attribution and licences recomputed from samples.parquet, and the lists of species and of `train_small`.

Values that only the providers' records hold (titles, pages, publishers) are taken from the tables themselves and compared among them;
whether the provider stated them cannot be checked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.parquet import read_batches
from bioclip.publishing.catalog_tables import attribution_table, catalog_table, count_licenses, licenses_table, provenance_table
from bioclip.records import RANKS
from bioclip.schemas import ATTRIBUTION_SCHEMA, CATALOG_SCHEMA, HELDOUT_LIST_SCHEMA, LICENSES_SCHEMA, PROVENANCE_SCHEMA, TRAIN_SMALL_SCHEMA
from bioclip.selection.splits import TRAIN, unit_hashes
from bioclip.storage import Storage
from bioclip.verification.findings import Finding
from bioclip.verification.rows import aligned, differing_rows, has_form, read_samples

_COLUMNS = (
    "record_id", "split", *RANKS, "common_name", "source", "source_id", "media_url", "license", "license_verbatim", "rights_holder",
    "creator", "basis_of_record", "shard",
)  # fmt: skip
_SCHEMAS = {layout.CATALOG: CATALOG_SCHEMA, layout.PROVENANCE: PROVENANCE_SCHEMA, layout.ATTRIBUTION: ATTRIBUTION_SCHEMA}
_KEYS = {layout.CATALOG: "uuid", layout.PROVENANCE: "uuid", layout.ATTRIBUTION: "record_id"}


def check_tables(storage: Storage, num_samples: int) -> Iterator[Finding]:
    """Each table has a row per sample, with the values that follow from samples.parquet."""
    problems = [finding for name, schema in _SCHEMAS.items() for finding in has_form(storage, name, schema, num_samples)]
    problems += has_form(storage, layout.LICENSES, LICENSES_SCHEMA)
    yield from problems
    if problems:
        return
    counts: Counter[tuple[str, str, bool]] = Counter()
    lacking: Counter[tuple[str, str, bool]] = Counter()
    found = [read_batches(storage, name, schema.names) for name, schema in _SCHEMAS.items()]
    for samples, catalog, provenance, attribution in aligned(read_samples(storage, _COLUMNS), *found):
        described = _described(samples, catalog, provenance, attribution)
        wanted = attribution_table(described)
        tables = {
            layout.CATALOG: (catalog, catalog_table(described)),
            layout.PROVENANCE: (provenance, provenance_table(described, wanted["license_url"])),
            layout.ATTRIBUTION: (attribution, wanted),
        }
        for name, (stated, made) in tables.items():
            yield from differing_rows(name, _KEYS[name], stated, made)
        count_licenses(wanted, counts, lacking)
    yield from _licenses(storage, licenses_table(counts, lacking))


def _described(samples: pa.Table, catalog: pa.Table, provenance: pa.Table, attribution: pa.Table) -> pa.Table:
    """The samples with the values of their records, as far as the tables hold them."""
    borrowed = {
        "title": attribution["title"],
        "references": attribution["occurrence_url"],
        "image_type": catalog["img_type"],
        "publisher": catalog["publisher"],
        "bibliographicCitation": provenance["bibliographicCitation"],
        "EOL page ID": _pages(samples["source_id"].to_pylist(), catalog["source_id"].to_pylist()),
    }
    for name, column in borrowed.items():
        samples = samples.append_column(name, column)
    return samples


def _pages(own: Sequence[str], stated: Sequence[str | None]) -> pa.Array:
    """The page in `<source id>_<page>`."""
    pairs = ((one, other or "") for one, other in zip(own, stated, strict=True))
    return pa.array([other[len(one) + 1 :] if other.startswith(f"{one}_") else None for one, other in pairs], pa.string())


def _licenses(storage: Storage, wanted: pa.Table) -> Iterator[Finding]:
    found = pa.concat_tables([LICENSES_SCHEMA.empty_table(), *read_batches(storage, layout.LICENSES, LICENSES_SCHEMA.names)])
    if found.num_rows != wanted.num_rows:
        yield Finding("row_differs", layout.LICENSES, f"{found.num_rows} licences; expected {wanted.num_rows}")
    else:
        yield from differing_rows(layout.LICENSES, "license", found, wanted)


def check_lists(storage: Storage, manifest: Mapping[str, Any], readable: set[str]) -> Iterator[Finding]:
    """train_small.parquet and heldout_list.parquet, if the release has them; `readable` are the lists that can be read."""
    rules = manifest["settings"]["release"]
    if layout.TRAIN_SMALL in readable:
        yield from has_form(storage, layout.TRAIN_SMALL, TRAIN_SMALL_SCHEMA)
        yield from _train_small(storage, int(rules["seed"]), float(rules.get("train_small_fraction", 0)))
    if layout.HELDOUT_LIST in readable:
        yield from has_form(storage, layout.HELDOUT_LIST, HELDOUT_LIST_SCHEMA)
        yield from _heldout_list(storage, manifest)


def _train_small(storage: Storage, seed: int, fraction: float) -> Iterator[Finding]:
    chosen = _chosen(storage, seed, fraction)
    num_wanted = num_same = 0
    found = list(read_batches(storage, layout.TRAIN_SMALL, TRAIN_SMALL_SCHEMA.names))
    for one, other in aligned(iter(found), chosen):
        num_same += one.num_rows
        yield from differing_rows(layout.TRAIN_SMALL, "record_id", one, other)
    num_wanted = sum(rows.num_rows for rows in _chosen(storage, seed, fraction))
    if (num_found := sum(rows.num_rows for rows in found)) != num_wanted:
        yield Finding("counts_do_not_add_up", layout.TRAIN_SMALL, f"{num_found} rows; the settings select {num_wanted} training samples")


def _chosen(storage: Storage, seed: int, fraction: float) -> Iterator[pa.Table]:
    for rows in read_samples(storage, ("record_id", "shard", "split")):
        train = rows.filter(pc.equal(rows["split"], TRAIN)).drop_columns(["split"])
        yield train.filter(pa.array(unit_hashes(f"train_small:{seed}", train["record_id"]) < fraction))


def _heldout_list(storage: Storage, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    listed = pa.concat_tables([HELDOUT_LIST_SCHEMA.empty_table(), *read_batches(storage, layout.HELDOUT_LIST, HELDOUT_LIST_SCHEMA.names)])
    outcomes = Counter(listed["outcome"].to_pylist())
    notes = manifest["counts"]["release"]["notes"]
    noted = {name.removeprefix("heldout_list_"): number for name, number in notes.items() if name.startswith("heldout_list_")}
    if dict(outcomes) != noted:
        yield Finding(
            "counts_do_not_add_up", layout.HELDOUT_LIST, f"outcomes {dict(sorted(outcomes.items()))}; the manifest states {noted}"
        )
    held_out = listed.filter(pc.equal(listed["outcome"], "held_out"))["species"].combine_chunks()
    trained: set[str] = set()
    for rows in read_samples(storage, ("species", "split")):
        train = rows.filter(pc.and_(pc.equal(rows["split"], TRAIN), pc.is_in(rows["species"], value_set=held_out)))
        trained.update(pc.unique(train["species"]).to_pylist())
    for species in sorted(trained):
        yield Finding("leaked_species", layout.HELDOUT_LIST, f"{species} is listed as held out and is in training")
