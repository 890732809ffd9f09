"""Resolve what a record states about a name to an accepted lineage, or give the reason for failure.

The name is looked up as a whole, then its certain parts from the species up, then the rank columns. The first backbone that has a
name decides. Candidates are scored (`bioclip.taxonomy.matching.scoring`); homonyms that the record does not distinguish are
AMBIGUOUS, never the first row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

from bioclip.records import RANKS
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.build import STATUSES
from bioclip.taxonomy.index.lookup import BackboneIndex, Candidate
from bioclip.taxonomy.matching.decisions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.matching.fuzzy import FuzzyIndex, NearCandidate, is_backed
from bioclip.taxonomy.matching.implied_kingdoms import implied_kingdom
from bioclip.taxonomy.matching.queries import Lookup, lookups_of, name_to_parse, stated_lineage
from bioclip.taxonomy.matching.scoring import (
    Query,
    ScoredCandidate,
    confidence,
    contradictions,
    normalise_taxon,
    score_candidate,
    score_parts,
)
from bioclip.taxonomy.names.parsing import NameType, ParsedName, parse_name
from bioclip.taxonomy.names.ranks import EMPTY_LINEAGE, Lineage, is_infraspecific

REASONS = {
    NameType.EMPTY: "empty_name",
    NameType.PLACEHOLDER: "placeholder",
    NameType.IDENTIFIER: "identifier",
    NameType.VIRUS: "virus",
    NameType.NON_TAXON: "non_taxon",
    NameType.UNPARSABLE: "unparsable",
    NameType.FORMULA: "hybrid_formula",
    NameType.INFORMAL: "open_nomenclature",
    NameType.SCIENTIFIC: "not_in_backbone",
}
_KEPT_IN_CONFLICT = frozenset(RANKS[1:6])
"""Ranks at which a record is still resolved when its name is only known in another kingdom."""
REFUSALS = frozenset({"kingdom_conflict", "low_confidence"})
"""Reasons for which the next backbone is tried."""


def resolve_lineages(names: Sequence[VerbatimLineage], indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> list[Resolution]:
    """One resolution for each of `names`, in their order; `indexes` in order of precedence."""
    known: dict[VerbatimLineage, Resolution] = {}
    for name in names:
        if name not in known:
            known[name] = resolve_lineage(name, indexes, settings)
    return [known[name] for name in names]


def resolve_lineage(
    verbatim: VerbatimLineage,
    indexes: Sequence[BackboneIndex],
    settings: TaxonomySettings,
    parsed: ParsedName | None = None,
    is_unknown: bool = False,
) -> Resolution:
    """The resolution of one lineage, given its parsed name and, if already known, whether all backbones lack that name."""
    text = parsed.verbatim if parsed else name_to_parse(verbatim)
    parsed = parsed or parse_name(text, verbatim.scientific_name_authorship, verbatim.taxon_rank)
    is_looked_up = bool(parsed.canonical_name) and settings.allow_higher_rank
    unresolved = Resolution(MatchType.NONE, REASONS[NameType.SCIENTIFIC if is_looked_up else parsed.type])
    for lookup in lookups_of(verbatim, parsed, implied_kingdom(stated_lineage(verbatim), indexes)):
        if not lookup.is_name and not settings.allow_higher_rank:
            break
        is_refused = unresolved.reason == "kingdom_conflict"
        if is_refused and lookup.query.rank not in _KEPT_IN_CONFLICT:
            continue
        decision = _first_decision(lookup, indexes, settings, is_unknown and lookup.query.name == parsed.canonical_full)
        if decision is not None and decision.is_resolved:
            if not settings.allow_higher_rank and _is_species_only(lookup, parsed):
                break
            found = _described(decision, lookup, parsed, verbatim.scientific_name or text)
            return replace(found, reason=unresolved.reason) if is_refused else found
        if decision is not None and not is_refused:
            unresolved = decision
            if lookup.is_name and decision.reason != "kingdom_conflict":
                break
    return replace(unresolved, canonical_name=parsed.canonical_name, qualifier=parsed.qualifier)


def explain_lineage(
    verbatim: VerbatimLineage, indexes: Sequence[BackboneIndex], settings: TaxonomySettings
) -> tuple[list[str], Resolution]:
    """Lines that explain a decision: each name looked up, each candidate with the parts of its score."""
    text = name_to_parse(verbatim)
    parsed = parse_name(text, verbatim.scientific_name_authorship, verbatim.taxon_rank)
    decision = resolve_lineage(verbatim, indexes, settings)
    lines = [f"{text!r} is {parsed.type}: {parsed.canonical_full or 'no name'}" + (f", {parsed.authorship}" if parsed.authorship else "")]
    for lookup in lookups_of(verbatim, parsed, implied_kingdom(stated_lineage(verbatim), indexes)):
        lines.append(f"looked up: {lookup.query.name}" + ("" if lookup.is_name else " (a part of it, or a rank column)"))
        found = 0
        for index in indexes:
            ways = [[NearCandidate(one, MatchType.EXACT, 0) for one in index.candidates(lookup.query.name)]]
            if lookup.is_name and lookup.may_vary and " " in lookup.query.name:
                ways += [getattr(fuzzy_index(index), kind)(lookup.query.name) for kind in _INEXACT[settings.inexact]]
            near = next((way for way in ways if way), [])
            found += len(near)
            lines += [_explained(lookup, one, index.name) for one in near]
        if not found:
            lines.append("  not found in any backbone, nor a similar spelling")
        elif decision.is_resolved:
            break
    if decision.is_resolved:
        lines.append(
            f"{decision.match_type}: {decision.accepted_name} ({decision.resolved_rank}, {decision.accepted_id} in {decision.backbone}), "
            f"confidence {decision.confidence}, margin {decision.margin}{', ' + decision.reason if decision.reason else ''}"
        )
        lines.append("  " + " > ".join(name for name in decision.lineage if name))
    else:
        lines.append(f"{decision.match_type}: {decision.reason}, confidence {decision.confidence}, margin {decision.margin}")
    return lines, decision


def _explained(lookup: Lookup, near: NearCandidate, backbone: str) -> str:
    one = near.candidate
    parts = score_parts(lookup.query, one, near.penalty)
    score = "vetoed by its kingdom" if parts is None else f"{sum(parts.values())} = " + " ".join(f"{k} {v:+d}" for k, v in parts.items())
    where = " > ".join(name for name in one.taxon.lineage[:5] if name)
    how = "" if near.match_type is MatchType.EXACT else f" [{near.match_type}]"
    author = f" {one.authorship}" if one.authorship else ""
    return f"  {backbone} {one.taxon_id} {one.name}{author}, {one.rank} {one.status}{how}, for {one.taxon.name} in {where}: {score}"


def _first_decision(lookup: Lookup, indexes: Sequence[BackboneIndex], settings: TaxonomySettings, is_unknown: bool) -> Resolution | None:
    """The decision of the first backbone with the name; one with it only in forbidden kingdoms or by other authors is skipped. A name
    in no backbone may be a variant spelling: by stem first, then by edits; such a match is used only if it is certain."""
    refused: Resolution | None = None
    for index in () if is_unknown else indexes:
        exact = [NearCandidate(candidate, MatchType.EXACT, 0) for candidate in index.candidates(lookup.query.name)]
        decision = _decide(lookup, exact, index, settings)
        if decision is not None and decision.reason not in REFUSALS:
            return decision
        refused = refused or decision
    if refused is None and lookup.is_name and lookup.may_vary and " " in lookup.query.name:
        for kind in _INEXACT[settings.inexact]:
            for index in indexes:
                decision = _decide(lookup, getattr(fuzzy_index(index), kind)(lookup.query.name), index, settings)
                if decision is not None and decision.is_resolved:
                    return decision
    return refused


_INEXACT = {"none": (), "stem": ("stemmed",), "fuzzy": ("stemmed", "edited", "of_other_genera")}
_INEXACT_INDEXES: WeakKeyDictionary[BackboneIndex, FuzzyIndex] = WeakKeyDictionary()


def fuzzy_index(index: BackboneIndex) -> FuzzyIndex:
    """The similar names of a backbone, computed once."""
    if index not in _INEXACT_INDEXES:
        _INEXACT_INDEXES[index] = FuzzyIndex(index)
    return _INEXACT_INDEXES[index]


def _is_species_only(lookup: Lookup, parsed: ParsedName) -> bool:
    """Whether only the species of a name below the species was looked up, since no backbone has that name."""
    return bool(parsed.infraspecific) and not lookup.is_verbatim and lookup.query.name == parsed.canonical_name


def _described(decision: Resolution, lookup: Lookup, parsed: ParsedName, text: str) -> Resolution:
    """`decision` with the details of the verbatim name."""
    is_spelt_so = " ".join(text.split()).startswith(decision.matched_name)
    match_type, reason = decision.match_type, decision.reason
    is_exact = match_type in {MatchType.EXACT, MatchType.NORMALIZED}
    if (not lookup.is_name and reason != "homonym_common_ancestor") or (is_exact and _is_species_only(lookup, parsed)):
        match_type, reason = MatchType.HIGHER_RANK, REASONS[parsed.type]
    elif match_type is MatchType.EXACT and not is_spelt_so:
        match_type = MatchType.NORMALIZED
    is_species_of_it = lookup.is_name and lookup.query.name == parsed.canonical_name and decision.resolved_rank == "species"
    infraspecific = decision.infraspecific or (parsed.infraspecific if is_species_of_it else "")
    return replace(
        decision,
        match_type=match_type,
        reason=reason,
        canonical_name=decision.matched_name if lookup.is_verbatim else parsed.canonical_name,
        infraspecific=infraspecific,
        qualifier="" if lookup.is_verbatim else parsed.qualifier,
    )


def _decide(lookup: Lookup, near: Sequence[NearCandidate], index: BackboneIndex, settings: TaxonomySettings) -> Resolution | None:
    """The decision of one backbone on a name, from the usages with that name or a similar one; None without any."""
    near = [one for one in near if _can_be(lookup, one.candidate) and is_backed(lookup.query, one)]
    if not near:
        return None
    found = {id(one.candidate): one for one in near}
    scored = [one for other in near if (one := score_candidate(lookup.query, other.candidate, other.penalty)) is not None]
    if not scored:
        return Resolution(MatchType.NONE, "kingdom_conflict")
    ranked = _best_of_each_taxon(scored)
    rivals = _rivals(ranked, lookup.query)
    if len(rivals) > 1:
        return _common_ancestor(rivals, lookup.query, index, settings) or Resolution(MatchType.AMBIGUOUS, "homonym_ambiguous")
    best = rivals[0]
    others = [one.score for one in ranked if one.candidate.taxon.row != best.candidate.taxon.row]
    lead = max(0, best.score - max(others)) if others else None
    certainty, margin = confidence(best.score, lead), 100 if lead is None else min(100, lead)
    if certainty < settings.min_confidence:
        return Resolution(MatchType.NONE, "low_confidence", confidence=certainty, margin=margin)
    return _accepted(lookup.query, found[id(best.candidate)], certainty, margin, index.name)


def _can_be(lookup: Lookup, candidate: Candidate) -> bool:
    """Genus and higher taxa that replace a name must have the rank at which they are looked up."""
    return lookup.is_name or not lookup.query.rank or candidate.rank in {lookup.query.rank, ""}


def _best_of_each_taxon(scored: list[ScoredCandidate]) -> list[ScoredCandidate]:
    best: dict[int, ScoredCandidate] = {}
    for one in sorted(scored, key=lambda s: (-s.score, STATUSES.index(s.candidate.status), s.candidate.taxon_id)):
        best.setdefault(one.candidate.taxon.row, one)
    return list(best.values())


def _rivals(ranked: list[ScoredCandidate], query: Query) -> list[ScoredCandidate]:
    """The best candidate, or all that the record does not distinguish from it.

    Rivals are within one point of evidence. An accepted name is preferred only over others of its class (a single word: of its family),
    since it is no evidence against a synonym in another class; next, a taxon whose whole lineage equals the record's.
    """
    best = ranked[0]
    rivals = [one for one in ranked if one.evidence >= best.evidence - 1]
    if len(rivals) == 1:
        return rivals
    num_ranks = 3 if " " in query.name else 5
    if all(_same_class(best.candidate.taxon.lineage, one.candidate.taxon.lineage, num_ranks) for one in rivals):
        rivals = [one for one in rivals if one.candidate.status == STATUSES[0]] or rivals
    stated = [one for one in rivals if _is_stated(one.candidate.taxon.lineage, query.lineage)] if len(rivals) > 1 else []
    return stated if len(stated) == 1 else rivals


def _common_ancestor(rivals: list[ScoredCandidate], query: Query, index: BackboneIndex, settings: TaxonomySettings) -> Resolution | None:
    """The genus or family that all rivals share; a shared higher taxon is too unspecific to be an answer."""
    if not settings.allow_higher_rank:
        return None
    for place in (RANKS.index("genus"), RANKS.index("family")):
        shared = {one.candidate.taxon.lineage[: place + 1] for one in rivals}
        if len(shared) > 1 or not (lineage := shared.pop())[place]:
            continue
        for one in index.candidates(lineage[place]):
            is_it = one.status == "accepted" and one.taxon.rank == RANKS[place] and one.taxon.lineage[: place + 1] == lineage
            if is_it and one.taxon.taxon_id == one.taxon_id:
                certainty = confidence(max(rival.score for rival in rivals), 0)
                found = _accepted(query, NearCandidate(one, MatchType.EXACT, 0), certainty, 0, index.name)
                return replace(found, match_type=MatchType.HIGHER_RANK, reason="homonym_common_ancestor", infraspecific="")
    return None


def _same_class(one: Lineage, other: Lineage, num_ranks: int) -> bool:
    """Whether two lineages agree in the kingdom and, as far as both have them, in the first `num_ranks` ranks, and share one of these."""
    pairs = [(normalise_taxon(rank, a), normalise_taxon(rank, b)) for rank, a, b in zip(RANKS[:num_ranks], one, other, strict=False)]
    return pairs[0][0] == pairs[0][1] and any(a and a == b for a, b in pairs) and all(a == b or not a or not b for a, b in pairs)


def _is_stated(lineage: Lineage, stated: Lineage) -> bool:
    pairs = zip(RANKS[:-1], lineage, stated, strict=False)
    return any(stated) and all(normalise_taxon(rank, known) == normalise_taxon(rank, given) for rank, known, given in pairs)


def resolution_of_usage(index: BackboneIndex, candidate: Candidate) -> Resolution:
    """The taxon of a usage, independent of the record."""
    return _accepted(Query(candidate.name, "", "", EMPTY_LINEAGE), NearCandidate(candidate, MatchType.EXACT, 0), 100, 100, index.name)


def _accepted(query: Query, near: NearCandidate, certainty: int, margin: int, backbone: str) -> Resolution:
    candidate, taxon = near.candidate, near.candidate.taxon
    match_type, reason = near.match_type, ""
    is_below = is_infraspecific(candidate.rank) and taxon.rank == "species"
    is_unranked = not candidate.rank and candidate.status == STATUSES[0] and candidate.taxon_id != taxon.taxon_id
    if is_unranked or (candidate.rank not in {*RANKS, ""} and not is_below):
        match_type, reason = MatchType.HIGHER_RANK, "intermediate_rank"
    elif match_type is not MatchType.EXACT:
        reason = f"edit_distance_{near.num_edits}" if near.num_edits else "stem_agrees"
    return Resolution(
        match_type,
        reason,
        confidence=certainty,
        margin=margin,
        matched_id=candidate.taxon_id,
        matched_name=candidate.name,
        accepted_id=taxon.taxon_id,
        accepted_name=taxon.name,
        resolved_rank=taxon.rank,
        lineage=taxon.lineage,
        infraspecific=candidate.infraspecific,
        common_name=taxon.common_name,
        backbone=backbone,
        rank_sources=taxon.rank_sources,
        contradicts=contradictions(query, candidate),
    )
