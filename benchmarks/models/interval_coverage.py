"""How often the nominal 95 % interval of a score contains the truth, in simulated worlds whose truth is known.

Species effects: the probability of a hit differs by species (beta(0.6, 1.4), mean 30 %), with very unequal numbers of images; `species`
draws other species in each repeat, `image` other images of the same species. Few-shot: normal classes of unequal spread, SimpleShot as the
product runs it; `species` draws other classes, `image` other supports and queries of the same classes. Differences: two models on the same
images. Beside each case the coverage of the percentile bootstrap over images, the usual interval, on the same data (every fourth repeat).

A case of R repeats has a standard error of sqrt(0.95 * 0.05 / R): 0.7 points for 1,000, 1.1 for the 400 of few-shot cases. Peer: none.
`--quick`: 60 repeats and 24.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measuring import FactTable, Report
from benchmarks.models.sampled_worlds import TRUE_SHARE, GaussianWorld, draw_hits, draw_sizes, draw_species, true_difference
from benchmarks.registry import Context
from bioclip.evaluation.comparison.paired import PairedHits, difference_score
from bioclip.evaluation.statistics import Measurement, Proportion, Units, score
from bioclip.evaluation.tasks.few_shot import Problem, measure_few_shot

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_SPECIES = (8, 20, 60, 200)
NUM_REPEATS, NUM_QUICK = 1000, 60
NUM_FOLDS, MEAN_QUERIES = 5, 8.0
SEPARATION = {1: 0.8, 5: 0.6}
NUM_BOOTSTRAPS = 400
_REPEATS_PER_WORLD = 25
_FEW_SHOT_SHARE = 0.4
_EVERY = 4


@dataclass
class Coverage:
    """Counts of one case."""

    covered: int = 0
    repeats: int = 0
    usual: int = 0
    usual_repeats: int = 0
    widths: list[float] = field(default_factory=list)

    def add(self, low: float, high: float, truth: float) -> None:
        """One interval."""
        self.covered += low <= truth <= high
        self.repeats += 1
        self.widths.append(high - low)

    def add_usual(self, values: NDArray[np.float64], truth: float) -> None:
        """The percentiles of a bootstrap over images."""
        low, high = np.nanpercentile(values, [2.5, 97.5])
        self.usual += bool(low <= truth <= high)
        self.usual_repeats += 1

    def cells(self) -> tuple[str, str, str]:
        """Coverage, mean width and the usual interval's coverage."""
        usual = f"{100 * self.usual / self.usual_repeats:.0f}" if self.usual_repeats else "-"
        return f"{100 * self.covered / self.repeats:.1f}", f"{100 * float(np.mean(self.widths)):.1f}", usual


Cases = dict[str, Coverage]


def run(context: Context) -> Report:
    """One table."""
    repeats = NUM_QUICK if context.quick else NUM_REPEATS
    rows = []
    started = time.process_time()
    for kind, num_species, cases in simulate(NUM_SPECIES, repeats):
        rows += [(kind, name, num_species, one.repeats, *one.cells()) for name, one in cases.items()]
        print(f"{kind}, {num_species} species: {time.process_time() - started:.0f} CPU-s so far", flush=True)
    header = ("unit", "score", "species", "repeats", "95 % interval covers, %", "mean width, points", "percentile bootstrap over images, %")
    return Report((), (FactTable("Coverage of 95 % intervals", header, tuple(rows)),))


def simulate(num_species: Sequence[int], repeats: int) -> Iterator[tuple[str, int, Cases]]:
    """(unit, number of species, coverage by score) of every case."""
    works: list[tuple[str, Callable[[int, int, np.random.Generator], Cases]]] = [
        ("species", sample_species),
        ("image", sample_images),
        ("species", lambda number, times, random: sample_few_shot(number, times, random, "species")),
        ("image", lambda number, times, random: sample_few_shot(number, times, random, "image")),
    ]
    for position, (kind, work) in enumerate(works):
        for number in num_species:
            times = round(repeats * _FEW_SHOT_SHARE) if position >= 2 else repeats
            yield kind, number, work(number, times, np.random.default_rng([position, number]))


def sample_species(num_species: int, repeats: int, random: np.random.Generator) -> Cases:
    """Other species in each repeat."""
    cases: Cases = {}
    truths = (TRUE_SHARE, TRUE_SHARE, true_difference(random))
    for repeat in range(repeats):
        labels = np.repeat(np.arange(num_species), draw_sizes(random, num_species))
        first, second = draw_species(random, num_species)
        _add_hits(cases, draw_hits(random, first[labels], second[labels]), labels, Units("species", labels), truths, repeat)
    return cases


