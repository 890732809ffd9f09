"""Names that several taxa, statuses or backbones could answer."""

from __future__ import annotations

import pytest

from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.backbones import Usage
from bioclip.taxonomy.matching.decisions import MatchType

PLANT = {"kingdom": "Plantae", "phylum": "Tracheophyta", "class_": "Magnoliopsida"}
BEETLE = {"kingdom": "Animalia", "phylum": "Arthropoda", "class_": "Insecta", "order": "Coleoptera"}
FLY = {**BEETLE, "order": "Diptera"}


def test_a_contradicting_lineage_lowers_confidence_until_the_match_is_refused(sample_index, resolve) -> None:
    columns = {
        "scientific_name": "Senecio vulgaris",
        "kingdom": "Chromista",
        "phylum": "Ascomycota",
        "class_": "Sordariomycetes",
        "order": "Xylariales",
    }
    assert 80 <= resolve(sample_index, **columns).confidence < 95
    columns["family"] = "Xylariaceae"
    refused = resolve(sample_index, **columns)
    assert (refused.reason, refused.match_type) == ("low_confidence", MatchType.NONE)
    assert resolve(sample_index, settings=TaxonomySettings(min_confidence=0), **columns).is_resolved


def test_synonyms_of_one_taxon_are_no_tie(make_index, resolve) -> None:
    usages = [Usage("s", "", "", "Aus bus", rank="species", **BEETLE)]
    index = make_index(*usages, *(Usage(f"x{n}", "", "s", "Xus bus", author, status="synonym") for n, author in enumerate(("L.", "Mill."))))
    assert resolve(index, scientific_name="Xus bus").accepted_id == "s"


def test_an_accepted_genus_beats_a_synonym_of_its_family_only(make_index, resolve) -> None:
    accepted = Usage("a", "", "", "Aus", rank="genus", family="Ausidae", **BEETLE)
    synonym = Usage("s", "", "b", "Aus", rank="genus", status="synonym")
    near = Usage("b", "", "", "Bus", rank="genus", family="Ausidae", **BEETLE)
    assert resolve(make_index(accepted, near, synonym), scientific_name="Aus").accepted_id == "a"
    for other in (Usage("b", "", "", "Bus", rank="genus", family="Busidae", **FLY), Usage("b", "", "", "Bus", rank="genus", **PLANT)):
        assert resolve(make_index(accepted, other, synonym), scientific_name="Aus").match_type is MatchType.AMBIGUOUS


def test_only_an_accepted_name_beats_another_status(make_index, resolve) -> None:
    index = make_index(
        Usage("d", "", "", "Aus", rank="genus", status="doubtful", family="Ausidae", **BEETLE),
        Usage("b", "", "", "Bus", rank="genus", family="Ausidae", **BEETLE),
        Usage("s", "", "b", "Aus", rank="genus", status="synonym"),
    )
    assert resolve(index, scientific_name="Aus", kingdom="Animalia").accepted_id != "b"


@pytest.mark.parametrize("hint", [{"class_": "Aves"}, {"order": "Passeriformes"}, {"family": "Prunellidae"}, {"phylum": "Chordata"}])
def test_a_rank_that_lies_in_one_kingdom_forbids_the_others(make_index, resolve, hint: dict[str, str]) -> None:
    index = make_index(Usage("p", "", "", "Prunella", rank="genus", family="Lamiaceae", **PLANT))
    assert resolve(index, scientific_name="Prunella").accepted_id == "p"
    for name in ("Prunella", "Prunella sp.", "Prunella modularis"):
        resolution = resolve(index, scientific_name=name, **hint)
        assert (resolution.is_resolved, resolution.lineage[0]) == (False, ""), name


def test_a_single_word_from_another_part_of_the_tree_is_refused(make_index, resolve) -> None:
    millipede = {"kingdom": "Animalia", "phylum": "Arthropoda", "class_": "Diplopoda", "order": "Siphonophorida"}
    index = make_index(Usage("m", "", "", "Siphonophora", rank="genus", family="Siphonophoridae", **millipede))
    assert resolve(index, scientific_name="Siphonophora", phylum="Cnidaria", class_="Hydrozoa").reason == "low_confidence"
    assert resolve(index, scientific_name="Siphonophora", phylum="Arthropoda", class_="Hydrozoa").accepted_id == "m"


def test_two_edits_need_the_author_and_other_words_are_no_misspellings(make_index, resolve) -> None:
    index = make_index(
        Usage("t", "", "", "Rana temporaria", "Linnaeus, 1758", rank="species", family="Ranidae", kingdom="Animalia"),
        Usage("g", "", "", "Rana", rank="genus", family="Ranidae", kingdom="Animalia"),
        Usage("m", "", "", "Rana macrocephala", rank="species", family="Ranidae", kingdom="Animalia"),
    )
    assert resolve(index, scientific_name="Rana temporalix", family="Ranidae").accepted_id == "g"
    assert resolve(index, scientific_name="Rana temporalix Linnaeus, 1758").accepted_id == "t"
    assert resolve(index, scientific_name="Rana microcephala", family="Ranidae").accepted_id == "g"


