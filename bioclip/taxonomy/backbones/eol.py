"""EOL's Dynamic Hierarchy: taxon.tab with Darwin Core terms, packed with or without a meta.xml. Column order varies by version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa

from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.archives import Pack
from bioclip.taxonomy.backbones.dwca import _TERMS, DwcaBackbone, header_terms
from bioclip.taxonomy.backbones.kingdoms import settle_kingdoms
from bioclip.taxonomy.backbones.usages import Vernacular

_MARKS = {"eolid", "eolidannotations", "landmark"}


class EolBackbone(DwcaBackbone):
    """A tar.gz, zip, folder or the table itself."""

    format: ClassVar[str] = "eol"

    @classmethod
    def fits(cls, pack: Pack) -> bool:
        """A table of taxa with EOL's own columns."""
        name = _table(pack)
        return bool(name) and bool(_MARKS & header_terms(pack, name))

    def tables(self) -> Iterator[pa.Table]:
        """All rows of taxon.tab."""
        name = _table(self.pack)
        if not name:
            raise BackboneError(f"{str(self.path)!r} holds no taxon.tab; the Dynamic Hierarchy's table is required.")
        parts = [self.usages_of(table) for table in self.pack.tables(name, _TERMS)]
        yield settle_kingdoms(pa.concat_tables(parts))

    def vernaculars(self) -> Iterator[Vernacular]:
        """None: the hierarchy has no vernacular names."""
        return iter(())


def _table(pack: Pack) -> str:
    return pack.find("taxon.tab", "taxa.txt", "taxon.txt", "taxon.tsv") or (next(iter(pack.names), "") if len(pack.names) == 1 else "")
