"""The tables of a release besides samples.parquet: catalog and provenance in the columns of TreeOfLife-200M, attribution and licences.

Columns of the first two: dataset card of imageomics/TreeOfLife-200M (2025), "Data Fields". Rows are the samples of all splits, sorted by
record id; dropped images are only in samples.parquet. They are written in one pass, one partition of the records at a time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.licenses import license_url, needs_attribution
from bioclip.parquet import open_writer, read_batches
from bioclip.partitions import PartitionWriter, StageManifest
from bioclip.records import RANKS, partition_bounds, partition_of
from bioclip.schemas import ATTRIBUTION_SCHEMA, CATALOG_SCHEMA, LICENSES_SCHEMA, PROVENANCE_SCHEMA, RECORD_SCHEMA, SAMPLE_SCHEMA
from bioclip.storage import Storage

NOT_PROVIDED = "not provided"
"""What TreeOfLife-200M writes for a missing holder or title."""
ROW_GROUP_ROWS = 65_536


_SAMPLES = pa.schema(
    [
        SAMPLE_SCHEMA.field(name)
        for name in (
            "record_id", "split", *RANKS, "common_name", "source", "source_id", "media_url", "license", "license_verbatim",
            "rights_holder", "creator", "basis_of_record", "shard",
        )
    ]
)  # fmt: skip
_RECORDS = pa.schema([RECORD_SCHEMA.field(name) for name in ("record_id", "title", "references", "image_type", "verbatim")])
_VERBATIM_KEYS = ("publisher", "bibliographicCitation", "EOL page ID")
_IMAGE_TYPES = {"citizen_science": "Citizen Science", "camera_trap": "Camera-trap", "specimen": "Museum Specimen", "": "Unidentified"}


def write_tables(storage: Storage, writer: PartitionWriter, folder: str, samples_name: str, records: StageManifest) -> pa.Table:
    """Write the four tables into `folder`; returns the table of licences. Memory holds a row group and a partition."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    lacking: Counter[tuple[str, str, bool]] = Counter()
    with (
        writer.open(f"{folder}/{layout.CATALOG}") as catalog,
        writer.open(f"{folder}/{layout.PROVENANCE}") as provenance,
        writer.open(f"{folder}/{layout.ATTRIBUTION}") as attribution,
        open_writer(catalog, CATALOG_SCHEMA) as catalog_sink,
        open_writer(provenance, PROVENANCE_SCHEMA) as provenance_sink,
        open_writer(attribution, ATTRIBUTION_SCHEMA) as attribution_sink,
    ):
        for rows in described_samples(storage, samples_name, records):
            table = attribution_table(rows)
            catalog_sink.write_table(catalog_table(rows))
            provenance_sink.write_table(provenance_table(rows, table["license_url"]))
            attribution_sink.write_table(table)
            count_licenses(table, counts, lacking)
    licenses = licenses_table(counts, lacking)
    writer.write_table(f"{folder}/{layout.LICENSES}", licenses)
    return licenses


def described_samples(storage: Storage, samples_name: str, records: StageManifest, rows: int = ROW_GROUP_ROWS) -> Iterator[pa.Table]:
    """Samples with further values of their records (null if a record is gone), sorted by record id, in tables of at least `rows` rows."""
    parts: dict[int, list[str]] = {}
    for output in records.outputs:
        if (number := layout.part_number(output.name)) is not None:
            parts.setdefault(number, []).append(output.name)
    waiting: list[pa.Table] = []
    for index, samples in _by_partition(storage, samples_name, max(len(parts), 1)):
        waiting.append(_described(storage, samples.combine_chunks(), parts.get(index, [])))
        if sum(table.num_rows for table in waiting) >= rows:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _by_partition(storage: Storage, samples_name: str, num_partitions: int) -> Iterator[tuple[int, pa.Table]]:
    """(partition, its samples) in order, from a table sorted by record id that is read once."""
    index, pieces = 0, [_SAMPLES.empty_table()]
    for batch in read_batches(storage, samples_name, _SAMPLES.names):
        rest = batch.filter(pc.not_equal(batch["split"], ""))
        while rest.num_rows:
            found = partition_of(rest["record_id"][0].as_py(), num_partitions)
            if found != index:
                yield index, pa.concat_tables(pieces)
                index, pieces = found, []
            num_here = pc.sum(pc.less(rest["record_id"], partition_bounds(index, num_partitions)[1])).as_py()
            pieces.append(rest.slice(0, num_here))
            rest = rest.slice(num_here)
    yield index, pa.concat_tables(pieces)


def _described(storage: Storage, samples: pa.Table, names: list[str]) -> pa.Table:
    wanted = samples["record_id"].combine_chunks()
    found = [pa.table({name: [] for name in _RECORDS.names}, schema=_RECORDS)]
    for name in names if len(wanted) else []:
        with storage.reader(name) as stream:
            table = pq.read_table(stream, columns=_RECORDS.names).cast(_RECORDS)
        found.append(table.filter(pc.is_in(table["record_id"], value_set=wanted)))
    records = pa.concat_tables(found).combine_chunks()
    rows = pc.index_in(wanted, value_set=records["record_id"].combine_chunks())
    for name in ("title", "references", "image_type"):
        samples = samples.append_column(name, records[name].take(rows))
    for key in _VERBATIM_KEYS:
        samples = samples.append_column(key, pc.map_lookup(records["verbatim"], key, "first").take(rows))
    return samples


