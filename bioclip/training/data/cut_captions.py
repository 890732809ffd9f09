"""Captions of a run that are longer than the model's text context: counted before training, and refused above a share.

BioCLIP's ten texts are made from the lineages of the releases' samples, each distinct one once; descriptions and further languages are
only in the shards and are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.captions import TEXT_MEMBERS, captions
from bioclip.errors import TrainingError
from bioclip.models.text_context import CutTexts, measure_texts
from bioclip.parquet import read_batches
from bioclip.records import RANKS
from bioclip.training.data.caption_types import caption_type_names
from bioclip.training.data.streams import release_of, stream_settings

if TYPE_CHECKING:
    from bioclip.models.clip import ClipModel
    from bioclip.releases import Release
    from bioclip.settings import TrainingSettings
    from bioclip.storage import Storage

_COLUMNS = (*RANKS, "common_name")


def check_captions(settings: TrainingSettings, release: Release, workspace: Storage, model: ClipModel) -> dict[str, CutTexts]:
    """The types with captions that the context cuts, and their counts.

    Raises TrainingError if more than `max_cut_share` of the captions of a type that is drawn are cut.
    """
    chosen = [stream for stream in stream_settings(settings) if not stream.shards]
    texts = _distinct_captions([release_of(stream, release, workspace) for stream in chosen], caption_type_names(settings))
    found = {
        name: counts for name, made in texts.items() if (counts := measure_texts(model.tokenizer, made)) is not None and counts.num_cut
    }
    for name, counts in found.items():
        if counts.share > settings.max_cut_share:
            raise TrainingError(
                f"{counts.describe(name)}, above training.max_cut_share = {settings.max_cut_share}; choose a model with a longer context, "
                "other training.caption_types, or raise the setting."
            )
    return found


def _distinct_captions(releases: Sequence[Release], names: Iterable[str]) -> dict[str, set[str]]:
    """Type -> distinct captions of the training samples, for those of BioCLIP's ten among `names`."""
    texts: dict[str, set[str]] = {name: set() for name in names if name in TEXT_MEMBERS}
    if not texts:
        return texts
    for one in {release.digest: release for release in releases}.values():
        for batch in read_batches(one.storage, layout.SAMPLES, ["split", *_COLUMNS]):
            lineages: pa.Table = batch.filter(pc.equal(batch["split"], "train")).group_by(list(_COLUMNS)).aggregate([])
            for row in lineages.to_pylist():
                made = captions(row, row["common_name"])
                for name, found in texts.items():
                    found.add(made[name])
    return texts
