"""Compiled backbones as files: Arrow IPC, uncompressed, so loading one maps it into memory and reads pages on demand.

A file is named by the digest of its inputs (the download, its format, the overlay of ranks, the version of this code), so
an unchanged download is compiled once and a changed one is compiled again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa

from bioclip.accounting import Counts
from bioclip.digests import canonical_json, digest_bytes, digest_path, digest_value
from bioclip.errors import BackboneError
from bioclip.settings import BackboneSettings
from bioclip.storage import Storage, explain_os_error
from bioclip.taxonomy.backbones import AUTO, detect_format, open_backbone
from bioclip.taxonomy.index.build import INDEX_SCHEMA, CompiledBackbone, compile_source
from bioclip.taxonomy.index.lookup import BackboneIndex

INDEX_VERSION = 8
"""Version of the index, incremented when the same download compiles to another index."""

_METADATA_KEY = b"treeoflife.backbone"
_SUFFIX = ".arrow"


@dataclass(frozen=True)
class BackboneInfo:
    """Metadata of a compiled index."""

    name: str
    """File name of the download."""
    format: str
    source_digest: str
    """SHA-256 of the download."""
    digest: str
    """SHA-256 over all inputs of the index."""
    counts: dict[str, Any]
    """`Counts.to_dict` of compiling."""
    examples: dict[str, list[str]]
    """A few ids behind each reason and note."""
    by_rank: dict[str, int]
    """Accepted taxa that labels can name, by rank."""
    by_status: dict[str, int]


def overlay_digest() -> str:
    """SHA-256 of the overlay of ranks."""
    return digest_bytes(resources.files("bioclip.taxonomy").joinpath("data/rank_repairs.csv").read_bytes())


def build_index(source: Path | str, output: Path | str, format_name: str = AUTO) -> tuple[Path, BackboneInfo, bool]:
    """Compile a download into `output` unless its index exists: the file, its metadata, and whether it was compiled now.

    Raises BackboneError or ArchiveError for a download that cannot be read or has no usable name, StorageError for `output`.
    """
    path, chosen, source_digest, digest = _identify(Path(source), format_name)
    storage, file_name = Storage(str(Path(output).expanduser().absolute())), f"{path.name.split('.')[0]}-{digest[:16]}{_SUFFIX}"
    target = Path(storage.uri(file_name))
    if storage.exists(file_name):
        return target, read_info(target), False
    compiled, info = _compile(path, chosen, source_digest, digest)
    table = compiled.table.combine_chunks().replace_schema_metadata({_METADATA_KEY: canonical_json(asdict(info))})
    with storage.writer(file_name) as stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    return target, info, True


def inspect_source(source: Path | str, format_name: str = AUTO) -> BackboneInfo:
    """The metadata that `build_index` would write for a download, without writing it."""
    return _compile(*_identify(Path(source), format_name))[1]


def open_index(path: Path | str, name: str = "") -> BackboneIndex:
    """A compiled index, mapped into memory; its name is the download's unless one is given. Raises BackboneError."""
    table = _map(Path(path))
    return BackboneIndex(name or _info(Path(path), table.schema).name, table.replace_schema_metadata())


def read_info(path: Path | str) -> BackboneInfo:
    """The metadata of a compiled index; raises BackboneError."""
    return _info(Path(path), _map(Path(path)).schema)


def is_index(path: Path | str) -> bool:
    """True for the name of a compiled index."""
    return Path(path).suffix == _SUFFIX


def _identify(source: Path, format_name: str) -> tuple[Path, str, str, str]:
    path = source.expanduser()
    if not path.exists():
        raise BackboneError(f"backbone {str(source)!r} does not exist; give the path of your download.")
    chosen = detect_format(path) if format_name == AUTO else format_name
    open_backbone(BackboneSettings(name="backbone", format=chosen, path=str(path)))
    try:
        source_digest = digest_path(path)
    except OSError as error:
        raise BackboneError(f"backbone {explain_os_error(error, str(source))}") from None
    return path, chosen, source_digest, digest_value([source_digest, chosen, overlay_digest(), INDEX_VERSION])


def _compile(path: Path, format_name: str, source_digest: str, digest: str) -> tuple[CompiledBackbone, BackboneInfo]:
    compiled = compile_source(open_backbone(BackboneSettings(name="backbone", format=format_name, path=str(path))))
    counts: Counts = compiled.counts
    if not counts.written:
        raise BackboneError(
            f"backbone {str(path)!r} (format {format_name!r}) has no usable name among {counts.read} usages "
            f"({dict(counts.dropped)}); check its format."
        )
    info = BackboneInfo(
        name=path.name,
        format=format_name,
        source_digest=source_digest,
        digest=digest,
        counts=counts.to_dict(),
        examples=dict(sorted(compiled.examples.items())),
        by_rank=_count(compiled.table, "label_rank"),
        by_status=_count(compiled.table, "status"),
    )
    return compiled, info


def _count(table: pa.Table, column: str) -> dict[str, int]:
    counted = table[column].combine_chunks().value_counts()
    return {row["values"]: row["counts"] for row in sorted(counted.to_pylist(), key=lambda row: str(row["values"])) if row["values"]}


def _map(path: Path) -> pa.Table:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except FileNotFoundError:
        raise BackboneError(f"index {str(path)!r} does not exist; create it with `treeoflife backbone build`.") from None
    except (OSError, pa.ArrowException) as error:
        raise BackboneError(f"index {str(path)!r} is damaged ({error}); remove it and build it again.") from None
    if not table.schema.equals(INDEX_SCHEMA):
        raise BackboneError(f"index {str(path)!r} has other columns than this version writes; build it again.")
    return table


def _info(path: Path, schema: pa.Schema) -> BackboneInfo:
    try:
        return BackboneInfo(**json.loads((schema.metadata or {})[_METADATA_KEY]))
    except (KeyError, TypeError, ValueError):
        raise BackboneError(f"index {str(path)!r} has no metadata on its inputs; build it again.") from None
