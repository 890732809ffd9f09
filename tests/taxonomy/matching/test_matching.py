from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.backbones import Usage
from bioclip.taxonomy.matching.decisions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.matching.resolve import resolve_lineages
from bioclip.taxonomy.matching.scoring import confidence
from bioclip.taxonomy.names.authorship import compare_authorship

PLANT = {"kingdom": "Plantae", "phylum": "Tracheophyta", "class_": "Magnoliopsida"}
BEETLE = {"kingdom": "Animalia", "phylum": "Arthropoda", "class_": "Insecta", "order": "Coleoptera"}
FLY = {**BEETLE, "order": "Diptera"}


def again(resolution: Resolution) -> VerbatimLineage:
    columns = dict(zip(("kingdom", "phylum", "class_", "order", "family", "genus"), resolution.lineage, strict=False))
    return VerbatimLineage(scientific_name=resolution.accepted_name, taxon_rank=resolution.resolved_rank, **columns)


@pytest.mark.parametrize(("one", "other"), [("Clitocybe nuda", "Lepista nuda"), ("Armillaria solidipes", "Armillaria ostoyae")])
def test_two_names_of_one_species_become_one_taxon(sample_index, resolve, one: str, other: str) -> None:
    first, second = resolve(sample_index, scientific_name=one), resolve(sample_index, scientific_name=other)
    assert first.accepted_id == second.accepted_id
    assert first.lineage == second.lineage
    assert first.match_type is second.match_type is MatchType.EXACT
    assert first.matched_name == one
    assert first.common_name == second.common_name != ""


def test_a_homonym_without_lineage_is_not_guessed(sample_index, resolve) -> None:
    alone = resolve(sample_index, scientific_name="Liriope")
    assert (alone.match_type, alone.reason, alone.is_resolved) == (MatchType.AMBIGUOUS, "homonym_ambiguous", False)
    assert not any(alone.lineage)


@pytest.mark.parametrize(("kingdom", "family"), [("Animalia", "Geryoniidae"), ("Metazoa", "Geryoniidae"), ("Plantae", "Asparagaceae")])
def test_the_kingdom_tells_homonyms_apart(sample_index, resolve, kingdom: str, family: str) -> None:
    resolution = resolve(sample_index, scientific_name="Liriope", kingdom=kingdom)
    assert (resolution.match_type, resolution.lineage[4]) == (MatchType.EXACT, family)


@pytest.mark.parametrize("name", ["Centauiea sp", "Inyritle come", "Identified by"])
def test_misread_labels_stay_unresolved(sample_index, resolve, name: str) -> None:
    resolution = resolve(sample_index, scientific_name=name)
    assert resolution.match_type is MatchType.NONE
    assert resolution.reason in {"not_in_backbone", "unparsable"}


@pytest.mark.parametrize(
    ("name", "match_type", "matched", "reason"),
    [
        ("Agropyzon dasystachyum", MatchType.FUZZY, "Agropyron dasystachyum", "edit_distance_1"),
        ("Senecio vulgare", MatchType.STEM, "Senecio vulgaris", "stem_agrees"),
        ("Senecio vulgarris", MatchType.STEM, "Senecio vulgaris", "stem_agrees"),
        ("Senecio vulguris", MatchType.FUZZY, "Senecio vulgaris", "edit_distance_1"),
        ("Senecio vlugarsi L.", MatchType.FUZZY, "Senecio vulgaris", "edit_distance_2"),
    ],
)
def test_another_spelling_is_found_and_called_so(
    sample_index, resolve, name: str, match_type: MatchType, matched: str, reason: str
) -> None:
    resolution = resolve(sample_index, scientific_name=name)
    assert (resolution.match_type, resolution.matched_name, resolution.reason) == (match_type, matched, reason)
    assert 80 <= resolution.confidence < resolve(sample_index, scientific_name=matched).confidence


