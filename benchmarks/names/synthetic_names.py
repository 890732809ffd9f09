"""Records made from the real names of compiled backbones, with the errors and variations of real data."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.records import RANKS
from bioclip.taxonomy.index.lookup import BackboneIndex

SHARES = {
    "one edit in the epithet": 0.08,
    "author in the name": 0.35,
    "author beside it": 0.25,
    "each rank column filled": 0.6,
    "a rank of another taxon": 0.02,
    "open nomenclature": 0.03,
    "genus only": 0.03,
    "no name: BIN, placeholder": 0.02,
}
"""Change to a name -> share of names with it. Synonyms occur at their rate in the backbones."""
COLUMNS = ("id", "scientific_name", "authorship", "rank", *RANKS[:-1])
_LETTERS = "abcdefghilmnoprstuv"
_ROWS_A_GROUP = 500_000
Row = tuple[str, ...]


def write_names(path: Path, indexes: Sequence[BackboneIndex], num_records: int, num_distinct: int, seed: int = 17) -> int:
    """A Parquet of COLUMNS; lineages are repeated as unevenly as species are photographed. Returns the number of distinct lineages."""
    rows = make_lineages(indexes, num_distinct, seed)
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(rows))
    seen = np.zeros(len(rows), bool)
    writer: pq.ParquetWriter | None = None
    for start in range(0, num_records, _ROWS_A_GROUP):
        num = min(_ROWS_A_GROUP, num_records - start)
        chosen = order[np.minimum((len(rows) * generator.random(num) ** 3).astype(np.int64), len(rows) - 1)]
        seen[chosen] = True
        ids = pa.array(np.arange(start, start + num)).cast(pa.string())
        table = pa.table([ids, *(column.take(pa.array(chosen)) for column in columns)], names=list(COLUMNS))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()
    return int(seen.sum())


def make_lineages(indexes: Sequence[BackboneIndex], num: int, seed: int = 17, shares: dict[str, float] | None = None) -> list[Row]:
    """`num` rows of COLUMNS without the id, from usages of all backbones in proportion to their size; repeats are possible."""
    chance, generator = random.Random(seed), np.random.default_rng(seed)
    sizes = np.array([len(index) for index in indexes])
    counts = np.floor(num * sizes / sizes.sum()).astype(int)
    counts[0] += num - counts.sum()
    rows: list[Row] = []
    for index, count in zip(indexes, counts, strict=True):
        taken = generator.integers(0, len(index), count)
        label = index.column("label").take(pa.array(taken))
        texts = [index.column(name).take(pa.array(taken)).to_pylist() for name in ("name", "authorship", "rank")]
        lineages = list(zip(*(index.column(rank).take(label).to_pylist() for rank in RANKS[:-1]), strict=True))
        for place, (name, author, rank) in enumerate(zip(*texts, strict=True)):
            other = lineages[chance.randrange(count)]
            rows.append(_changed(chance, shares or SHARES, name, author, rank, lineages[place], other))
    chance.shuffle(rows)
    return rows


def _changed(
    chance: random.Random, shares: dict[str, float], name: str, author: str, rank: str, lineage: Sequence[str], other: Sequence[str]
) -> Row:
    ranks = [known if chance.random() < shares["each rank column filled"] else "" for known in lineage]
    if chance.random() < shares["a rank of another taxon"]:
        place = chance.randrange(len(ranks))
        ranks[place] = other[place]
    kind = chance.random()
    for treatment in ("no name: BIN, placeholder", "genus only", "open nomenclature", "one edit in the epithet"):
        if kind < shares[treatment]:
            return _treated(chance, treatment, name, rank, ranks)
        kind -= shares[treatment]
    where, beside = chance.random(), ""
    if where < shares["author in the name"]:
        name = f"{name} {author}".strip()
    elif where < shares["author in the name"] + shares["author beside it"]:
        beside = author
    return (name, beside, rank if chance.random() < 0.5 else "", *ranks)


def _treated(chance: random.Random, treatment: str, name: str, rank: str, ranks: Sequence[str]) -> Row:
    genus, _, epithet = name.partition(" ")
    if treatment == "no name: BIN, placeholder":
        return (f"BOLD:AAB{chance.randrange(10_000):04}" if chance.random() < 0.5 else "unidentified", "", "", *ranks)
    if treatment == "genus only":
        return (genus, "", "genus", *ranks)
    if treatment == "open nomenclature":
        return (f"{genus} cf. {epithet}" if epithet and chance.random() < 0.5 else f"{genus} sp. {chance.randrange(1, 20)}", "", "", *ranks)
    return (f"{genus} {one_edit(chance, epithet)}".strip(), "", rank, *ranks)


def one_edit(chance: random.Random, word: str) -> str:
    """A letter replaced, removed, doubled or swapped with the next, never the first."""
    if len(word) < 4:
        return word
    place, kind = chance.randrange(1, len(word) - 1), chance.randrange(4)
    letter = chance.choice(_LETTERS)
    if kind == 0:
        return word[:place] + letter + word[place + 1 :]
    if kind == 1:
        return word[:place] + word[place + 1 :]
    if kind == 2:
        return word[:place] + letter + word[place:]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
