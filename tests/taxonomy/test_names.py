from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioclip.taxonomy.name_cleaning import CLEANING
from bioclip.taxonomy.name_verdicts import verdicts
from bioclip.taxonomy.names import NameType, clean_name, parse_name, parse_names


@pytest.mark.parametrize(
    ("verbatim", "canonical", "authorship"),
    [
        ("Vulpes vulpes (Linnaeus, 1758)", "Vulpes vulpes", "(Linnaeus, 1758)"),
        ("Lepista nuda (Bull.) Cooke", "Lepista nuda", "(Bull.) Cooke"),
        ("<i>Abies alba</i> Mill.", "Abies alba", "Mill."),
        ("&lt;i&gt;Abies&lt;/i&gt;", "Abies", ""),
        ("Abies_alba", "Abies alba", ""),
        ("  Panthera \t leo ", "Panthera leo", ""),
        ("LARUS ARGENTATUS", "Larus argentatus", ""),
        ("LARUS ARGENTATUS PONTOPPIDAN, 1763", "Larus argentatus", "Pontoppidan, 1763"),
        ("larus argentatus", "Larus argentatus", ""),
        ("CERVIDAE", "Cervidae", ""),
        ("Vulpes vulpes (red fox)", "Vulpes vulpes", ""),
        ("Abax parallelepipedus (De Geer)", "Abax parallelepipedus", "(De Geer)"),
        ("Solanum (Leptostemonum) nigrum L.", "Solanum nigrum", "L."),
        ("Rhamnus œdipus", "Rhamnus oedipus", ""),
        ("Malus domestica 'Gala'", "Malus domestica", ""),
        ("Candidatus Liberibacter", "Liberibacter", ""),
    ],
)
def test_a_scientific_name_is_found_under_its_decoration(verbatim: str, canonical: str, authorship: str) -> None:
    parsed = parse_name(verbatim)
    assert (parsed.type, parsed.canonical_name, parsed.authorship) == (NameType.SCIENTIFIC, canonical, authorship)
    assert parsed.verbatim == verbatim


@pytest.mark.parametrize(
    ("verbatim", "certain", "qualifier"),
    [
        ("Abies cf. alba Mill.", "Abies", "cf."),
        ("Rana aff. temporaria", "Rana", "aff."),
        ("Abies alba?", "Abies", "?"),
        ("Aus bus cf. cus", "Aus bus", "cf."),
        ("Boletus edulis agg.", "Boletus", "agg."),
        ("Felis sp. 3", "Felis", "sp. 3"),
        ("Carabidae gen. sp.", "Carabidae", "gen. sp."),
        ("Carabidae incertae sedis", "Carabidae", "incertae sedis"),
        ("unidentified Carabidae", "Carabidae", "unidentified"),
        ("Larus argentatus/fuscus", "Larus", "argentatus/fuscus"),
        ("BOLD:AAB1234 Diptera", "Diptera", "BOLD:AAB1234"),
        ("Diptera BOLD:AAB1234", "Diptera", "BOLD:AAB1234"),
        ("cervidae family", "Cervidae", "family"),
        ("Escherichia coli str. K-12", "Escherichia coli", "K-12"),
    ],
)
def test_open_nomenclature_keeps_its_certain_part_and_its_qualifier(verbatim: str, certain: str, qualifier: str) -> None:
    parsed = parse_name(verbatim)
    assert (parsed.type, parsed.canonical_name, parsed.qualifier) == (NameType.INFORMAL, certain, qualifier)


@pytest.mark.parametrize(
    ("verbatim", "kind"),
    [
        *((text, NameType.EMPTY) for text in ("", "  ", "(none)", "NULL", "?", "--", "n/a")),
        *(
            (text, NameType.PLACEHOLDER)
            for text in ("unknown", "Unknown fish", "not_classified", "Incertae sedis", "sp.", "sp. 3", "indet.")
        ),
        *((text, NameType.NON_TAXON) for text in ("artifacts", "detritus_other", "fecal_pellet", "Blank", "vehicle", "human", "bubbles")),
        *((text, NameType.IDENTIFIER) for text in ("BOLD:AAB1234", "SH123456.07FU", "OTU 12")),
        ("Tobacco mosaic virus", NameType.VIRUS),
        ("Asplenium rhizophyllum x A. ruta-muraria", NameType.FORMULA),
        ("Identified by", NameType.UNPARSABLE),
        ("rufipes", NameType.UNPARSABLE),
    ],
)
def test_what_is_no_name_says_what_it_is(verbatim: str, kind: NameType) -> None:
    assert parse_name(verbatim).type is kind


