"""How wrong the zero-shot answers are by the taxonomy, and how deep they can be trusted, with the preferred caption type.

Three rules choose a species from the same probabilities: `most_probable`; `top_down`, which follows the most probable taxon from the
kingdom down; and `least_expected_distance`, which minimises the expected taxonomic distance (Karthik et al. 2021, "No cost likelihood
manipulation at test time for making better mistakes"). The distance is a sum over ranks, so that rule maximises the summed probabilities of
the species' seven taxa.

| metric | meaning |
|-|-|
| `top1` | share of right species |
| `distance_at_1`, `distance_at_5` | mean taxonomic distance of the answer, of the five best species (Bertinetto et al. 2020) |
| `mistake_distance` | mean distance of the wrong answers |
| `lca_depth` | depth of the lowest common ancestor of answer and truth, as a share of the seven ranks |
| `consistency` | share of images whose most probable taxa at all ranks form one lineage |
| `all_ranks` | share of images whose most probable taxon is right at every rank |
| `answered` | share of images with an answer whose probability reaches a floor; the answer is the deepest such taxon |
| `precision`, `mean_depth` | of the answers at a floor: share of right ones, mean number of ranks |

N images, C classes, T taxa of a rank.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.class_probabilities import iter_logits, softmax
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics import TIE_MARGIN, Measurement, Parameter, Proportion
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.evaluation.taxonomic_distance import TaxonTree, taxon_tree
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOORS = (0.6, 0.8, 0.95)
"""All above one half, so that at most one taxon of a rank reaches a floor and the answers of a lower floor are never above those of a
higher one."""
RULES = ("most_probable", "top_down", "least_expected_distance")
_TOP = 5
Values = dict[str, "NDArray[np.float64]"]


def run(given: TaskInput) -> TaskResult:
    """All rules and floors. A model without texts, or one class alone, gives a note instead."""
    if given.texts.no_texts or len(given.benchmark.classes) < 2:
        return TaskResult([], notes={"skipped": given.texts.no_texts or "the benchmark has one class"})
    caption_type = preferred_caption_type(given.settings.caption_types)
    tree, found = taxon_tree(given.benchmark.classes), defaultdict(list)
    for part, logits in iter_logits(given, given.heads(caption_type)):
        for name, values in measure_part(softmax(logits), given.labels[part], tree).items():
            found[name].append(values)
    return TaskResult(_measurements({name: np.concatenate(parts) for name, parts in found.items()}, given, tree, caption_type))


def measure_part(probabilities: NDArray[np.float64], truth: NDArray[np.int64], tree: TaxonTree) -> Values:
    """[N] values of images with `probabilities` [N, C]: by name, `distance RULE`, `hits RULE`, `distance_at_5`, `consistency`, `all_ranks`,
    and `depth FLOOR` and `right FLOOR` of the answer at a floor (depth 0: none)."""
    summed = tree.summed(probabilities)
    scores = {
        "most_probable": probabilities,
        "top_down": _top_down(summed, tree),
        "least_expected_distance": np.sum([one[:, taxa.of_species] for one, taxa in zip(summed, tree.taxa, strict=True)], axis=0),
    }
    values: Values = {}
    for rule in RULES:
        values[f"distance {rule}"], values[f"hits {rule}"] = _best_class(scores[rule], truth, tree)
    kept = min(_TOP, probabilities.shape[1])
    best = np.argpartition(-probabilities, kept - 1, axis=1)[:, :kept]
    values["distance_at_5"] = tree.distances(best, truth[:, None]).mean(axis=1)
    answers = np.stack([one.argmax(axis=1) for one in summed])
    below = answers[-1]
    paths = np.stack([taxa.of_species[tree.taxa[-1].starts[below]] for taxa in tree.taxa])
    values["consistency"] = (answers == paths).all(axis=0).astype(np.float64)
    values["all_ranks"] = (answers == tree.numbers[:, truth]).all(axis=0).astype(np.float64)
    for floor in FLOORS:
        values[f"depth {floor}"], values[f"right {floor}"] = _deepest(summed, truth, tree, floor)
    return values


def _deepest(
    summed: list[NDArray[np.float64]], truth: NDArray[np.int64], tree: TaxonTree, floor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """([N] number of ranks of the deepest named taxon whose probability reaches `floor`, [N] 1 where it is the true one)."""
    depth, right = (np.zeros(len(truth)) for _ in range(2))
    for number, (one, taxa) in enumerate(zip(summed, tree.taxa, strict=True), start=1):
        named = np.where(taxa.is_named, one, 0)
        best = named.argmax(axis=1)
        reached = np.take_along_axis(named, best[:, None], axis=1)[:, 0] >= floor
        depth[reached] = number
        right[reached] = (best == taxa.of_species[truth])[reached]
    return depth, right


def _top_down(summed: list[NDArray[np.float64]], tree: TaxonTree) -> NDArray[np.float64]:
    """[N, C] probabilities, 0 outside the genus that is reached by following the most probable child from the kingdom down."""
    allowed = np.ones_like(summed[-1][:, tree.taxa[-1].of_species], dtype=bool)
    for one, taxa in zip(summed[:-1], tree.taxa[:-1], strict=True):
        of_classes = np.where(allowed, one[:, taxa.of_species], -1)
        greatest = of_classes.max(axis=1, keepdims=True)
        allowed &= of_classes >= greatest * (1 - TIE_MARGIN)
    return np.where(allowed, summed[-1][:, tree.taxa[-1].of_species], 0)


def _best_class(scores: NDArray[np.float64], truth: NDArray[np.int64], tree: TaxonTree) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """([N] distance of the class with the highest score, [N] 1 where it is the true one); means over the classes that share it."""
    found = tree.distances(scores.argmax(axis=1), truth).astype(np.float64)
    hits = (scores.argmax(axis=1) == truth).astype(np.float64)
    is_best = scores >= scores.max(axis=1, keepdims=True) * (1 - TIE_MARGIN)
    for image in np.flatnonzero(is_best.sum(axis=1) > 1).tolist():
        best = np.flatnonzero(is_best[image])
        found[image], hits[image] = tree.distances(best, truth[image]).mean(), (best == truth[image]).mean()
    return found, hits


def _measurements(values: Values, given: TaskInput, tree: TaxonTree, caption_type: str) -> list[Measurement]:
    ones, num = np.ones(len(given.labels)), len(given.benchmark.classes)
    chance = float(tree.mean_distances(given.labels).mean())
    common: dict[str, Parameter] = {"caption_type": caption_type}

    def measure(metric: str, hits: NDArray[np.float64], trials: NDArray[np.float64] = ones, **more: Parameter) -> Measurement:
        return Measurement("hierarchy", common | more, metric, Proportion(hits * (trials > 0), trials), num_classes=num)

    def measure_rule(rule: str) -> list[Measurement]:
        distance, hits = values[f"distance {rule}"], values[f"hits {rule}"]
        levels = (1 / num, chance, None, 1 - chance / len(RANKS))
        found = [
            measure("top1", hits, rule=rule),
            measure("distance_at_1", distance, rule=rule),
            measure("mistake_distance", distance, 1 - hits, rule=rule),
            measure("lca_depth", 1 - distance / len(RANKS), rule=rule),
        ]
        made = [Measurement(m.task, m.parameters, m.metric, m.statistic, level, None, num) for m, level in zip(found, levels, strict=True)]
        return [m for m in made if m.statistic.takes_part.any()]

    results = [one for rule in RULES for one in measure_rule(rule)]
    results += [measure(name, values[name]) for name in ("distance_at_5", "consistency", "all_ranks")]
    for floor in FLOORS:
        depth, right = values[f"depth {floor}"], values[f"right {floor}"]
        answered = (depth > 0).astype(np.float64)
        results.append(measure("answered", answered, floor=floor))
        if answered.any():
            results += [measure("precision", right, answered, floor=floor), measure("mean_depth", depth, answered, floor=floor)]
    return results
