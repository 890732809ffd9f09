"""The report on the bundled sample, curated by the real stages."""

from __future__ import annotations

import base64
import io
import re
from urllib.parse import urlsplit

from PIL import Image

from bioclip.report.charts.world_map import centre_of
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.pages.release import render_report, render_sections
from bioclip.report.stage import settings_shown
from tests.conftest import Curated


def test_counts_of_the_page_are_those_of_the_release(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version, settings=settings_shown(curated.settings))
    manifest = curated.release.manifest
    assert {stage.stage: stage.counts.to_dict() for stage in data.stages} == manifest["counts"]
    assert all(stage.is_current for stage in data.stages)
    assert {split.split: split.num_images for split in data.samples.splits} == {
        name: split["num_samples"] for name, split in manifest["splits"].items()
    }
    assert {split.split: split.num_species for split in data.samples.splits} == {
        name: split["num_species"] for name, split in manifest["splits"].items()
    }
    images = manifest["counts"]["images"]
    assert data.downloads is not None
    assert (data.downloads.num_urls, data.downloads.num_fetched) == (images["read"], images["written"])
    assert {group.reason: group.count for group in data.failed} == images["dropped"]
    assert {group.reason: group.count for group in data.samples.drops} == manifest["counts"]["release"]["dropped"]
    assert data.names is not None
    assert data.names.num_names == manifest["counts"]["taxonomy"]["read"]
    assert data.duplicates is not None
    assert data.duplicates.num_groups == manifest["counts"]["duplicates"]["notes"]["groups"]


def test_every_photograph_shown_has_a_picture_and_its_licence(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    assert data.duplicates is not None
    members = [member.photo for group in data.duplicates.shown for member in group.members]
    photos = [*members, *data.samples.specimens, *(photo for drop in data.samples.drops for photo in drop.photos)]
    assert len(photos) > 40
    assert all(photo.thumbnail is not None and photo.license for photo in photos)
    page = render_report(data, render_sections(data)).decode()
    assert len(page) < 2_000_000
    for encoded in re.findall(r"data:image/jpeg;base64,([^\"]+)", page):
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
            picture.load()
            assert picture.format == "JPEG"


def test_attempts_on_the_page_are_those_that_the_run_counted(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    efforts = [result.effort for result in curated.results["images"]]
    assert data.downloads is not None
    assert data.downloads.num_attempts == sum(effort["attempts"] for effort in efforts)
    assert sum(effort["requests"] for effort in efforts) == data.downloads.num_attempts + 1, "one of the sample's URLs is redirected"


def test_every_link_on_the_page_of_the_sample_leads_somewhere(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    page = render_report(data, render_sections(data)).decode()
    links = re.findall(r'<a href="([^"]+)"', page)
    hosts = {urlsplit(link).hostname for link in links if not link.startswith("#")} - {None}
    assert hosts <= {"github.com", "mushroomobserver.org", "creativecommons.org", "spdx.org"}, "none of the loopback server's hosts"
    assert {link for link in links if urlsplit(link).hostname is None and not link.startswith("#")} == {"taxonomy.html"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(re.findall(r' id="([^"]+)"', page))
    assert page.count("source page</a>") == sum(len(drop.failed) for drop in data.failed), "media without an image have a page, too"


def test_every_picture_is_part_of_the_page_and_loaded_at_once(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    page = render_report(data, render_sections(data)).decode()
    assert page.count("<img ") == page.count('<img src="data:image/jpeg;base64,')
    assert "loading=" not in page, "a lazy picture is missing when the page is printed"


def test_the_map_shows_the_places_that_the_sources_name(curated: Curated) -> None:
    data = gather_report(curated.storage, curated.release.version)
    rows = curated.release.samples(["split", "latitude"]).to_pylist()
    located = sum(bool(row["split"]) and row["latitude"] is not None for row in rows)
    assert {centre_of(cell) for cell in data.samples.places.cells} == {"52° N, 104° W", "25° N, 81° W", "21° N, 121° E"}
    assert data.samples.places.num_placed == located > 500
    assert data.downloads is not None
    assert data.downloads.days is not None


def test_the_known_synonyms_of_the_sample_are_merged(curated: Curated) -> None:
    names = gather_report(curated.storage, curated.release.version).names
    assert names is not None
    assert ("Clitocybe nuda", "Lepista nuda") in {(name.verbatim, name.outcome) for name in names.synonyms}
    assert "artifacts" in {name.verbatim for name in names.unresolved}
