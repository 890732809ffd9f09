"""Column names are found however they are spelled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bioclip
from bioclip.delimited.headers import SPELLINGS, find_column, match_columns, normal_name


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("dwc:scientificName", "scientific_name"),
        ("Scientific Name", "scientific_name"),
        ("http://rs.tdwg.org/ac/terms/accessURI", "media_url"),
        ("image_url", "media_url"),
        ("dcterms:license", "license"),
        ("Licence", "license"),
        ("decimalLatitude", "latitude"),
        ("recordedBy", "observer"),
        ("RightsHolder", "rights_holder"),
        ("taxonRank", "taxon_rank"),
    ],
)
def test_a_column_is_found_by_its_usual_spellings(column: str, field: str) -> None:
    assert find_column(["x", column], field) == column


def test_an_exact_name_goes_before_a_spelling_and_no_column_serves_twice() -> None:
    assert match_columns(["url", "media_url", "species", "scientific_name"], ["media_url", "scientific_name"]) == {
        "media_url": "media_url",
        "scientific_name": "scientific_name",
    }
    assert match_columns(["species"], ["scientific_name", "species"]) == {"species": "species"}


def test_spellings_are_written_as_they_are_compared() -> None:
    assert all(normal_name(spelling) == spelling for spellings in SPELLINGS.values() for spelling in spellings)


def test_no_other_module_reads_delimited_text() -> None:
    package = Path(bioclip.__file__).parent
    reads = re.compile(r"csv\.(reader|DictReader|Sniffer|read_csv|open_csv)\(")
    modules = [path for path in package.rglob("*.py") if path.parent.name != "delimited"]
    assert modules
    assert [path.name for path in modules if reads.search(path.read_text(encoding="utf-8"))] == []