@pytest.mark.parametrize("name", ["Senecio", "Seneci", "BOLD:AAB1235", "Senecio virus", "Senecio abcdefgh"])
def test_what_must_not_be_guessed_is_not(sample_index, resolve, name: str) -> None:
    assert resolve(sample_index, scientific_name=name).match_type not in {MatchType.STEM, MatchType.FUZZY}


def test_another_author_forbids_another_spelling(sample_index, resolve) -> None:
    strict = TaxonomySettings(allow_higher_rank=False)
    assert not resolve(sample_index, settings=strict, scientific_name="Senecio vulguris (Hook.f.) Greene").is_resolved


OTHER_PERSONS = [
    ("Rhinolophus hillorum", "Koopman, 1989", "Rhinolophus hilli", "Aellen, 1973"),
    ("Anolis luciae", "Garman, 1887", "Anolis lucius", "Duméril & Bibron, 1837"),
    ("Lygodactylus blancae", "Pasteur, 1995", "Lygodactylus blanci", "Pasteur, 1967"),
    ("Culex bonneae", "Dyar & Knab, 1919", "Culex bonnei", "Dyar, 1921"),
    ("Myrmica wheelerorum", "Francoeur, 2007", "Myrmica wheeleri", "Weber, 1939"),
    ("Camponotus mina", "Forel, 1879", "Camponotus minus", "Wang & Wu, 1994"),
    ("Strumigenys thomae", "Kempf, 1976", "Strumigenys toma", "Fisher, 2000"),
    ("Leptogenys reggae", "Lattke, 2011", "Leptogenys regis", "Bolton, 1975"),
    ("Tetramorium beesoni", "(Mukerjee, 1934)", "Tetramorium bessonii", "Forel, 1891"),
    ("Discothyrea maia", "Hita-Garcia & Lieberman, 2019", "Discothyrea maya", "De Andrade, 1998"),
    ("Anacroneuria flintorum", "Froehlich, 2002", "Anacroneuria flinti", "Stark & Sivec, 1998"),
    ("Bruggmanniella miconiae", "Carvalho, Maia & Rodrigues, 2020", "Bruggmanniella miconia", "Garcia, Lamas & Urso, 2020"),
    ("Rhagonycha carolynae", "Smith, 1999", "Rhagonycha carolina", "(Fabricius, 1801)"),
]


@pytest.mark.parametrize(("name", "author", "known", "known_author"), OTHER_PERSONS)
@pytest.mark.parametrize("hint", [{}, {"class_": "Cus", "order": "Ous", "family": "Fidae"}])
def test_a_like_epithet_by_another_author_or_of_another_year_is_another_name(
    make_index, resolve, name: str, author: str, known: str, known_author: str, hint: dict[str, str]
) -> None:
    where = {"kingdom": "Animalia", "class_": "Cus", "order": "Ous", "family": "Fidae"}
    genus = name.split()[0]
    index = make_index(
        Usage("g", scientific_name=genus, rank="genus", **where), Usage("s", "g", "", known, known_author, rank="species", **where)
    )
    for columns in ({"scientific_name": name, "scientific_name_authorship": author}, {"scientific_name": f"{name} {author}"}):
        assert resolve(index, **columns, **hint).accepted_id == "g"
    assert resolve(index, scientific_name=known, scientific_name_authorship=known_author, **hint).accepted_id == "s"


@pytest.mark.parametrize(
    ("name", "known"), [("Aus hillorum", "Aus hilli"), ("Aus carolynae", "Aus carolina"), ("Aus blancae", "Aus blanci")]
)
def test_another_genitive_needs_the_same_author(make_index, resolve, name: str, known: str) -> None:
    index = make_index(Usage("s", "", "", known, "Smith, 1901", rank="species", kingdom="Animalia"))
    assert not resolve(index, scientific_name=name).is_resolved
    assert resolve(index, scientific_name=f"{name} Smith, 1901").accepted_id == "s"


