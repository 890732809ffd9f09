"""The kingdom that a record implies by its phylum, class, order or family when it states none.

Taxa and their kingdoms come from the loaded backbones and `data/kingdoms.csv` (phyla, classes and orders that real backbones have
in one kingdom only); for a family that neither has, the ending gives the code (ICZN art. 29.2, ICN art. 18.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bioclip.delimited.headed import read_packaged
from bioclip.records import RANKS
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.batch_columns import UsageAttributes
from bioclip.taxonomy.matching.scoring import normalise_taxon
from bioclip.taxonomy.names.ranks import Lineage

EVIDENCE_RANKS = RANKS[1:5]
_FAMILY_ENDINGS = (("viridae", "viral"), ("idae", "zoological"), ("aceae", "botanical"))
_MADE: WeakKeyDictionary[BackboneIndex, dict[tuple[str, str], str]] = WeakKeyDictionary()


def implied_kingdom(lineage: Lineage, indexes: Sequence[BackboneIndex]) -> str:
    """The kingdom or code (normalised) that a stated lineage implies; empty if it states one, or implies none or several."""
    if lineage[0]:
        return ""
    implied_codes = [
        taxon_kingdom(rank, normalise_taxon(rank, taxon), indexes) for rank, taxon in zip(EVIDENCE_RANKS, lineage[1:5], strict=True)
    ]
    kingdoms = {kingdom for kingdom in implied_codes if kingdom}
    if not kingdoms:
        return family_code(normalise_taxon("family", lineage[4]))
    return kingdoms.pop() if len(kingdoms) == 1 else ""


def implied_kingdoms(stated: Mapping[str, pa.DictionaryArray], indexes: Sequence[BackboneIndex]) -> pa.DictionaryArray:
    """`implied_kingdom` of many records, given their normalised taxa by rank."""
    codes: dict[str, int] = {"": 0}
    implied_codes = np.zeros(len(stated["kingdom"]), np.int64)
    is_torn = np.zeros(len(implied_codes), bool)
    for rank in EVIDENCE_RANKS:
        found = _coded(stated[rank], partial(taxon_kingdom, rank, indexes=indexes), codes)
        is_torn |= (implied_codes > 0) & (found > 0) & (implied_codes != found)
        implied_codes = np.where(implied_codes > 0, implied_codes, found)
    implied_codes = np.where(implied_codes > 0, implied_codes, _coded(stated["family"], family_code, codes))
    implied_codes[is_torn | (_coded(stated["kingdom"], lambda taxon: taxon, codes) > 0)] = 0
    return pa.DictionaryArray.from_arrays(pa.array(implied_codes, pa.int32()), pa.array(list(codes), pa.string()))


def _coded(column: pa.DictionaryArray, find: Callable[[str], str], codes: dict[str, int]) -> npt.NDArray[np.int64]:
    of_texts = np.array([codes.setdefault(find(text), len(codes)) for text in column.dictionary.to_pylist()], np.int64)
    return of_texts[column.indices.to_numpy()] if len(of_texts) else np.zeros(len(column), np.int64)


def taxon_kingdom(rank: str, taxon: str, indexes: Sequence[BackboneIndex]) -> str:
    """The only kingdom that has a normalised taxon; empty for none or several."""
    if not taxon:
        return ""
    found = {kingdom for index in indexes for kingdom in kingdoms_of(index).get((rank, taxon), "").split("|") if kingdom}
    if not found:
        return _usual_kingdoms().get((rank, taxon), "")
    return found.pop() if len(found) == 1 else ""


def family_code(family: str) -> str:
    """The nomenclatural code that a family's ending indicates."""
    return next((code for ending, code in _FAMILY_ENDINGS if family.endswith(ending)), "")


def kingdoms_of(index: BackboneIndex) -> dict[tuple[str, str], str]:
    """(rank, normalised taxon) -> its kingdoms in a backbone, separated by `|`; computed once for each open index."""
    if index not in _MADE:
        _MADE[index] = _kingdoms_of(UsageAttributes.of(index))
    return _MADE[index]


def _kingdoms_of(answers: UsageAttributes) -> dict[tuple[str, str], str]:
    kingdoms = answers.vocabularies["kingdom"].to_pylist()
    found: dict[tuple[str, str], str] = {}
    for rank in EVIDENCE_RANKS:
        taxa = answers.vocabularies[rank].to_pylist()
        is_said = (answers.taxa[rank] > 0) & (answers.taxa["kingdom"] > 0)
        pairs = np.unique(answers.taxa[rank][is_said].astype(np.int64) * len(kingdoms) + answers.taxa["kingdom"][is_said])
        for pair in pairs.tolist():
            key = (rank, taxa[pair // len(kingdoms)])
            found[key] = f"{found[key]}|{kingdoms[pair % len(kingdoms)]}" if key in found else kingdoms[pair % len(kingdoms)]
    return found


@cache
def _usual_kingdoms() -> dict[tuple[str, str], str]:
    rows = read_packaged("bioclip.taxonomy", "data/kingdoms.csv")
    return {(row["rank"], row["name"].casefold()): row["kingdom"].casefold() for row in rows}
