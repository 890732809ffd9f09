"""Labels of the user's own that no backbone knows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.records import RANKS
from bioclip.settings import TaxonomySettings
from bioclip.sources.formats.folder import label_folders
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.labels import keep_labels
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.decision_table import LINEAGE_COLUMNS


def decide(index: BackboneIndex, *labels: str, **columns: str) -> list[dict[str, Any]]:
    lineages = pa.table({name: pa.array([columns.get(name, "")] * len(labels), pa.string()) for name in LINEAGE_COLUMNS})
    lineages = lineages.set_column(lineages.column_names.index("scientific_name"), "scientific_name", pa.array(labels, pa.string()))
    decisions = resolve_table(lineages, [index], TaxonomySettings())
    return keep_labels(lineages.append_column("label", pa.array(labels, pa.string())), decisions).to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "label", ["my cat", "orchid no. 3", "cat", "001.Black_footed_Albatross", "0", "BOLD:AAA1234", "Tomato___Late_blight", "猫", "Liriope"]
)
def test_a_label_that_no_backbone_knows_is_a_class_as_given(sample_index: BackboneIndex, label: str) -> None:
    (row,) = decide(sample_index, label)
    assert (row["match_type"], row["resolved_rank"], row["species"]) == ("LABEL", "label", label)
    assert (row["accepted_id"], row["backbone"], row["common_name"]) == (f"label:{label}", "", "")
    assert row["reason"]


@pytest.mark.parametrize(
    ("label", "genus"), [("Abudefduf sp. 2", "Abudefduf"), ("Abudefduf A", "Abudefduf"), ("Abudefduf cf. vaigiensis 3", "Abudefduf")]
)
def test_a_label_is_placed_below_the_taxon_that_its_name_is_resolved_to(sample_index: BackboneIndex, label: str, genus: str) -> None:
    (row,) = decide(sample_index, label)
    assert (row["match_type"], row["genus"], row["species"]) == ("LABEL", genus, label)
    assert row["kingdom"] == "Animalia"


@pytest.mark.parametrize(
    ("label", "rank"),
    [
        ("Abudefduf vaigiensis", "species"), ("Abudefduf_vaigiensis", "species"), ("Abudefduf", "genus"), ("Abudefduf sp.", "genus"),
        ("Abudefduf Forsskål, 1775", "genus"), ("Pomacentridae", "family"),
    ],
)  # fmt: skip
def test_a_name_that_a_backbone_has_is_no_label(sample_index: BackboneIndex, label: str, rank: str) -> None:
    (row,) = decide(sample_index, label)
    assert (row["resolved_rank"], row["match_type"] == "LABEL") == (rank, False)


@pytest.mark.parametrize(("label", "reason"), [("unknown", "placeholder"), ("background", "non_taxon"), ("", "empty_name")])
def test_a_placeholder_is_no_label(sample_index: BackboneIndex, label: str, reason: str) -> None:
    (row,) = decide(sample_index, label)
    assert (row["accepted_id"], row["reason"]) == ("", reason)


@given(st.lists(st.text(max_size=20), max_size=8))
def test_every_other_row_stays_as_it_is(sample_index: BackboneIndex, labels: list[str]) -> None:
    rows = decide(sample_index, *labels, "Abudefduf vaigiensis")
    assert len(rows) == len(labels) + 1
    assert rows[-1]["species"] == "Abudefduf vaigiensis"
    for label, row in zip(labels, rows, strict=False):
        if row["match_type"] == "LABEL":
            assert row["species"] == " ".join(label.split())
            assert all(row[rank] == "" or row[rank] != row["species"] for rank in RANKS[:-1])


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"scientific_name": "my cat"}, {"scientific_name": "my cat", "label": "my cat"}),
        ({"family": "Felidae", "scientific_name": "my cat"}, {"family": "Felidae", "scientific_name": "my cat", "label": "my cat"}),
        ({"label": "my cat"}, {"scientific_name": "my cat", "label": "my cat"}),
        (
            {"kingdom": "Animalia", "family": "Felidae"},
            {"kingdom": "Animalia", "family": "Felidae", "scientific_name": "Felidae", "label": "Felidae"},
        ),
        ({"genus": "Felis", "specific_epithet": "catus"}, {"genus": "Felis", "specific_epithet": "catus", "label": "Felis catus"}),
        ({"label": "kitty", "scientific_name": "Felis"}, {"label": "kitty", "scientific_name": "Felis"}),
    ],
)
def test_the_label_of_a_folder_is_its_scientific_name_or_its_deepest_name(names: dict[str, str], found: dict[str, str]) -> None:
    assert label_folders(names) == found
