"""Free text becomes one identifier, and filters mean what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.licenses import is_allowed, normalize_license


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
    ],
)
def test_a_licence_is_never_read_as_more_open_than_its_text(text: str, identifier: str) -> None:
    assert normalize_license(text) == identifier


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
    for group, element in (("open", "NC"), ("open", "ND"), ("commercial", "NC"), ("no-nd", "ND")):
        assert not (element in named and is_allowed(read, (group,)))


@given(_spelled())
def test_a_single_licence_is_recognised_in_every_spelling(spelled: tuple[str, set[str]]) -> None:
    text, elements = spelled
    assert set(normalize_license(text).split("-")) - {"4.0", "3.0"} == {"CC", "BY", *elements}