def test_infraspecific_parts_and_hybrid_signs_are_kept_apart() -> None:
    variety = parse_name("Abies alba var. alpina L.")
    assert (variety.canonical_name, variety.canonical_full, variety.infraspecific, variety.rank) == (
        "Abies alba", "Abies alba alpina", "alpina", "variety",
    )  # fmt: skip
    hybrid = parse_name("Citrus x paradisi")
    assert (hybrid.canonical_name, hybrid.hybrid, hybrid.genus) == ("Citrus paradisi", True, "Citrus")
    formula = parse_name("Asplenium rhizophyllum x A. ruta-muraria")
    assert (formula.canonical_name, formula.hybrid) == ("Asplenium", True)


def test_authorship_and_rank_beside_the_name_are_used() -> None:
    parsed = parse_name("Lepista nuda", "(Bull.) Cooke", "species")
    assert (parsed.authorship, parsed.rank) == ("(Bull.) Cooke", "species")
    assert parse_name("larus", rank="genus").canonical_name == "Larus"


def test_many_strings_give_what_each_gives_alone() -> None:
    strings = ["Abies alba", "unknown", "Abies alba", "Felis sp."]
    assert parse_names(strings) == [parse_name(string) for string in strings]


def test_each_cleaning_rule_does_what_it_says() -> None:
    dirty = {
        "html_entity": ("a &amp;amp; b &uuml;", "a & b ü"),
        "misread_encoding": ("DumÃ©ril MÃƒÂ¼ll.", "Duméril Müll."),
        "html_note": ("Aus bus<sup>1</sup><!-- seen -->", "Aus bus"),
        "html_break": ("Aus<br/>bus", "Aus bus"),
        "html_tag": ("<b>Aus</b>", "Aus"),
        "canonical_composition": ("Coue\u0301", "Coué"),
        "escape": ("Aus%20bus", "Aus bus"),
        "control_character": ("Aus\u200bbus", "Aus bus"),
        "underscore": ("Aus_bus", "Aus bus"),
        "quoted": ('"Aus bus"', "Aus bus"),
        "hybrid_sign": ("Aus ✕ bus", "Aus × bus"),
        "vernacular_before": ("Red fox (Vulpes vulpes)", "Vulpes vulpes"),
        "vernacular_in_brackets": ("Aus bus (red fox)", "Aus bus"),
        "vernacular_after_dash": ("Aus bus - red fox", "Aus bus"),
        "marker_in_brackets": ("Aus (cf. bus)", "Aus cf. bus"),
        "marker_spelling": ("Aus c.f. bus", "Aus cf. bus"),
        "affinity_spelling": ("Aus affin. bus", "Aus aff. bus"),
        "nearness_spelling": ("Aus prope bus", "Aus nr. bus"),
        "group_spelling": ("Aus gr. bus", "Aus ex gr. bus"),
        "group_last": ("Aus bus gr.", "Aus bus agg."),
        "rank_spelling": ("Aus bus s.sp. cus", "Aus bus subsp. cus"),
        "cultivar_mark": ("Aus bus cv. Gala", "Aus bus 'Gala'"),
        "whitespace": ("Aus  bus", "Aus bus"),
        "outer_space": (" Aus", "Aus"),
        "space_left": ("Aus  bus", "Aus bus"),
        "outer_space_left": (" Aus", "Aus"),
    }
    assert {name: rewrite(dirty[name][0]) for name, rewrite in CLEANING} == {name: clean for name, (_, clean) in dirty.items()}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_string_stops_the_parser(text: str) -> None:
    parsed = parse_name(text)
    assert parsed.canonical_name.isascii()
    assert parsed.canonical_full or not parsed.canonical_name
    assert clean_name(clean_name(text)) == clean_name(clean_name(clean_name(text)))
    assert parsed.type in {verdict.type for verdict in verdicts()} | set(NameType)
