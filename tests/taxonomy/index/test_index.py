from __future__ import annotations

import pytest

from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones import Usage, Vernacular
from bioclip.taxonomy.index.build import INDEX_SCHEMA, MAX_HOPS, compile_backbone, normalise_status
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.names.keys import canonical_name, name_key
from bioclip.taxonomy.names.ranks import normalise_rank, rank_by_suffix

TREE = (
    Usage("k", "", "", "Animalia", rank="kingdom"),
    Usage("f", "k", "", "Ausidae", rank="family"),
    Usage("sf", "f", "", "Ausinae", rank="subfamily"),
    Usage("g", "sf", "", "Aus L.", "L.", rank="genus"),
    Usage("s", "g", "", "Aus bus L.", "L.", rank="species"),
    Usage("ss", "s", "", "Aus bus cus", rank="subspecies"),
)
LINEAGE = ("Animalia", "", "", "", "Ausidae", "Aus", "Aus bus")


def taxon(index: BackboneIndex, name: str):
    (candidate,) = index.candidates(name)
    return candidate.taxon


def test_lineages_follow_the_path_of_parents(make_index) -> None:
    index = make_index(*TREE)
    assert taxon(index, "Aus bus").lineage == LINEAGE
    assert (taxon(index, "Aus").rank, taxon(index, "Aus").lineage) == ("genus", (*LINEAGE[:6], ""))


def test_ranks_that_labels_lack_collapse_upwards(make_index) -> None:
    index = make_index(*TREE)
    assert taxon(index, "Aus bus cus").taxon_id == "s"
    assert index.candidates("Aus bus cus")[0].infraspecific == "cus"
    assert taxon(index, "Ausinae").taxon_id == "f"


def test_stated_columns_fill_what_the_path_leaves_open(make_index) -> None:
    stated = {"kingdom": "Animalia", "class_": "Insecta", "order": "incertae sedis", "family": "Wrongidae"}
    index = make_index(
        *TREE, Usage("s2", "g", "", "Aus dus", rank="species", **stated), Usage("s3", "lost", "", "Eus fus", rank="species", **stated)
    )
    assert taxon(index, "Aus dus").lineage == ("Animalia", "", "Insecta", "", "Ausidae", "Aus", "Aus dus")
    assert taxon(index, "Eus fus").lineage == ("Animalia", "", "Insecta", "", "Wrongidae", "Eus", "Eus fus")


def test_synonyms_lead_to_the_accepted_taxon_through_chains(make_index) -> None:
    index = make_index(*TREE, Usage("x", "", "y", "Xus bus", status="synonym"), Usage("y", "", "s", "Yus bus", status="homotypic synonym"))
    assert taxon(index, "Xus bus").taxon_id == taxon(index, "Yus bus").taxon_id == "s"


def test_faults_of_a_backbone_are_counted_and_do_not_stop_it() -> None:
    chain = [Usage(f"c{n}", "", f"c{n + 1}", f"Cus c{chr(97 + n)}us", status="synonym") for n in range(MAX_HOPS + 1)]
    compiled = compile_backbone(
        [
            *TREE, *chain, Usage(f"c{MAX_HOPS + 1}", "g", "", "Aus chainus", rank="species"),
            Usage("", "g", "", "Aus noid"), Usage("n", "g", "", " "), Usage("s", "g", "", "Aus twice", rank="species"),
            Usage("d", "", "nobody", "Aus danglus", status="synonym"), Usage("e", "", "", "Aus emptus", status="synonym"),
            Usage("y1", "", "y2", "Aus yus", status="synonym"), Usage("y2", "", "y1", "Aus zus", status="synonym"),
            Usage("p1", "p2", "", "Paridae", rank="family"), Usage("p2", "p1", "", "Pariformes", rank="order"),
            Usage("l", "lost", "", "Lus", rank="genus"), Usage("r", "", "", "root", rank="no rank"),
            Usage("o", "s", "", "Ordus", rank="genus"), Usage("w", "o", "", "Aus wus", rank="species"),
        ],
        [Vernacular("s", "bus", "en"), Vernacular("nobody", "ghost", "en")],
    )  # fmt: skip
    counts = compiled.counts
    assert counts.dropped == {
        "id_missing": 1, "name_missing": 1, "id_duplicate": 1, "synonym_dangling": 2, "synonym_cycle": 2,
        "synonym_chain_too_long": 1, "no_linnaean_rank": 1,
    }  # fmt: skip
    assert counts.read == len(TREE) + len(chain) + 14
    assert counts.written == compiled.table.num_rows
    expected = {"parent_dangling": 1, "rank_order": 1, "species_outside_genus": 1, "vernaculars": 2, "vernacular_dangling": 1}
    assert {name: counts.notes[name] for name in expected} == expected
    assert counts.notes["parent_cycle"] == 1


def test_accepted_usages_equal_in_name_and_lineage_are_one_taxon(make_index) -> None:
    index = make_index(*TREE, Usage("s0", "g", "", "Aus bus Mill.", "Mill.", rank="species"))
    assert {candidate.taxon.taxon_id for candidate in index.candidates("Aus bus")} == {"s"}
    assert {candidate.taxon_id for candidate in index.candidates("Aus bus")} == {"s", "s0"}


