"""Cut a small taxonomic backbone out of the NCBI taxdump and a Darwin Core backbone, around the sample's species.

Accepted species and congeners come from NCBI; parents follow the lineage columns of metadata.csv, so that photographs and
backbone agree; authors, further synonyms and a few species that NCBI lacks come from the Darwin Core backbone; rows
from neither are in `CURATED_SYNONYMS` or have datasetID `curated`.
"""

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sample_rows import Row

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")
COLUMNS = (
    "taxonID", "datasetID", "parentNameUsageID", "acceptedNameUsageID", "scientificName", "scientificNameAuthorship",
    "canonicalName", "taxonRank", "taxonomicStatus", *RANKS,
)  # fmt: skip
NCBI_KINGDOMS = {"33208": "Animalia", "33090": "Plantae", "4751": "Fungi", "2": "Bacteria"}
NCBI_RENAMED = {"Metazoa": "Animalia", "Viridiplantae": "Plantae", "Streptophyta": "Tracheophyta"}
EUKARYOTA = "2759"
MAX_CONGENERS = 60
BINOMIAL = re.compile(r"[A-Z][a-z]+ (x )?[a-z][a-z-]{2,}")
EXTRA_GENERA = {
    "Liriope": ("Animalia", "Plantae"),
    "Oenanthe": ("Animalia", "Plantae"),
    "Prunella": ("Animalia", "Plantae"),
    "Agropyron": ("Plantae",),
    "Centaurea": ("Plantae",),
    "Coreopsis": ("Plantae",),
    "Elymus": ("Plantae",),
    "Desarmillaria": ("Fungi",),
}
"""Homonyms across kingdoms, the correct forms of misread herbarium names, and genera that accept a name of the sample."""
CURATED_AUTHORS = {
    "Armillaria ostoyae": "(Romagn.) Herink",
    "Cerioporus squamosus": "(Huds.) Quél.",
    "Dacrymyces chrysospermus": "Berk. & M.A.Curtis",
    "Desarmillaria tabescens": "(Scop.) R.A.Koch & Aime",
    "Elymus lanceolatus": "(Scribn. & J.G.Sm.) Gould",
    "Noctiluca scintillans": "(Macartney) Kofoid & Swezy, 1921",
    "Scolopsis bilineata": "(Bloch, 1793)",
    "Xerocomellus zelleri": "(Murrill) Klofac",
}
CURATED_SYNONYMS = (
    ("Agropyron dasystachyum", "(Hook.) Scribn.", "Elymus lanceolatus", "Plantae"),
    ("Armillaria solidipes", "Peck", "Armillaria ostoyae", "Fungi"),
    ("Armillaria tabescens", "(Scop.) Emel", "Desarmillaria tabescens", "Fungi"),
    ("Boletus zelleri", "(Murrill) Murrill", "Xerocomellus zelleri", "Fungi"),
    ("Clitocybe nuda", "(Bull.) H.E.Bigelow & A.H.Sm.", "Lepista nuda", "Fungi"),
    ("Collybia nuda", "(Bull.) Z.M.He & Zhu L.Yang", "Lepista nuda", "Fungi"),
    ("Dacrymyces palmatus", "(Schwein.) Burt", "Dacrymyces chrysospermus", "Fungi"),
    ("Noctiluca miliaris", "Suriray", "Noctiluca scintillans", "Chromista"),
    ("Polyporus squamosus", "(Huds.) Fr.", "Cerioporus squamosus", "Fungi"),
    ("Scolopsis bilineatus", "(Bloch, 1793)", "Scolopsis bilineata", "Animalia"),
    ("Tricholoma nudum", "(Bull.) P.Kumm.", "Lepista nuda", "Fungi"),
)
"""Name, author, accepted name, kingdom: well-established synonymy that the given files do not state."""


