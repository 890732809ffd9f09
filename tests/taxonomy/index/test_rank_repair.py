from __future__ import annotations

import re

import pytest

from bioclip.errors import BackboneError
from bioclip.records import RANKS
from bioclip.taxonomy.backbones import Usage
from bioclip.taxonomy.index.build import compile_backbone
from bioclip.taxonomy.index.rank_repair import parse_repairs, rank_repairs

HEADER = "kingdom,phylum,rank,name,true_rank,class,order,source"
CHORDATES = (
    Usage("1", "", "", "Animalia", rank="kingdom"),
    Usage("44", "1", "", "Chordata", rank="phylum"),
)
GECKO = (
    Usage("f", "c", "", "Gekkonidae", rank="family"),
    Usage("g", "f", "", "Gekko Laurenti, 1768", "Laurenti, 1768", rank="genus"),
    Usage("s", "g", "", "Gekko gecko (Linnaeus, 1758)", "(Linnaeus, 1758)", rank="species"),
)
GECKO_LINEAGE = ("Animalia", "Chordata", "Reptilia", "Squamata", "Gekkonidae", "Gekko", "Gekko gecko")


def taxon(index, name: str):
    (candidate,) = index.candidates(name)
    return candidate.taxon


def test_a_gecko_below_class_squamata_is_a_reptile_of_order_squamata(make_index) -> None:
    index = make_index(*CHORDATES, Usage("c", "44", "", "Squamata", rank="class"), *GECKO)
    gecko = taxon(index, "Gekko gecko")
    assert gecko.lineage == GECKO_LINEAGE
    assert gecko.rank_sources == "pprrppo"
    assert "Reptile Database" in gecko.repair
    squamata = taxon(index, "Squamata")
    assert (squamata.rank, squamata.name, squamata.lineage[2:4]) == ("order", "Squamata", ("Reptilia", "Squamata"))


def test_an_infraorder_that_stands_as_order_gives_way_to_its_order(make_index) -> None:
    reptiles = Usage("r", "44", "", "Reptilia", rank="class")
    index = make_index(*CHORDATES, reptiles, Usage("c", "r", "", "Gekkota", rank="order"), *GECKO)
    assert taxon(index, "Gekko gecko").lineage == GECKO_LINEAGE
    assert taxon(index, "Gekkota").name == "Reptilia", "without a usage for Squamata, the nearest label above"
    index = make_index(
        *CHORDATES, reptiles, Usage("q", "r", "", "Squamata", rank="order"), Usage("c", "q", "", "Gekkota", rank="infraorder"), *GECKO
    )
    assert taxon(index, "Gekko gecko").lineage == GECKO_LINEAGE
    assert taxon(index, "Gekko gecko").repair == ""
    assert taxon(index, "Gekkota").name == "Squamata"


@pytest.mark.parametrize(
    ("name", "order"), [("Testudines", "Testudines"), ("Crocodylia", "Crocodylia"), ("Sphenodontia", "Rhynchocephalia")]
)
def test_other_reptiles_at_class_become_orders(make_index, name: str, order: str) -> None:
    index = make_index(*CHORDATES, Usage("c", "44", "", name, rank="class"), Usage("f", "c", "", "Xidae", rank="family"))
    assert taxon(index, "Xidae").lineage[2:4] == ("Reptilia", order)


def test_lineages_given_in_columns_are_repaired_too(make_index) -> None:
    stated = {"kingdom": "Animalia", "phylum": "Chordata", "class_": "Squamata", "family": "Gekkonidae", "genus": "Gekko"}
    index = make_index(Usage("s", "", "", "Gekko gecko", rank="species", **stated))
    assert taxon(index, "Gekko gecko").lineage == GECKO_LINEAGE
    assert taxon(index, "Gekko gecko").rank_sources == "ccrrcco"


def test_what_a_backbone_states_is_never_overwritten(make_index) -> None:
    path = (Usage("o", "c", "", "Cypriniformes", rank="order"), Usage("s", "o", "", "Carassius auratus", rank="species"))
    index = make_index(*CHORDATES, Usage("c", "44", "", "Osteichthyes", rank="class"), *path)
    assert taxon(index, "Carassius auratus").lineage[2] == "Osteichthyes"
    assert taxon(index, "Carassius auratus").repair == ""


def test_names_of_another_kingdom_are_left_alone(make_index) -> None:
    index = make_index(Usage("k", "", "", "Plantae", rank="kingdom"), Usage("o", "k", "", "Perciformes", rank="order"))
    assert taxon(index, "Perciformes").lineage == ("Plantae", "", "", "Perciformes", "", "", "")


def test_repairs_are_counted_with_examples() -> None:
    compiled = compile_backbone([*CHORDATES, Usage("c", "44", "", "Squamata", rank="class"), *GECKO])
    assert {name: compiled.counts.notes[name] for name in ("rank_repaired_class", "rank_repaired_order")} == {
        "rank_repaired_class": 4, "rank_repaired_order": 4,
    }  # fmt: skip
    assert compiled.examples["rank_repaired_order"] == ["c", "f", "g", "s"]


def test_every_line_of_the_overlay_has_a_source_and_sets_something() -> None:
    assert len(rank_repairs()) > 100
    for repair in rank_repairs():
        assert repair.class_ or repair.order
        assert repair.rank in RANKS
        assert re.search(r"\d{4}|Database|Catalog", repair.source), repair


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["kingdom,name"], "line 1: the columns must be"),
        ([HEADER, "Animalia,Chordata,order,Perciformes,order,Actinopterygii,,"], "line 2: .* a source"),
        ([HEADER, "Animalia,Chordata,grade,Pisces,class,Actinopterygii,,x"], "line 2: .* known ranks"),
        ([HEADER, "Animalia,,order,A,order,B,,x", "Animalia,,order,A,order,C,,x"], "line 3: 'A' at rank 'order' is repaired twice"),
    ],
)
def test_a_broken_line_of_the_overlay_is_named(lines: list[str], rule: str) -> None:
    with pytest.raises(BackboneError, match=rule):
        parse_repairs("\n".join(lines))
