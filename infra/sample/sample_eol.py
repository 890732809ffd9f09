"""Write archives/eol-media-manifest.tgz and archives/eol-taxon.tab in the layouts of the Encyclopedia of Life.

The page ids are made up, but stable: each is drawn from a hash of the taxon's name.
"""

import csv
import gzip
import io
import tarfile

from sample_backbone import RANKS, Backbone, tsv_bytes
from sample_dwca import creator, reference
from sample_media import MediaFile
from sample_rows import Row, draw_order

HOST = "http://content.treeoflife.example/"
MANIFEST_COLUMNS = (
    "EOL content ID", "EOL page ID", "Medium Source URL", "EOL Full-Size Copy URL", "License Name", "Copyright Owner",
)  # fmt: skip
TAXON_COLUMNS = (
    "taxonID", "source", "furtherInformationURL", "acceptedNameUsageID", "parentNameUsageID", "scientificName",
    "taxonRank", "taxonomicStatus", "datasetID", "canonicalName", "authority", "eolID", "Landmark", "higherClassification",
)  # fmt: skip
LICENSE_NAMES = {"MIT": "MIT", "CC-BY-SA-4.0": "cc-by-sa-4.0"}
NUM_MANIFESTS = 2


def page_id(name: str) -> int:
    """Made-up EOL page id of a taxon name."""
    return 40_000_000 + int(draw_order(f"eol-page:{name}")[:6], 16)


def content_id(path: str) -> int:
    """Made-up EOL content id of a media path."""
    return int(draw_order(f"eol-content:{path}")[:8], 16)


def page_name(row: Row) -> str:
    """The taxon whose page shows a photograph: its species, or its genus if the species is uncertain."""
    return row["scientific_name"] or row["genus"]


def manifest_row(media: MediaFile) -> list[str]:
    """Build one row of the manifest."""
    row = media.row
    return [
        str(content_id(media.path)),
        str(page_id(page_name(row))),
        reference(row),
        HOST + media.path,
        LICENSE_NAMES[row["license"]],
        creator(row),
    ]


def manifest_tgz(media: list[MediaFile]) -> bytes:
    """Pack the manifest in two parts, each with a header; raises ValueError when two files share a content id."""
    rows = sorted((manifest_row(member) for member in media), key=lambda row: int(row[0]))
    if len({row[0] for row in rows}) != len(rows):
        raise ValueError("two media share an EOL content id; widen content_id.")
    size = -(-len(rows) // NUM_MANIFESTS)
    sink = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=sink, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for number in range(NUM_MANIFESTS):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([MANIFEST_COLUMNS, *rows[number * size : (number + 1) * size]])
            body = text.getvalue().encode()
            info = tarfile.TarInfo(f"media_manifest_{number + 1}.csv")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return sink.getvalue()


def taxon_tab(media: list[MediaFile], backbone: Backbone) -> bytes:
    """Return eol-taxon.tab: the pages of the manifest and their parents up to the kingdom.

    Raises ValueError when two taxa share a page id.
    """
    taxa: dict[str, list[str]] = {}
    for row in (member.row for member in media):
        chain = [(rank, row[rank]) for rank in RANKS if row[rank]]
        chain += [("species", row["scientific_name"])] if row["scientific_name"] else []
        for depth, (rank, name) in enumerate(chain):
            above = [upper for _, upper in chain[:depth]]
            taxa.setdefault(name, taxon_row(name, rank, above, row["kingdom"], backbone))
    if len({values[0] for values in taxa.values()}) != len(taxa):
        raise ValueError("two taxa share an EOL page id; widen page_id.")
    ordered: list[list[str]] = sorted(taxa.values(), key=lambda values: (values[-1], values[5]))
    return tsv_bytes(TAXON_COLUMNS, ordered)


def taxon_row(name: str, rank: str, above: list[str], kingdom: str, backbone: Backbone) -> list[str]:
    """Build one row of the hierarchy, its name with its author in the sample backbone."""
    known = backbone.rows[backbone.accepted[name, rank, kingdom]]
    parent = taxon_id(above[-1]) if above else ""
    source = known["taxonID"].replace("ncbi:", "NCBI:")
    return [
        taxon_id(name), source, "", "", parent, known["scientificName"], rank, "accepted", known["datasetID"].upper(),
        name, known["scientificNameAuthorship"], str(page_id(name)), "", "|".join(above),
    ]  # fmt: skip


def taxon_id(name: str) -> str:
    """Identifier in the style of the EOL Dynamic Hierarchy."""
    return f"EOL-{page_id(name):012d}"
