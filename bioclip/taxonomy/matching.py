"""From what records say of a name to an accepted lineage, or to the reason why there is none.

A name is tried as a whole, then its certain parts from the species up, then the rank columns beside it. Of the backbones, the
first that knows the name under trial decides. Candidates are scored (`bioclip.taxonomy.scoring`); homonyms that the record
does not tell apart end in AMBIGUOUS, never in the first row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from weakref import WeakKeyDictionary

from bioclip.records import RANKS
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.backbone_index import BackboneIndex, Candidate
from bioclip.taxonomy.index import STATUSES
from bioclip.taxonomy.inexact import InexactIndex, Near
from bioclip.taxonomy.lineages import Lineage
from bioclip.taxonomy.names import NameType, ParsedName, clean_name, parse_name
from bioclip.taxonomy.ranks import is_infraspecific, normalise_rank
from bioclip.taxonomy.resolutions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.scoring import Query, Scored, confidence, normalise_taxon, score_candidate, score_parts


@dataclass(frozen=True, slots=True)
class _Trial:
    """A name to look up; `is_name` when it is all that the record's name says for certain."""

    query: Query
    is_name: bool


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
_FINAL_TYPES = {NameType.VIRUS, NameType.NON_TAXON}
"""What these name has no place in a backbone, whatever stands in the rank columns."""
_OPEN_TYPES = {NameType.INFORMAL, NameType.FORMULA}


