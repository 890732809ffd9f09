"""Many lineages at once: the same decisions as `bioclip.taxonomy.matching.resolve`, most of them taken in whole columns.

A plain name (`bioclip.taxonomy.names.batch_parsing`) that a backbone has unchanged, without a rival taxon, is
decided by arrays of scores. All others (unknown, open, ambiguous or rejected names) are decided one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.records import RANKS
from bioclip.schemas import DECISION_SCHEMA
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.build import STATUSES
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.batch_columns import HIGHER_RANKS, RANK_NAMES, Ints, NameColumns, UsageAttributes
from bioclip.taxonomy.matching.batch_scoring import Pairs, Scores, score_pairs
from bioclip.taxonomy.matching.curation import Curation
from bioclip.taxonomy.matching.decision_table import decision_columns, verbatim_lineages
from bioclip.taxonomy.matching.decisions import MatchType
from bioclip.taxonomy.matching.implied_kingdoms import implied_kingdoms
from bioclip.taxonomy.matching.resolve import resolve_lineage
from bioclip.taxonomy.matching.scoring import confidence
from bioclip.taxonomy.names.batch_parsing import PlainNames, plain_names
from bioclip.taxonomy.names.parsing import NameType, ParsedName
from bioclip.taxonomy.names.ranks import is_infraspecific

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Decided:
    """For w undecided names: which are known, which need no further backbones, which are decided, and how."""

    is_known: Mask
    is_final: Mask
    places: Ints
    table: pa.Table


def resolve_table(
    lineages: pa.Table, indexes: Sequence[BackboneIndex], settings: TaxonomySettings, curation: Curation | None = None
) -> pa.Table:
    """DECISION_SCHEMA, one row for each row of `lineages` (LINEAGE_COLUMNS); `indexes` in order of precedence. `curation` takes
    precedence."""
    rows = curation.rows(lineages) if curation else np.empty(0, np.intp)
    if curation is None or not len(rows):
        return _resolve_table(lineages, indexes, settings)
    asked = verbatim_lineages(lineages.take(pa.array(rows)))
    curated = {row: one for row, verbatim in zip(rows.tolist(), asked, strict=True) if (one := curation.decide(verbatim))}
    others = np.setdiff1d(np.arange(lineages.num_rows), list(curated))
    found = _resolve_table(lineages.take(pa.array(others)), indexes, settings)
    order = np.argsort(np.concatenate([others, np.array(list(curated), np.int64)]), kind="stable")
    return pa.concat_tables([found, decision_columns(list(curated.values()))]).take(pa.array(order))


def _resolve_table(lineages: pa.Table, indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> pa.Table:
    names = plain_names(lineages)
    questions = NameColumns(lineages, names)
    implied = implied_kingdoms(questions.stated, indexes)
    is_unknown, is_open = np.zeros(lineages.num_rows, bool), np.ones(lineages.num_rows, bool)
    is_unknown[names.rows] = True
    waiting = np.arange(len(names.rows))
    parts, places = [], []
    for index in indexes:
        decided = _decide(questions, implied, waiting, index, settings)
        is_unknown[names.rows[waiting[decided.is_known]]] = False
        rows = names.rows[waiting[decided.places]]
        is_open[rows] = False
        parts.append(decided.table)
        places.append(rows)
        waiting = waiting[~decided.is_final]
    rest = np.flatnonzero(is_open)
    parsed = _parsed(names, np.flatnonzero(is_open[names.rows]))
    parts.append(_one_by_one(lineages, rest, is_unknown, parsed, indexes, settings))
    places.append(rest)
    order = np.empty(lineages.num_rows, np.int64)
    order[np.concatenate(places)] = np.arange(lineages.num_rows)
    return pa.concat_tables(parts).take(pa.array(order))


def _parsed(names: PlainNames, places: Ints) -> dict[int, ParsedName]:
    """Row -> the plain name in that row."""
    taken = pa.array(places)
    values = zip(
        names.rows[places].tolist(),
        names.names.take(taken).to_pylist(),
        names.authorships.take(taken).to_pylist(),
        names.ranks.take(taken).to_pylist(),
        strict=True,
    )
    found = {}
    for row, name, authorship, rank in values:
        words = name.split(" ")
        infraspecific = words[2] if len(words) > 2 else ""
        found[row] = ParsedName(name, NameType.SCIENTIFIC, " ".join(words[:2]), name, authorship, rank=rank, infraspecific=infraspecific)
    return found


def _one_by_one(
    lineages: pa.Table,
    rows: Ints,
    is_unknown: Mask,
    parsed: Mapping[int, ParsedName],
    indexes: Sequence[BackboneIndex],
    settings: TaxonomySettings,
) -> pa.Table:
    """Sorted by name, since the names of a genus are in one block of a backbone."""
    order = pc.sort_indices(lineages["scientific_name"].take(pa.array(rows))).to_numpy()
    asked = rows[order]
    verbatim = verbatim_lineages(lineages.take(pa.array(asked)))
    decided = [
        resolve_lineage(one, indexes, settings, parsed.get(row), bool(is_unknown[row]))
        for row, one in zip(asked.tolist(), verbatim, strict=True)
    ]
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return decision_columns(decided).take(pa.array(back))


def _decide(
    questions: NameColumns, implied: pa.DictionaryArray, waiting: Ints, index: BackboneIndex, settings: TaxonomySettings
) -> _Decided:
    answers = UsageAttributes.of(index)
    first = index.first_rows(questions.keys.take(pa.array(waiting)))
    is_known = first >= 0
    pairs = _pairs(answers, waiting, first)
    scores = score_pairs(questions, implied, answers, index.column("authorship"), pairs)
    allowed = ~scores.is_vetoed
    pairs, scores = pairs.at(allowed), scores.at(allowed)
    order = np.lexsort((pairs.usage, -scores.score, pairs.place))
    pairs, scores = pairs.at(order), scores.at(order)
    starts = np.flatnonzero(np.append(True, pairs.place[1:] != pairs.place[:-1])) if len(order) else np.empty(0, np.int64)
    of_name = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    winner, is_contested = _winners(questions, answers, pairs, scores, starts, of_name)
    is_other = answers.label[pairs.usage] != answers.label[pairs.usage[winner]][of_name]
    next_score = np.full(len(starts), _NONE)
    np.maximum.at(next_score, of_name[is_other], scores.score[is_other])
    certainty, margin = _certainty(scores.score[winner], next_score)
    is_decided = ~is_contested & (certainty >= settings.min_confidence)
    is_final = np.zeros(len(waiting), bool)
    is_final[pairs.place[starts][is_contested | is_decided]] = True
    chosen = winner[is_decided]
    table = _decisions(questions, waiting, pairs.at(chosen), scores.contradicts[chosen], certainty[is_decided], margin[is_decided], index)
    return _Decided(is_known, is_final, pairs.place[chosen], table)


def _winners(
    questions: NameColumns, answers: UsageAttributes, pairs: Pairs, scores: Scores, starts: Ints, of_name: Ints
) -> tuple[Ints, Mask]:
    """The position of each name's best pair (pairs are sorted by name and score), and which names have rivals.

    Rivals are taxa within one point of evidence; among those of one class (single words: of one family) an accepted one is preferred, as in
    `matching`.
    """
    winner, labels = starts.copy(), answers.label[pairs.usage]
    is_rival = (labels != labels[starts][of_name]) & (scores.evidence >= scores.evidence[starts][of_name] - 1)
    is_contested = np.bincount(of_name[is_rival], minlength=len(starts)) > 0
    places = np.flatnonzero(is_contested[of_name])
    _, first = np.unique(of_name[places] * (int(labels.max(initial=0)) + 1) + labels[places], return_index=True)
    best = np.sort(places[first])
    rivals = best[scores.evidence[best] >= scores.evidence[starts][of_name[best]] - 1]
    name = of_name[rivals]
    num_ranks = np.where(questions.has_epithet[pairs.question[rivals]], 3, 5)
    is_near = _same_class(answers, labels[rivals], labels[starts][name], num_ranks)
    is_accepted = answers.status[pairs.usage[rivals]] == 0
    num_accepted = np.bincount(name[is_accepted], minlength=len(starts))
    is_settled = is_contested & (num_accepted == 1) & (np.bincount(name[~is_near], minlength=len(starts)) == 0)
    settles = is_accepted & is_settled[name]
    winner[name[settles]] = rivals[settles]
    return winner, is_contested & ~is_settled


def _same_class(answers: UsageAttributes, one: npt.NDArray[np.int32], other: npt.NDArray[np.int32], num_ranks: Ints) -> Mask:
    """Whether labels agree in the kingdom and, as far as they have them, in the first `num_ranks` ranks, and share one of these."""
    agree, share = np.ones(len(one), bool), np.zeros(len(one), bool)
    for place, rank in enumerate(RANKS[:5]):
        a, b = answers.taxa[rank][one], answers.taxa[rank][other]
        agree &= (a == b) if rank == "kingdom" else (a == b) | (a == 0) | (b == 0) | (place >= num_ranks)
        share |= (a != 0) & (a == b) & (place < num_ranks)
    return agree & share


_NONE = -(10**6)


def _pairs(answers: UsageAttributes, waiting: Ints, first: npt.NDArray[np.int32]) -> Pairs:
    """Every known name with each usage that has it."""
    known = np.flatnonzero(first >= 0)
    times = answers.num_same[first[known]].astype(np.int64)
    place = np.repeat(known, times)
    begin = np.repeat(np.cumsum(times) - times, times)
    usage = np.repeat(first[known].astype(np.int64), times) + np.arange(len(place)) - begin
    return Pairs(place, waiting[place], usage)


def _certainty(score: Ints, next_score: Ints) -> tuple[Ints, Ints]:
    """Confidence and margin for each best score with the runner-up's, _NONE if there is none."""
    lead = np.where(next_score == _NONE, -1, np.minimum(100, np.maximum(0, score - next_score)))
    distinct, inverse = np.unique(score * 1_000 + lead + 1, return_inverse=True)
    of_distinct = []
    for packed in distinct.tolist():
        one, its_lead = divmod(packed, 1_000)
        of_distinct.append(confidence(one, None if its_lead == 0 else its_lead - 1))
    certainty = np.array(of_distinct, np.int64)[inverse] if len(distinct) else np.empty(0, np.int64)
    return certainty, np.where(lead < 0, 100, lead)


