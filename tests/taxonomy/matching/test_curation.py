"""Decisions by people win over everything matching finds, and say whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioclip.errors import UsageError
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.curation import Curation, read_curation
from bioclip.taxonomy.matching.decision_table import lineage_columns, resolutions_of
from bioclip.taxonomy.matching.decisions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.matching.resolve import resolve_lineages

HEADER = "name,decision,who,why"


def read(tmp_path: Path, index, *lines: str, header: str = HEADER) -> Curation:
    (tmp_path / "curation.csv").write_text("\n".join([header, *lines]) + "\n")
    return read_curation(tmp_path / "curation.csv", [index], TaxonomySettings())


def decide(curation: Curation, index, *names: VerbatimLineage) -> list[Resolution]:
    return resolutions_of(resolve_table(lineage_columns(names), [index], TaxonomySettings(), curation))


def test_a_decision_wins_over_the_name_itself_and_is_signed(tmp_path: Path, sample_index) -> None:
    curation = read(tmp_path, sample_index, "Clitocybe nuda,Abudefduf abdominalis,M. Curator,label mixed up,")
    (found,) = decide(curation, sample_index, VerbatimLineage("Clitocybe nuda", kingdom="Fungi"))
    assert (found.accepted_name, found.match_type, found.reason) == ("Abudefduf abdominalis", MatchType.EXACT, "curated")
    assert (found.confidence, found.margin, found.curation) == (100, 100, "M. Curator: label mixed up")
    assert found.lineage[0] == "Animalia"
    assert found.canonical_name == "Clitocybe nuda"


def test_a_name_is_rejected_or_told_by_an_identifier(tmp_path: Path, sample_index) -> None:
    (known,) = resolve_lineages([VerbatimLineage("Liriope", kingdom="Plantae")], [sample_index], TaxonomySettings())
    curation = read(tmp_path, sample_index, f"Liriope,{known.accepted_id},A,only plants here", "Garden gnome,reject,A,no organism")
    plant, gnome, other = decide(
        curation, sample_index, VerbatimLineage("liriope"), VerbatimLineage("Garden  gnome"), VerbatimLineage("Lepista nuda")
    )
    assert plant.accepted_id == known.accepted_id
    assert (gnome.match_type, gnome.reason, gnome.is_resolved) == (MatchType.NONE, "curated", False)
    assert other.curation == ""


def test_a_verbatim_name_goes_before_a_canonical_one_and_more_conditions_before_fewer(tmp_path: Path, sample_index) -> None:
    curation = read(
        tmp_path,
        sample_index,
        "Lepista nuda,reject,A,all,",
        "Lepista nuda (Bull.) Cooke,Abudefduf,A,as written,",
        "Lepista nuda,Abudefduf abdominalis,A,in the sea,Animalia",
        header=HEADER + ",kingdom",
    )
    found = decide(
        curation,
        sample_index,
        VerbatimLineage("Lepista nuda (Bull.) Cooke"),
        VerbatimLineage("Lepista nuda", "(Bull.) Cooke"),
        VerbatimLineage("Lepista nuda", kingdom="animalia"),
        VerbatimLineage("Lepista cf. nuda"),
    )
    assert [one.accepted_name for one in found[:3]] == ["Abudefduf", "", "Abudefduf abdominalis"]
    assert found[3].curation == "", "a decision on a name says nothing of what only resembles it"
    assert len(curation) == 3


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (["Aus bus,reject,A,b"], "name,decision,who", "lacks the column 'why'"),
        (["Aus bus,reject,A,b,red"], HEADER + ",colour", "has the column 'colour'"),
        (["Aus bus,reject,,b"], HEADER, "line 2: 'who' is empty"),
        (["Aus bus,reject,A,b", "aus  BUS,reject,A,b"], HEADER, "line 3: 'aus  BUS' is already decided on line 2"),
        (["Aus bus,Nullum nullum,A,b"], HEADER, "'Nullum nullum' is neither an id nor one name"),
        (["Aus bus,Liriope,A,b"], HEADER, r"'Liriope' is neither an id nor one name in .* \(homonym_ambiguous\)"),
    ],
)
def test_a_file_that_decides_nothing_clear_is_refused(tmp_path: Path, sample_index, lines: list[str], header: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, sample_index, *lines, header=header)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, sample_index) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        read_curation(tmp_path / "nowhere.csv", [sample_index], TaxonomySettings())


def test_a_name_in_columns_is_decided_too(tmp_path: Path, sample_index) -> None:
    curation = read(tmp_path, sample_index, "Lepista nuda,reject,A,b")
    columns = [
        VerbatimLineage(genus="lepista", specific_epithet="nuda"),
        VerbatimLineage(genus="Lepista", specific_epithet="Lepista nuda"),
        VerbatimLineage(specific_epithet="Lepista nuda"),
        VerbatimLineage(genus="Lepista"),
    ]
    assert [one.reason == "curated" for one in decide(curation, sample_index, *columns)] == [True, True, True, False]
