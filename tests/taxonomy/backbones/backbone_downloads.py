"""One small piece of the animal kingdom in the layout of every download: goldfish (a ray-finned fish without class), with its synonym and
its English name where the layout has room for them."""

from __future__ import annotations

import gzip
import io
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

PATH = (
    ("1", "", "Animalia", "kingdom"),
    ("44", "1", "Chordata", "phylum"),
    ("1153", "44", "Cypriniformes", "order"),
    ("4285", "1153", "Cyprinidae", "family"),
    ("2366636", "4285", "Carassius", "genus"),
    ("2366645", "2366636", "Carassius auratus", "species"),
)
AUTHOR = "(Linnaeus, 1758)"
SYNONYM, SYNONYM_AUTHOR = "Cyprinus auratus", "Linnaeus, 1758"


def _text(header: str, rows: list[list[str]], delimiter: str = "\t") -> str:
    return "\n".join([header.replace(" ", delimiter), *(delimiter.join(row) for row in rows)]) + "\n"


def _zip(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _tar(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    return path


def _author(name: str) -> str:
    return AUTHOR if name == "Carassius auratus" else ""


def gbif_simple(folder: Path) -> Path:
    rows = []
    for key, parent, name, rank, synonym, author in [
        *((*row, "f", _author(row[2])) for row in PATH), ("7", "2366645", SYNONYM, "species", "t", SYNONYM_AUTHOR),
    ]:  # fmt: skip
        status = "SYNONYM" if synonym == "t" else "ACCEPTED"
        full = f"{name} {author}".strip()
        rest = ["\\N"] * 8 + [full, name] + ["\\N"] * 9 + ["{}"]
        row = [key, parent or "\\N", "\\N", synonym, status, rank.upper(), "{}", "\\N", "SOURCE", "\\N", *rest]
        rows.append("\t".join(row))
    path = folder / "simple.txt.gz"
    path.write_bytes(gzip.compress(("\n".join(rows) + "\n").encode(), mtime=0))
    return path


def gbif(folder: Path) -> Path:
    header = "taxonID parentNameUsageID acceptedNameUsageID scientificName scientificNameAuthorship canonicalName taxonRank taxonomicStatus"
    rows = [[key, parent, "", f"{name} {_author(name)}".strip(), _author(name), name, rank, "accepted"] for key, parent, name, rank in PATH]
    rows.append(["7", "2366636", "2366645", f"{SYNONYM} {SYNONYM_AUTHOR}", SYNONYM_AUTHOR, SYNONYM, "species", "homotypic synonym"])
    terms = "".join(f'<field index="{i}" term="http://rs.tdwg.org/dwc/terms/{term}"/>' for i, term in enumerate(header.split()))
    meta = f"""<archive xmlns="http://rs.tdwg.org/dwc/text/"><core rowType="http://rs.tdwg.org/dwc/terms/Taxon" fieldsTerminatedBy="\\t"
    fieldsEnclosedBy="" ignoreHeaderLines="1"><files><location>Taxon.tsv</location></files><id index="0"/>{terms}</core>
    <extension rowType="http://rs.gbif.org/terms/1.0/VernacularName" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1">
    <files><location>VernacularName.tsv</location></files><coreid index="0"/>
    <field index="1" term="http://rs.tdwg.org/dwc/terms/vernacularName"/><field index="2" term="http://purl.org/dc/terms/language"/>
    <field index="3" term="http://purl.org/dc/terms/source"/></extension></archive>"""
    names = "taxonID\tvernacularName\tlanguage\tsource\n2366645\tGoldfisch\tde\tany\n2366645\tgoldfish\ten\tany\n"
    return _zip(folder / "backbone.zip", {"meta.xml": meta, "Taxon.tsv": _text(header, rows), "VernacularName.tsv": names})


def coldp(folder: Path) -> Path:
    header = "col:ID col:parentID col:status col:scientificName col:authorship col:rank"
    rows = [[key, parent, "accepted", name, _author(name), rank] for key, parent, name, rank in PATH]
    rows.append(["7", "2366645", "synonym", SYNONYM, SYNONYM_AUTHOR, "species"])
    rows.append(["8", "", "bare name", "Carassius nudus", "", "species"])
    names = "col:taxonID\tcol:name\tcol:language\tcol:preferred\n2366645\tgolden carp\teng\tfalse\n2366645\tgoldfish\teng\ttrue\n"
    return _zip(folder / "coldp.zip", {"NameUsage.tsv": _text(header, rows), "VernacularName.tsv": names})


def coldp_in_parts(folder: Path) -> Path:
    names = [[f"n{key}", name, _author(name), rank] for key, _, name, rank in PATH] + [["n7", SYNONYM, SYNONYM_AUTHOR, "species"]]
    quoted = [[f'"{value}"' for value in row] for row in names]
    taxa = [[key, parent, f"n{key}", "false"] for key, parent, *_ in PATH]
    files = {
        "data/name.csv": _text("ID scientificName authorship rank", quoted, ","),
        "data/taxon.csv": _text("ID parentID nameID provisional", taxa, ","),
        "data/synonym.csv": "taxonID,nameID,status\n2366645,n7,synonym\n",
        "data/vernacular-name.csv": "taxonID,name,language\n2366645,goldfish,eng\n",
    }
    return _zip(folder / "parts.zip", files)


def itis(folder: Path) -> Path:
    path = folder / "ITIS.sqlite"
    ranks = {"kingdom": 10, "phylum": 30, "order": 100, "family": 140, "genus": 180, "species": 220}
    with sqlite3.connect(path) as database:
        database.executescript("""
            create table taxonomic_units
                (tsn int, complete_name text, name_usage text, parent_tsn int, taxon_author_id int, kingdom_id int, rank_id int);
            create table synonym_links (tsn int, tsn_accepted int);
            create table taxon_authors_lkp (taxon_author_id int, taxon_author text, kingdom_id int);
            create table taxon_unit_types (kingdom_id int, rank_id int, rank_name text);
            create table vernaculars (tsn int, vernacular_name text, language text, approved_ind text, vern_id int);
            insert into taxon_authors_lkp values (1, '(Linnaeus, 1758)', 5), (2, 'Linnaeus, 1758', 5);
            insert into synonym_links values (7, 2366645);
            insert into vernaculars values (2366645, 'golden carp', 'English', 'N', 1), (2366645, 'goldfish', 'English', 'Y', 2);
        """)
        database.executemany("insert into taxon_unit_types values (5, ?, ?)", [(number, rank.title()) for rank, number in ranks.items()])
        rows = [(int(key), name, "valid", int(parent or 0), 1 if _author(name) else 0, 5, ranks[rank]) for key, parent, name, rank in PATH]
        database.executemany("insert into taxonomic_units values (?, ?, ?, ?, ?, ?, ?)", [*rows, (7, SYNONYM, "invalid", 0, 2, 5, 220)])
    database.close()
    return _zip(folder / "itisSqlite.zip", {"itisSqlite112026/ITIS.sqlite": path.read_bytes()})


def ncbi(folder: Path) -> Path:
    ids = {"": "2759", "1": "33208"}
    lineage = [("1", "1", "root", "no rank"), ("2759", "1", "Eukaryota", "domain")]
    for key, parent, name, rank in PATH:
        lineage.append((ids.get(key, key), ids.get(parent, parent), "Metazoa" if rank == "kingdom" else name, rank))
    nodes = "".join(f"{key}\t|\t{parent}\t|\t{rank}\t|\t\t|\n" for key, parent, _, rank in lineage)
    names = "".join(f"{key}\t|\t{name}\t|\t\t|\tscientific name\t|\n" for key, _, name, _ in lineage)
    names += f"2366645\t|\t{SYNONYM}\t|\t\t|\tsynonym\t|\n2366645\t|\tgoldfish\t|\t\t|\tgenbank common name\t|\n"
    files = {"nodes.dmp": nodes, "names.dmp": names, "merged.dmp": "99\t|\t2366645\t|\n", "delnodes.dmp": "98\t|\n"}
    return _tar(folder / "taxdump.tar.gz", files)


def eol(folder: Path) -> Path:
    header = "taxonID source acceptedNameUsageID parentNameUsageID scientificName taxonRank taxonomicStatus canonicalName authority eolID"
    rows = []
    for key, parent, taxon, rank in PATH:
        name = "Metazoa" if rank == "kingdom" else taxon
        full = f"{name} {_author(name)}".strip()
        rows.append([f"EOL-{key}", "COL", "", f"EOL-{parent}" if parent else "", full, rank, "accepted", name, _author(name), key])
    full = f"{SYNONYM} {SYNONYM_AUTHOR}"
    rows.append(["EOL-7", "COL", "EOL-2366645", "", full, "species", "not accepted", SYNONYM, SYNONYM_AUTHOR, ""])
    return _tar(folder / "dh.tar.gz", {"dh/taxon.tab": _text(header, rows)})


def inaturalist_open_data(folder: Path) -> Path:
    ancestry, rows = ["48460"], [["48460", "", "100", "stateofmatter", "Life", "true"]]
    for key, _, name, rank in PATH:
        rows.append([key, "/".join(ancestry), "10", rank, name, "true"])
        ancestry.append(key)
    rows.append(["7", "48460/1", "10", "species", SYNONYM, "false"])
    path = folder / "taxa.csv.gz"
    path.write_bytes(gzip.compress(_text("taxon_id ancestry rank_level rank name active", rows).encode(), mtime=0))
    return path


def inaturalist_archive(folder: Path) -> Path:
    base = "https://www.inaturalist.org/taxa/"
    rows = [[key, base + key, base + key, base + parent if parent else "", f'"{name}"', rank] for key, parent, name, rank in PATH]
    taxa = _text("id taxonID identifier parentNameUsageID scientificName taxonRank", rows, ",")
    english = 'id,vernacularName,language\n2366645,"goldfish",en\n'
    return _zip(folder / "inat.zip", {"taxa.csv": taxa, "VernacularNames-english.csv": english, "meta.xml": "<archive/>"})


def open_tree(folder: Path) -> Path:
    def line(*values: str) -> str:
        return "\t|\t".join(values) + "\t|\t\n"

    taxa = line("uid", "parent_uid", "name", "rank", "sourceinfo", "uniqname", "flags")
    for key, parent, name, rank in PATH:
        taxa += line(key, parent, "Metazoa" if name == "Animalia" else name, rank, f"gbif:{key}", "", "")
    taxa += line("9", "4285", "Carassius environmental sample", "no rank - terminal", "", "", "environmental,not_otu")
    synonyms = line("name", "uid", "type", "uniqname", "sourceinfo") + line(SYNONYM, "2366645", "synonym", "", "gbif:7")
    return _tar(folder / "ott.tgz", {"ott3.7/taxonomy.tsv": taxa, "ott3.7/synonyms.tsv": synonyms})


def plain_table(folder: Path) -> Path:
    rows = [[key, parent, "", name, f'"{_author(name)}"', rank, "accepted"] for key, parent, name, rank in PATH]
    rows.append(["7", "", "2366645", SYNONYM, f'"{SYNONYM_AUTHOR}"', "species", "synonym"])
    path = folder / "list.csv"
    path.write_text(_text("id parent_id accepted_id scientific_name authorship rank status", rows, ","))
    return path


DOWNLOADS: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "gbif": ("dwca", gbif, "goldfish"),
    "gbif_simple": ("gbif_simple", gbif_simple, ""),
    "coldp": ("coldp", coldp, "goldfish"),
    "coldp_in_parts": ("coldp", coldp_in_parts, "goldfish"),
    "itis": ("itis", itis, "goldfish"),
    "ncbi": ("ncbi", ncbi, "goldfish"),
    "eol": ("eol", eol, ""),
    "inaturalist_open_data": ("inaturalist", inaturalist_open_data, ""),
    "inaturalist_archive": ("inaturalist", inaturalist_archive, "goldfish"),
    "open_tree": ("opentree", open_tree, ""),
    "table": ("table", plain_table, ""),
}
"""Layout -> its format, who writes it, and the English name that it holds."""
