"""Zero-shot classification at higher ranks by the captions of the taxa themselves, as in BioCLIP's comparison of text types.

`zero_shot` sums the probabilities of species instead. Each taxon that the classes have at a rank is one answer; its caption is that of its
lineage down to the rank, without common names.
"""

from __future__ import annotations

from dataclasses import replace

from bioclip.captions import captions
from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.metrics import find_metric
from bioclip.evaluation.predictions import Predictions
from bioclip.evaluation.rank_rollup import taxa_at
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.evaluation.tasks.zero_shot import predict
from bioclip.records import RANKS


def run(given: TaskInput) -> TaskResult:
    """Every caption type at every rank of the settings above the species that has two taxa or more, by every metric."""
    if given.texts.no_texts:
        return TaskResult([], notes={"skipped": given.texts.no_texts})
    predictions = [one for rank in given.settings.ranks if rank != RANKS[-1] for one in _predictions(given, rank)]
    found = [find_metric(name)(one) for one in predictions for name in given.settings.metrics]
    return TaskResult([measurement for measurement in found if measurement is not None], predictions)


def _predictions(given: TaskInput, rank: str) -> list[Predictions]:
    """A taxon without a name at the rank has the caption of what is above it; its images are not asked."""
    taxa, depth = taxa_at(given.benchmark.classes, rank), RANKS.index(rank) + 1
    if taxa.is_named.sum() < 2:
        return []
    lineages = [given.benchmark.classes[start].lineage[:depth] + ("",) * (len(RANKS) - depth) for start in taxa.starts.tolist()]
    made = [captions(dict(zip(RANKS, lineage, strict=True)), "") for lineage in lineages]
    answers, labels = [SpeciesClass(lineage, "") for lineage in lineages], taxa.of_species[given.labels]
    predictions: list[Predictions] = []
    for caption_type in given.settings.caption_types:
        heads = given.texts.encode_texts([text[caption_type] for text in made])
        predictions += predict(given.images, heads, given.texts.logit_scale, labels, answers, [rank], caption_type)
    return [replace(one, task="rank_prompts") for one in predictions]