class Ncbi:
    """The NCBI taxdump in memory: names, ranks, parents and children by taxid."""

    def __init__(self, zip_path: Path) -> None:
        self.name: dict[str, str] = {}
        self.rank: dict[str, str] = {}
        self.parent: dict[str, str] = {}
        self.common: dict[str, str] = {}
        self.by_name: dict[str, list[str]] = defaultdict(list)
        self.children: dict[str, list[str]] = defaultdict(list)
        with zipfile.ZipFile(zip_path) as archive:
            for taxid, parent, rank, *_ in dmp_rows(archive, "nodes.dmp"):
                self.parent[taxid], self.rank[taxid] = parent, rank
                self.children[parent].append(taxid)
            for taxid, name, _, name_class, *_ in dmp_rows(archive, "names.dmp"):
                if name_class == "scientific name":
                    self.name[taxid] = name
                    self.by_name[name].append(taxid)
                else:
                    self.common[taxid] = name

    def ancestors(self, taxid: str) -> Iterator[str]:
        """Yield a node and its ancestors without the root."""
        while taxid != "1":
            yield taxid
            taxid = self.parent[taxid]

    def kingdom(self, taxid: str) -> str:
        """Kingdom of a node; eukaryotes outside the three large kingdoms count as Chromista, viruses as ''."""
        above = list(self.ancestors(taxid))
        for node in above:
            if node in NCBI_KINGDOMS:
                return NCBI_KINGDOMS[node]
        return "Chromista" if EUKARYOTA in above else ""

    def find(self, name: str, rank: str, kingdom: str) -> str | None:
        """Taxid of a name with this rank in this kingdom; the smallest if there are several."""
        known = {new: old for old, new in NCBI_RENAMED.items() if rank == "kingdom"}
        found = [
            taxid
            for taxid in self.by_name.get(known.get(name, name), [])
            if self.kingdom(taxid) == kingdom and (self.rank[taxid] == rank or rank == "kingdom")
        ]
        return min(found, key=int, default=None)

    def species_below(self, taxid: str) -> list[str]:
        """Taxids of the species with a clean binomial below a node, in order of their names."""
        found, queue = [], list(self.children[taxid])
        while queue:
            node = queue.pop()
            if self.rank[node] == "species":
                found += [node] if BINOMIAL.fullmatch(self.name[node]) else []
            else:
                queue += self.children[node]
        return sorted(found, key=lambda node: self.name[node])

    def lineage(self, taxid: str) -> dict[str, str]:
        """Names at the ranks kingdom to genus, kingdoms and the plants' phylum under their usual names."""
        names = {self.rank[node]: self.name[node] for node in self.ancestors(taxid) if self.rank[node] in RANKS}
        renamed = {rank: NCBI_RENAMED.get(name, name) for rank, name in names.items()}
        return {**renamed, "kingdom": self.kingdom(taxid)}


def dmp_rows(archive: zipfile.ZipFile, name: str) -> Iterator[list[str]]:
    """Yield the fields of a .dmp member."""
    with archive.open(name) as member:
        for line in io.TextIOWrapper(member, encoding="utf-8"):
            yield line.rstrip("\n").removesuffix("\t|").split("\t|\t")


def tsv_rows(archive: zipfile.ZipFile, name: str) -> Iterator[Row]:
    """Yield the rows of an unquoted TSV member as dictionaries."""
    with archive.open(name) as member:
        lines = io.TextIOWrapper(member, encoding="utf-8", newline="\n")
        columns = next(lines).rstrip("\n").split("\t")
        for line in lines:
            yield dict(zip(columns, line.rstrip("\n").split("\t"), strict=True))


