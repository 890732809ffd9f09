from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.taxonomy.names.authorship import compare_authorship, normalise_surname, parse_authorship


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("L.", "Linnaeus, 1758"), ("Linné", "L."), ("(Linnaeus, 1758)", "Linnaeus, 1758"), ("LINNAEUS, 1758", "Linnaeus 1758"),
        ("Rchb.", "Reichenbach"), ("A.DC.", "Alph. de Candolle"), ("Presl ex DC.", "C. Presl ex de Candolle"), ("Lmk.", "Lamarck, 1801"),
        ("Sw.", "Swartz"), ("Sw.", "Swainson, 1820"), ("Müller", "Mueller"), ("Øersted", "Oersted"), ("Rollison", "Rollisson"),
        ("De Geer", "DeGeer, 1773"), ("LeConte", "Le Conte"), ("d'Orbigny", "Orbigny"), ("McLachlan", "MacLachlan"),
        ("Müller, O.F., 1776", "O. F. Müller, 1776"), ("Koch", "J F W Koch"), ("F.R. Jones", "Fred Revel Jones"), ("L. f.", "L.fil."),
        ("A.St.-Hil.", "Saint-Hilaire"), ("Smith & al.", "Smith, Jones & Brown"), ("Poir. in Lam.", "Lam."), ("Ehrh. ex Hoffm.", "Hoffm."),
        ("(Bull. : Fr.) Cooke", "(Bull.) Cooke"), ("(L.) Mill.", "(L.) Link"), ("[Denis & Schiff.], 1775", "Denis & Schiffermüller, 1775"),
        ("Novicki, 1936", "Nowicki, 1936"), ("Bruand, 1850", "Bruand, 1851"), ("1758", "L., 1758"), ("L., nom. cons.", "L."),
        ("Smith, Jr.", "Smith"), ("Retz.", "Retzius, 1783"),
    ],
)  # fmt: skip
def test_one_author_written_in_two_ways_agrees(one: str, other: str) -> None:
    assert (compare_authorship(one, other), compare_authorship(other, one)) == (1, 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("L.", "L.fil."), ("Hook.", "Hook.f."), ("F.R. Jones", "F.R. Jones bis"), ("R.H.Roberts", "R.J.Roberts"),
        ("H. Christ", "C. Chr."), ("A.M.C. Duméril", "A.H.A. Duméril"), ("Brot. ex Willk. & Lange", "L."), ("Lam.", "Lambert"),
        ("Desf.", "Desv."), ("Pallas, 1771", "Pimbus, 1771"), ("Bruand, 1850", "1998"), ("Baldenstein, 1827", "Baldenstone, 1838"),
    ],
)  # fmt: skip
def test_other_authors_differ(one: str, other: str) -> None:
    assert (compare_authorship(one, other), compare_authorship(other, one)) == (-1, -1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", "L."), ("L.", "1758"), ("auct. non L.", "L."), ("hort.", "L."), ("Anonymous", "L."), ("Miller", "Müller"),
        ("Linnaeus, 1753", "Linnaeus, 1758"), ("Müll.Arg.", "Müller"), ("(Mill.) Link", "(Aiton) Link"), ("nom. nud.", "L."),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_left_open(one: str, other: str) -> None:
    assert (compare_authorship(one, other), compare_authorship(other, one)) == (0, 0)


def test_an_authorship_is_read_as_people() -> None:
    parsed = parse_authorship("(G. Don f., 1832) A.St.-Hil. & C. v. Baldenstein, 1840")
    [don] = parsed.original_authors
    hilaire, baldenstein = parsed.authors
    assert (don.surnames, don.given, don.suffix) == (("don",), ("g",), "f")
    assert (hilaire.surnames, hilaire.given, hilaire.is_abbreviated) == (("hil",), ("a", "st"), True)
    assert (baldenstein.surnames, baldenstein.given) == (("baldenstein", "vbaldenstein"), ("c",))
    assert parsed.years == (1832, 1840)


def test_umlauts_and_doubled_letters_have_one_spelling() -> None:
    assert {normalise_surname(word) for word in ("Müller", "Mueller", "MÜLLER", "Muller")} == {"muler"}
    assert normalise_surname("Quél") == "quel"


@given(st.text("AaBbLlMm.,&() '1758exinf-üø", max_size=30), st.text("AaBbLlMm.,&() '1758exinf-üø", max_size=30))
def test_the_order_of_two_authorships_changes_nothing(one: str, other: str) -> None:
    assert compare_authorship(one, other) == compare_authorship(other, one)
    assert compare_authorship(one, one) >= 0
