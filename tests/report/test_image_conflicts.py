"""Images under several names: which groups are listed, in which order, and with which texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip import layout
from bioclip.duplicates.label_conflicts import find_conflicts
from bioclip.partitions import read_stage, run_partition
from bioclip.releases import open_release
from bioclip.report import plan_report
from bioclip.report.data.image_groups.image_conflicts import MAX_MEMBERS, ImageConflicts, gather_conflicts
from bioclip.report.sections.names_page.image_names import images_section
from bioclip.schemas import LABEL_CONFLICT_SCHEMA
from bioclip.settings import PipelineSettings

from .test_page import Reader
from .workspace import SCRIPT, VERSION, Workspace, sample_photos

LEPISTA = "Fungi|Basidiomycota|Agaricomycetes|Agaricales|Tricholomataceae|Lepista|Lepista nuda"
DACRYMYCES = "Fungi|Basidiomycota|Dacrymycetes|Dacrymycetales|Dacrymycetaceae|Dacrymyces|Dacrymyces chrysospermus"
APPLE = "Plantae|Tracheophyta|Magnoliopsida|Rosales|Rosaceae|Malus|Malus domestica"
Member = tuple[str, str, str]
"""(source, accepted lineage, verbatim name)."""


def add_image(workspace: Workspace, data: bytes, kind: str, *members: Member) -> None:
    """One image with several records; the first is kept."""
    name = f"picture-{len(workspace.images)}"
    rows = [
        workspace.add_photo(f"{name}-{n}.jpg", data, lineage, source=source, verbatim_name=given)
        for n, (source, lineage, given) in enumerate(members)
    ]
    workspace.add_group(rows[0], [(row, kind, 3 if kind == "duplicate_near" else 0) for row in rows[1:]])


def write_conflicts(workspace: Workspace, rule: Any = "keep") -> None:
    """Write the workspace and its table of conflicts, computed by the function of the release stage."""
    storage = workspace.write()
    places = {row["record_id"]: row for row in workspace.groups}
    alone = {"kept_record_id": None}
    rows = [{**row, "scientific_name": row["verbatim_name"], **places.get(row["record_id"], alone)} for row in workspace.samples]
    members = [asdict(member) for member in find_conflicts(rows, rule).members]
    with storage.writer(layout.in_splits(layout.LABEL_CONFLICTS)) as stream:
        pq.write_table(pa.Table.from_pylist(members, schema=LABEL_CONFLICT_SCHEMA), stream)


def conflicts_of(workspace: Workspace) -> ImageConflicts:
    found = gather_conflicts(workspace.storage, open_release(workspace.storage, VERSION), read_stage(workspace.storage, "images"), None)
    assert found is not None
    return found


@pytest.fixture
def disputed(new_workspace: Callable[[], Workspace]) -> Workspace:
    """Three sources on five photographs: two disputes, one synonym, one agreement, one picture of a single record."""
    workspace, photos = new_workspace(), [data for _, data in sample_photos({"fungi": 5})]
    add_image(workspace, photos[0], "duplicate_near", ("eol", LEPISTA, "Lepista nuda"), ("eol", DACRYMYCES, "Dacrymyces chrysospermus"))
    add_image(workspace, photos[1], "duplicate_bytes", ("eol", LEPISTA, "Lepista nuda"), ("inaturalist", APPLE, SCRIPT))
    add_image(workspace, photos[2], "duplicate_pixels", ("eol", LEPISTA, "Lepista nuda"), ("gbif", LEPISTA, "Clitocybe nuda"))
    add_image(workspace, photos[3], "duplicate_bytes", ("eol", APPLE, "Malus domestica"), ("gbif", APPLE, "Malus domestica"))
    workspace.add_photo("alone.jpg", photos[4], LEPISTA)
    write_conflicts(workspace, "drop")
    return workspace


def test_disputes_between_sources_come_before_those_within_one(disputed: Workspace) -> None:
    found = conflicts_of(disputed)
    assert (found.num_differing, found.num_differing_between_sources, found.num_differing_near) == (2, 1, 1)
    assert [(image.rank, image.num_sources, image.size) for image in found.differing] == [("kingdom", 2, 2), ("class", 1, 2)]
    assert {image.decision for image in found.differing} == {"label_conflict"}
    first = found.differing[0].members
    assert [(m.photo.source, m.verbatim_name, m.kind) for m in first] == [
        ("eol", "Lepista nuda", "kept"),
        ("inaturalist", SCRIPT, "duplicate_bytes"),
    ]
    assert [(m.lineage[0], m.lineage[-1]) for m in first] == [("Fungi", "Lepista nuda"), ("Plantae", "Malus domestica")]


def test_synonyms_of_one_taxon_are_listed_apart_and_equal_names_not_at_all(disputed: Workspace) -> None:
    found = conflicts_of(disputed)
    assert (found.num_agreeing, found.num_agreeing_between_sources) == (1, 1)
    assert [m.verbatim_name for m in found.agreeing[0].members] == ["Lepista nuda", "Clitocybe nuda"]
    assert (found.agreeing[0].rank, found.agreeing[0].decision) == ("", "")


def test_the_section_shows_both_names_both_sources_the_rank_and_the_decision(disputed: Workspace) -> None:
    markup = images_section(conflicts_of(disputed)).render()
    reader = Reader(markup)
    assert (reader.unbalanced, reader.open) == ([], [])
    assert "script" not in {tag for tag, _ in reader.elements}
    between, within, agreeing = (Reader(part).text for part in markup.split("<article")[1:])
    for text in (
        "2 sources",
        "differ at kingdom",
        "image dropped",
        "eol",
        "inaturalist",
        "Fungi › Lepista nuda",
        "Plantae › Malus domestica",
    ):
        assert text in between
    assert SCRIPT in between
    assert "one source" in within
    assert "near, 3 bits" in within
    assert "Clitocybe nuda" in agreeing
    assert "differ" not in agreeing
    assert markup.count("<img") == 6


def test_a_large_group_shows_each_name_before_it_repeats_one(new_workspace: Callable[[], Workspace]) -> None:
    workspace, (_, data) = new_workspace(), sample_photos({"fungi": 1})[0]
    same = [("eol", LEPISTA, "Lepista nuda")] * 12
    add_image(workspace, data, "duplicate_bytes", *same, ("gbif", APPLE, "Malus domestica"), ("eol", LEPISTA, "Clitocybe nuda"))
    write_conflicts(workspace)
    (image,) = conflicts_of(workspace).differing
    assert (image.size, len(image.members), image.decision) == (14, MAX_MEMBERS, "kept")
    assert {m.verbatim_name for m in image.members[:3]} == {"Lepista nuda", "Malus domestica", "Clitocybe nuda"}
    assert "8 more" in Reader(images_section(conflicts_of(workspace)).render()).text


def test_without_a_dispute_the_section_says_so(new_workspace: Callable[[], Workspace]) -> None:
    workspace, (_, data) = new_workspace(), sample_photos({"fungi": 1})[0]
    workspace.add_photo("alone.jpg", data, LEPISTA)
    write_conflicts(workspace)
    assert not images_section(conflicts_of(workspace)).is_shown


def test_the_page_of_a_release_made_before_conflicts_were_kept_leaves_the_section_out(new_workspace: Callable[[], Workspace]) -> None:
    workspace, (_, data) = new_workspace(), sample_photos({"fungi": 1})[0]
    workspace.add_photo("alone.jpg", data, LEPISTA)
    storage = workspace.write()
    (job,) = plan_report(storage, PipelineSettings(), VERSION, None, None)
    run_partition(job)
    page = storage.read_bytes(f"{job.directory}/taxonomy.html").decode()
    assert 'id="matches"' in page
    assert 'id="images"' not in page


def test_the_order_of_the_groups_in_the_table_changes_nothing(disputed: Workspace) -> None:
    before = conflicts_of(disputed)
    with disputed.storage.reader("duplicates/groups.parquet") as stream:
        groups = pq.read_table(stream)
    with disputed.storage.writer("duplicates/groups.parquet") as stream:
        pq.write_table(groups.take(list(reversed(range(groups.num_rows)))), stream)
    assert conflicts_of(disputed) == before