def test_the_order_of_the_source_does_not_change_the_index() -> None:
    usages = (*TREE, Usage("x", "", "s", "Xus bus", status="synonym"), Usage("s0", "g", "", "Aus bus Mill.", "Mill.", rank="species"))
    assert compile_backbone(usages).table.equals(compile_backbone(usages[::-1]).table)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([("zebra", "en", False), ("apple", "en", True), ("aardvark", "de", True)], "apple"),
        ([("b", "en", False), ("B", "eng", False), ("a", "en-GB", False)], "B"),
        ([("b", "en", False), ("a", "English", False)], "a"),
        ([("Pferd", "de", True), ("", "en", True)], ""),
    ],
)
def test_the_common_name_is_chosen_by_preference_frequency_and_alphabet(make_index, names, expected: str) -> None:
    index = make_index(*TREE, vernaculars=tuple(Vernacular("s", *name) for name in names))
    assert taxon(index, "Aus bus").common_name == expected


def test_common_names_come_from_synonyms_but_never_climb(make_index) -> None:
    usages = (*TREE, Usage("x", "", "s", "Xus bus", status="synonym"))
    index = make_index(
        *usages, vernaculars=(Vernacular("x", "old bus", "en"), Vernacular("sf", "busses", "en"), Vernacular("ss", "little", "en"))
    )
    assert taxon(index, "Aus bus").common_name == "old bus"
    assert taxon(index, "Ausidae").common_name == ""


def test_a_listed_source_goes_before_others() -> None:
    vernaculars = [Vernacular("s", "a", "en", source="any"), Vernacular("s", "b", "en", source="best")]
    table = compile_backbone(TREE, vernaculars, source_priority=("best",)).table
    assert "b" in table["common_name"].to_pylist()


def test_an_index_with_other_columns_is_refused(sample_backbone) -> None:
    with pytest.raises(BackboneError, match="run the backbones stage again"):
        BackboneIndex("old", sample_backbone.table.drop_columns(["label"]))


def test_the_sample_backbone_compiles_without_loss(sample_backbone) -> None:
    assert sample_backbone.counts.dropped == {}
    assert sample_backbone.table.schema == INDEX_SCHEMA
    assert sample_backbone.counts.written == sample_backbone.counts.read > 4000


@pytest.mark.parametrize(
    ("verbatim", "has_accepted", "status"),
    [
        ("accepted", False, "accepted"), ("", False, "accepted"), ("", True, "synonym"), ("heterotypic synonym", True, "synonym"),
        ("proparte synonym", True, "ambiguous_synonym"), ("misapplied", True, "misapplied"), ("doubtful", False, "doubtful"),
        ("provisionally accepted", False, "doubtful"), ("invalid", True, "synonym"),
    ],
)  # fmt: skip
def test_statuses_of_all_sources_become_five(verbatim: str, has_accepted: bool, status: str) -> None:
    assert normalise_status(verbatim, has_accepted) == status


def test_keys_and_ranks_have_one_spelling() -> None:
    assert name_key("Citrus × paradisi") == name_key("citrus x paradisi") == "citrus paradisi"
    assert name_key("Abies alba subsp. alpina") == "abies alba alpina"
    assert canonical_name("Aus bus (L., 1758) Mill.", "(L., 1758) Mill.") == canonical_name("Aus bus (L.) Mill.") == "Aus bus"
    assert canonical_name("Tobacco mosaic virus") == "Tobacco mosaic virus"
    assert [normalise_rank(rank) for rank in ("Varietas", "ssp.", "no rank", "SPECIES")] == ["variety", "subspecies", "", "species"]
    assert [rank_by_suffix(name) for name in ("felidae", "Rosaceae", "Aus")] == ["family", "family", ""]


@pytest.mark.parametrize(
    ("scientific_name", "authorship"),
    [
        ("Aus bus (L., 1758)", "(L., 1758)"), ("Aus bus Smith & Jones, 1901", "Smith & Jones, 1901"), ("Aus bus", ""),
        ("Aus bus auct. non Mill.", "auct. non Mill."), ("Aus bus  sensu Blanco, non Merr.", "sensu Blanco, non Merr."),
        ("Aus bus subsp. cus (DC.) Mill.", "(DC.) Mill."), ("Aus (Xus) bus Smith, 1901", "Smith, 1901"), ("Aus × dus L.", "L."),
        ("Tobacco mosaic virus", ""),
    ],
)  # fmt: skip
def test_an_author_within_the_scientific_name_is_the_authorship_where_there_is_no_column(make_index, scientific_name, authorship) -> None:
    for canonical in ("", canonical_name(scientific_name)):
        index = make_index(
            Usage("1", scientific_name=scientific_name, canonical_name=canonical, rank="species", status="accepted", kingdom="Plantae")
        )
        assert index.column("authorship").to_pylist() == [authorship]