@dataclass
class Backbone:
    """The growing sample backbone: rows by taxonID, and accepted usages by (canonical name, rank, kingdom)."""

    ncbi: Ncbi
    meta_xml: bytes
    usages: dict[tuple[str, str], list[Row]]
    """Rows of the Darwin Core backbone that have a wanted name, by (canonical name, kingdom)."""
    usage_synonyms: dict[str, list[Row]]
    """Its synonyms, by the id of their accepted usage."""
    rows: dict[str, Row] = field(default_factory=dict)
    accepted: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def author(self, name: str, kingdom: str) -> str:
        """Author of a name: the curated one, or the Darwin Core backbone's, accepted usages first."""
        if name in CURATED_AUTHORS:
            return CURATED_AUTHORS[name]
        usages = [usage for usage in self.usages.get((name, kingdom), []) if usage["scientificNameAuthorship"]]
        usages.sort(key=lambda usage: (usage["taxonomicStatus"] != "accepted", usage["taxonID"]))
        return " ".join(usages[0]["scientificNameAuthorship"].split()) if usages else ""

    def add(self, name: str, rank: str, lineage: dict[str, str]) -> str:
        """Add an accepted usage below its parents unless it exists; return its taxonID."""
        key = (name, rank, lineage["kingdom"])
        if key in self.accepted:
            return self.accepted[key]
        above = RANKS[: RANKS.index(rank)] if rank in RANKS else RANKS
        upper = {at: lineage[at] for at in above if lineage.get(at)}
        parent = ""
        if upper:
            nearest = list(upper)[-1]
            parent = self.add(upper[nearest], nearest, upper)
        taxon_id, dataset = self.identify(name, rank, lineage["kingdom"])
        author = self.author(name, lineage["kingdom"])
        own = {rank: name} if rank in RANKS else {}
        self.put(taxon_id, dataset, parent, "", name, author, rank, "accepted", {**upper, **own})
        self.accepted[key] = taxon_id
        return taxon_id

    def identify(self, name: str, rank: str, kingdom: str) -> tuple[str, str]:
        """Return (taxonID, datasetID): NCBI's, the Darwin Core backbone's, or a curated one."""
        taxid = self.ncbi.find(name, rank, kingdom)
        if taxid:
            return f"ncbi:{taxid}", "ncbi"
        for usage in sorted(self.usages.get((name, kingdom), []), key=lambda usage: usage["taxonID"]):
            if usage["taxonomicStatus"] == "accepted" and usage["taxonRank"] == rank:
                return usage["taxonID"], usage["datasetID"]
        return f"curated:{name.replace(' ', '_')}", "curated"

    def put(
        self, taxon_id: str, dataset: str, parent: str, accepted: str,
        name: str, author: str, rank: str, status: str, lineage: dict[str, str],
    ) -> None:  # fmt: skip
        """Store one row; raises ValueError when the id is taken by another name."""
        if taxon_id in self.rows:
            raise ValueError(f"taxonID {taxon_id!r} is used by {self.rows[taxon_id]['canonicalName']!r} and {name!r}.")
        full_name = f"{name} {author}".strip()
        values = (taxon_id, dataset, parent, accepted, full_name, author, name, rank, status)
        self.rows[taxon_id] = dict(zip(COLUMNS, (*values, *(lineage.get(at, "") for at in RANKS)), strict=True))


def read_usages(zip_path: Path, names: set[str]) -> tuple[bytes, dict[tuple[str, str], list[Row]], dict[str, list[Row]]]:
    """Read the Darwin Core backbone: its meta.xml, its usages of `names`, and the synonyms of those by accepted id."""
    usages: dict[tuple[str, str], list[Row]] = defaultdict(list)
    synonyms: dict[str, list[Row]] = defaultdict(list)
    with zipfile.ZipFile(zip_path) as archive:
        meta_xml = archive.read("meta.xml")
        for row in tsv_rows(archive, "Taxon.tsv"):
            if row["canonicalName"] in names:
                usages[row["canonicalName"], row["kingdom"]].append(row)
            if row["taxonomicStatus"] == "synonym":
                synonyms[row["acceptedNameUsageID"]].append(row)
    return meta_xml, usages, synonyms


def clean_lineage(row: Row) -> dict[str, str]:
    """Lineage columns of a row of metadata.csv, without empty ranks."""
    return {rank: row[rank] for rank in RANKS if row[rank]}