def _decisions(
    questions: NameColumns, waiting: Ints, pairs: Pairs, contradicts: Ints, certainty: Ints, margin: Ints, index: BackboneIndex
) -> pa.Table:
    usage, label = pa.array(pairs.usage), pa.array(UsageAttributes.of(index).label[pairs.usage])
    names, matched = questions.names.take(pa.array(pairs.question)), index.column("name").take(usage)
    ranks = {rank: index.column(rank).take(label) for rank in RANKS}
    resolved_rank, rank = index.column("label_rank").take(label), index.column("rank").take(usage)
    between = pc.is_in(rank, value_set=_BETWEEN)
    below = pc.and_(pc.is_in(rank, value_set=_BELOW), pc.equal(resolved_rank, "species"))
    matched_id, accepted_id = index.column("taxon_id").take(usage), index.column("taxon_id").take(label)
    is_accepted = pc.equal(index.column("status").take(usage), STATUSES[0])
    unranked = pc.and_(pc.and_(pc.equal(rank, ""), is_accepted), pc.not_equal(matched_id, accepted_id))
    is_between = pc.or_(pc.and_not(between, below), unranked)
    match_type = pc.if_else(
        is_between, str(MatchType.HIGHER_RANK), pc.if_else(pc.equal(names, matched), str(MatchType.EXACT), str(MatchType.NORMALIZED))
    )
    columns = {
        "canonical_name": pc.replace_substring_regex(names, r"^(\S+ \S+) .*$", r"\1"),
        "match_type": match_type,
        "confidence": pa.array(certainty, pa.int16()),
        "margin": pa.array(margin, pa.int16()),
        "reason": pc.if_else(is_between, "intermediate_rank", ""),
        "matched_id": matched_id,
        "matched_name": matched,
        "accepted_id": accepted_id,
        "accepted_name": _label_names(index.column("name").take(label), resolved_rank, ranks),
        "resolved_rank": resolved_rank,
        **ranks,
        "infraspecific": index.column("infraspecific").take(usage),
        "common_name": index.column("common_name").take(label),
        "rank_sources": index.column("rank_sources").take(label),
        "contradicts": _rank_lists().take(pa.array(contradicts)),
    }
    same = {"backbone": index.name, "qualifier": "", "curation": ""}
    columns |= {name: pa.repeat(pa.scalar(text), len(usage)) for name, text in same.items()}
    return pa.table([columns[name] for name in DECISION_SCHEMA.names], schema=DECISION_SCHEMA)


_BETWEEN = pa.array([rank for rank in RANK_NAMES if rank not in {*RANKS, ""}], pa.string())
_BELOW = pa.array([rank for rank in RANK_NAMES if is_infraspecific(rank)], pa.string())


def _label_names(names: pa.Array, label_rank: pa.Array, ranks: dict[str, pa.Array]) -> pa.Array:
    """A label's name: the lineage's at its rank, else the usage's own."""
    for rank, column in ranks.items():
        names = pc.if_else(pc.and_(pc.equal(label_rank, rank), pc.not_equal(column, "")), column, names)
    return names


def _rank_lists() -> pa.Array:
    """Bits by place in HIGHER_RANKS -> comma-separated ranks."""
    lists = [",".join(rank for place, rank in enumerate(HIGHER_RANKS) if bits >> place & 1) for bits in range(1 << len(HIGHER_RANKS))]
    return pa.array(lists, pa.string())
