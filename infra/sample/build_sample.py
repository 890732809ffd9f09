"""Build bioclip/sample/: real photographs, two archives, a backbone, credits. Equal input gives equal bytes."""

import argparse
import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sample_backbone import Backbone, backbone_members, build_backbone, vernacular_names
from sample_credits import attribution_csv, attribution_md
from sample_dwca import dwca_members, occurrence_id, read_source_labels
from sample_eol import manifest_tgz, taxon_tab
from sample_media import MediaFile, make_fault_media, make_media, write_zip
from sample_rows import TINY_SIDE_PX, read_rows, select_photos, spare_fish

FAULTS: dict[str, dict[str, str | int]] = {
    "faults/missing.jpg": {"fault": "not_found"},
    "faults/landing-page.jpg": {"fault": "html"},
    "faults/busy.jpg": {"fault": "busy_once", "retry_after_s": 1},
    "faults/cut.jpg": {"fault": "truncated"},
    "faults/moved.jpg": {"fault": "redirect", "location": "faults/moved-target.jpg"},
    "faults/unavailable.jpg": {"fault": "unavailable"},
}
FAULT_FILES = ("faults/busy.jpg", "faults/cut.jpg", "faults/moved-target.jpg")
"""Fault paths behind which there is a photograph, each an otherwise unused one of an occurrence of the archive."""
MAX_SAMPLE_BYTES = 12_000_000
README = """# The bundled sample

{num_media} real photographs, each with its photographer and licence, in the shapes in which such data is published, so that
`treeoflife demo` and the tests run offline on real dirt. Rebuilt, byte for byte, by `infra/sample/build_sample.py`.

| file | what |
|-|-|
| media.zip | {per_source}; longer side at most 176 px |
| archives/field-observations.zip | Darwin Core Archive of the other sources: {num_occurrences} occurrences, {num_multimedia} media |
| archives/eol-media-manifest.tgz | EOL media manifest, grocery and seedlings: {num_eol} media, {num_pages} pages; two parts with headers |
| archives/eol-taxon.tab | the EOL Dynamic Hierarchy above those pages |
| backbone/sample-backbone.zip | Darwin Core taxonomy: {num_accepted} accepted, {num_synonyms} synonyms, {num_vernaculars} English names |
| faults.json | the URLs that misbehave; `server.py` acts on it |
| attribution.csv, ATTRIBUTION.md | creator, licence, origin and change of every file |

{num_rich} species have 8 images or more; the kingdoms are {kingdoms}.
Page ids, gbifIDs and the two hosts under `treeoflife.example` are made up; `references` leads to the real source.
{num_located} occurrences have coordinates: those of the place that the source names, with its radius (`infra/sample/sample_places.py`).

## Dirt on purpose
| what | how many |
|-|-|
| byte-identical pairs | {num_exact} |
| near-duplicate pairs (fish and plankton; thumbnails of fungi) | {num_near} + {num_thumbs} |
| EXIF orientation other than 1 | {num_rotated} herbarium sheets |
| a side under 32 px | {num_tiny} plankton |
| no organism (artifacts, detritus_other, fecal_pellet) | {num_lifeless} plankton |
| label above the species | {num_higher} images |
| herbarium names as the OCR read them, or none | {num_sheets} |
| misbehaving URLs (404, web page, 429, cut short, redirect, 503) | {num_faults} |
| one species under two names (Clitocybe nuda / Lepista nuda, Armillaria ostoyae / A. solidipes) | 2 |
| genera that are homonyms across kingdoms (Liriope, Oenanthe, Prunella) | 3 |
"""


@dataclass(frozen=True)
class Sample:
    """Members of each output file, before packing."""

    media: list[MediaFile]
    fault_media: list[MediaFile]
    backbone: Backbone
    vernaculars: list[tuple[str, str, str, str]]
    dwca: dict[str, bytes]
    num_rotated: int

    @property
    def eol_media(self) -> list[MediaFile]:
        """Media of the EOL manifest."""
        return [member for member in self.media if member.source in ("grocery", "seedlings")]


def place_faults(media: list[MediaFile], fault_media: list[MediaFile]) -> list[tuple[str, MediaFile]]:
    """Return (occurrence id, media) for the six fault URLs.

    A fault with a photograph goes to that photograph's occurrence, the others to the first occurrences of fungi and fish.
    """
    by_path = {member.path: member for member in fault_media}
    fungi = [member for member in media if member.source == "fungi"]
    fish = [member for member in media if member.source == "fish"]
    templates = {
        "faults/busy.jpg": by_path["faults/busy.jpg"],
        "faults/cut.jpg": by_path["faults/cut.jpg"],
        "faults/moved.jpg": by_path["faults/moved-target.jpg"],
        "faults/missing.jpg": fungi[0],
        "faults/landing-page.jpg": fungi[-1],
        "faults/unavailable.jpg": fish[0],
    }
    return [(occurrence_id(template), MediaFile(path, b"", template.row, "")) for path, template in sorted(templates.items())]


