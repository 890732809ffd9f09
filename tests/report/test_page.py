"""The whole page: its contents, well-formed HTML, no network access, and no way for hostile text to act."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import urlsplit

import pytest

from bioclip import layout
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.pages.release import SECTIONS, render_report, render_sections

from .workspace import LINEAGES, LONG, MODEL_ID, SCRIPT, VERSION, Workspace, fill, sample_photos

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Elements with their attributes and texts; collects unbalanced tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) != len(attrs):
            self.unbalanced.append(f"an attribute of <{tag}> is given twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


def rows_of(page: str, caption: str) -> list[list[str]]:
    """Body cells, as text, of the table whose caption starts with `caption`."""
    table = next(part for part in page.split("<table") if f"<caption>{caption}" in part)
    body = table.split("<tbody>")[1].split("</tbody>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("<tr>")[1:]]
    return [[re.sub(r"<[^>]+>", " ", cell).strip() for cell in row] for row in cells]


def integer(text: str) -> int:
    return int(text.split()[0].replace(",", ""))


def test_every_tag_is_closed_and_every_id_is_one_of_a_kind(full_page: str) -> None:
    reader = Reader(full_page)
    assert reader.unbalanced == []
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))


def test_the_page_has_no_script_and_loads_nothing(full_page: str) -> None:
    reader = Reader(full_page)
    assert not {"script", "iframe", "object", "embed", "base", "form", "link"} & {tag for tag, _ in reader.elements}
    handlers = [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert handlers == []
    assert all(str(attributes["src"]).startswith("data:image/jpeg;base64,") for attributes in reader.all("img"))
    assert not re.search(r"url\((?!#)|@import", full_page)
    assert not any("xlink:href" in attributes for _, attributes in reader.elements)


def test_only_http_addresses_of_media_are_linked(full_page: str) -> None:
    addresses = [str(attributes["href"]) for attributes in Reader(full_page).all("a")]
    inner = {address for address in addresses if address.startswith("#")}
    outer = {urlsplit(address).scheme for address in addresses if not address.startswith("#") and address != layout.NAMES_PAGE}
    assert inner == {"#main", *(f"#{section}" for section in re.findall(r'<section id="([^"]+)"', full_page))}
    assert len(inner) == len(SECTIONS) + 1
    assert addresses.count(layout.NAMES_PAGE) == 1
    assert outer == {"http", "https"}
    assert "javascript:alert(document.domain)" in Reader(full_page).text


def test_hostile_text_is_shown_as_text_and_never_parsed(full_page: str) -> None:
    reader = Reader(full_page)
    assert SCRIPT in reader.text
    assert "<script" not in full_page
    assert "onmouseover='alert(1)'" in reader.text
    assert not any("onmouseover" in attributes for _, attributes in reader.elements)
    assert "\u202e" not in full_page
    assert "\x00" not in full_page
    assert LONG not in reader.text
    assert LONG[:20] in reader.text


def test_counts_of_each_stage_in_the_page_add_up(full_page: str, full_workspace: Workspace) -> None:
    rows = {row[0]: row for row in rows_of(full_page, "Counts of each stage")}
    assert list(rows) == ["records", "images", "taxonomy", "duplicates", "release"]
    for row in rows.values():
        assert integer(row[2]) == integer(row[3]) + integer(row[4])
        assert integer(row[4]) == sum(int(count) for count in re.findall(r"\s(\d+)(?=\s|$)", row[5]))
    assert integer(rows["images"][3]) == integer(rows["release"][2]) == len(full_workspace.images)
    assert integer(rows["release"][3]) == sum(bool(row["split"]) for row in full_workspace.samples)


def test_downloads_by_host_reason_and_status_each_cover_all_media(full_page: str, full_workspace: Workspace) -> None:
    num_media, num_images = len(full_workspace.outcomes), len(full_workspace.images)
    hosts = rows_of(full_page, "Media and attempts by host")
    assert sum(integer(row[1]) for row in hosts) == num_media
    assert sum(integer(row[2]) for row in hosts) == sum(outcome["attempts"] for outcome in full_workspace.outcomes)
    assert sum(integer(row[3]) for row in hosts) == num_images
    assert sum(integer(row[2]) for row in rows_of(full_page, "Media that gave no image")) == num_media - num_images
    assert sum(integer(row[1]) for row in rows_of(full_page, "Final HTTP status")) == num_media


def test_splits_licences_and_sources_each_cover_the_release(full_page: str, full_workspace: Workspace) -> None:
    splits = {row[0]: row for row in rows_of(full_page, "Splits of the release")}
    for name in ("train", "val", "heldout"):
        mine = [row for row in full_workspace.samples if row["split"] == name]
        shown = [integer(splits[name][column]) for column in (2, 4, 5)]
        assert shown == [len(mine), len({r["species"] for r in mine} - {""}), len({(r["source"], r["occurrence_id"]) for r in mine})]
    num_samples = sum(bool(row["split"]) for row in full_workspace.samples)
    for caption in ("Images by licence", "Images by source"):
        rows = rows_of(full_page, caption)
        assert (sum(integer(row[1]) for row in rows), sum(integer(row[4]) for row in rows)) == (
            num_samples,
            len(full_workspace.samples) - num_samples,
        )


def test_names_show_reasons_the_unresolved_and_the_synonyms(full_page: str) -> None:
    assert ["Lepista nuda", "Collybia nuda", "7"] in rows_of(full_page, "Synonyms merged")
    unresolved = rows_of(full_page, "Unresolved names")
    assert [row[2] for row in unresolved] == ["5", "3", "2"]
    assert unresolved[2] == ["Oenanthe", "homonym_ambiguous", "2"]


def test_each_group_shows_the_kept_image_first_with_the_reason(full_page: str) -> None:
    cards = full_page.split('<section id="duplicates"')[1].split("</section>")[0].split("<article")[1:]
    assert sorted(int(re.findall(r"<strong>(\d+) images", card)[0]) for card in cards) == [2, 3, 4, 5, 6]
    for card in cards:
        first, *others = card.split("<figure")[1:]
        assert "kept: open licence" in first
        assert all("bits" in other and "kept" not in other for other in others)
        assert "different labels" in card


def test_failed_downloads_get_a_placeholder_and_are_capped(full_page: str) -> None:
    dropped = full_page.split('<section id="dropped"')[1].split("</section>")[0]
    gone = next(card for card in dropped.split("<article") if ">http_404<" in card)
    assert gone.count("HTTP 404") == 6
    assert "3 more" in gone
    assert "<img" not in gone
    unresolved = next(card for card in dropped.split("<article") if ">not_in_backbone<" in card)
    assert unresolved.count("<img") == 4


def test_scores_show_value_interval_and_chance_for_every_benchmark(full_page: str) -> None:
    for benchmark in ("known_species", "heldout_species"):
        rows = rows_of(full_page, f"All scores on {benchmark}")
        assert len(rows) == 13
        assert all("%" in row[5] and "–" in row[6] and row[7] == "40 images" for row in rows)
        assert all(row[8] == "percentile bootstrap" and "%" in row[9] and "%" in row[10] for row in rows)
    assert "Methods of the intervals: percentile bootstrap over images (known species, held-out species)." in full_page
    assert full_page.count("Zero-shot by rank (captions taxon_com)</figcaption>") == 2
    assert "Loss 5.2" in full_page


def test_every_image_and_drawing_says_what_it_shows(full_page: str) -> None:
    reader = Reader(full_page)
    assert all(attributes.get("alt") for attributes in reader.all("img"))
    assert all(attributes.get("aria-label") and attributes.get("role") == "img" for attributes in reader.all("svg"))
    assert len(list(reader.all("table"))) == len(list(reader.all("caption")))
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_without_model_and_scores_their_sections_say_so(full_workspace: Workspace) -> None:
    data = gather_report(full_workspace.storage, VERSION)
    page = render_report(data, render_sections(data)).decode()
    assert "No model has been trained on this release yet." in page
    assert "No model has been evaluated on this release yet." in page
    assert sum(not section.is_shown for section in render_sections(data)) == 3


@pytest.mark.parametrize("identifier", ["funnel", "downloads", "duplicates", "names"])
def test_a_section_without_data_says_so_in_one_sentence(new_workspace: Callable[[], Workspace], identifier: str) -> None:
    workspace = new_workspace()
    workspace.write_release()
    section = next(s for s in render_sections(gather_report(workspace.storage, VERSION)) if s.identifier == identifier)
    assert not section.is_shown
    assert re.fullmatch(r"[A-Z][^.]+\.", section.absent)
    assert section.absent in section.render()


def test_a_release_without_samples_gives_a_whole_page(new_workspace: Callable[[], Workspace]) -> None:
    workspace = fill(new_workspace(), {"fungi": 24})
    for row in workspace.samples:
        row |= {"split": "", "drop_reason": "not_in_backbone"}
    workspace.write()
    data = gather_report(workspace.storage, VERSION)
    reader = Reader(render_report(data, render_sections(data)).decode())
    assert (reader.unbalanced, reader.open) == ([], [])
    assert "This release holds no samples" in reader.text
    assert "No sample of this release is resolved to species." in reader.text


def test_a_release_of_one_species_is_drawn_as_full_rings(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    for path, data in sample_photos({"grocery": 5}):
        workspace.add_photo(path, data, LINEAGES["grocery"][0])
    workspace.write_release()
    data = gather_report(workspace.storage, VERSION)
    reader = Reader(render_report(data, render_sections(data)).decode())
    assert data.samples.num_species == 1
    assert "of 1 species" in reader.text
    assert "NaN" not in reader.text


def test_a_stage_run_again_since_the_release_is_not_shown_as_its_own(new_workspace: Callable[[], Workspace]) -> None:
    workspace = fill(new_workspace(), {"fungi": 24})
    workspace.write()
    counts = {"read": 40, "written": 39, "dropped": {"duplicate_bytes": 1}, "notes": {}}
    workspace.write_release(inputs={"duplicates": "f" * 64}, counts={"duplicates": counts})
    data = gather_report(workspace.storage, VERSION)
    page = render_report(data, render_sections(data)).decode()
    assert data.duplicates is None
    assert rows_of(page, "Counts of each stage")[3][:5] == ["duplicates", "images", "40", "39  distinct images", "1"]
    assert "Stage &#39;duplicates&#39; has run again in this workspace since this release" in page


def test_a_model_section_names_the_model(full_page: str) -> None:
    assert f"Model {MODEL_ID}: contents of model.json" in full_page