def test_an_authorship_column_goes_before_the_author_within_the_name(make_index) -> None:
    index = make_index(Usage("1", scientific_name="Aus bus L.", authorship="L. 1758", canonical_name="Aus bus", rank="species"))
    assert index.column("authorship").to_pylist() == ["L. 1758"]


def test_a_taxon_listed_again_without_its_class_is_one_taxon(make_index, resolve) -> None:
    flies = {"rank": "order", "kingdom": "Animalia", "phylum": "Arthropoda"}
    index = make_index(Usage("1", scientific_name="Diptera", class_="Insecta", **flies), Usage("2", scientific_name="Diptera", **flies))
    assert {one.taxon.taxon_id for one in index.candidates("Diptera")} == {"1"}
    assert resolve(index, scientific_name="Diptera").accepted_id == "1"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"rank": "genus", "order": "Diptera"}, {"rank": "genus", "order": "Diptera", "family": "Fidae"}),
        ({"rank": "order", "authorship": "Smith, 1900"}, {"rank": "order", "authorship": "Jones, 1950", "class_": "Insecta"}),
        ({"rank": "order", "class_": "Insecta"}, {"rank": "order", "class_": "Aves", "phylum": "Chordata"}),
    ],
)
def test_homonyms_are_not_merged_for_a_missing_rank(make_index, one: dict[str, str], other: dict[str, str]) -> None:
    index = make_index(
        Usage("1", scientific_name="Xera", kingdom="Animalia", **one), Usage("2", scientific_name="Xera", kingdom="Animalia", **other)
    )
    assert {found.taxon.taxon_id for found in index.candidates("Xera")} == {"1", "2"}


def test_a_subspecies_without_its_species_finds_it_by_name_or_stands_for_what_is_above(make_index) -> None:
    synonym = Usage("x", "", "s", "Xus bus", rank="species", status="synonym")
    index = make_index(
        *TREE, synonym, Usage("xs", "f", "", "Xus bus minor", rank="subspecies"), Usage("o", "g", "", "Aus eus minor", rank="subspecies")
    )
    assert taxon(index, "Xus bus minor").taxon_id == "s"
    assert taxon(index, "Aus eus minor").taxon_id == "g"


def test_a_rank_between_without_parent_goes_by_its_stated_lineage_or_out(make_index) -> None:
    stated = {"kingdom": "Animalia", "family": "Ausidae"}
    index = make_index(
        *TREE, Usage("t", "lost", "", "Ausini", rank="tribe", **stated), Usage("u", "lost", "", "Busini", rank="tribe", family="Busidae")
    )
    assert taxon(index, "Ausini").taxon_id == "f"
    assert index.candidates("Busini") == []


def test_of_several_accepted_ids_the_first_counts_and_the_synonym_is_ambiguous(make_index) -> None:
    other = Usage("t", "g", "", "Aus dus", rank="species")
    (candidate,) = make_index(*TREE, other, Usage("p", "", "s|t", "Xus partus", status="synonym")).candidates("Xus partus")
    assert (candidate.status, candidate.taxon.taxon_id) == ("ambiguous_synonym", "s")


def test_accepted_taxa_that_share_a_name_are_counted_and_both_stay() -> None:
    plants = (
        Usage("p", "", "", "Plantae", rank="kingdom"),
        Usage("pg", "p", "", "Aus Mill.", "Mill.", rank="genus"),
        Usage("twice", "g", "", "Aus bus L.", "L.", rank="species"),
    )
    compiled = compile_backbone([*TREE, *plants])
    assert compiled.counts.notes["accepted_homonym"] == 2
    assert compiled.examples["accepted_homonym"] == ["g", "pg"]
    assert compiled.examples["accepted_duplicate"] == ["twice"]


def test_each_rank_says_where_it_came_from(make_index) -> None:
    index = make_index(*TREE, Usage("s2", "lost", "", "Eus fus", rank="species", kingdom="Animalia", class_="Insecta"))
    assert taxon(index, "Aus bus").rank_sources == "p...ppo"
    assert taxon(index, "Eus fus").rank_sources == "c.c..no"


def test_the_source_of_a_common_name_is_kept_and_a_name_without_language_is_not(make_index) -> None:
    index = make_index(*TREE, vernaculars=(Vernacular("s", "bus", "en", source="Checklist"), Vernacular("s", "aaa", "")))
    assert (taxon(index, "Aus bus").common_name, taxon(index, "Aus bus").common_name_source) == ("bus", "Checklist")


def test_a_cycle_of_parents_is_cut_the_same_way_in_any_order() -> None:
    ring = [
        Usage("a", "b", "", "Ausidae", rank="family"),
        Usage("b", "c", "", "Auses", rank="order"),
        Usage("c", "a", "", "Aus", rank="genus"),
    ]
    tables = [compile_backbone(ring[n:] + ring[:n]).table for n in range(3)]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    lineages = dict(zip(tables[0]["taxon_id"].to_pylist(), tables[0]["order"].to_pylist(), strict=True))
    assert lineages == {"a": "Auses", "b": "Auses", "c": "Auses"}, "cut above the order, which is the highest"
