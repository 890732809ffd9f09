"""iNaturalist 2021 as unpacked: folders `NNNNN_Kingdom_Phylum_Class_Order_Family_Genus_epithet` of images, at any depth.

Format: https://github.com/visipedia/inat_comp/tree/master/2021. The folders state no licence, observer or place: read the JSON with
`inat21` if these are needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bioclip.local_media import LocalMediaError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, SourceFormat
from bioclip.sources.formats.folder import walk_files
from bioclip.sources.parsing.defaults import MEDIA_OPTIONS, RIGHTS_OPTIONS, MediaBase, rights

_FOLDER = re.compile(r"(\d+)_([^_]+)_([^_]+)_([^_]+)_([^_]+)_([^_]+)_([^_]+)_(.+)")
_FIELDS = ("kingdom", "phylum", "class_", "order", "family", "genus", "specific_epithet")


def read(source: SourceSettings) -> Iterator[Record | Dropped]:
    """Stream one record per image file, in order of path; files in other folders are dropped."""
    base, stated = MediaBase(source), rights(source)
    for path in walk_files(Path(source.path)):
        if isinstance(path, Dropped):
            yield path
            continue
        folder = next((match for part in PurePosixPath(path).parts[:-1] if (match := _FOLDER.fullmatch(part))), None)
        if folder is None:
            yield Dropped("not_in_a_class_folder")
            continue
        names = dict(zip(_FIELDS, folder.groups()[1:], strict=True))
        try:
            yield Record(
                source=source.name,
                source_id=f"{folder[0]}/{PurePosixPath(path).name}",
                media_url=base.url(path),
                image_type="citizen_science",
                scientific_name=f"{names['genus']} {names['specific_epithet'].replace('_', ' ')}",
                taxon_rank="species",
                verbatim={"category_id": folder[1]},
                **stated,
                **names,  # type: ignore[arg-type]
            )
        except LocalMediaError as error:
            yield Dropped(error.reason)


FORMAT = SourceFormat(read, options=MEDIA_OPTIONS | RIGHTS_OPTIONS, local_media=True)
