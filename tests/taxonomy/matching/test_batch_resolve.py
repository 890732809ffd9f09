"""Many lineages at once are decided as each is alone; names taken for plain are read as the parser reads them."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.names.synthetic_names import make_lineages
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.backbones import Usage
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.decision_table import decision_columns, lineage_columns, resolutions_of
from bioclip.taxonomy.matching.decisions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.matching.resolve import resolve_lineages
from bioclip.taxonomy.names.authorship import compare_authorship
from bioclip.taxonomy.names.batch_parsing import is_plain_uninomial, plain_names, rank_by_author
from bioclip.taxonomy.names.parsing import NameType, parse_name

_WORDS = """
    Abies alba nigra Larus Incertae sedis Unknown fish bacterium L. Mill. DC. (L.) Smith, 1901 & ex cf. sp. virus Tobacco mosaic de la
    Cruz von forma var. x × BOLD:AAB1234 Order family clade ssp Unidentified Carabidae GV NPV CF AB DC X Ms Em. Sp. RNA phytoplasma
    subtr. Trib subser
"""
STRICT = TaxonomySettings(allow_higher_rank=False)


def lineages(index: BackboneIndex, num: int, seed: int) -> list[VerbatimLineage]:
    return [VerbatimLineage(name, author, rank, *ranks) for name, author, rank, *ranks in make_lineages([index], num, seed)]


@pytest.mark.parametrize("choice", [TaxonomySettings(), STRICT, TaxonomySettings(inexact="none"), TaxonomySettings(min_confidence=99)])
def test_columns_decide_as_one_by_one(sample_index: BackboneIndex, choice: TaxonomySettings) -> None:
    names = lineages(sample_index, 3_000, seed=5)
    assert resolutions_of(resolve_table(lineage_columns(names), [sample_index], choice)) == resolve_lineages(names, [sample_index], choice)


@pytest.mark.parametrize(
    "tail",
    ["GV", "CF", "X", "RNA", "Smith AB", "Smith DC.", "Smith, 1870 DC.", "Ms", "phytoplasma", "subtr. cus", "sp. 3", "auct. non Mill."],
)
def test_what_follows_a_name_is_read_in_columns_as_one_by_one(sample_index: BackboneIndex, tail: str) -> None:
    names = [VerbatimLineage(f"{name} {tail}") for name in sample_index.column("name").to_pylist()[::40]]
    decided = resolutions_of(resolve_table(lineage_columns(names), [sample_index], TaxonomySettings()))
    assert decided == resolve_lineages(names, [sample_index], TaxonomySettings())


def test_a_virus_is_not_taken_for_its_host_in_columns(make_index) -> None:
    index = make_index(Usage("1", scientific_name="Dionychopus amasis", rank="species", status="accepted", kingdom="Animalia"))
    (found,) = resolutions_of(resolve_table(lineage_columns([VerbatimLineage("Dionychopus amasis GV")]), [index], TaxonomySettings()))
    assert (found.match_type, found.reason) == (MatchType.NONE, "virus")


def test_an_empty_backbone_knows_nothing(make_index) -> None:
    (found,) = resolutions_of(resolve_table(lineage_columns([VerbatimLineage("Aus bus")]), [make_index()], TaxonomySettings()))
    assert found.reason == "not_in_backbone"


def test_several_backbones_are_asked_in_order_in_columns_too(sample_index: BackboneIndex, make_index) -> None:
    other = make_index(
        Usage("1", scientific_name="Lepista nuda", rank="species", status="accepted", kingdom="Animalia"),
        Usage("2", scientific_name="Aus bus", rank="species", status="accepted", kingdom="Animalia"),
    )
    names = [*lineages(sample_index, 500, seed=6), VerbatimLineage("Aus bus"), VerbatimLineage("Aus bus", kingdom="Plantae")]
    for indexes in ([sample_index, other], [other, sample_index]):
        alone = resolve_lineages(names, indexes, TaxonomySettings())
        assert resolutions_of(resolve_table(lineage_columns(names), indexes, TaxonomySettings())) == alone
        assert alone[-2].accepted_name == "Aus bus"
        assert alone[-1].reason == "kingdom_conflict"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(1, 7))
def test_order_and_partition_change_no_decision(sample_index: BackboneIndex, seed: int, num_parts: int) -> None:
    table = lineage_columns(lineages(sample_index, 120, seed=seed))
    whole = resolve_table(table, [sample_index], TaxonomySettings())
    order = list(range(table.num_rows))
    random.Random(seed).shuffle(order)
    shuffled = table.take(pa.array(order))
    bounds = [table.num_rows * part // num_parts for part in range(num_parts + 1)]
    parts = [resolve_table(shuffled.slice(start, end - start), [sample_index], TaxonomySettings()) for start, end in pairwise(bounds)]
    assert pa.concat_tables(parts).combine_chunks() == whole.take(pa.array(order)).combine_chunks()


def test_what_is_resolved_resolves_to_itself_in_columns(sample_index: BackboneIndex) -> None:
    first = resolutions_of(resolve_table(lineage_columns(lineages(sample_index, 2_000, seed=8)), [sample_index], TaxonomySettings()))
    resolved = [one for one in first if one.is_resolved]
    again = resolutions_of(resolve_table(lineage_columns([asked_again(one) for one in resolved]), [sample_index], TaxonomySettings()))
    assert [one.accepted_id for one in again] == [one.accepted_id for one in resolved]
    assert {one.match_type for one in again} == {MatchType.EXACT}


def asked_again(one: Resolution) -> VerbatimLineage:
    columns = dict(zip(("kingdom", "phylum", "class_", "order", "family", "genus"), one.lineage, strict=False))
    return VerbatimLineage(scientific_name=one.accepted_name, taxon_rank=one.resolved_rank, **columns)


def test_decisions_survive_their_columns(sample_index: BackboneIndex) -> None:
    decided = resolve_lineages(lineages(sample_index, 200, seed=9), [sample_index], TaxonomySettings())
    assert resolutions_of(decision_columns(decided)) == decided
    assert resolutions_of(decision_columns([])) == []


@pytest.mark.parametrize("where", ["name alone", "author in the name", "author beside it"])
def test_plain_names_of_the_backbone_are_read_as_the_parser_reads_them(sample_index: BackboneIndex, where: str) -> None:
    names, authors = (sample_index.column(name).to_pylist() for name in ("name", "authorship"))
    asked = [VerbatimLineage(name) for name in names]
    if where == "author in the name":
        asked = [VerbatimLineage(f"{name} {author}".strip()) for name, author in zip(names, authors, strict=True)]
    elif where == "author beside it":
        asked = [replace(one, scientific_name_authorship=author) for one, author in zip(asked, authors, strict=True)]
    assert 0.8 * len(asked) < check_plain(asked)


@settings(max_examples=200, derandomize=True)
@given(
    st.lists(
        st.sampled_from(_WORDS.split()),
        min_size=1,
        max_size=5,
    ).map(" ".join)
)
def test_every_plain_name_is_read_as_the_parser_reads_it(text: str) -> None:
    check_plain([VerbatimLineage(text)])


def check_plain(asked: list[VerbatimLineage]) -> int:
    plain = plain_names(lineage_columns(asked))
    columns = (plain.rows.tolist(), plain.names.to_pylist(), plain.authorships.to_pylist(), plain.ranks.to_pylist())
    for row, name, authorship, rank in zip(*columns, strict=True):
        parsed = parse_name(asked[row].scientific_name, asked[row].scientific_name_authorship)
        assert (parsed.type, parsed.canonical_full, parsed.qualifier, parsed.hybrid) == (NameType.SCIENTIFIC, name, "", False)
        assert compare_authorship(parsed.authorship, authorship) == compare_authorship(parsed.authorship, parsed.authorship)
        assert rank == (parsed.rank if parsed.infraspecific else "species" if " " in name else "")
    return len(plain.rows)


def test_names_that_a_parser_may_read_otherwise_are_left_to_it() -> None:
    odd = ["Unidentified Carabidae", "Cervidae family", "Fecal pellet", "Abies sp", "Chlorobia bacterium", "Mosaic virus", "abies alba"]
    assert len(plain_names(lineage_columns([VerbatimLineage(name) for name in odd])).rows) == 0
    assert [is_plain_uninomial(text) for text in ("Animalia", "Unknown", "animalia", "Felis sp.", "")] == [True, False, False, False, False]


def test_the_binomial_of_the_columns_is_plain_where_there_is_no_name() -> None:
    asked = [
        VerbatimLineage(genus="Abies", specific_epithet="alba"),
        VerbatimLineage(genus="Abies", specific_epithet="Abies alba"),
        VerbatimLineage(genus="Abies"),
    ]
    plain = plain_names(lineage_columns(asked))
    assert (plain.rows.tolist(), plain.names.to_pylist()) == ([0, 1], ["Abies alba", "Abies alba"])


_SURNAMES = st.sampled_from(
    ("Mill.", "Smith", "A.Gray", "J. E. Gray", "Saint-Hilaire", "Rchb.", "Müller", "In", "Non", "Ms", "St.", "Auct")
)
_TEAMS = st.lists(_SURNAMES, min_size=1, max_size=3).flatmap(
    lambda team: st.sampled_from((", ", " & ", " ex ", " ")).map(lambda s: s.join(team))
)
_CITATIONS = st.one_of(
    _TEAMS,
    st.tuples(_TEAMS, st.integers(1740, 2031)).map(lambda cited: f"{cited[0]}, {cited[1]}"),
    st.tuples(_TEAMS, _TEAMS).map(lambda two: f"({two[0]}) {two[1]}"),
)


@settings(max_examples=300)
@given(_CITATIONS, st.booleans())
def test_a_citation_gives_three_words_the_rank_that_the_parser_gives(citation: str, is_enclosed: bool) -> None:
    citation = f"({citation})" if is_enclosed else citation
    assert rank_by_author(citation) == parse_name("Abies alba nigra", citation).rank


def test_citations_of_the_backbone_give_three_words_the_rank_that_the_parser_gives(sample_index: BackboneIndex) -> None:
    for citation in set(sample_index.column("authorship").to_pylist()) - {""}:
        assert rank_by_author(citation) == parse_name("Abies alba nigra", citation).rank


def test_few_keys_are_found_as_many_are(sample_index: BackboneIndex) -> None:
    keys = sample_index.column("key").to_pylist()
    few = pa.array([keys[0], "abies nigra nigra", keys[-1], keys[len(keys) // 2], keys[0]])
    many = pa.array([*few.to_pylist(), *keys])
    assert (
        sample_index.first_rows(few).tolist()
        == sample_index.first_rows(many)[: len(few)].tolist()
        == [keys.index(key) if key in keys else -1 for key in few.to_pylist()]
    )
    assert sample_index.first_rows(pa.array(["abies nigra nigra"])).tolist() == [-1]
