"""Write ATTRIBUTION.md and attribution.csv: photographers and licences of the sample's photographs."""

import csv
import io
import re
from pathlib import Path

from sample_dwca import creator, reference
from sample_media import MediaFile

COLUMNS = ("path", "creator", "license", "source_repo", "source_path", "source_commit", "transform")
TITLES = {
    "aafc_herbarium": "Herbarium sheets, Agriculture and Agri-Food Canada",
    "fish4k": "Fish4Knowledge",
    "fungi_mo": "Mushroom Observer, by way of Mushroom Tracker",
    "grocery": "Grocery Store Dataset",
    "planktonset": "PlanktonSet 1.0",
    "seedlings": "Plant Seedlings Dataset",
}
REMARKS = {
    "fish4k": "Original data: https://homepages.inf.ed.ac.uk/rbf/Fish4Knowledge/GROUNDTRUTH/RECOG/",
    "fungi_mo": "Licence and photographer per file: attribution.csv. Photographs under NonCommercial terms, or without a photographer, "
    "are left out. A name that reached us with lost characters (U+FFFD, encoded twice) stands as it came.",
    "planktonset": "NOAA NCEI Accession 0127422.",
    "seedlings": "Licence as stated by Aarhus University; the repository itself carries none.",
}
NOTICE = re.compile(r'^Fish4Knowledge notice \(must be kept\): (".*")', re.MULTILINE)
OPENING = """# Attribution and licences

The photographs are small copies: scaled down and encoded again, as the column `transform` of attribution.csv says for each
file. A copy stays under the licence of its original; copies of CC BY-SA photographs are adaptations under the same licence.
Links: CC BY-SA 3.0 <http://creativecommons.org/licenses/by-sa/3.0/>, CC BY-SA 4.0
<http://creativecommons.org/licenses/by-sa/4.0/>, CC BY 4.0 <http://creativecommons.org/licenses/by/4.0/>, CC0 1.0
<http://creativecommons.org/publicdomain/zero/1.0/>.
"""
PLACES = """
## Places
No source states coordinates. The places that the archive of NOAA NCEI, Fish4Knowledge and the labels of the herbarium sheets name
are located by GeoNames <https://www.geonames.org/>, CC BY 4.0; occurrence.txt gives its identifier and a radius for each.
"""
TAXONOMY = """
## Taxonomy
NCBI Taxonomy (public domain); Flora e Funga do Brasil, CTFB, ITIS, Open Tree of Life Asterales and the All Living
Families list by way of the columns datasetID (CC BY, CC0 or public domain by source); English names from NCBI (public
domain) and SpeciesNet (Apache-2.0). Rows with datasetID `curated` were written for this sample.
"""


def attribution_csv(media: list[MediaFile]) -> bytes:
    """Return one row per media file, in order of path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for member in sorted(media, key=lambda member: member.path):
        row = member.row
        known = (row["license"], row["source_repo"], row["source_path"], row["source_commit"])
        writer.writerow((member.path, creator(row), *known, member.transform))
    return text.getvalue().encode()


def attribution_md(media: list[MediaFile], photos_dir: Path) -> bytes:
    """Return the credits per source, with the Fish4Knowledge notice and the MIT licence word for word.

    Raises ValueError when the notice is not in the ATTRIBUTION.md of the photographs.
    """
    notice = NOTICE.search((photos_dir / "ATTRIBUTION.md").read_text(encoding="utf-8"))
    if notice is None:
        raise ValueError("the Fish4Knowledge notice is missing from ATTRIBUTION.md; it must be passed on.")
    mit = (photos_dir / "_source_labels" / "grocery_LICENSE_MIT.txt").read_text(encoding="utf-8")
    parts = [OPENING]
    for folder, title in TITLES.items():
        members = [member for member in media if member.row["file"].startswith(folder + "/")]
        parts.append(source_section(title, members, REMARKS.get(folder, "")))
        if folder == "fish4k":
            parts.append(f"> {notice[1]}\n")
        if folder == "grocery":
            parts.append("```text\n" + mit.strip() + "\n```\n")
    return ("\n".join(parts) + PLACES + TAXONOMY).encode()


def source_section(title: str, members: list[MediaFile], remark: str) -> str:
    """Describe one source: files, licences, link, people."""
    licenses = sorted({member.row["license"] for member in members})
    people = sorted({creator(member.row) for member in members})
    row = members[0].row
    lines = [
        f"## {title}",
        f"- {len(members)} files; licence: {', '.join(licenses)}",
        f"- from <https://github.com/{row['source_repo']}> at {row['source_commit'][:12]}, e.g. <{reference(row)}>",
        f"- by: {'; '.join(people)}",
    ]
    return "\n".join([*lines, f"- {remark}"] if remark else lines) + "\n"
