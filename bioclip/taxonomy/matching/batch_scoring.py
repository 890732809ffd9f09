"""The scores of `bioclip.taxonomy.matching.scoring` for many pairs of a name and a usage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.taxonomy.index.build import STATUSES
from bioclip.taxonomy.matching.batch_columns import HIGHER_RANKS, NOTHING, RANK_NAMES, Ints, NameColumns, UsageAttributes, stated_codes
from bioclip.taxonomy.matching.scoring import (
    AGREEMENT,
    ELSEWHERE_SCORE,
    GREATEST_CLASSIFICATION,
    LEAST_CLASSIFICATION,
    STATUS_SCORES,
    authorship_score,
    is_elsewhere,
    kingdom_score,
    name_score,
    rank_score,
)

_VETO = -(10**6)


class _Parallel:
    """Arrays of one length."""

    def at(self, chosen: npt.NDArray[Any]) -> Self:
        """The same arrays at these places."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pairs(_Parallel):
    """Names with usages that have them."""

    place: Ints
    """Index of the name among the undecided names."""
    question: Ints
    """Index of the name among all names."""
    usage: Ints
    """The usage's row in the backbone."""


@dataclass(frozen=True)
class Scores(_Parallel):
    """For each pair: the score, the score without the status, bits of the contradicting ranks, whether the kingdoms forbid the match."""

    score: Ints
    evidence: Ints
    contradicts: Ints
    is_vetoed: npt.NDArray[np.bool_]


def score_pairs(
    questions: NameColumns, implied: pa.DictionaryArray, answers: UsageAttributes, authorships: pa.Array, pairs: Pairs
) -> Scores:
    """The results of `score_candidate` and `contradictions` for each pair."""
    classification, contradicts = _classification(questions, implied, answers, pairs)
    names = np.where(questions.has_epithet, name_score("a b"), name_score("a"))[pairs.question]
    known_ranks = answers.rank[pairs.usage].astype(np.int64)
    ranks = _of_distinct(
        questions.ranks, pairs.question, known_ranks, len(RANK_NAMES), lambda asked, code: rank_score(asked, RANK_NAMES[code])
    )
    status = np.array([STATUS_SCORES[name] for name in STATUSES])[answers.status[pairs.usage]]
    is_vetoed = classification <= _VETO // 2
    limited = np.clip(classification, LEAST_CLASSIFICATION, GREATEST_CLASSIFICATION)
    evidence = names + limited + _authorships(questions, authorships, known_ranks, pairs) + ranks
    return Scores(evidence + status, evidence, contradicts, is_vetoed)


def _classification(questions: NameColumns, implied: pa.DictionaryArray, answers: UsageAttributes, pairs: Pairs) -> tuple[Ints, Ints]:
    total, contradicts, agrees = (np.zeros(len(pairs.usage), np.int64) for _ in range(3))
    label, is_uninomial = answers.label[pairs.usage], ~questions.has_epithet[pairs.question]
    for place, rank in enumerate(HIGHER_RANKS):
        stated = questions.stated[rank]
        given = stated_codes(stated, answers.vocabularies[rank])[pairs.question]
        known = answers.taxa[rank][label]
        is_said = (given != NOTHING) & (known != 0)
        is_same = given == known
        agree, differ = AGREEMENT[rank]
        if rank == "genus":
            is_same |= questions.states_own_genus[pairs.question]
        if rank == "kingdom":
            found = _kingdoms(stated, answers, pairs, np.flatnonzero(is_said), is_uninomial)
            is_same = found > 0
            is_forbidden = _kingdoms(implied, answers, pairs, np.flatnonzero(known != 0), is_uninomial) == _VETO
            total += found + np.where(is_forbidden, _VETO, 0)
        else:
            total += np.where(is_said, np.where(is_same, agree, differ), 0)
        contradicts |= (is_said & ~is_same).astype(np.int64) << place
        agrees |= (is_said & is_same).astype(np.int64) << place
    total += np.where(is_uninomial & _is_elsewhere(agrees, contradicts), ELSEWHERE_SCORE, 0)
    return total, contradicts


def _is_elsewhere(agrees: Ints, contradicts: Ints) -> npt.NDArray[np.bool_]:
    """`scoring.is_elsewhere` of bits by place in HIGHER_RANKS."""
    lists = [frozenset(rank for place, rank in enumerate(HIGHER_RANKS) if bits >> place & 1) for bits in range(1 << len(HIGHER_RANKS))]
    table = np.array([[is_elsewhere(agreeing, differing) for differing in lists] for agreeing in lists])
    found: npt.NDArray[np.bool_] = table[agrees, contradicts]
    return found


def _kingdoms(stated: pa.DictionaryArray, answers: UsageAttributes, pairs: Pairs, at: Ints, is_uninomial: npt.NDArray[np.bool_]) -> Ints:
    """Points of the kingdoms for the pairs `at`, far below 0 for a veto; 0 where nothing is stated, and for all other pairs."""
    kingdoms = answers.vocabularies["kingdom"].to_pylist()
    codes = answers.taxa["kingdom"][answers.label[pairs.usage[at]]].astype(np.int64) * 2 + is_uninomial[at]

    def score(given: str, code: int) -> int:
        found = kingdom_score(given, kingdoms[code // 2], bool(code % 2)) if given else 0
        return _VETO if found is None else found

    total = np.zeros(len(pairs.usage), np.int64)
    total[at] = _of_distinct(stated, pairs.question[at], codes, 2 * len(kingdoms), score)
    return total


def _authorships(questions: NameColumns, authorships: pa.Array, known_ranks: Ints, pairs: Pairs) -> Ints:
    """Only pairs in which both sides name authors are compared."""
    total = np.zeros(len(pairs.usage), np.int64)
    is_given = pc.not_equal(questions.authorships.dictionary, "").to_numpy(zero_copy_only=False)
    asking = np.flatnonzero(is_given[questions.authorships.indices.to_numpy()[pairs.question]]) if len(is_given) else np.empty(0, int)
    known = authorships.take(pa.array(pairs.usage[asking])).dictionary_encode()
    texts = known.dictionary.to_pylist()
    packed = known.indices.to_numpy().astype(np.int64) * len(RANK_NAMES) + known_ranks[asking]

    def score(given: str, code: int) -> int:
        text, rank = divmod(code, len(RANK_NAMES))
        return authorship_score(given, texts[text], RANK_NAMES[rank])

    total[asking] = _of_distinct(questions.authorships, pairs.question[asking], packed, len(texts) * len(RANK_NAMES), score)
    return total


def _of_distinct(given: pa.DictionaryArray, at: Ints, codes: Ints, num_codes: int, score: Callable[[str, int], int]) -> Ints:
    """`score` of (text, code) for each place, computed once for each distinct pair."""
    if not len(at):
        return np.empty(0, np.int64)
    texts = given.dictionary.to_pylist()
    packed = given.indices.to_numpy().astype(np.int64)[at] * num_codes + codes
    distinct, inverse = np.unique(packed, return_inverse=True)
    scores = [score(texts[one // num_codes], one % num_codes) for one in distinct.tolist()]
    return np.array(scores, np.int64)[inverse]
