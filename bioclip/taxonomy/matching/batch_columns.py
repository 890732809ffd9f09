"""Arrays of numbers that bulk matching compares: many plain names with their records, and the usages of a backbone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.records import RANKS
from bioclip.taxonomy.index.build import STATUSES
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.queries import stated_taxon
from bioclip.taxonomy.matching.scoring import normalise_taxon
from bioclip.taxonomy.names.batch_parsing import PlainNames
from bioclip.taxonomy.names.ranks import LEVELS

Ints = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int32]

HIGHER_RANKS = RANKS[:-1]
RANK_NAMES = (*LEVELS, "")
NOTHING, ELSEWHERE = -2, -1
"""CodeArray of a rank that a record leaves empty, and of a taxon that the backbone does not have at that rank."""
_STATED_COLUMNS = dict(zip(HIGHER_RANKS, ("kingdom", "phylum", "class_", "order", "family", "genus"), strict=True))


class NameColumns:
    """Columns of m plain names and of what their records state."""

    def __init__(self, lineages: pa.Table, names: PlainNames) -> None:
        taken = pa.array(names.rows)
        self.names = names.names
        self.keys = pc.ascii_lower(names.names)
        self.has_epithet = pc.match_substring(names.names, " ").to_numpy(zero_copy_only=False)
        self.authorships = names.authorships.dictionary_encode()
        self.ranks = names.ranks.dictionary_encode()
        self.stated = {rank: _normalised(rank, lineages[_STATED_COLUMNS[rank]].take(taken)) for rank in HIGHER_RANKS}

    @cached_property
    def states_own_genus(self) -> npt.NDArray[np.bool_]:
        """True if the column `genus` equals the first word of the name."""
        stated = self.stated["genus"]
        own = pc.replace_substring_regex(self.keys, r" .*$", "")
        same: npt.NDArray[np.bool_] = pc.equal(stated.dictionary.take(stated.indices), own).to_numpy(zero_copy_only=False)
        return same


def _normalised(rank: str, column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Normalised taxa of a rank column; values that name no taxon are empty."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = [normalise_taxon(rank, taxon) if (taxon := stated_taxon(rank, text)) else "" for text in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(texts, pa.string()))


@dataclass(frozen=True)
class UsageAttributes:
    """Per usage of a backbone: how many share its key from here on, codes of rank and status, its label's taxa at HIGHER_RANKS."""

    num_same: CodeArray
    rank: npt.NDArray[np.int8]
    status: npt.NDArray[np.int8]
    label: CodeArray
    taxa: dict[str, CodeArray]
    """Rank -> code by row, 0 where there is none; meaningful on labels."""
    vocabularies: dict[str, pa.Array]
    """Rank -> normalised taxa by code."""

    @classmethod
    def of(cls, index: BackboneIndex) -> UsageAttributes:
        """Computed once for each open index."""
        if index not in _MADE:
            _MADE[index] = _answers(index)
        return _MADE[index]


_MADE: WeakKeyDictionary[BackboneIndex, UsageAttributes] = WeakKeyDictionary()


def _answers(index: BackboneIndex) -> UsageAttributes:
    num = len(index)
    keys = index.column("key")
    is_first = np.ones(num, bool)
    is_first[1:] = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    ends = np.append(np.flatnonzero(is_first), num)[1:]
    num_same = (ends[np.cumsum(is_first) - 1] - np.arange(num)).astype(np.int32)
    taxa, vocabularies = {}, {}
    for rank in HIGHER_RANKS:
        taxa[rank], vocabularies[rank] = _vocabulary(rank, index.column(rank))
    return UsageAttributes(
        num_same=num_same,
        rank=_codes(index.column("rank"), RANK_NAMES),
        status=_codes(index.column("status"), STATUSES),
        label=index.column("label").to_numpy(),
        taxa=taxa,
        vocabularies=vocabularies,
    )


def _vocabulary(rank: str, column: pa.Array) -> tuple[CodeArray, pa.Array]:
    encoded = column.dictionary_encode()
    texts = [normalise_taxon(rank, text) if text else "" for text in encoded.dictionary.to_pylist()]
    distinct = dict.fromkeys(["", *texts])
    place = {text: code for code, text in enumerate(distinct)}
    codes = np.array([place[text] for text in texts], np.int32)
    return codes[encoded.indices.to_numpy()] if len(codes) else np.empty(0, np.int32), pa.array(list(distinct), pa.string())


def _codes(column: pa.Array, names: tuple[str, ...]) -> npt.NDArray[np.int8]:
    codes: npt.NDArray[np.int8] = pc.index_in(column, value_set=pa.array(names, pa.string())).to_numpy().astype(np.int8)
    return codes


def stated_codes(stated: pa.DictionaryArray, vocabulary: pa.Array) -> CodeArray:
    """The codes in a vocabulary of what records state; NOTHING and ELSEWHERE for values without a code."""
    code = pc.fill_null(pc.index_in(stated.dictionary, value_set=vocabulary), ELSEWHERE).to_numpy().astype(np.int32)
    code[pc.equal(stated.dictionary, "").to_numpy(zero_copy_only=False)] = NOTHING
    return code[stated.indices.to_numpy()] if len(code) else np.empty(0, np.int32)
