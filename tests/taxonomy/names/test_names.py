from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioclip.taxonomy.names.cleaning import CLEANING, repair_encoding
from bioclip.taxonomy.names.name_types import is_plain, type_rules
from bioclip.taxonomy.names.parsing import NameType, clean_name, parse_name, parse_names

PLACEHOLDERS = (
    "unknown", "Unknown fish", "not_classified", "Incertae sedis", "sp.", "sp. 3", "indet.", "no data", "unk.", "Unbekannt", "indéterminé",
    "gen. et sp. indet.", "g. sp.", "Genus species", "various", "xxx", "life", "uncultured bacterium",
    "NOT BACTERIA HAECKEL, 1894", "Uncertain", "Dummy name",
)  # fmt: skip
IDENTIFIERS = (
    "BOLD:AAB1234", "bold:aab1234", "BOLD:ACX1234 sp.", "SH123456.07FU", "OTU 12", "ASV_0012", "denovo123", "KY123456", "12345",
    "GB_GCA_001", "urn:lsid:ipni.org:names:30000959-2", "https://www.gbif.org/species/123", "taxon_123", "Morphospecies 3",
)  # fmt: skip


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
        ("<i>Abies</i><i>alba</i>", "Abies alba", ""),
        ("Abies<br/>alba M&uuml;ll.", "Abies alba", "Müll."),
        ("<em>Abies</em>&nbsp;<em>alba</em>", "Abies alba", ""),
        ("Abies alba<sup>1</sup>", "Abies alba", ""),
        ("Abies alba &amp;amp; Mill.", "Abies alba", "Mill."),
        ("Abies_alba_subsp._alba", "Abies alba", ""),
        ("ABIES_ALBA", "Abies alba", ""),
        ("Abies%20alba", "Abies alba", ""),
        ("**Abies alba**", "Abies alba", ""),
        ("Aus bus DumÃ©ril", "Aus bus", "Duméril"),
        ("Aus bus MÃƒÂ¼ller", "Aus bus", "Müller"),
        ("IsoÃ«tes lacustris", "Isoetes lacustris", ""),
        ("Abies alba Ã…berg", "Abies alba", "Åberg"),
        ("Citrus Ã— paradisi", "Citrus paradisi", ""),
        ("Red fox (Vulpes vulpes)", "Vulpes vulpes", ""),
        ("red fox, Vulpes vulpes", "Vulpes vulpes", ""),
        ("Western Lowland Gorilla (Gorilla gorilla)", "Gorilla gorilla", ""),
        ("Vulpes vulpes [Red fox]", "Vulpes vulpes", ""),
        ("Vulpes vulpes (L.) (red fox)", "Vulpes vulpes", "(L.)"),
        ("Parus major (mésange charbonnière)", "Parus major", ""),
        ("Vulpes vulpes - red fox", "Vulpes vulpes", ""),
        ("Solanaceae Solanum bipatens Dunal", "Solanum bipatens", "Dunal"),
        ("larus argentatus pontoppidan, 1763", "Larus argentatus", "Pontoppidan, 1763"),
        ("Stylidium spinulosum r.br.", "Stylidium spinulosum", "R.Br."),
        ("CARABIDAE LATREILLE, 1802", "Carabidae", "Latreille, 1802"),
        ("QUERCUS ROBUR L.", "Quercus robur", "L."),
        ("Malus domestica cv. Gala", "Malus domestica", ""),
        ("Abies alba [var.] alpina", "Abies alba", ""),
        ("Abies alba larva", "Abies alba", ""),
        ("Abies alba s.l.", "Abies alba", ""),
        ("Hymenoptera: Formicidae", "Formicidae", ""),
        ("\u00abAbies alba\u00bb", "Abies alba", ""),
        ("1. Abies alba", "Abies alba", ""),
        ("\u2022 Abies alba", "Abies alba", ""),
        ("Abies alba syn. Pinus picea", "Abies alba", ""),
        ("Abies alba imm.", "Abies alba", ""),
        ("Animalia|Chordata|Aves", "Aves", ""),
        ("k__Fungi;g__Abies;s__Abies_alba", "Abies alba", ""),
        ("d__Bacteria; g__Abies; s__alba", "Abies alba", ""),
        ("k__Bacteria;p__Firmicutes;c__;o__", "Firmicutes", ""),
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
        ("Bacillus cereus strain ATCC 14579", "Bacillus cereus", "ATCC 14579"),
        ("Escherichia coli (strain K12)", "Escherichia coli", "K12"),
        ("Candida albicans RNA_CTR0-3", "Candida albicans", "RNA_CTR0-3"),
        ("Salmonella enterica serovar Typhimurium", "Salmonella enterica", "Typhimurium"),
        ("Streptomyces sp. NRRL B-1234", "Streptomyces", "sp. NRRL B-1234"),
        ("uncultured Vibrio sp.", "Vibrio", "uncultured"),
        ("Diptera|BOLD:AAB1234", "Diptera", "BOLD:AAB1234"),
        ("Eupithecia (BOLD:AAB1234)", "Eupithecia", "BOLD:AAB1234"),
        ("Aus bus BOLD:AAB1234", "Aus bus", "BOLD:AAB1234"),
        ("Chironomidae sp. BOLD:AAB1234", "Chironomidae", "sp. BOLD:AAB1234"),
        ("SH1234567.08FU Fungi", "Fungi", "SH1234567.08FU"),
        ("Bacteria OTU 12", "Bacteria", "OTU 12"),
        ("Carabidae gen. nov. sp. nov.", "Carabidae", "gen. nov. sp. nov."),
        ("Carabidae g. sp.", "Carabidae", "g. sp."),
        ("Carabidae Gen.sp.", "Carabidae", "Gen.sp."),
        ("carabidae gen. sp.", "Carabidae", "gen. sp."),
        ("Carabidae (gen. sp.)", "Carabidae", "gen. sp."),
        ("Carabidae: gen. sp.", "Carabidae", "gen. sp."),
        ("Carabidae n. gen. n. sp.", "Carabidae", "n. gen. n. sp."),
        ("Carabidae genus 1 sp. 2", "Carabidae", "genus 1 sp. 2"),
        ("Carabidae sp. indet.", "Carabidae", "sp. indet."),
        ("Unidentified Carabidae sp. 1", "Carabidae", "Unidentified"),
        ("Coleoptera indet. larvae", "Coleoptera", "indet. larvae"),
        ("Abies SP. 1", "Abies", "SP. 1"),
        ("Abies spA", "Abies", "spA"),
        ("Abies NA", "Abies", "NA"),
        ("Abies Cf. alba", "Abies", "cf."),
        ("Abies alba and nigra", "Abies", "alba and nigra"),
        ("Abies alba; Abies nigra", "Abies", "alba; Abies nigra"),
        ("k__Fungi;p__Ascomycota;s__unidentified", "Ascomycota", "unidentified"),
        ("Insecta fam. indet.", "Insecta", "fam. indet."),
        ("Carabus sp1", "Carabus", "sp1"),
        ("Carabus ssp.", "Carabus", "ssp"),
        ("Abies sp.nov.", "Abies", "sp.nov."),
        ("Carabus granulatus ssp.", "Carabus granulatus", "ssp."),
        ("Abies alba indet.", "Abies alba", "indet."),
        ("Abies c.f. alba", "Abies", "cf."),
        ("Abies cfr. alba", "Abies", "cf."),
        ("Abies (cf. alba)", "Abies", "cf."),
        ("Abies affin. alba", "Abies", "aff."),
        ("Abies nr alba", "Abies", "nr."),
        ("Abies prope alba", "Abies", "nr."),
        ("Abies gr. alba", "Abies", "ex gr."),
        ("Abies alba (?)", "Abies", "(?)"),
        ("Abies ?", "Abies", "?"),
        ("Abies alba subsp. cf. nigra", "Abies alba", "cf."),
        ("cf. Abies alba", "", "cf."),
        ("?Abies alba", "", "?"),
        ("Larus argentatus / L. fuscus", "Larus", "argentatus / L. fuscus"),
        ("Larus argentatus vel fuscus", "Larus", "argentatus vel fuscus"),
        ("Banksia serrata -- ericifolia", "Banksia", "serrata -- ericifolia"),
        ("Larus/Sterna", "", "Larus/Sterna"),
        ("Aythya ferina/Anas acuta", "", "Aythya ferina/Anas acuta"),
        ("Mentha hybrid", "Mentha", "hybrid"),
        ("Anas platyrhynchos hybrid", "Anas", "platyrhynchos hybrid"),
        ("Passiflora possible Müller", "Passiflora", "possible"),
    ],
)
def test_open_nomenclature_keeps_its_certain_part_and_its_qualifier(verbatim: str, certain: str, qualifier: str) -> None:
    parsed = parse_name(verbatim)
    assert (parsed.type, parsed.canonical_name, parsed.qualifier) == (NameType.INFORMAL, certain, qualifier)


