"""Single images: reproducible random draws, credits and links, and pairs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bioclip.records import record_id
from bioclip.releases import open_release
from bioclip.report.data.samples.origins import MAX_ORIGINS
from bioclip.report.data.samples.photo_choice import MAX_ON_SHEET, RandomDraw
from bioclip.report.data.samples.photos import photo_of, read_photos
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.sections.dropped_images import dropped_section
from bioclip.report.sections.licenses import licenses_section
from bioclip.report.sections.splits import random_samples_section
from tests.conftest import Curated

from .workspace import LINEAGES, VERSION, Workspace, fill, sample_photos


def drawn(seed: str, ids: list[str], batch: int, cap: int = 5) -> list[str]:
    draw = RandomDraw(seed, cap)
    for start in range(0, len(ids), batch):
        draw.add(pa.chunked_array([pa.array(ids[start : start + batch], pa.string())]))
    return draw.values()


def test_a_draw_is_independent_of_the_batches_and_differs_by_seed() -> None:
    ids = sorted(record_id("s", str(number), "") for number in range(400))
    assert drawn("a", ids, 7) == drawn("a", ids, 400) == drawn("a", ids, 1)
    assert len({tuple(drawn(str(seed), ids, 50)) for seed in range(20)}) > 15
    assert len(set(drawn("a", ids, 7))) == 5
    assert sorted(drawn("a", ids[:3], 2)) == ids[:3]


def test_every_image_is_drawn_about_as_often_as_any_other() -> None:
    ids = sorted(record_id("s", str(number), "") for number in range(200))
    counts = Counter(identifier for seed in range(4_000) for identifier in drawn(str(seed), ids, 200))
    expected = 4_000 * 5 / 200
    seen = np.array([counts[identifier] for identifier in ids])
    assert seen.sum() == 20_000
    assert abs(seen[:100].sum() - seen[100:].sum()) < 0.2 * 20_000
    assert seen.mean() == expected


def test_the_sheet_of_a_split_holds_its_own_images_only(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    splits = {row["record_id"]: row["split"] for row in curated.release.samples(["record_id", "split"]).to_pylist()}
    for split in data.samples.splits:
        assert len({photo.record_id for photo in split.sheet}) == min(MAX_ON_SHEET, split.num_images)
        assert {splits[photo.record_id] for photo in split.sheet} == {split.split}
        assert all(photo.thumbnail is not None for photo in split.sheet)
    assert gather_report(curated.storage, curated.release.version).samples.splits == data.samples.splits


def test_each_picture_names_its_holder_and_links_its_licence_and_its_source(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    section = random_samples_section(data).render()
    tiles = section.split("<figure")[1:]
    assert len(tiles) == sum(len(split.sheet) for split in data.samples.splits)
    assert all('<strong><a href="http' in tile or '<strong class="taxon"><a href="http' in tile for tile in tiles)
    assert all(tile.count('class="credit') == 2 for tile in tiles)
    linked = [tile for tile in tiles if "creativecommons.org/licenses/by" in tile]
    assert linked
    assert all(re.search(r'href="https://creativecommons.org/licenses/by-sa/\d.\d/" rel="[^"]+"><bdi>CC-BY-SA', tile) for tile in linked)


def test_a_picture_links_to_the_page_of_its_provider_where_one_is_known(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    photos = sample_photos({"grocery": 3})
    rows = [workspace.add_photo(path, body, LINEAGES["grocery"][0]) for path, body in photos]
    rows[1]["occurrence_id"] = "https://www.gbif.org/occurrence/1"
    workspace.pages[rows[0]["record_id"]] = "https://example.org/observations/7"
    workspace.write()
    found = read_photos(open_release(workspace.storage, VERSION), [row["record_id"] for row in rows])
    urls = [found[row["record_id"]].page_url for row in rows]
    assert urls == ["https://example.org/observations/7", "https://www.gbif.org/occurrence/1", ""]
    assert found[rows[2]["record_id"]].url == rows[2]["media_url"], "without a page the media are linked"
    assert photo_of(rows[1]).page_url == "https://www.gbif.org/occurrence/1"


def test_a_leak_is_shown_beside_the_image_that_it_gives_away(unconfirmed: Curated) -> None:
    data = gather_report(unconfirmed.storage, unconfirmed.release.version)
    (leaks,) = [drop for drop in data.samples.drops if drop.reason == "leak_near"]
    assert leaks.counterparts.keys() == {photo.record_id for photo in leaks.photos}
    for photo in leaks.photos:
        other = leaks.counterparts[photo.record_id]
        assert other.photo is not None
        assert other.photo.split in {"val", "heldout"}
        assert other.photo.thumbnail is not None
        assert other.record_id in photo.drop_detail
        assert re.fullmatch(r"evaluated in (val|heldout): pHash distance \d", other.relation)
    section = dropped_section(data).render()
    assert section.count('class="pair"') == len(leaks.photos)


@pytest.fixture
def paired(tmp_path: Path) -> Workspace:
    """An image that leaks one of an external set, an image that leaks by another kind, and an image with a contradicted label."""
    workspace = Workspace(tmp_path / "paired")
    rows = [workspace.add_photo(path, body, LINEAGES["fungi"][index % 3]) for index, (path, body) in enumerate(sample_photos({"fungi": 6}))]
    for row, reason in zip(rows, ("leak_bytes", "leak_near", "label_conflict"), strict=False):
        row |= {"split": "", "drop_reason": reason}
    evidence = [
        (rows[0], "rare-species", "elsewhere-1", "leak_bytes", None, "the same bytes"),
        (rows[1], "val", rows[4]["record_id"], "leak_occurrence", None, "the same occurrence"),
        (rows[1], "val", rows[5]["record_id"], "leak_near", 3.0, "pHash distance"),
    ]
    names = ("record_id", "evaluation_set", "evaluation_record_id", "kind", "value", "detail")
    workspace.leaks = [dict(zip(names, (row["record_id"], *rest), strict=True)) for row, *rest in evidence]
    workspace.conflicts = [
        {"group_id": rows[2]["record_id"], "record_id": row["record_id"], "kind": "kept", "distance": distance, "rank": "genus",
         "accepted_name": name, "verbatim_name": name, "decision": "label_conflict"}
        for row, distance, name in ((rows[2], 0, "Collybia"), (rows[3], 4, "Armillaria"), (rows[4], 2, "Collybia"))
    ]  # fmt: skip
    workspace.write()
    return workspace


def test_a_pair_is_of_the_kind_it_was_dropped_for_and_says_so(paired: Workspace) -> None:
    data = gather_report(paired.storage, VERSION)
    pairs = {drop.reason: list(drop.counterparts.values()) for drop in data.samples.drops}
    (near,), (foreign,), (conflict,) = pairs["leak_near"], pairs["leak_bytes"], pairs["label_conflict"]
    assert (near.record_id, near.relation) == (paired.samples[5]["record_id"], "evaluated in val: pHash distance 3")
    assert (foreign.photo, foreign.relation) == (None, "evaluated in rare-species: the same bytes")
    assert (conflict.record_id, conflict.relation) == (paired.samples[3]["record_id"], "genus Collybia against Armillaria")
    section = dropped_section(data).render()
    assert section.count('class="pair"') == 3
    assert "not an image of this release" in section


def test_conflicts_of_another_run_are_not_shown(paired: Workspace) -> None:
    counts = {"read": 6, "written": 3, "dropped": {"leak_bytes": 1, "leak_near": 1, "label_conflict": 1}, "notes": {}}
    paired.write_release(inputs={"release": "f" * 64}, counts={"release": counts})
    drops = gather_report(paired.storage, VERSION).samples.drops
    assert [bool(drop.counterparts) for drop in drops if drop.reason == "label_conflict"] == [False]
    assert [bool(drop.counterparts) for drop in drops if drop.reason == "leak_near"] == [True]


def test_licences_count_species_and_missing_holders_and_say_what_they_ask(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    terms = ["CC-BY-NC-SA-4.0", "CC-BY-NC-SA-4.0", "CC0-1.0", ""]
    for index, (path, body) in enumerate(sample_photos({"fungi": 4})):
        workspace.add_photo(
            path, body, LINEAGES["fungi"][0 if index < 2 else index - 1], license=terms[index], creator="" if index else "A."
        )
    workspace.write()
    section = licenses_section(gather_report(workspace.storage, VERSION)).render()
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in section.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]]
    by_name = {re.sub("<[^>]+>", "", row[0]): row[1:] for row in rows}
    assert by_name["CC-BY-NC-SA-4.0"] == ["2", "50.0\N{NO-BREAK SPACE}%", "1", "0", "1", "required", "share alike, no commercial use"]
    assert by_name["CC0-1.0"][5:] == ["not required", "—"]
    assert by_name["no licence stated"][5:] == ["required", "unknown: all rights may be reserved"]
    assert 'href="https://creativecommons.org/licenses/by-nc-sa/4.0/"' in section


def test_origins_beyond_the_cap_are_one_row_and_nothing_is_lost(new_workspace: Callable[[], Workspace]) -> None:
    workspace = fill(new_workspace(), {"fungi": 24})
    row = workspace.samples[9]
    for number in range(3 * MAX_ORIGINS):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        workspace.samples += [row | {"record_id": digest[: 36 - copy], "source": f"source-{number:03d}"} for copy in range(1 + number % 2)]
    workspace.write_release()
    sources = gather_report(workspace.storage, VERSION).samples.sources
    assert len(sources) == MAX_ORIGINS + 1
    assert sources[-1].is_rest
    assert not any(origin.is_rest for origin in sources[:-1])
    assert sum(origin.num_samples + origin.num_dropped for origin in sources) == len(workspace.samples)
    data = gather_report(workspace.storage, VERSION)
    assert "all others" in licenses_section(data).render()
    assert "all others" not in licenses_section(replace(data, samples=replace(data.samples, sources=sources[:-1]))).render()