def test_letters_lost_from_an_author_do_not_forbid_another_spelling(make_index, resolve) -> None:
    index = make_index(Usage("s", "", "", "Magnolia martini", "H.Lév.", rank="species", kingdom="Plantae"))
    assert resolve(index, scientific_name="Magnolia martinii", scientific_name_authorship="H.L\ufffdv.").accepted_id == "s"


def test_a_misapplied_name_is_the_usage_of_that_very_note(make_index, resolve) -> None:
    index = make_index(
        Usage("a", "", "", "Ficus indica", "L.", rank="species", status="accepted", kingdom="Plantae"),
        Usage("b", "", "", "Ficus aus", "Merr.", rank="species", status="accepted", kingdom="Plantae"),
        Usage("m", "", "b", "Ficus indica", "sensu Blanco, non L.", rank="species", status="misapplied", kingdom="Plantae"),
    )
    assert resolve(index, scientific_name="Ficus indica sensu Blanco, non L.").accepted_id == "b"
    assert resolve(index, scientific_name="Ficus indica", scientific_name_authorship="sensu Blanco non L.").accepted_id == "b"
    assert resolve(index, scientific_name="Ficus indica").accepted_id == "a"
    assert resolve(index, scientific_name="Ficus indica L.").accepted_id == "a"
    assert resolve(index, scientific_name="Ficus indica auct.").accepted_id == "a"


@pytest.mark.parametrize(
    ("asked", "authors"),
    [("(L.) Desv.", ("(L.) Nevski", "(L.) Desv.")), ("Smith, 1912", ("Smith, 1911", "Smith, 1912")), ("Smith", ("Smith & Li", "Smith"))],
)
def test_the_very_author_and_year_win_among_homonyms_that_agree(make_index, resolve, asked: str, authors: tuple[str, str]) -> None:
    for order in (authors, authors[::-1]):
        index = make_index(
            *(
                Usage(
                    f"{place}", "", "", "Elytrigia repens", author, rank="species", status="accepted", kingdom="Plantae", family=f"F{place}"
                )
                for place, author in enumerate(order)
            )
        )
        assert resolve(index, scientific_name=f"Elytrigia repens {asked}").accepted_id == str(order.index(asked))


RANKS_ABOVE = [
    "subphylum",
    "infraorder",
    "clade",
    "Superorder",
    "megaclass",
    "parvphylum",
    "domain",
    "tribe",
    "family",
    "infraclass",
    "cohort",
]


@pytest.mark.parametrize("rank", RANKS_ABOVE)
def test_any_stated_rank_is_a_hint(make_index, resolve, rank: str) -> None:
    alga = Usage("a", scientific_name="Vertebrata", rank="genus", kingdom="Plantae", family="Rhodomelaceae")
    taxa = (Usage("k", scientific_name="Chordata", rank="phylum", kingdom="Animalia"), Usage("v", "k", "", "Vertebrata", rank="subphylum"))
    assert not resolve(make_index(alga), scientific_name="Vertebrata", taxon_rank=rank).is_resolved
    assert resolve(make_index(alga, *taxa), scientific_name="Vertebrata", taxon_rank=rank).accepted_id == "k"
    assert resolve(make_index(alga, *taxa), scientific_name="Vertebrata", taxon_rank="genus").accepted_id == "a"
    assert resolve(make_index(alga, *taxa), scientific_name="Vertebrata").match_type is MatchType.AMBIGUOUS


