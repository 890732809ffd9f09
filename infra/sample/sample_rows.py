"""Selects the photographs of the bundled sample from metadata.csv by deterministic rules.

Every choice is either mandatory (duplicates, rotated sheets, tiny plankton) or follows the order of a SHA-256 of the
file's name, so that a rebuild selects the same rows for any order of the input.
"""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

Row = dict[str, str]

SOURCE_DIRS = {
    "aafc_herbarium": "herbarium",
    "fish4k": "fish",
    "fungi_mo": "fungi",
    "grocery": "grocery",
    "planktonset": "plankton",
    "seedlings": "seedlings",
}
"""Folder in photos/ -> folder in media.zip."""

IMAGES_PER_SPECIES = 19
IMAGES_PER_GENUS_PAGE = 8
IMAGES_PER_HIGHER_PLANKTON_LABEL = 4
NUM_NON_ORGANISMS = 20
NUM_FUNGI_SPECIES = 45
NUM_FUNGI_THUMBS = 25
TINY_SIDE_PX = 32
REQUIRED_FUNGI = frozenset(
    {
        "Armillaria ostoyae",
        "Armillaria solidipes",
        "Armillaria tabescens",
        "Cerioporus squamosus",
        "Clitocybe nuda",
        "Dacrymyces chrysospermus",
        "Lepista nuda",
        "Xerocomellus zelleri",
    }
)
"""Species whose names are synonyms of each other, or of the name a modern backbone accepts."""


@dataclass(frozen=True)
class Photo:
    """One chosen photograph: its row of metadata.csv and its path in media.zip without the suffix."""

    row: Row
    stem: str

    @property
    def source(self) -> str:
        """Folder in media.zip, such as `fish`."""
        return self.stem.split("/")[0]

    @property
    def label(self) -> str:
        """The most specific name of this photograph: its species, or else the source's label."""
        return self.row["scientific_name"] or self.row["original_label"]


def read_rows(photos_dir: Path) -> list[Row]:
    """Read metadata.csv without rows that cannot be redistributed: NonCommercial licences, and rows without a photographer."""
    with (photos_dir / "metadata.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    free = [row for row in rows if "-NC-" not in row["license"] and not row["attribution"].startswith(" / ")]
    return sorted(free, key=lambda row: row["file"])


def draw_order(name: str) -> str:
    """Return the SHA-256 that replaces a random draw for `name`."""
    return hashlib.sha256(name.encode()).hexdigest()


def fish_track(row: Row) -> str:
    """Return the class and track of a fish file `fish_NN_*/fish_<track>_<frame>.png`: one animal seen by one camera."""
    return f"{row['original_label']}:{PurePosixPath(row['file']).stem.split('_')[1]}"


def spread(rows: Iterable[Row], group_of: Callable[[Row], str], limit: int, required: Iterable[Row] = ()) -> list[Row]:
    """Take the required rows, then one row of each group in turn until `limit` rows are taken."""
    taken = list(required)
    taken_files = {row["file"] for row in taken}
    queues: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: draw_order(row["file"])):
        if row["file"] not in taken_files:
            queues[group_of(row)].append(row)
    order = sorted(queues, key=lambda group: (sum(group_of(row) == group for row in taken), draw_order(group)))
    while len(taken) < limit and any(queues.values()):
        for group in order:
            if queues[group] and len(taken) < limit:
                taken.append(queues[group].pop(0))
    return taken


def duplicate_files(rows: list[Row]) -> set[str]:
    """Files that duplicate another one, exactly or nearly, and the files that they duplicate (thumbnails aside)."""
    pairs = [
        (row["file"], original)
        for row in rows
        for original in (row["exact_dup_of"], row["near_dup_of"])
        if original and "_thumb." not in row["file"]
    ]
    return {name for pair in pairs for name in pair}