def test_a_lost_hyphen_is_found_again(make_index, resolve) -> None:
    index = make_index(
        Usage("c", "", "", "Capsella bursa-pastoris", "(L.) Medik.", rank="species", family="Brassicaceae", **PLANT),
        Usage("g", "", "", "Capsella", rank="genus", family="Brassicaceae", **PLANT),
    )
    assert resolve(index, scientific_name="Capsella bursa pastoris").accepted_id == "c"
    assert resolve(index, scientific_name="Capsella bursa subsp. pastoris").accepted_id == "g"


def test_former_names_of_higher_taxa_stand_for_them_only_where_they_can_be_nothing_else(make_index, resolve) -> None:
    index = make_index(
        Usage("f", "", "", "Fabaceae", rank="family", **PLANT),
        Usage("b", "", "", "Bacilli", rank="class", kingdom="Bacteria"),
    )
    assert resolve(index, scientific_name="Leguminosae").accepted_id == "f"
    assert not resolve(index, scientific_name="Bacillus").is_resolved


def test_accepted_homonyms_of_one_class_are_told_apart_by_order_family_or_author_alone(make_index, resolve) -> None:
    index = make_index(
        Usage("a", "", "", "Aus", "Linnaeus, 1758", rank="genus", family="Ausidae", **BEETLE),
        Usage("b", "", "", "Aus", "Meigen, 1803", rank="genus", family="Busidae", **FLY),
    )
    assert resolve(index, scientific_name="Aus").match_type is MatchType.AMBIGUOUS
    assert resolve(index, scientific_name="Aus", order="Diptera").accepted_id == "b"
    assert resolve(index, scientific_name="Aus", family="Ausidae").accepted_id == "a"
    assert resolve(index, scientific_name="Aus Meigen, 1803").accepted_id == "b"
    assert resolve(index, scientific_name="Aus", scientific_name_authorship="L.").accepted_id == "a"


def test_a_synonym_with_two_meanings_abstains(make_index, resolve) -> None:
    species = [Usage(name, "", "", f"Aus {name}us", rank="species", **BEETLE) for name in "bc"]
    index = make_index(*species, *(Usage(f"x{to}", "", to, "Xus dus", status="synonym") for to in "bc"))
    assert resolve(index, scientific_name="Xus dus").reason == "homonym_ambiguous"


def test_the_first_backbone_that_knows_the_name_decides(make_index, resolve) -> None:
    first = make_index(Usage("1", "", "", "Aus", rank="genus", **BEETLE), name="first")
    second = make_index(
        Usage("2", "", "", "Aus bus", rank="species", **BEETLE), Usage("3", "", "", "Aus", rank="genus", **BEETLE), name="second"
    )
    assert resolve(first, second, scientific_name="Aus").backbone == "first"
    assert resolve(first, second, scientific_name="Aus bus").backbone == "second", "a species goes before the genus of an earlier backbone"
    plants = make_index(Usage("4", "", "", "Aus", rank="genus", **PLANT), name="plants")
    assert resolve(first, plants, scientific_name="Aus", kingdom="Plantae").backbone == "plants", "a vetoed homonym is another name"


def test_a_stand_in_has_the_rank_it_is_tried_at(make_index, resolve) -> None:
    index = make_index(Usage("1", "", "", "Ausales", rank="order", **PLANT))
    assert not resolve(index, scientific_name="unknown", family="Ausales").is_resolved
    assert resolve(index, scientific_name="unknown", order="Ausales").accepted_id == "1"


def test_a_rank_between_resolves_upwards_and_says_so(make_index, resolve) -> None:
    index = make_index(Usage("f", "", "", "Ausidae", rank="family", **BEETLE), Usage("i", "f", "", "Ausinae", rank="subfamily"))
    resolution = resolve(index, scientific_name="Ausinae")
    assert (resolution.match_type, resolution.reason) == (MatchType.HIGHER_RANK, "intermediate_rank")
    assert (resolution.accepted_id, resolution.matched_id) == ("f", "i")


def test_a_kingdom_conflict_leaves_what_the_rank_columns_name(make_index, resolve) -> None:
    index = make_index(
        Usage("p", scientific_name="Linaria vulgaris", rank="species", kingdom="Plantae"),
        Usage("f", scientific_name="Fringillidae", rank="family", kingdom="Animalia"),
        Usage("k", scientific_name="Animalia", rank="kingdom"),
    )
    found = resolve(index, scientific_name="Linaria vulgaris", kingdom="Animalia", family="Fringillidae")
    assert (found.accepted_id, found.match_type, found.reason) == ("f", MatchType.HIGHER_RANK, "kingdom_conflict")
    assert resolve(index, scientific_name="Linaria vulgaris", kingdom="Animalia").reason == "kingdom_conflict"
    assert not resolve(index, scientific_name="Linaria vulgaris", kingdom="Animalia").is_resolved
