"""What a release's splits lack and which settings decide it, for people to read before they train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow.parquet as pq

from bioclip import layout
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.selection.parent import changed_split_settings
from bioclip.selection.split_rules import least_val_images
from bioclip.selection.splits import HELDOUT, TRAIN, VAL
from bioclip.settings import ReleaseSettings
from bioclip.storage import Storage


def split_remarks(storage: Storage, release: Release, settings: ReleaseSettings) -> list[str]:
    """One sentence for each split that is empty against the settings, and for split settings that a parent overrides."""
    remarks = list(_empty_splits(release, settings))
    parent = release.parent[0]
    if parent and (changed := changed_split_settings(release, open_release(storage, parent))):
        remarks.append(
            f"{', '.join(changed)}: images of {parent} keep their splits, so the change applies to new images only; "
            "--set release.parent=none splits all images again."
        )
    return remarks


def _empty_splits(release: Release, settings: ReleaseSettings) -> Iterator[str]:
    sizes = {name: release.manifest["splits"].get(name, {}).get("num_samples", 0) for name in (TRAIN, VAL, HELDOUT)}
    lacks_val = settings.val_fraction > 0 and not sizes[VAL]
    lacks_heldout = bool(settings.heldout_fraction or settings.heldout_num_species or settings.heldout_species) and not sizes[HELDOUT]
    if not (lacks_val or lacks_heldout):
        return
    with release.storage.reader(layout.SAMPLES) as stream:
        species = pq.read_table(stream, columns=["species"], filters=[("split", "!=", "")])["species"]
    counts = Counter(name for name in species.to_pylist() if name)
    if not counts:
        yield "val and heldout are empty, so nothing is scored: no image has the name of a species or a label."
        return
    most = max(counts.values())
    if lacks_val:
        least = least_val_images(settings.val_min_images, counts)
        fit = sum(count >= least for count in counts.values())
        yield (
            f"val is empty, so known species are not scored: {fit:,} of {len(counts):,} species have {least} images or more (the most is "
            f"{most:,}), and release.val_fraction is {settings.val_fraction}; lower release.val_min_images or raise release.val_fraction."
        )
    if lacks_heldout:
        fit = sum(count >= settings.heldout_min_images for count in counts.values())
        yield (
            f"heldout is empty, so unseen species are not scored: {fit:,} of {len(counts):,} species have release.heldout_min_images = "
            f"{settings.heldout_min_images} images or more (the most is {most:,}), of which release.heldout_fraction "
            f"{settings.heldout_fraction} are drawn; lower the former, or set release.heldout_num_species or release.heldout_species."
        )