def plan_genera(rows: list[Row]) -> dict[tuple[str, str], set[str]]:
    """Return (genus, kingdom) -> required species, for the sample's genera and the extra ones."""
    genera: dict[tuple[str, str], set[str]] = defaultdict(set)
    demoted = {name for name, *_ in CURATED_SYNONYMS}
    for row in rows:
        if row["genus"]:
            genera[row["genus"], row["kingdom"]] |= {row["scientific_name"]} - {""} - demoted
    for genus, kingdoms in EXTRA_GENERA.items():
        for kingdom in kingdoms:
            genera[genus, kingdom] |= set()
    for _, _, accepted, kingdom in CURATED_SYNONYMS:
        genera[accepted.split()[0], kingdom].add(accepted)
    return dict(sorted(genera.items()))


def congeners(ncbi: Ncbi, genus: str, kingdom: str, required: set[str]) -> list[str]:
    """Species names of a genus: the required ones, then NCBI's by name, 60 in all."""
    taxid = ncbi.find(genus, "genus", kingdom)
    demoted = {name for name, *_ in CURATED_SYNONYMS}
    known = [ncbi.name[node] for node in ncbi.species_below(taxid)] if taxid else []
    others = [name for name in known if name not in required | demoted and name.split()[0] == genus]
    return sorted(required) + sorted(set(others))[: max(0, MAX_CONGENERS - len(required))]


def genus_lineage(ncbi: Ncbi, genus: str, kingdom: str, lineages: dict[tuple[str, str], dict[str, str]]) -> dict[str, str]:
    """Lineage of a genus: metadata.csv's for the genus, else for its family, else NCBI's."""
    if (genus, kingdom) in lineages:
        return lineages[genus, kingdom]
    taxid = ncbi.find(genus, "genus", kingdom)
    if taxid is None:
        raise ValueError(f"genus {genus!r} of {kingdom} is neither in metadata.csv nor in the NCBI taxdump.")
    own = ncbi.lineage(taxid)
    above = lineages.get((own.get("family", ""), kingdom))
    return {**(above or own), "genus": genus}


def build_backbone(taxonomy_dir: Path, rows: list[Row]) -> Backbone:
    """Build the sample backbone around the chosen rows of metadata.csv."""
    ncbi = Ncbi(taxonomy_dir / "ncbi-taxdump.zip")
    genera = plan_genera(rows)
    species = {key: congeners(ncbi, *key, required) for key, required in genera.items()}
    wanted = {name for names in species.values() for name in names} | {genus for genus, _ in genera}
    wanted |= {row[rank] for row in rows for rank in RANKS if row[rank]} | {name for name, *_ in CURATED_SYNONYMS}
    meta_xml, usages, usage_synonyms = read_usages(taxonomy_dir / "backbone-dwca.zip", wanted)
    backbone = Backbone(ncbi, meta_xml, usages, usage_synonyms)
    lineages = known_lineages(rows)
    for row in rows:
        lineage = clean_lineage(row)
        if lineage:
            lowest = list(lineage)[-1]
            backbone.add(lineage[lowest], lowest, lineage)
    for (genus, kingdom), names in species.items():
        lineage = genus_lineage(ncbi, genus, kingdom, lineages)
        backbone.add(genus, "genus", lineage)
        for name in names:
            backbone.add(name, "species", lineage)
    add_curated_synonyms(backbone)
    add_usage_synonyms(backbone)
    return backbone


def known_lineages(rows: list[Row]) -> dict[tuple[str, str], dict[str, str]]:
    """Return (name, kingdom) -> lineage down to it, for every taxon of the lineage columns."""
    lineages = {}
    for row in rows:
        upper: dict[str, str] = {}
        for rank, name in clean_lineage(row).items():
            upper = {**upper, rank: name}
            lineages[name, row["kingdom"]] = upper
    return lineages