def resolve_lineages(names: Sequence[VerbatimLineage], indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> list[Resolution]:
    """One resolution for each of `names`, in their order; `indexes` in order of precedence."""
    known: dict[VerbatimLineage, Resolution] = {}
    for name in names:
        if name not in known:
            known[name] = _resolve(name, indexes, settings)
    return [known[name] for name in names]


def _resolve(verbatim: VerbatimLineage, indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> Resolution:
    text = _name_to_parse(verbatim)
    parsed = parse_name(text, verbatim.scientific_name_authorship, verbatim.taxon_rank)
    is_looked_up = bool(parsed.canonical_name) and settings.allow_higher_rank
    unresolved = Resolution(MatchType.NONE, REASONS[NameType.SCIENTIFIC if is_looked_up else parsed.type])
    for trial in _trials(verbatim, parsed):
        if not trial.is_name and not settings.allow_higher_rank:
            break
        decision = _first_decision(trial, indexes, settings)
        if decision is not None and decision.is_resolved:
            return _described(decision, trial, parsed, verbatim.scientific_name or text)
        if decision is not None:
            unresolved = decision
            if trial.is_name:
                break
    return replace(unresolved, canonical_name=parsed.canonical_name, qualifier=parsed.qualifier)


def explain_lineage(
    verbatim: VerbatimLineage, indexes: Sequence[BackboneIndex], settings: TaxonomySettings
) -> tuple[list[str], Resolution]:
    """Lines that a person can follow from what is written to the decision: each name tried, each candidate with the parts of its score."""
    text = _name_to_parse(verbatim)
    parsed = parse_name(text, verbatim.scientific_name_authorship, verbatim.taxon_rank)
    decision = _resolve(verbatim, indexes, settings)
    lines = [f"{text!r} is {parsed.type}: {parsed.canonical_full or 'no name'}" + (f", {parsed.authorship}" if parsed.authorship else "")]
    for trial in _trials(verbatim, parsed):
        lines.append(f"looked up: {trial.query.name}" + ("" if trial.is_name else " (a part of it, or a rank column)"))
        found = 0
        for index in indexes:
            ways = [[Near(one, MatchType.EXACT, 0) for one in index.candidates(trial.query.name)]]
            if trial.is_name and " " in trial.query.name:
                ways += [getattr(inexact_index(index), kind)(trial.query.name) for kind in _INEXACT[settings.inexact]]
            near = next((way for way in ways if way), [])
            found += len(near)
            lines += [_explained(trial, one, index.name) for one in near]
        if not found:
            lines.append("  no backbone knows it, nor another spelling of it")
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


def _explained(trial: _Trial, near: Near, backbone: str) -> str:
    one = near.candidate
    parts = score_parts(trial.query, one, near.penalty)
    score = "vetoed by its kingdom" if parts is None else f"{sum(parts.values())} = " + " ".join(f"{k} {v:+d}" for k, v in parts.items())
    where = " > ".join(name for name in one.taxon.lineage[:5] if name)
    how = "" if near.match_type is MatchType.EXACT else f" [{near.match_type}]"
    author = f" {one.authorship}" if one.authorship else ""
    return f"  {backbone} {one.taxon_id} {one.name}{author}, {one.rank} {one.status}{how}, for {one.taxon.name} in {where}: {score}"


def _first_decision(trial: _Trial, indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> Resolution | None:
    """Of the first backbone that knows the name; one whose kingdoms all forbid the match knows another name. A name that none knows may be
    another spelling of one: by stem first, then by edits; such a match counts only where it is certain."""
    conflict: Resolution | None = None
    for index in indexes:
        decision = _decide(
            trial, [Near(candidate, MatchType.EXACT, 0) for candidate in index.candidates(trial.query.name)], index, settings
        )
        if decision is not None and decision.reason != "kingdom_conflict":
            return decision
        conflict = conflict or decision
    if conflict is None and trial.is_name and " " in trial.query.name:
        for kind in _INEXACT[settings.inexact]:
            for index in indexes:
                decision = _decide(trial, getattr(inexact_index(index), kind)(trial.query.name), index, settings)
                if decision is not None and decision.is_resolved:
                    return decision
    return conflict


_INEXACT = {"none": (), "stem": ("stemmed",), "fuzzy": ("stemmed", "edited")}
_INEXACT_INDEXES: WeakKeyDictionary[BackboneIndex, InexactIndex] = WeakKeyDictionary()


def inexact_index(index: BackboneIndex) -> InexactIndex:
    """The near names of a backbone, made once."""
    if index not in _INEXACT_INDEXES:
        _INEXACT_INDEXES[index] = InexactIndex(index)
    return _INEXACT_INDEXES[index]


def _described(decision: Resolution, trial: _Trial, parsed: ParsedName, text: str) -> Resolution:
    """`decision` with what the verbatim name adds to it."""
    is_spelt_so = " ".join(text.split()).startswith(decision.matched_name)
    match_type, reason = decision.match_type, decision.reason
    if not trial.is_name:
        match_type, reason = MatchType.HIGHER_RANK, REASONS[parsed.type]
    elif match_type is MatchType.EXACT and not is_spelt_so:
        match_type = MatchType.NORMALIZED
    is_species_of_it = trial.is_name and trial.query.name == parsed.canonical_name and decision.resolved_rank == "species"
    infraspecific = decision.infraspecific or (parsed.infraspecific if is_species_of_it else "")
    return replace(
        decision,
        match_type=match_type,
        reason=reason,
        canonical_name=parsed.canonical_name,
        infraspecific=infraspecific,
        qualifier=parsed.qualifier,
    )


def _name_to_parse(verbatim: VerbatimLineage) -> str:
    """The scientific name; where that is missing or a bare epithet, the binomial of the columns."""
    name, genus, epithet = (clean_name(part) for part in (verbatim.scientific_name, verbatim.genus, verbatim.specific_epithet))
    is_epithet = name.isalpha() and name.islower() and normalise_rank(verbatim.taxon_rank) in {"", "species"}
    if not name:
        if epithet.partition(" ")[0].casefold() == genus.casefold() or " " in epithet:
            return epithet
        return f"{genus} {epithet}" if genus and epithet else ""
    return f"{genus} {name}" if is_epithet and genus and name.casefold() != genus.casefold() else name


def _trials(verbatim: VerbatimLineage, parsed: ParsedName) -> Iterator[_Trial]:
    """Names to look up, from the fullest to the highest."""
    if parsed.type in _FINAL_TYPES:
        return
    columns = tuple(clean_name(getattr(verbatim, field.name)) for field in fields(VerbatimLineage)[3:9])
    lineage = (*columns, "")
    asked: set[str] = {""}
    if parsed.canonical_name:
        is_open = parsed.type in _OPEN_TYPES
        rank = _asked_rank(parsed, verbatim.taxon_rank)
        if parsed.infraspecific and not is_open:
            yield _Trial(Query(parsed.canonical_full, rank, parsed.authorship, lineage), True)
            rank = "species"
        authorship = parsed.authorship if parsed.canonical_name == parsed.canonical_full else ""
        yield _Trial(Query(parsed.canonical_name, rank, authorship, lineage), not is_open)
        asked.add(parsed.canonical_name.casefold())
        if " " not in parsed.canonical_name and not is_open:
            for higher_rank in RANKS[:5]:
                if usual := _usual_name(higher_rank, parsed.canonical_name):
                    yield _Trial(Query(usual, higher_rank, "", lineage), True)
        if parsed.genus and parsed.genus.casefold() not in asked:
            yield _Trial(Query(parsed.genus, "genus", "", lineage), False)
            asked.add(parsed.genus.casefold())
    for rank, name in zip(reversed(RANKS[:-1]), reversed(columns), strict=True):
        higher = parse_name(name, "", rank)
        if higher.type is NameType.SCIENTIFIC and " " not in higher.canonical_name and higher.canonical_name.casefold() not in asked:
            asked.add(higher.canonical_name.casefold())
            yield _Trial(Query(higher.canonical_name, rank, "", lineage), False)
            if usual := _usual_name(rank, higher.canonical_name):
                yield _Trial(Query(usual, rank, "", lineage), False)


def _usual_name(rank: str, name: str) -> str:
    """The name that a higher taxon usually has, empty where that is `name`."""
    usual = normalise_taxon(rank, name)
    return "" if usual == name.casefold() else usual.capitalize()


def _asked_rank(parsed: ParsedName, stated: str) -> str:
    """The rank of the certain name; a stated rank counts only where the name can have it."""
    words = parsed.canonical_full.count(" ")
    if parsed.type in _OPEN_TYPES:
        return "species" if " " in parsed.canonical_name else ""
    if words == 0:
        rank = normalise_rank(stated)
        return rank if rank in RANKS and rank != "species" else ""
    return "species" if words == 1 else parsed.rank


def _decide(trial: _Trial, near: Sequence[Near], index: BackboneIndex, settings: TaxonomySettings) -> Resolution | None:
    """What one backbone says of a name, given the usages that have it or nearly; None when there are none."""
    near = [one for one in near if _can_be(trial, one.candidate)]
    if not near:
        return None
    found = {id(one.candidate): one for one in near}
    scored = [one for other in near if (one := score_candidate(trial.query, other.candidate, other.penalty)) is not None]
    if not scored:
        return Resolution(MatchType.NONE, "kingdom_conflict")
    ranked = _best_of_each_taxon(scored)
    best = _unrivalled(ranked, trial.query)
    if best is None:
        return Resolution(MatchType.AMBIGUOUS, "homonym_ambiguous")
    others = [one.score for one in ranked if one.candidate.taxon is not best.candidate.taxon]
    lead = max(0, best.score - max(others)) if others else None
    certainty, margin = confidence(best.score, lead), 100 if lead is None else min(100, lead)
    if certainty < settings.min_confidence:
        return Resolution(MatchType.NONE, "low_confidence", confidence=certainty, margin=margin)
    accepted = _accepted(best.candidate, certainty, margin, index.name)
    how = found[id(best.candidate)]
    if how.match_type is MatchType.EXACT or accepted.match_type is not MatchType.EXACT:
        return accepted
    return replace(accepted, match_type=how.match_type, reason=f"edit_distance_{how.num_edits}" if how.num_edits else "stem_agrees")


def _can_be(trial: _Trial, candidate: Candidate) -> bool:
    """Genus and higher taxa that stand in for a name must have the rank they are tried at."""
    return trial.is_name or not trial.query.rank or candidate.rank in {trial.query.rank, ""}


def _best_of_each_taxon(scored: list[Scored]) -> list[Scored]:
    best: dict[int, Scored] = {}
    for one in sorted(scored, key=lambda s: (-s.score, STATUSES.index(s.candidate.status), s.candidate.taxon_id)):
        best.setdefault(one.candidate.taxon.row, one)
    return list(best.values())


def _unrivalled(ranked: list[Scored], query: Query) -> Scored | None:
    """The best, or None when the record does not tell it from a homonym.

    Rivals are within one point of evidence. Status decides among rivals of one class only, since an accepted name in one
    kingdom says nothing against a synonym in another; after that, a taxon whose whole lineage is what the record states.
    """
    best = ranked[0]
    rivals = [one for one in ranked if one.evidence >= best.evidence - 1]
    if all(_same_class(best.candidate.taxon.lineage, one.candidate.taxon.lineage) for one in rivals):
        first = min(STATUSES.index(one.candidate.status) for one in rivals)
        rivals = [one for one in rivals if STATUSES.index(one.candidate.status) == first]
    if len(rivals) > 1:
        rivals = [one for one in rivals if _is_stated(one.candidate.taxon.lineage, query.lineage)]
    return rivals[0] if len(rivals) == 1 else None


def _same_class(one: Lineage, other: Lineage) -> bool:
    pairs = list(zip(one[:3], other[:3], strict=True))
    return one[0] == other[0] and any(a and a == b for a, b in pairs) and all(a == b or not a or not b for a, b in pairs)


def _is_stated(lineage: Lineage, stated: Lineage) -> bool:
    pairs = zip(RANKS[:-1], lineage, stated, strict=False)
    return any(stated) and all(normalise_taxon(rank, known) == normalise_taxon(rank, given) for rank, known, given in pairs)


def _accepted(candidate: Candidate, certainty: int, margin: int, backbone: str) -> Resolution:
    taxon = candidate.taxon
    is_between = candidate.rank not in {*RANKS, ""} and not (is_infraspecific(candidate.rank) and taxon.rank == "species")
    return Resolution(
        MatchType.HIGHER_RANK if is_between else MatchType.EXACT,
        "intermediate_rank" if is_between else "",
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
    )
