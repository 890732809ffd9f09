"""The NCBI taxdump: nodes.dmp, names.dmp, merged.dmp and delnodes.dmp in a zip file, a tar.gz file or a folder.

Kingdoms get the names that the other backbones use, and the domains Bacteria, Archaea and Viruses stand as kingdoms, since
labels have no rank above. Format: https://ftp.ncbi.nih.gov/pub/taxonomy/new_taxdump/taxdump_readme.txt
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.usages import Usage, Vernacular

KINGDOM_NAMES = {"Metazoa": "Animalia", "Viridiplantae": "Plantae"}
DOMAIN_KINGDOMS = {"Bacteria", "Archaea", "Viruses"}
_DOMAIN_RANKS = {"domain", "superkingdom", "acellular root", "acellular_root"}
_SYNONYM_CLASSES = {"synonym", "equivalent name"}
_COMMON_CLASSES = {"genbank common name": True, "common name": False}


@dataclass(frozen=True)
class NcbiBackbone:
    """A taxdump."""

    path: Path

    def usages(self) -> Iterator[Usage]:
        """Scientific names as accepted usages under their taxid, synonyms under `<taxid>:<running number>`."""
        merged = {row[0]: row[1] for row in self._rows("merged.dmp", required=False) if len(row) > 1}
        nodes = {row[0]: (row[1], row[2]) for row in self._rows("nodes.dmp", width=3)}
        domains: set[str] = set()
        num_synonyms = 0
        for tax_id, name, _, name_class, *_ in self._rows("names.dmp", width=4):
            if name_class == "scientific name":
                if tax_id not in nodes:
                    raise BackboneError(
                        f"names.dmp of {str(self.path)!r} names taxid {tax_id}, which nodes.dmp lacks; get the taxdump again."
                    )
                yield _accepted(tax_id, name, *nodes[tax_id], merged, domains)
            elif name_class in _SYNONYM_CLASSES:
                num_synonyms += 1
                rank = nodes.get(tax_id, ("", ""))[1]
                yield Usage(f"{tax_id}:{num_synonyms}", "", tax_id, name, rank=rank, status="synonym")

    def vernaculars(self) -> Iterator[Vernacular]:
        """English names; GenBank's own choice is preferred."""
        for tax_id, name, _, name_class, *_ in self._rows("names.dmp", width=4):
            if name_class in _COMMON_CLASSES:
                yield Vernacular(tax_id, name, "en", _COMMON_CLASSES[name_class], "ncbi")

    def _rows(self, name: str, width: int = 1, required: bool = True) -> Iterator[list[str]]:
        try:
            with _open_member(self.path, name) as stream, io.TextIOWrapper(stream, "utf-8", "replace", newline="\n") as text:
                for number, line in enumerate(text, 1):
                    row = line.rstrip("\r\n").removesuffix("\t|").split("\t|\t")
                    if len(row) < width:
                        raise BackboneError(
                            f"{name} of {str(self.path)!r} line {number}: {len(row)} columns; at least {width} are required."
                        )
                    yield row
        except KeyError:
            if required:
                raise BackboneError(f"taxdump {str(self.path)!r} holds no {name}; it needs nodes.dmp and names.dmp.") from None
        except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
            raise BackboneError(f"taxdump {str(self.path)!r} cannot be read: {error}; it must be a zip, a tar.gz or a folder.") from None


def _accepted(tax_id: str, name: str, parent: str, rank: str, merged: dict[str, str], domains: set[str]) -> Usage:
    """The usage; `domains` gathers the taxids that stand as kingdoms, whose own kingdoms then have no rank of a label."""
    parent = "" if parent == tax_id else merged.get(parent, parent)
    if name in DOMAIN_KINGDOMS and rank in _DOMAIN_RANKS:
        domains.add(tax_id)
        rank = "kingdom"
    elif rank == "kingdom":
        name, rank = KINGDOM_NAMES.get(name, name), "" if parent in domains else rank
    return Usage(tax_id, parent, "", name, rank=rank, status="accepted")


@contextmanager
def _open_member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """A member by its base name; raises KeyError when there is none."""
    if path.is_dir():
        if not (path / name).is_file():
            raise KeyError(name)
        with (path / name).open("rb") as stream:
            yield stream
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = next((member for member in archive.namelist() if member.split("/")[-1] == name), name)
            with archive.open(found) as stream:
                yield stream
    else:
        with tarfile.open(path) as archive:
            found = next((member for member in archive.getnames() if member.split("/")[-1] == name), name)
            extracted = archive.extractfile(found)
            if extracted is None:
                raise KeyError(name)
            with extracted as stream:
                yield stream