def test_an_unknown_name_below_species_is_never_exact_to_its_species(make_index, resolve) -> None:
    index = make_index(
        Usage("s", scientific_name="Aus bus", rank="species", kingdom="Animalia"),
        Usage("b", scientific_name="Aus bus alpinus", rank="subspecies", kingdom="Animalia", parent_id="s"),
    )
    found = resolve(index, scientific_name="Aus bus robustus")
    assert (found.accepted_id, found.match_type, found.reason, found.infraspecific) == (
        "s", MatchType.HIGHER_RANK, "not_in_backbone", "robustus",
    )  # fmt: skip
    assert not resolve(index, settings=TaxonomySettings(allow_higher_rank=False), scientific_name="Aus bus robustus").is_resolved
    known, misspelt = (resolve(index, scientific_name=f"Aus bus {epithet}") for epithet in ("alpinus", "alpinis"))
    assert (known.match_type, misspelt.match_type) == (MatchType.EXACT, MatchType.STEM)
    misread = resolve(index, scientific_name="Aus bus subsp. alpunus")
    assert (misread.matched_id, misread.match_type, misread.infraspecific) == ("b", MatchType.FUZZY, "alpinus")


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("Coccinella septempunctata", "Coccinella 7-punctata"), ("Aus 10-lineatus", "Aus decemlineatus"), ("Aus odonelli", "Aus o'donelli"),
        ("Aus d'urvillei", "Aus durvillei"), ("Aus st.-johni", "Aus st-johni"), ("Aus st-johni", "Aus st. johni"),
        ("Aus muelleri", "Aus mülleri"), ("Aus mulleri", "Aus mülleri"), ("Aus mülleri", "Aus mülleri"),
    ],
)  # fmt: skip
def test_ways_to_write_an_epithet_are_one_name(make_index, resolve, listed: str, asked: str) -> None:
    index = make_index(Usage("s", scientific_name=listed, rank="species", kingdom="Animalia"))
    found = resolve(index, scientific_name=asked)
    assert (found.accepted_id, found.match_type) == ("s", MatchType.NORMALIZED)


@pytest.mark.parametrize("listed", ["Bacillus_A", "Bacillus_A cereus_B", "Prevotella sp000434975", "CAG-83 sp000431575"])
def test_placeholder_names_are_found_where_a_backbone_lists_them(make_index, resolve, listed: str) -> None:
    rank = "species" if " " in listed else "genus"
    index = make_index(
        Usage("s", scientific_name=listed, rank=rank, kingdom="Bacteria"),
        Usage("b", scientific_name="Bacillus", rank="genus", kingdom="Bacteria"),
    )
    assert resolve(index, scientific_name=listed).accepted_id == "s"
    assert resolve(index, scientific_name="Bacillus").accepted_id == "b"


def test_the_genus_column_completes_an_initial(make_index, resolve) -> None:
    index = make_index(Usage("s", scientific_name="Puma concolor", rank="species", kingdom="Animalia"))
    assert resolve(index, scientific_name="P. concolor", genus="Puma").accepted_id == "s"
    assert resolve(index, scientific_name="P. concolor (Linnaeus, 1771)", genus="Puma").accepted_id == "s"
    assert not resolve(index, scientific_name="F. concolor", genus="Puma").is_resolved


def test_a_plain_species_resolves_with_its_whole_lineage(sample_index, resolve) -> None:
    resolution = resolve(sample_index, scientific_name="Senecio vulgaris L.")
    assert resolution.lineage[0] == "Plantae"
    assert resolution.lineage[-2:] == ("Senecio", "Senecio vulgaris")
    assert (resolution.resolved_rank, resolution.backbone, resolution.reason) == ("species", "sample", "")
    assert resolution.confidence > 95


@pytest.mark.parametrize(
    ("columns", "match_type"),
    [
        ({"scientific_name": "senecio_vulgaris"}, MatchType.NORMALIZED),
        ({"scientific_name": "vulgaris", "genus": "Senecio"}, MatchType.NORMALIZED),
        ({"genus": "Senecio", "specific_epithet": "vulgaris"}, MatchType.EXACT),
        ({"specific_epithet": "Senecio vulgaris", "genus": "Senecio"}, MatchType.EXACT),
        ({"scientific_name": "Senecio vulgaris var. radiatus W.D.J.Koch"}, MatchType.HIGHER_RANK),
    ],
)
def test_one_species_is_found_however_its_name_is_given(sample_index, resolve, columns: dict[str, str], match_type: MatchType) -> None:
    resolution = resolve(sample_index, **columns)
    assert (resolution.accepted_name, resolution.match_type) == ("Senecio vulgaris", match_type)
    assert resolution.infraspecific == ("radiatus" if "var." in columns.get("scientific_name", "") else "")