def sample_images(num_species: int, repeats: int, random: np.random.Generator) -> Cases:
    """Other images of the same species in each repeat; the species change after some repeats."""
    cases: Cases = {}
    for repeat in range(repeats):
        if repeat % _REPEATS_PER_WORLD == 0:
            sizes = draw_sizes(random, num_species)
            first, second = draw_species(random, num_species)
            shares = sizes / sizes.sum()
            truths = (float(shares @ first), float(first.mean()), float(shares @ (second - first)))
        labels = np.repeat(np.arange(num_species), random.multinomial(sizes.sum() - num_species, shares) + 1)
        mixed = (shares * (sizes.sum() - num_species) + 1) / sizes.sum()
        truths = (float(mixed @ first), truths[1], float(mixed @ (second - first)))
        _add_hits(cases, draw_hits(random, first[labels], second[labels]), labels, Units.images(len(labels)), truths, repeat)
    return cases


def _add_hits(
    cases: Cases,
    hits: tuple[NDArray[np.float64], NDArray[np.float64]],
    labels: NDArray[np.int64],
    units: Units,
    truths: tuple[float, float, float],
    repeat: int,
) -> None:
    ones = np.ones(len(labels))
    shares = {"micro": Proportion(hits[0], ones), "macro": Proportion(hits[0], ones, labels)}
    for (name, share), truth in zip(shares.items(), truths, strict=False):
        _add_share(cases.setdefault(name, Coverage()), share, units, truth, repeat)
    paired = difference_score(PairedHits(hits[1], hits[0], ones), units, NUM_BOOTSTRAPS, repeat)
    case = cases.setdefault("difference of two models, micro", Coverage())
    case.add(paired.ci_low, paired.ci_high, truths[2])
    if repeat % _EVERY == 0:
        case.add_usual(_resample(Proportion(hits[1] - hits[0], ones), repeat), truths[2])


def _add_share(case: Coverage, share: Proportion, units: Units, truth: float, repeat: int) -> None:
    [found] = score([Measurement("", {}, "", share)], 2, repeat, units)
    case.add(found.ci_low, found.ci_high, truth)
    if repeat % _EVERY == 0:
        case.add_usual(_resample(share, repeat), truth)


def _resample(share: Proportion, seed: int) -> NDArray[np.float64]:
    num_images = len(share.hits)
    random = np.random.default_rng(seed)
    return share(random.multinomial(num_images, np.full(num_images, 1 / num_images), size=NUM_BOOTSTRAPS).astype(np.float64))


def sample_few_shot(num_classes: int, repeats: int, random: np.random.Generator, kind: str) -> Cases:
    """1-shot and 5-shot SimpleShot."""
    cases: Cases = {}
    for shots, separation in SEPARATION.items():
        worlds: list[GaussianWorld] = []
        if kind == "species":
            expected = _expected(num_classes, shots, random)
        for repeat in range(repeats):
            if kind == "species" or repeat % _REPEATS_PER_WORLD == 0:
                worlds = [GaussianWorld.draw(random, num_classes, separation)]
                if kind == "image":
                    expected = _truths(worlds[0], shots, random, 200, 40)
            labels = worlds[0].draw_labels(random, shots, MEAN_QUERIES)
            images, keys = worlds[0].draw_images(random, labels), [str(number) for number in range(len(labels))]
            problem = Problem(images, labels, keys, [str(number) for number in range(num_classes)])
            found = measure_few_shot(problem, shots, NUM_FOLDS, repeat)
            units = Units("species", labels) if kind == "species" else Units.images(len(labels))
            for name, measurement, truth in zip(("micro", "macro"), found.measurements, expected, strict=False):
                assert isinstance(measurement.statistic, Proportion)
                _add_share(cases.setdefault(f"{shots}-shot, {name}", Coverage()), measurement.statistic, units, truth, repeat)
    return cases


def _expected(num_classes: int, shots: int, random: np.random.Generator) -> tuple[float, float]:
    """Micro and macro accuracy over worlds."""
    some = [
        _truths(GaussianWorld.draw(random, num_classes, SEPARATION[shots]), shots, random, 2, 40)
        for _ in range(max(100, 24_000 // num_classes))
    ]
    micro, macro = np.mean(some, axis=0)
    return float(micro), float(macro)


def _truths(world: GaussianWorld, shots: int, random: np.random.Generator, num_draws: int, num_queries: int) -> tuple[float, float]:
    accuracies = world.accuracies(random, shots, num_draws, num_queries)
    queries = 1 + round(len(world.shares) * (MEAN_QUERIES - 1)) * world.shares
    return float((accuracies * queries).sum() / queries.sum()), float(accuracies.mean())