def catalog_table(rows: pa.Table) -> pa.Table:
    """CATALOG_SCHEMA of described samples."""
    basis = _mapped(rows["basis_of_record"], lambda text: re.sub(r"(?<=[a-z])(?=[A-Z])|[\s_]+", "_", text.strip()).upper())
    names = {rank: _stated(rows[rank]) for rank in RANKS}
    columns = {
        "uuid": rows["record_id"],
        "source_url": _stated(rows["media_url"]),
        **names,
        "species": _epithet(names["genus"], names["species"]),
        "scientific_name": pc.coalesce(*reversed(names.values())),
        "common": _stated(rows["common_name"]),
        "data_source": rows["source"],
        "publisher": _stated(rows["publisher"]),
        "basisOfRecord": _stated(basis),
        "img_type": _mapped(pc.fill_null(rows["image_type"], ""), lambda text: _IMAGE_TYPES.get(text, text)),
        "source_id": _source_id(rows),
        "shard_filename": pc.replace_substring_regex(rows["shard"], ".*/", ""),
        "shard_file_path": rows["shard"],
        "base_dataset_file_path": pa.nulls(rows.num_rows, pa.string()),
        "basis_of_record": _stated(basis),
        "split": rows["split"],
    }
    return pa.table(columns, schema=CATALOG_SCHEMA)


def provenance_table(rows: pa.Table, license_urls: pa.ChunkedArray) -> pa.Table:
    """PROVENANCE_SCHEMA of described samples."""
    columns = {
        "uuid": rows["record_id"],
        "source_id": _source_id(rows),
        "data_source": rows["source"],
        "source_url": _stated(rows["media_url"]),
        "license_name": _stated(rows["license"]),
        "copyright_owner": pc.fill_null(_stated(rows["rights_holder"]), NOT_PROVIDED),
        "license_link": _stated(license_urls),
        "title": pc.fill_null(_stated(rows["title"]), NOT_PROVIDED),
        "bibliographicCitation": _stated(rows["bibliographicCitation"]),
    }
    return pa.table(columns, schema=PROVENANCE_SCHEMA)


def attribution_table(rows: pa.Table) -> pa.Table:
    """ATTRIBUTION_SCHEMA of described samples."""
    needs = _mapped(rows["license"], needs_attribution, pa.bool_())
    nobody = pc.and_(_is_blank(rows["rights_holder"]), _is_blank(rows["creator"]))
    columns = {
        **{name: rows[name] for name in ("record_id", "license", "license_verbatim", "rights_holder", "creator", "source", "source_id")},
        "license_url": _license_urls(rows),
        "title": pc.fill_null(rows["title"], ""),
        "source_url": rows["media_url"],
        "occurrence_url": pc.fill_null(rows["references"], ""),
        "needs_attribution": needs,
        "lacks_holder": pc.and_(needs, nobody),
    }
    return pa.table({name: columns[name] for name in ATTRIBUTION_SCHEMA.names}, schema=ATTRIBUTION_SCHEMA)


def licenses_table(counts: Counter[tuple[str, str, bool]], lacking: Counter[tuple[str, str, bool]]) -> pa.Table:
    """LICENSES_SCHEMA from numbers of images by (licence, address, whether it requires attribution)."""
    order = sorted(counts, key=lambda key: (-counts[key], key))
    rows = [(*key, counts[key], lacking[key]) for key in order]
    return pa.table([list(column) for column in zip(*rows, strict=True)] or [[]] * len(LICENSES_SCHEMA), schema=LICENSES_SCHEMA)


def count_licenses(table: pa.Table, counts: Counter[tuple[str, str, bool]], lacking: Counter[tuple[str, str, bool]]) -> None:
    """Add the images of ATTRIBUTION_SCHEMA rows to `counts`, and those without a required holder to `lacking`."""
    keys = ["license", "license_url", "needs_attribution"]
    for row in table.group_by(keys, use_threads=False).aggregate([("lacks_holder", "count"), ("lacks_holder", "sum")]).to_pylist():
        key = (row["license"], row["license_url"], row["needs_attribution"])
        counts[key] += row["lacks_holder_count"]
        lacking[key] += row["lacks_holder_sum"]


def _license_urls(rows: pa.Table) -> pa.Array:
    pairs = pc.binary_join_element_wise(rows["license"], rows["license_verbatim"], "\x1f")
    return _mapped(pairs, lambda pair: license_url(*pair.split("\x1f", 1)))


def _source_id(rows: pa.Table) -> pa.ChunkedArray:
    """EOL identifies media by content and page; the other sources by their own id."""
    both = pc.binary_join_element_wise(rows["source_id"], rows["EOL page ID"], "_")
    return pc.coalesce(both, rows["source_id"])


def _epithet(genus: pa.ChunkedArray, species: pa.ChunkedArray) -> pa.ChunkedArray:
    """The binomial without its genus; unchanged if it does not start with that genus."""
    parts = pc.extract_regex(species, r"^(?P<genus>\S+) (?P<epithet>.+)$")
    is_binomial = pc.fill_null(pc.equal(pc.struct_field(parts, "genus"), genus), False)
    return pc.if_else(is_binomial, pc.struct_field(parts, "epithet"), species)


def _is_blank(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.equal(pc.utf8_trim_whitespace(pc.fill_null(texts, "")), "")


def _stated(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Blank values as null."""
    return pc.if_else(_is_blank(texts), pa.scalar(None, pa.string()), texts)


def _mapped(texts: pa.ChunkedArray, function: Callable[[str], Any], type_: pa.DataType | None = None) -> pa.Array:
    """`function` of every text, called once per distinct text."""
    encoded = pa.chunked_array(texts).combine_chunks().dictionary_encode()
    values = pa.array([function(text) for text in encoded.dictionary.to_pylist()], type_ or pa.string())
    return values.take(encoded.indices)