@pytest.mark.parametrize(
    ("columns", "name", "reason", "qualifier"),
    [
        ({"scientific_name": "Coreopsis binctorte"}, "Coreopsis", "not_in_backbone", ""),
        ({"scientific_name": "Senecio cf. vulgaris"}, "Senecio", "open_nomenclature", "cf."),
        ({"scientific_name": "Senecio sp. 3"}, "Senecio", "open_nomenclature", "sp. 3"),
        ({"scientific_name": "unknown", "family": "Asteraceae"}, "Asteraceae", "placeholder", ""),
        ({"scientific_name": "BOLD:AAB1234", "family": "Asteraceae"}, "Asteraceae", "identifier", ""),
        ({"kingdom": "Viridiplantae"}, "Plantae", "empty_name", ""),
        ({"scientific_name": "Oenanthe foo", "kingdom": "Plantae"}, "Oenanthe", "not_in_backbone", ""),
    ],
)
def test_what_is_less_than_a_species_resolves_to_its_certain_part(sample_index, resolve, columns, name, reason, qualifier) -> None:
    resolution = resolve(sample_index, **columns)
    assert (resolution.match_type, resolution.accepted_name) == (MatchType.HIGHER_RANK, name)
    assert (resolution.reason, resolution.qualifier) == (reason, qualifier)
    strict = TaxonomySettings(allow_higher_rank=False)
    assert not resolve(sample_index, settings=strict, **columns).is_resolved


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"scientific_name": "detritus", "kingdom": "Animalia"}, "non_taxon"),
        ({"scientific_name": "Tobacco mosaic virus", "kingdom": "Plantae"}, "virus"),
        ({"scientific_name": "BOLD:AAB1234"}, "identifier"),
        ({"scientific_name": "not_classified"}, "placeholder"),
        ({}, "empty_name"),
        ({"scientific_name": "Senecio vulgaris", "kingdom": "Animalia"}, "kingdom_conflict"),
        ({"scientific_name": "Oenanthe foo"}, "homonym_ambiguous"),
    ],
)
def test_what_cannot_be_resolved_says_why(sample_index, resolve, columns: dict[str, str], reason: str) -> None:
    resolution = resolve(sample_index, **columns)
    assert (resolution.is_resolved, resolution.reason, any(resolution.lineage)) == (False, reason, False)


def test_equal_lineages_share_one_decision_in_any_order(sample_index) -> None:
    names = [VerbatimLineage("Senecio vulgaris"), VerbatimLineage("Liriope"), VerbatimLineage("Senecio vulgaris")]
    forward = resolve_lineages(names, [sample_index], TaxonomySettings())
    assert forward[0] is forward[2]
    assert resolve_lineages(names[::-1], [sample_index], TaxonomySettings()) == forward[::-1]


WORDS = [
    "Senecio",
    "Liriope",
    "Oenanthe",
    "Lepista",
    "Clitocybe",
    "vulgaris",
    "nuda",
    "tetraphylla",
    "sp.",
    "cf.",
    "x",
    "foo",
    "L.",
    "unknown",
]
PLACES = st.sampled_from(["", "Animalia", "Plantae", "Fungi", "Metazoa"])


@settings(max_examples=300)
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4),
    kingdom=PLACES,
    family=st.sampled_from(["", "Asteraceae", "Geryoniidae"]),
)
def test_what_is_resolved_resolves_to_itself(sample_index, words: list[str], kingdom: str, family: str) -> None:
    verbatim = VerbatimLineage(" ".join(words), kingdom=kingdom, family=family)
    (first,) = resolve_lineages([verbatim], [sample_index], TaxonomySettings())
    if first.is_resolved:
        (second,) = resolve_lineages([again(first)], [sample_index], TaxonomySettings())
        assert (second.accepted_id, second.lineage, second.resolved_rank) == (first.accepted_id, first.lineage, first.resolved_rank)
        assert 0 <= first.confidence <= 100
        assert 0 <= first.margin <= 100
    else:
        assert first.reason
        assert not any(first.lineage)