def add_curated_synonyms(backbone: Backbone) -> None:
    """Add the synonyms that are stated in this file."""
    for name, author, accepted, kingdom in CURATED_SYNONYMS:
        accepted_id = backbone.accepted[accepted, "species", kingdom]
        lineage = {rank: backbone.rows[accepted_id][rank] for rank in RANKS}
        taxon_id = f"curated:{name.replace(' ', '_')}"
        backbone.put(taxon_id, "curated", "", accepted_id, name, author, "species", "synonym", lineage)


def add_usage_synonyms(backbone: Backbone) -> None:
    """Add the Darwin Core backbone's species-level synonyms of every accepted species, under their own ids."""
    taken = {(row["canonicalName"], row["kingdom"]) for row in backbone.rows.values()}
    for (name, rank, kingdom), accepted_id in sorted(backbone.accepted.items()):
        if rank != "species":
            continue
        for usage in backbone.usages.get((name, kingdom), []):
            if usage["taxonomicStatus"] != "accepted":
                continue
            for synonym in sorted(backbone.usage_synonyms.get(usage["taxonID"], []), key=lambda row: row["taxonID"]):
                key = (synonym["canonicalName"], kingdom)
                author = " ".join(synonym["scientificNameAuthorship"].split())
                if key in taken or synonym["taxonRank"] != "species" or not author:
                    continue  # synonyms without an author are the source's English names
                taken.add(key)
                lineage = {at: backbone.rows[accepted_id][at] for at in RANKS}
                backbone.put(
                    synonym["taxonID"], synonym["datasetID"], "", accepted_id, synonym["canonicalName"],
                    author, "species", "synonym", lineage,
                )  # fmt: skip


def vernacular_names(backbone: Backbone, zip_path: Path, rows: list[Row]) -> list[tuple[str, str, str, str]]:
    """Return sorted (taxonID, name, language, source) from NCBI, the Darwin Core backbone and metadata.csv."""
    ids = {(row["canonicalName"], row["kingdom"]): key for key, row in backbone.rows.items()}
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        if row["common_name"] and row["scientific_name"]:
            taxon_id = ids[row["scientific_name"], row["kingdom"]]
            common = row["common_name"].split(" (")[0]
            found.setdefault((taxon_id, common), row["source_repo"])
    for taxon_id in backbone.rows:
        dataset, _, taxid = taxon_id.partition(":")
        if dataset == "ncbi" and taxid in backbone.ncbi.common:
            found.setdefault((taxon_id, backbone.ncbi.common[taxid]), "ncbi_genbank_common")
    wanted = {
        usage["taxonID"]: ids[name, kingdom]
        for (name, kingdom), usages in backbone.usages.items()
        for usage in usages
        if (name, kingdom) in ids
    }
    with zipfile.ZipFile(zip_path) as archive:
        for row in tsv_rows(archive, "VernacularName.tsv"):
            if row["taxonID"] in wanted:
                found.setdefault((wanted[row["taxonID"]], row["vernacularName"]), row["source"])
    return sorted((taxon_id, name, "en", source) for (taxon_id, name), source in found.items())


def tsv_bytes(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    """Encode rows as unquoted TSV; raises ValueError on a tab or line break in a value."""
    lines = ["\t".join(columns)]
    for row in rows:
        values = list(row)
        if any("\t" in value or "\n" in value or "\r" in value for value in values):
            raise ValueError(f"a value of {values!r} holds a tab or a line break; clean it before writing.")
        lines.append("\t".join(values))
    return ("\n".join(lines) + "\n").encode()


def backbone_members(backbone: Backbone, vernaculars: list[tuple[str, str, str, str]]) -> dict[str, bytes]:
    """Members of sample-backbone.zip, accepted rows first."""
    rows = sorted(backbone.rows.values(), key=lambda row: (row["taxonomicStatus"], row["taxonID"]))
    return {
        "meta.xml": backbone.meta_xml,
        "Taxon.tsv": tsv_bytes(COLUMNS, ([row[column] for column in COLUMNS] for row in rows)),
        "VernacularName.tsv": tsv_bytes(("taxonID", "vernacularName", "language", "source"), vernaculars),
    }