def build(photos_dir: Path, taxonomy_dir: Path) -> Sample:
    """Choose, encode and describe everything; nothing is written."""
    rows = read_rows(photos_dir)
    photos = select_photos(rows)
    media = make_media(photos_dir, photos)
    spares = dict(zip(FAULT_FILES, spare_fish(rows, photos), strict=False))
    fault_media = make_fault_media(photos_dir, spares)
    chosen = [photo.row for photo in photos]
    backbone = build_backbone(taxonomy_dir, chosen)
    observed = [member for member in media if member.source not in ("grocery", "seedlings")]
    return Sample(
        media=media,
        fault_media=fault_media,
        backbone=backbone,
        vernaculars=vernacular_names(backbone, taxonomy_dir / "backbone-dwca.zip", chosen),
        dwca=dwca_members(observed, place_faults(media, fault_media), read_source_labels(photos_dir)),
        num_rotated=sum(b"Exif\x00\x00" in member.body[:64] for member in media),
    )


def write(sample: Sample, photos_dir: Path, out_dir: Path) -> None:
    """Write all files of the sample below `out_dir`; other files there are kept."""
    every = sample.media + sample.fault_media
    write_zip(out_dir / "media.zip", {member.path: member.body for member in every}, zipfile.ZIP_STORED)
    write_zip(out_dir / "archives" / "field-observations.zip", sample.dwca)
    (out_dir / "archives" / "eol-media-manifest.tgz").write_bytes(manifest_tgz(sample.eol_media))
    (out_dir / "archives" / "eol-taxon.tab").write_bytes(taxon_tab(sample.eol_media, sample.backbone))
    write_zip(out_dir / "backbone" / "sample-backbone.zip", backbone_members(sample.backbone, sample.vernaculars))
    (out_dir / "faults.json").write_text(json.dumps(FAULTS, indent=2) + "\n", encoding="utf-8")
    (out_dir / "attribution.csv").write_bytes(attribution_csv(every))
    (out_dir / "ATTRIBUTION.md").write_bytes(attribution_md(every, photos_dir))
    (out_dir / "README.md").write_text(README.format(**count(sample)), encoding="utf-8")


def count(sample: Sample) -> dict[str, str | int]:
    """Count what the README states."""
    rows = [member.row for member in sample.media]
    per_species = Counter(row["scientific_name"] for row in rows if row["scientific_name"])
    sources = Counter(member.source for member in sample.media + sample.fault_media)
    status = Counter(row["taxonomicStatus"] for row in sample.backbone.rows.values())
    near = [row for row in rows if row["near_dup_of"]]
    thumbs = [row for row in near if "_thumb." in row["file"]]
    plankton = [row for row in rows if row["file"].startswith("planktonset/")]
    return {
        "num_media": sum(sources.values()),
        "per_source": ", ".join(f"{number} {source}" for source, number in sorted(sources.items())),
        "num_occurrences": sample.dwca["occurrence.txt"].count(b"\n") - 1,
        "num_located": sum(line.count("GeoNames") for line in sample.dwca["occurrence.txt"].decode().splitlines()),
        "num_multimedia": sample.dwca["multimedia.txt"].count(b"\n") - 1,
        "num_eol": len(sample.eol_media),
        "num_pages": len({member.row["scientific_name"] or member.row["genus"] for member in sample.eol_media}),
        "num_accepted": status["accepted"],
        "num_synonyms": status["synonym"],
        "num_vernaculars": len(sample.vernaculars),
        "num_rich": sum(number >= 8 for number in per_species.values()),
        "kingdoms": ", ".join(sorted({row["kingdom"] for row in rows} - {""})),
        "num_exact": sum(bool(row["exact_dup_of"]) for row in rows),
        "num_near": len(near) - len(thumbs),
        "num_thumbs": len(thumbs),
        "num_rotated": sample.num_rotated,
        "num_tiny": sum(min(int(row["width"]), int(row["height"])) < TINY_SIDE_PX for row in plankton),
        "num_lifeless": sum(row["label_basis"] == "non_organism" for row in rows),
        "num_higher": sum(row["label_basis"] == "higher_rank_only" for row in rows),
        "num_sheets": sources["herbarium"],
        "num_faults": len(FAULTS),
    }


def main() -> None:
    """Build the sample; raises SystemExit if it exceeds 12 MB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder with metadata.csv and the photographs")
    parser.add_argument("--taxonomy", type=Path, required=True, help="folder with ncbi-taxdump.zip and backbone-dwca.zip")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, such as bioclip/sample")
    arguments = parser.parse_args()
    sample = build(arguments.photos, arguments.taxonomy)
    write(sample, arguments.photos, arguments.out)
    num_bytes = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.suffix not in (".py", ".pyc"))
    print(f"{len(sample.media)} photographs, {num_bytes / 1e6:.2f} MB")
    if num_bytes > MAX_SAMPLE_BYTES:
        raise SystemExit(f"the sample takes {num_bytes} bytes, more than {MAX_SAMPLE_BYTES}; lower MAX_SIDE_PX.")


if __name__ == "__main__":
    main()