def test_every_taxon_of_the_sample_resolves_to_itself(sample_index, sample_backbone) -> None:
    rows = [row for row in sample_backbone.table.to_pylist() if row["label_rank"]]
    ranks = ("kingdom", "phylum", "class", "order", "family", "genus")
    names = [
        VerbatimLineage(row["name"], taxon_rank=row["rank"], **{rank.replace("class", "class_"): row[rank] for rank in ranks})
        for row in rows
    ]
    wrong = [
        (row["name"], resolution.accepted_name, resolution.reason)
        for row, resolution in zip(rows, resolve_lineages(names, [sample_index], TaxonomySettings()), strict=True)
        if resolution.accepted_id != row["taxon_id"]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("L.", "Linnaeus, 1758", 1), ("(Bull.) Cooke", "Bull.", 1), ("Mill.", "L.", -1), ("", "L.", 0),
        ("Linnaeus, 1758", "Linnaeus, 1766", 0),
        ("Née", "Nee", 1), ("de Candolle", "van der Hoeven", -1),
    ],
)  # fmt: skip
def test_authorships_agree_by_surname_and_year(one: str, other: str, verdict: int) -> None:
    assert compare_authorship(one, other) == compare_authorship(other, one) == verdict


def test_confidence_follows_its_formula() -> None:
    assert confidence(110, None) == round(75.8 + 26 * 0.8293)
    assert confidence(80, 0) == 80
    assert confidence(81, 0) < confidence(90, 0) < confidence(120, 0) <= 100
    assert confidence(-5, None) == 0


@pytest.mark.parametrize(("name", "usual"), [("Compositae", "Asteraceae"), ("Metazoa", "Animalia"), ("Compositae Giseke", "Asteraceae")])
def test_another_name_of_a_higher_taxon_is_that_taxon(sample_index, resolve, name: str, usual: str) -> None:
    resolution = resolve(sample_index, scientific_name=name)
    assert (resolution.accepted_name, resolution.match_type) == (usual, MatchType.NORMALIZED)


def test_other_names_in_the_rank_columns_neither_contradict_nor_get_lost(sample_index, resolve) -> None:
    usual = resolve(sample_index, scientific_name="Senecio vulgaris", kingdom="Plantae", phylum="Tracheophyta", family="Asteraceae")
    other = resolve(sample_index, scientific_name="Senecio vulgaris", kingdom="Viridiplantae", phylum="Magnoliophyta", family="Compositae")
    assert other == usual
    lost = resolve(sample_index, scientific_name="Qqqqq wwwww", family="Compositae")
    assert (lost.accepted_name, lost.match_type) == ("Asteraceae", MatchType.HIGHER_RANK)


def test_viruses_identifiers_and_formulas_are_found_only_as_they_are_written(make_index, resolve) -> None:
    index = make_index(
        Usage("1", scientific_name="Tobacco mosaic virus", rank="species", status="accepted", kingdom="Viruses"),
        Usage("2", scientific_name="BOLD:AAB1234", rank="species", status="accepted", kingdom="Animalia", family="Carabidae"),
        Usage("3", scientific_name="Carabidae", rank="family", status="accepted", kingdom="Animalia"),
    )
    for name, found in (("Tobacco mosaic virus", "1"), ("BOLD:AAB1234", "2")):
        resolution = resolve(index, scientific_name=name)
        assert (resolution.accepted_id, resolution.match_type, resolution.canonical_name) == (found, MatchType.EXACT, name)
    assert resolve(index, scientific_name="Tobacco mosaik virus").reason == "virus"
    nearly = resolve(index, scientific_name="BOLD:AAB1235", family="Carabidae")
    assert (nearly.accepted_id, nearly.match_type, nearly.reason) == ("3", MatchType.HIGHER_RANK, "identifier")