@pytest.mark.parametrize(
    ("verbatim", "kind"),
    [
        *((text, NameType.EMPTY) for text in ("", "  ", "(none)", "NULL", "?", "--", "n/a")),
        *((text, NameType.PLACEHOLDER) for text in PLACEHOLDERS),
        *((text, NameType.NON_TAXON) for text in ("artifacts", "detritus_other", "fecal_pellet", "Blank", "vehicle", "human", "bubbles")),
        *((text, NameType.IDENTIFIER) for text in IDENTIFIERS),
        *((text, NameType.VIRUS) for text in ("Tobacco mosaic virus", "HIV-1", "SARS-CoV-2", "Escherichia phage T4", "Influenza A virus")),
        *((text, NameType.FORMULA) for text in ("Salix (alba x fragilis)", "Salix alba x ?", "Mallard x Pintail", "Crataegus + Mespilus")),
        ("Asplenium rhizophyllum x A. ruta-muraria", NameType.FORMULA),
        ("Identified by", NameType.UNPARSABLE),
        ("rufipes", NameType.UNPARSABLE),
        ("mouse/rat", NameType.UNPARSABLE),
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
    assert parse_name("Anas acuta x Mareca penelope").canonical_name == ""


def test_a_name_between_genus_and_species_is_written_as_its_epithet_beside_its_genus() -> None:
    for text in ("Centaurea subg. Jacea", "Centaurea (Jacea)", "Centaurea sect. Jacea Mill."):
        parsed = parse_name(text)
        assert (parsed.canonical_name, parsed.canonical_full, parsed.infraspecific) == ("Centaurea", "Jacea", "")
    assert parse_name("sect. Taeda").canonical_name == "Taeda"


def test_what_is_said_beside_a_certain_name_is_kept() -> None:
    assert parse_name("Malus domestica 'Gala'").qualifier == "'Gala'"
    assert parse_name("Abies alba auct. non Mill.").qualifier == "auct. non Mill."
    assert parse_name("Abies alba female").qualifier == "female"


def test_capitals_are_read_by_the_rank_beside_them() -> None:
    assert parse_name("Homo Sapiens", rank="species").canonical_name == "Homo sapiens"
    assert parse_name("Homo Sapiens").authorship == "Sapiens"
    assert parse_name("CHIONE MENKE", rank="genus").canonical_name == "Chione"


@pytest.mark.parametrize("text", ["Aus bus Müller", "Aus Ångström", "Aus bus (Ö. Ä. Å.) Ñ.", "Aus bus Ã", "½ ¼ Â"])
def test_letters_that_stand_as_they_were_written_are_left(text: str) -> None:
    assert repair_encoding(text) == text


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
        "lineage_path": ("Animalia;Chordata;Aves", "Aves"),
        "underscore": ("Aus_bus", "Aus bus"),
        "quoted": ('"Aus bus"', "Aus bus"),
        "enclosed": ("[Aus bus]", "Aus bus"),
        "list_mark": ("12) Aus bus", "Aus bus"),
        "synonym_after": ("Aus bus L. (= Cus dus)", "Aus bus L."),
        "comma_before_rank": ("Aus bus, var. cus", "Aus bus var. cus"),
        "family_before": ("Felidae Panthera leo", "Panthera leo"),
        "hybrid_sign": ("Aus ✕ bus", "Aus × bus"),
        "vernacular_before": ("Red fox (Vulpes vulpes)", "Vulpes vulpes"),
        "vernacular_in_brackets": ("Aus bus (red fox)", "Aus bus"),
        "vernacular_after_dash": ("Aus bus - red fox", "Aus bus"),
        "marker_in_brackets": ("Aus (cf. bus)", "Aus cf. bus"),
        "marker_case": ("Aus CF. bus", "Aus cf. bus"),
        "marker_spelling": ("Aus c.f. bus", "Aus cf. bus"),
        "affinity_spelling": ("Aus affin. bus", "Aus aff. bus"),
        "nearness_spelling": ("Aus prope bus", "Aus nr. bus"),
        "group_spelling": ("Aus gr. bus", "Aus ex gr. bus"),
        "group_last": ("Aus bus gr.", "Aus bus agg."),
        "rank_spelling": ("Aus bus s.sp. cus", "Aus bus subsp. cus"),
        "saint": ("Aus st. johni", "Aus st.-johni"),
        "author_before_epithet": ("Aus (Smith, 1900) bus", "Aus bus"),
        "cultivar_mark": ("Aus bus cv. Gala", "Aus bus 'Gala'"),
        "whitespace": ("Aus  bus", "Aus bus"),
        "outer_space": (" Aus", "Aus"),
        "space_left": ("Aus  bus", "Aus bus"),
        "outer_space_left": (" Aus", "Aus"),
    }
    assert {name: rewrite(dirty[name][0]) for name, rewrite in CLEANING} == {name: clean for name, (_, clean) in dirty.items()}


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_no_string_stops_the_parser(text: str) -> None:
    parsed = parse_name(text)
    assert parsed.canonical_name.isascii()
    assert parsed.canonical_full or not parsed.canonical_name
    assert clean_name(clean_name(text)) == clean_name(clean_name(clean_name(text)))
    assert parsed.type in {rule.type for rule in type_rules()} | set(NameType)


_WORDS = st.sampled_from(
    ("Abies", "alba", "cf.", "sp.", "Mill.", "(L.)", "&", "x", "var.", "unknown", "Carabidae", "gen.", "juv.", "hybrid", "or", "family",
     "strain", "K-12", "_", "1758", "'Gala'", "red", "fox", "Müller")
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(_WORDS, max_size=6).map(" ".join))
def test_plain_strings_are_those_that_no_rule_touches(text: str) -> None:
    if is_plain(text):
        assert [name for name, rewrite in CLEANING if rewrite(text) != text] == []
        assert not any(rule.pattern.fullmatch(text) for rule in type_rules())


@settings(max_examples=300)
@given(st.lists(_WORDS, min_size=1, max_size=6).map(" ".join))
def test_strings_that_look_clean_are_those_that_cleaning_leaves(text: str) -> None:
    cleaned = text
    for _, rewrite in CLEANING:
        cleaned = rewrite(cleaned)
    assert clean_name(text) == cleaned


@settings(max_examples=200)
@given(st.text("äöüßéèñçøåæÄÖÜÉ× abcXYZ", min_size=1, max_size=20))
def test_what_was_misread_is_read_again(text: str) -> None:
    for encoding in ("cp1252", "latin-1"):
        misread = text.encode().decode(encoding, "ignore")
        if misread.encode(encoding) == text.encode():
            assert repair_encoding(misread) == text


@pytest.mark.parametrize(
    ("verbatim", "full", "rank"),
    [
        ("Aus mülleri", "Aus muelleri", "species"), ("Leptochloöpsis virgata", "Leptochloopsis virgata", "species"),
        ("Aus dos", "Aus dos", "species"), ("Aus van", "Aus van", "species"), ("Aus la", "Aus la", "species"),
        ("Aus dos Smith", "Aus", ""), ("Aus st.johni", "Aus st.-johni", "species"),
        ("Camponotus conspicuus st. zonatus", "Camponotus conspicuus zonatus", "infraspecific_name"),
        ("Aus bus susbp. cus", "Aus bus cus", "subspecies"),
        ("Aus bus subspecis cus", "Aus bus cus", "subspecies"), ("Aus (Smith, 1900) bus", "Aus bus", "species"),
    ],
)  # fmt: skip
def test_unusual_epithets_are_read(verbatim: str, full: str, rank: str) -> None:
    parsed = parse_name(verbatim)
    assert (parsed.type, parsed.canonical_full, parsed.rank) == (NameType.SCIENTIFIC, full, rank)


@pytest.mark.parametrize(
    ("verbatim", "kind", "name"),
    [
        ("Candidatus Pelagibacter clade IIIa", NameType.INFORMAL, "Pelagibacter"),
        ("Candidatus Phytoplasma asteris clade", NameType.INFORMAL, "Phytoplasma asteris"),
        ("Bacillus_A cereus_B", NameType.IDENTIFIER, ""), ("Escherichia coli_D", NameType.INFORMAL, "Escherichia"),
        ("Prevotella sp000434975", NameType.INFORMAL, "Prevotella"), ("CAG-83 sp000431575", NameType.IDENTIFIER, ""),
        ("g__UBA1234", NameType.IDENTIFIER, ""), ("Red fox", NameType.UNPARSABLE, ""), ("The quick brown fox", NameType.UNPARSABLE, ""),
        ("Ahfk lsdkfj", NameType.UNPARSABLE, ""), ("Large white butterfly", NameType.UNPARSABLE, ""),
    ],
)  # fmt: skip
def test_placeholders_and_english_are_no_scientific_names(verbatim: str, kind: NameType, name: str) -> None:
    parsed = parse_name(verbatim)
    assert (parsed.type, parsed.canonical_name) == (kind, name)
