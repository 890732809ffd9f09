"""Free text becomes one identifier, and filters mean what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.licenses import is_allowed, normalize_license
from bioclip.licenses.vocabulary import NEUTRAL, OTHER_SCOPES, without_accents


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("http://creativecommons.org/licenses/by-sa/3.0/", "CC-BY-SA-3.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/legalcode", "CC-BY-NC-4.0"),
        ("http://creativecommons.org/licenses/by-nc-sa/3.0/", "CC-BY-NC-SA-3.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "LicenseRef-public-domain"),
        ("CC BY-NC-ND 4.0", "CC-BY-NC-ND-4.0"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("CC_BY_NC", "CC-BY-NC"),
        ("CC0", "CC0-1.0"),
        ("© Jane Doe, all rights reserved", "LicenseRef-all-rights-reserved"),
        ("Public domain (NOAA NCEI archive)", "LicenseRef-public-domain"),
        ("MIT", "MIT"),
        ("see the museum's terms", "LicenseRef-other"),
        ("some rights reserved", "LicenseRef-other"),
        ("", ""),
        # iNaturalist
        ("CC-BY-NC", "CC-BY-NC"),
        ("C", "LicenseRef-all-rights-reserved"),
        ("(c) Jane Doe, some rights reserved (CC BY-NC-ND)", "CC-BY-NC-ND"),
        ("Jane Doe, no rights reserved (CC0)", "CC0-1.0"),
        ("Attribution-NonCommercial-ShareAlike License", "CC-BY-NC-SA"),
        # EOL
        ("cc-by-nc-sa-3.0", "CC-BY-NC-SA-3.0"),
        ("cc-by-nc 2.5", "CC-BY-NC-2.5"),
        ("cc-zero 1.0", "CC0-1.0"),
        ("no known copyright restrictions", "LicenseRef-public-domain"),
        ("public domain", "LicenseRef-public-domain"),
        ("not applicable", ""),
        ("http://creativecommons.org/licenses/publicdomain/", "LicenseRef-public-domain"),
        ("http://creativecommons.org/licenses/by-nc-nd/2.5/br/", "CC-BY-NC-ND-2.5"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        # GBIF
        ("CC_BY_NC_4_0", "CC-BY-NC-4.0"),
        ("CC_BY_4_0", "CC-BY-4.0"),
        ("CC0_1_0", "CC0-1.0"),
        ("UNSPECIFIED", ""),
        ("UNSUPPORTED", "LicenseRef-other"),
        ("https://creativecommons.org/licenses/by/4.0/legalcode", "CC-BY-4.0"),
        # FathomNet, BOLD (BIOSCAN), LILA, Wikimedia
        ("Creative Commons Attribution-NoDerivatives 4.0 International", "CC-BY-ND-4.0"),
        ("CreativeCommons - Attribution Non-Commercial Share-Alike", "CC-BY-NC-SA"),
        ("CreativeCommons – Attribution (by)", "CC-BY"),
        ("by-nc-sa", "CC-BY-NC-SA"),
        ("ccbyncsa", "CC-BY-NC-SA"),
        ("Community Data License Agreement (permissive variant)", "CDLA-Permissive-1.0"),
        ("https://cdla.io/permissive-1-0/", "CDLA-Permissive-1.0"),
        ("CDLA-Permissive-2.0", "CDLA-Permissive-2.0"),
        ("GFDL", "LicenseRef-GFDL"),
        ("ODbL", "ODbL-1.0"),
        # reservations
        ("© 2014 Museum. All Rights Reserved.", "LicenseRef-all-rights-reserved"),
        ("(c) Jane Doe, all rights reserved (CC BY)", "LicenseRef-all-rights-reserved"),
        ("©", "LicenseRef-all-rights-reserved"),
        ("Tous droits réservés", "LicenseRef-all-rights-reserved"),
        ("Todos los derechos reservados", "LicenseRef-all-rights-reserved"),
        ("Todos os direitos reservados", "LicenseRef-all-rights-reserved"),
        ("Alle Rechte vorbehalten", "LicenseRef-all-rights-reserved"),
    ],
)
def test_a_licence_text_becomes_its_identifier(text: str, identifier: str) -> None:
    assert normalize_license(text) == identifier


@pytest.mark.parametrize(
    ("license_id", "classes"),
    [
        ("CC0-1.0", {"any", "open", "commercial", "no-nd"}),
        ("CC-BY-SA-4.0", {"any", "open", "commercial", "no-nd"}),
        ("CC-BY-NC-4.0", {"any", "no-nd"}),
        ("CC-BY-ND-4.0", {"any", "commercial"}),
        ("LicenseRef-all-rights-reserved", {"any"}),
        ("CDLA-Permissive-1.0", {"any", "open", "commercial", "no-nd"}),
        ("LicenseRef-public-domain", {"any", "open", "commercial", "no-nd"}),
        ("LicenseRef-other", {"any"}),
        ("", {"any"}),
    ],
)
def test_each_class_admits_what_it_promises(license_id: str, classes: set[str]) -> None:
    assert {name for name in ("any", "open", "commercial", "no-nd") if is_allowed(license_id, (name,))} == classes
    assert normalize_license(license_id) == license_id


def test_words_that_only_look_like_a_licence_stay_unknown() -> None:
    alike = "free with attribution", "Attribution required"
    for text in (*alike, "byline required", "account needed", "ask the CCBYX office", "Mitchell collection", "no attributes"):
        assert normalize_license(text) == "LicenseRef-other", text


def test_an_allow_list_admits_what_it_names() -> None:
    assert is_allowed("CC-BY-4.0", ("CC0-1.0", "CC-BY-4.0"))
    assert not is_allowed("CC-BY-3.0", ("CC0-1.0", "CC-BY-4.0"))


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("CC BY–NC 4.0", "CC-BY-NC-4.0"),
        ("CC BY, NC", "CC-BY-NC"),
        ("CC BY/NC 4.0", "CC-BY-NC-4.0"),
        ("CC BY.NC", "CC-BY-NC"),
        ("CC BY\u00a0NC", "CC-BY-NC"),
        ("ＣＣ ＢＹ－ＮＣ", "CC-BY-NC"),
        ("CC BY non-commercial", "CC-BY-NC"),
        ("CC BY 4.0 no commercial use", "CC-BY-NC-4.0"),
        ("CC BY No Derivatives", "CC-BY-ND"),
        ("CC BY Não Comercial", "CC-BY-NC"),
        ("https://creativecommons.org/licenses/by%2Dnc/4.0/", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/licenses/by%252Dnc/4.0/", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/licences/by-sa/3.0/", "CC-BY-SA-3.0"),
        ("Creative Commons Attribution (CC BY) 4.0", "CC-BY-4.0"),
        ("Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)", "CC-BY-NC-4.0"),
        ("CC BY 3.0 and CC BY 4.0", "CC-BY"),
        # several licences in one text: the strictest, or other
        ("Data: CC0; images: CC BY-NC", "CC-BY-NC"),
        ("CC BY 4.0 | CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("CC BY-ND or CC BY-NC", "LicenseRef-other"),
        ("MIT and CC BY", "LicenseRef-other"),
        ("CC BY, images are non-commercial", "LicenseRef-other"),
        # negations
        ("Not in the public domain", "LicenseRef-other"),
        ("CC0 (not for images)", "LicenseRef-other"),
        ("CC BY 4.0 unless otherwise noted", "LicenseRef-other"),
        ("public domain but not commercial", "LicenseRef-other"),
        ("no known copyright restrictions", "LicenseRef-public-domain"),
        ("Attribution required", "LicenseRef-other"),
        ("by Jane Doe", "LicenseRef-other"),
        ("This image isn't in the public domain", "LicenseRef-other"),
        ("formerly CC0", "LicenseRef-other"),
        ("possibly CC BY", "LicenseRef-other"),
        ("CC BY?", "LicenseRef-other"),
        ("kein CC0", "LicenseRef-other"),
        ("CC BY sauf mention contraire", "LicenseRef-other"),
        ("non-CC0", "LicenseRef-other"),
        # another scope, purpose or condition
        ("CC0 (metadata)", "LicenseRef-other"),
        ("CC BY 4.0 for text only", "LicenseRef-other"),
        ("Text CC BY 4.0, photos © the photographers", "LicenseRef-other"),
        ("metadata CC0, media CC BY-SA 4.0", "CC-BY-SA-4.0"),
        ("CC BY 4.0 for educational use", "LicenseRef-other"),
        ("CC BY (Research Use)", "LicenseRef-other"),
        ("CC BY 4.0; commercial use requires permission", "LicenseRef-other"),
        ("CC BY 4.0, no machine learning", "LicenseRef-other"),
        ("CC BY after 2030", "LicenseRef-other"),
        ("MIT OR Apache-2.0", "LicenseRef-other"),
        ("GPL-3.0; images CC BY", "LicenseRef-other"),
        # elements in other letters, abbreviated or misspelt
        ("CC BY N.C.", "CC-BY-NC"),
        ("CC BY N\u0421", "LicenseRef-other"),
        ("CC BY-N", "LicenseRef-other"),
        ("CC BY non-commerical", "CC-BY-NC"),
        ("CC BY&ndash;NC", "CC-BY-NC"),
        ('<a href="https://creativecommons.org/licenses/by-nc/4.0/">CC BY</a>', "CC-BY-NC-4.0"),
    ],
)
def test_a_licence_is_never_read_as_more_open_than_its_text(text: str, identifier: str) -> None:
    assert normalize_license(text) == identifier


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("Licencia Creative Commons Atribución-NoComercial 4.0 Internacional", "CC-BY-NC-4.0"),
        ("Creative Commons Reconocimiento-CompartirIgual 3.0 España", "CC-BY-SA-3.0"),
        ("CC BY SinDerivadas", "CC-BY-ND"),
        ("CC BY sin fines de lucro", "CC-BY-NC"),
        ("Creative Commons Atribuição-NãoComercial-SemDerivações 4.0", "CC-BY-NC-ND-4.0"),
        ("Attribution - Pas d’Utilisation Commerciale - Partage dans les Mêmes Conditions 4.0 (CC BY-NC-SA 4.0)", "CC-BY-NC-SA-4.0"),
        ("Namensnennung-Nicht kommerziell-Weitergabe unter gleichen Bedingungen 4.0 International (CC BY-NC-SA 4.0)", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Attribuzione - Non commerciale - Non opere derivate 4.0", "CC-BY-NC-ND-4.0"),
        ("Creative Commons Naamsvermelding-NietCommercieel-GelijkDelen 4.0", "CC-BY-NC-SA-4.0"),
        ("CC BY ikke-kommersiell", "CC-BY-NC"),
        ("CC BY некоммерческое использование", "LicenseRef-other"),
        ("署名-非商业性使用 4.0 国际", "CC-BY-NC-4.0"),
        ("CC BY 改変禁止", "CC-BY-ND"),
        ("Все права защищены, CC BY", "LicenseRef-all-rights-reserved"),
        ("Alla rättigheter förbehållna; CC BY", "LicenseRef-all-rights-reserved"),
        ("版权所有 CC BY", "LicenseRef-all-rights-reserved"),
    ],
)
def test_licences_are_read_in_the_languages_that_providers_write(text: str, identifier: str) -> None:
    assert normalize_license(text) == identifier


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("(c) jane_doe, some rights reserved (CC BY-NC), uploaded by jane_doe", "CC-BY-NC"),
        ("© the trustees of the museum (CC BY 4.0)", "CC-BY-4.0"),
        ("© Research Institute, CC BY", "CC-BY"),
        ("H. Zell, CC BY-SA 3.0 <https://creativecommons.org/licenses/by-sa/3.0>, via Wikimedia Commons", "CC-BY-SA-3.0"),
        ("This work is licensed under a Creative Commons Attribution (CC-BY) 4.0 License.", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/?ref=chooser-v1", "CC-BY-NC-SA-4.0"),
        ("https://creativecommons.org/licenses/by/3.0/igo/", "CC-BY-3.0"),
        ("http://creativecommons.org/licenses/by-nc-sa/2.5/ar/legalcode.es", "CC-BY-NC-SA-2.5"),
        ("CC-BY-NC-SA-3.0-IGO", "CC-BY-NC-SA-3.0"),
        ("CC BY 4", "CC-BY-4.0"),
        ("© 2020 Jane alle Rechte vorbehalten, CC BY", "LicenseRef-all-rights-reserved"),
        ("© Museum no commercial use, CC BY", "LicenseRef-other"),
    ],
)
def test_a_notice_or_a_sentence_around_a_licence_keeps_it(text: str, identifier: str) -> None:
    assert normalize_license(text) == identifier


_UNKNOWN_WORDS = st.text("abcdefghijklmnopqrstuvwxyzäößéłшжя非", min_size=3, max_size=9).filter(
    lambda word: word not in NEUTRAL | OTHER_SCOPES and not set("bcns") >= set(without_accents(word))
)


@given(_UNKNOWN_WORDS, st.sampled_from(("CC0", "CC BY 4.0", "public domain", "https://creativecommons.org/licenses/by/4.0/")))
def test_an_unknown_word_beside_a_licence_closes_it(word: str, license_text: str) -> None:
    """In any language: only neutral words and names may be there."""
    for text in (f"{license_text} {word}", f"{word} {license_text}", f"{license_text} ({word})", f"images: {word}; {license_text}"):
        assert not is_allowed(normalize_license(text), ("open",)) or normalize_license(text).startswith("CC-BY-SA")


_SEPARATORS = ("-", " ", "–", "—", "‑", "_", "/", ".", ", ", " - ", "%2D", "\u00a0", "+", " & ", "")
_SPELLINGS = {
    "NC": ("nc", "NC", "NonCommercial", "non-commercial", "Non Commercial", "no commercial use"),
    "ND": ("nd", "ND", "NoDerivatives", "no derivs", "No-Derivatives"),
    "SA": ("sa", "SA", "ShareAlike", "share-alike"),
}
_WRAPPERS = ("{}", "© 2020 Jane Doe, {}", "Licence: {}", "{} (see terms)", "images: {}", "{} International")


@st.composite
def _spelled(draw: st.DrawFn) -> tuple[str, set[str]]:
    """A Creative Commons licence in a possible spelling, and its elements besides BY."""
    elements = draw(st.lists(st.sampled_from(sorted(_SPELLINGS)), unique=True, max_size=3))
    parts = [draw(st.sampled_from(("CC BY", "cc-by", "CC_BY", "Creative Commons Attribution", "creativecommons.org/licenses/by")))]
    for element in elements:
        word = draw(st.sampled_from(_SPELLINGS[element]))
        separator = draw(st.sampled_from(_SEPARATORS if len(word) == 2 and len(parts[-1]) < 6 else _SEPARATORS[:-1]))
        parts.append(separator + word)
    return "".join(parts) + draw(st.sampled_from(("", " 4.0", "-4.0", "/4.0/", " (4.0)", " v3.0"))), set(elements)


@given(st.lists(_spelled(), min_size=1, max_size=3), st.sampled_from((" | ", "; ", " and ", " or ", ", ")), st.sampled_from(_WRAPPERS))
def test_no_spelling_and_no_combination_opens_a_licence(spelled: list[tuple[str, set[str]]], joint: str, wrapper: str) -> None:
    read = normalize_license(wrapper.format(joint.join(text for text, _ in spelled)))
    named = set().union(*(elements for _, elements in spelled))
    assert read == "LicenseRef-other" or named <= set(read.split("-"))
    assert normalize_license(read) == read
    for group, element in (("open", "NC"), ("open", "ND"), ("commercial", "NC"), ("no-nd", "ND")):
        assert not (element in named and is_allowed(read, (group,)))


@given(_spelled())
def test_a_single_licence_is_recognised_in_every_spelling(spelled: tuple[str, set[str]]) -> None:
    text, elements = spelled
    assert set(normalize_license(text).split("-")) - {"4.0", "3.0"} == {"CC", "BY", *elements}