def group_rows(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Group rows by a key, groups in order of their key."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(sorted(groups.items()))


def select_fish(rows: list[Row]) -> list[Row]:
    """Up to 14 images per class, over as many tracks as possible, with every duplicate pair."""
    pairs = duplicate_files(rows)
    return [
        row
        for members in group_rows(rows, lambda row: row["original_label"]).values()
        for row in spread(members, fish_track, IMAGES_PER_SPECIES, [row for row in members if row["file"] in pairs])
    ]


def select_plants(rows: list[Row]) -> list[Row]:
    """Up to 14 images per species spread over its source classes (cultivars); 8 if only the genus is certain."""
    chosen = []
    for members in group_rows(rows, lambda row: row["scientific_name"] or row["genus"]).values():
        limit = IMAGES_PER_SPECIES if members[0]["scientific_name"] else IMAGES_PER_GENUS_PAGE
        chosen += spread(members, lambda row: row["original_label"], limit)
    return chosen


def select_plankton(rows: list[Row]) -> list[Row]:
    """14 per monotypic species, 4 per higher label, 20 without an organism, and all that are under 32 px."""
    tiny = [row for row in rows if min(int(row["width"]), int(row["height"])) < TINY_SIDE_PX]
    pairs = duplicate_files(rows)
    lifeless = [row for row in rows if row["label_basis"] == "non_organism"]
    chosen = spread(lifeless, lambda row: row["original_label"], NUM_NON_ORGANISMS, [row for row in tiny if row in lifeless])
    organisms = [row for row in rows if row["label_basis"] != "non_organism"]
    for members in group_rows(organisms, lambda row: row["original_label"]).values():
        limit = IMAGES_PER_SPECIES if members[0]["scientific_name"] else IMAGES_PER_HIGHER_PLANKTON_LABEL
        required = [row for row in members if row in tiny or row["file"] in pairs]
        chosen += spread(members, lambda row: row["original_label"], limit, required)
    return chosen


def select_fungi(rows: list[Row]) -> list[Row]:
    """45 species with their photographs, all exact duplicates among them, and the thumbnails of 25."""
    species = group_rows(rows, lambda row: row["scientific_name"])
    required = REQUIRED_FUNGI | {row["scientific_name"] for row in rows if row["exact_dup_of"]}
    others = sorted((name for name in species if name not in required), key=draw_order)
    names = sorted(required) + others[: NUM_FUNGI_SPECIES - len(required)]
    with_thumb = set(names[:NUM_FUNGI_THUMBS])
    return [row for name in sorted(names) for row in species[name] if name in with_thumb or "_thumb." not in row["file"]]


def select_photos(rows: list[Row]) -> list[Photo]:
    """Choose the sample; raises ValueError when two photographs would share a path in media.zip."""
    by_source = group_rows(rows, lambda row: row["file"].split("/")[0])
    chosen = (
        by_source["aafc_herbarium"]
        + select_fish(by_source["fish4k"])
        + select_fungi(by_source["fungi_mo"])
        + select_plants(by_source["grocery"] + by_source["seedlings"])
        + select_plankton(by_source["planktonset"])
    )
    photos = [Photo(row, photo_stem(row)) for row in chosen]
    stems = [photo.stem for photo in photos]
    if len(set(stems)) != len(stems):
        raise ValueError("two chosen photographs share a path; make photo_stem distinguish them.")
    return sorted(photos, key=lambda photo: photo.stem)


def photo_stem(row: Row) -> str:
    """Return the path in media.zip, without suffix, of a row of metadata.csv."""
    path = PurePosixPath(row["file"])
    return f"{SOURCE_DIRS[path.parts[0]]}/{path.stem}"


def spare_fish(rows: list[Row], photos: list[Photo]) -> list[Row]:
    """Fish images that were not chosen, of chosen tracks and without duplicates; used by the fault rows."""
    pairs = duplicate_files(rows)
    chosen = {photo.row["file"] for photo in photos}
    tracks = {fish_track(photo.row) for photo in photos if photo.source == "fish"}
    candidates = [row for row in rows if row["file"].startswith("fish4k/") and row["scientific_name"] and row["file"] not in chosen | pairs]
    return sorted((row for row in candidates if fish_track(row) in tracks), key=lambda row: draw_order(row["file"]))
