"""Stored outcomes of one or two evaluations as arrays: credits by image, fold and set of parameters."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.digests import canonical_json
from bioclip.errors import EvaluationError
from bioclip.evaluation.metrics.folds import FOLD
from bioclip.evaluation.statistics import Parameter, Unit, Units, top_credit

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_COLUMNS = ["benchmark", "task", "parameters", "item_id", "observation", "truth", "truth_position", "num_tied"]
SPECIES = "species"


@dataclass(frozen=True)
class Answers:
    """The answers of one model under one set of parameters, which leave out the fold: F folds, N images of the benchmark.

    `position` and `num_tied` [F, N] are those of outcomes.parquet, `asked` [F, N] False where an image was not asked; `truth` [N] are the
    names of the true classes, '' where no fold asked.
    """

    benchmark: str
    task: str
    parameters: dict[str, Parameter]
    position: NDArray[np.int64]
    num_tied: NDArray[np.int64]
    asked: NDArray[np.bool_]
    truth: tuple[str, ...]

    @property
    def classes(self) -> NDArray[np.int64]:
        """[N] number of each true class."""
        return number_names(self.truth)

    @property
    def key(self) -> tuple[str, str, str]:
        """Benchmark, task and canonical JSON of the parameters."""
        return self.benchmark, self.task, canonical_json(dict(self.parameters)).decode()

    def hits(self, top: int) -> NDArray[np.float64]:
        """[F, N] credits for the true class among the first `top`, 0 where not asked."""
        return top_credit(self.position, self.num_tied, top) * self.asked


@dataclass(frozen=True)
class Images:
    """The images of one benchmark in order of their ids, with the number of each one's species (its own if unknown) and observation."""

    item_ids: tuple[str, ...]
    species: NDArray[np.int64]
    observations: NDArray[np.int64]

    def select(self, wanted: Collection[str]) -> Images:
        """The images with the ids `wanted`."""
        kept = [number for number, item_id in enumerate(self.item_ids) if item_id in wanted]
        return Images(tuple(self.item_ids[one] for one in kept), self.species[kept], self.observations[kept])

    def units(self, kind: Unit) -> Units:
        """The units of the images."""
        if kind == "image":
            return Units.images(len(self.item_ids))
        return Units(kind, self.species if kind == "species" else self.observations)


def read_images(rows: pa.Table, benchmark: str) -> Images:
    """The images of a benchmark in outcomes; their species are the truths at species rank, of zero-shot if it was asked."""
    chosen = rows.filter(_equal(rows, benchmark)).select(["item_id", "observation", "truth", "parameters"]).to_pylist()
    species: dict[str, str] = {}
    observations: dict[str, str] = {}
    is_species = {text: json.loads(text).get("rank") == SPECIES for text in {row["parameters"] for row in chosen}}
    for row in chosen:
        observations[row["item_id"]] = row["observation"] or row["item_id"]
        if is_species[row["parameters"]]:
            species.setdefault(row["item_id"], row["truth"])
    ids = sorted(observations)
    return Images(tuple(ids), number_names([species.get(one, f"\0{one}") for one in ids]), number_names([observations[one] for one in ids]))


def read_answers(rows: pa.Table, benchmark: str, images: Images) -> Iterator[Answers]:
    """The answers of each set of parameters about `images`, in stored order. Raises EvaluationError for an image with two true classes."""
    table = rows.filter(_equal(rows, benchmark)).select(_COLUMNS)
    place = {item_id: number for number, item_id in enumerate(images.item_ids)}
    groups: dict[tuple[str, str], list[list[int]]] = {}
    texts = zip(table["task"].to_pylist(), table["parameters"].to_pylist(), strict=True)
    known: dict[str, tuple[str, int]] = {}
    folds: dict[tuple[str, str], dict[int, int]] = {}
    for row, (task, text) in enumerate(texts):
        if text not in known:
            parameters = json.loads(text)
            known[text] = (canonical_json({k: v for k, v in parameters.items() if k != FOLD}).decode(), int(parameters.get(FOLD, 0)))
        plain, fold = known[text]
        number = folds.setdefault((task, plain), {}).setdefault(fold, len(folds[task, plain]))
        parts = groups.setdefault((task, plain), [])
        if number == len(parts):
            parts.append([])
        parts[number].append(row)
    for (task, plain), parts in groups.items():
        yield _answers(table, benchmark, task, json.loads(plain), parts, place)


def _answers(
    table: pa.Table, benchmark: str, task: str, parameters: dict[str, Parameter], parts: Sequence[list[int]], place: dict[str, int]
) -> Answers:
    shape = (len(parts), len(place))
    position, num_tied, asked = np.zeros(shape, np.int64), np.ones(shape, np.int64), np.zeros(shape, np.bool_)
    truths: dict[int, str] = {}
    for number, rows in enumerate(parts):
        part = table.take(rows)
        ids = part["item_id"].to_pylist()
        kept = np.array([row for row, item_id in enumerate(ids) if item_id in place], dtype=np.int64)
        places = np.array([place[ids[row]] for row in kept], dtype=np.int64)
        position[number, places] = part["truth_position"].to_numpy()[kept]
        num_tied[number, places] = part["num_tied"].to_numpy()[kept]
        asked[number, places] = True
        names = part["truth"].to_pylist()
        for row, where in zip(kept.tolist(), places.tolist(), strict=True):
            if truths.setdefault(where, names[row]) != names[row]:
                raise EvaluationError(
                    f"image {ids[row]!r} of benchmark {benchmark!r} has two true classes, {truths[where]!r} and {names[row]!r}, "
                    f"in task {task!r}; evaluate again."
                )
    truth = tuple(truths.get(where, "") for where in range(len(place)))
    return Answers(benchmark, task, parameters, position, num_tied, asked, truth)


def number_names(names: Sequence[str]) -> NDArray[np.int64]:
    """[N] number of each name in the order of the distinct ones."""
    return np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1].astype(np.int64)


def _equal(rows: pa.Table, benchmark: str) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.equal(rows["benchmark"], benchmark)
