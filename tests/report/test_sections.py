"""Single sections: their texts in special cases."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from bioclip.drop_reasons import find_reason
from bioclip.report.data.download_outcomes import MAX_HOSTS
from bioclip.report.data.name_decisions.name_summary import MAX_NAMES
from bioclip.report.data.report_data import BenchmarkFacts, ReportData, Score, ScoreSummary, TrainingSummary
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.html.components import note
from bioclip.report.html.section import Section
from bioclip.report.html.templates import environment
from bioclip.report.pages import release
from bioclip.report.sections.downloads import downloads_section
from bioclip.report.sections.dropped_images import dropped_section
from bioclip.report.sections.duplicate_images import duplicates_section
from bioclip.report.sections.names import names_section
from bioclip.report.sections.scores import scores_section
from bioclip.report.sections.taxa import taxa_section
from bioclip.report.sections.training import training_section

from .test_page import rows_of
from .workspace import LINEAGES, MODEL_ID, SCRIPT, VERSION, Workspace, fill, sample_photos


def top1(benchmark: str, caption_type: str, rank: str, value: float, **values: object) -> Score:
    score = Score(benchmark, "zero_shot", caption_type, rank, 0, "top1", value, value - 0.01, value + 0.01, 0.1, 50, 10)
    return replace(score, **values)  # type: ignore[arg-type]


@pytest.fixture
def data(new_workspace: Callable[[], Workspace]) -> ReportData:
    return gather_report(fill(new_workspace(), {"fungi": 24}).write(), VERSION)


def with_scores(data: ReportData, *scores: Score, benchmarks: tuple[BenchmarkFacts, ...] = ()) -> str:
    return scores_section(replace(data, scores=ScoreSummary("e", "0" * 64, benchmarks, scores, ()))).render()


def test_hosts_beyond_the_cap_are_counted_not_listed(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    for number in range(MAX_HOSTS + 4):
        url = f"https://host-{number:03d}.example.org/x.jpg"
        workspace.add_outcome(f"{number:08x}", url, status="retry_later", reason="timeout", attempts=3)
    data = gather_report(workspace.write(), VERSION)
    section = downloads_section(data).render()
    assert data.downloads is not None
    assert (data.downloads.num_hosts, data.downloads.num_attempts) == (MAX_HOSTS + 4, 3 * (MAX_HOSTS + 4))
    assert "4 more hosts with fewer media are not listed." in section
    assert "host-024.example.org" in section
    assert "host-025.example.org" not in section


def test_a_retried_success_counts_as_recovered_and_a_failure_does_not(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    outcomes = [("success", 1), ("success", 2), ("permanent", 1), ("retry_later", 4)]
    for number, (status, attempts) in enumerate(outcomes):
        url = f"https://Media.Example.org/{number}.jpg"
        workspace.add_outcome(f"{number:08x}", url, status=status, reason="" if status == "success" else "http_503", attempts=attempts)
    workspace._write_parts(workspace.storage)
    workspace.images = [{}] * 2
    workspace._stage("images", 4, 2, {"http_503": 2}, [workspace._output(f"images/part-{index:05d}.parquet") for index in range(3)])
    workspace.write_release()
    downloads = gather_report(workspace.storage, VERSION).downloads
    assert downloads is not None
    (host,) = downloads.hosts
    assert (host.host, host.num_urls, host.num_attempts, host.num_fetched, host.num_recovered) == ("media.example.org", 4, 8, 2, 1)
    assert downloads.failures == {("permanent", "http_503"): 1, ("retry_later", "http_503"): 1}


def test_names_beyond_the_cap_are_counted_in_the_caption(data: ReportData) -> None:
    assert data.names is not None
    many = replace(data.names, unresolved=data.names.unresolved * MAX_NAMES, num_unresolved=12_345)
    assert f"Unresolved names, most frequent first ({3 * MAX_NAMES} of 12,345)" in names_section(replace(data, names=many)).render()
    none = replace(data.names, unresolved=(), synonyms=())
    assert "Every name was resolved and none was a synonym." in names_section(replace(data, names=none)).render()


def test_the_reason_for_keeping_names_what_decided(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    photos = sample_photos({"fungi": 12})
    by_area: dict[int, list[tuple[str, bytes]]] = {}
    for path, body in photos:
        row = workspace.add_photo(path, body, LINEAGES["fungi"][0])
        by_area.setdefault(row["width"] * row["height"], []).append((path, body))
    largest = max(workspace.samples, key=lambda row: row["width"] * row["height"])
    smallest = min(workspace.samples, key=lambda row: row["width"] * row["height"])
    assert largest["width"] * largest["height"] > smallest["width"] * smallest["height"]
    workspace.add_group(largest, [(smallest, "duplicate_near", 4)])
    path, body = photos[0]
    twins = [workspace.add_photo(path, body, LINEAGES["fungi"][0], license=text) for text in ("CC0-1.0", "CC0-1.0")]
    workspace.add_group(twins[0], [(twins[1], "duplicate_bytes", 0)])
    section = duplicates_section(gather_report(workspace.write(), VERSION)).render()
    assert "kept: most pixels" in section
    assert "near, 4 bits" in section
    assert "kept: tie, by label or id" in section
    assert "different labels" not in section


def test_groups_beyond_the_cap_are_counted(data: ReportData) -> None:
    assert data.duplicates is not None
    many = replace(data.duplicates, num_groups=1_000)
    assert (
        f"{1_000 - len(many.shown)} more groups are in duplicates/groups.parquet."
        in duplicates_section(replace(data, duplicates=many)).render()
    )
    none = replace(data.duplicates, num_groups=0)
    assert duplicates_section(replace(data, duplicates=none)).absent == "No duplicates were found."


def test_duplicates_are_not_shown_twice(data: ReportData) -> None:
    section = dropped_section(data).render()
    assert "duplicate_bytes" not in section
    assert "Another 15 images are duplicates; examples are in the section on duplicate images." in section
    assert "duplicate_bytes" in dropped_section(replace(data, duplicates=None)).render()


def test_taxa_count_families_and_genera_of_each_kingdom(data: ReportData) -> None:
    lineages = {("Fungi", "B", "A", "O", "F1", "G1"): 3, ("Fungi", "B", "A", "O", "F1", "G2"): 1, ("Fungi", "", "", "", "", ""): 4}
    section = taxa_section(replace(data, samples=replace(data.samples, lineages=lineages, num_samples=8))).render()
    assert "Fungi › B › A › O › F1 › G1 (genus): 3 samples, 37.5\N{NO-BREAK SPACE}%" in section
    row = section.split("<tbody>")[1]
    assert [f">{text}<" in row for text in ("8", "100.0\N{NO-BREAK SPACE}%", "1", "2")] == [True] * 4


def test_labels_without_a_lineage_give_no_tree_and_say_why(data: ReportData) -> None:
    lineages = {("",) * 6: 8}
    assert (
        "No sample has a lineage" in taxa_section(replace(data, samples=replace(data.samples, lineages=lineages, num_samples=8))).render()
    )
    assert "holds no samples" in taxa_section(replace(data, samples=replace(data.samples, lineages={}, num_samples=0))).render()


def test_local_files_have_no_host_and_no_http_status(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    workspace.add_outcome("00000000", "local:a.jpg", status="permanent", reason="media_missing", attempts=1, http_status=None)
    section = downloads_section(gather_report(workspace.write(), VERSION)).render()
    assert "(local files)" in section
    assert "media_missing" in section
    assert "HTTP" not in section


def test_a_run_without_metrics_and_a_benchmark_without_images_say_so(data: ReportData) -> None:
    training = TrainingSummary("m", "0" * 64, (), (("recipe", SCRIPT),))
    assert "The run wrote no metrics." in training_section(replace(data, training=training)).render()
    empty = BenchmarkFacts("heldout_species", "heldout", 0, 0, "the split holds no images", {}, ())
    assert "No scores: the split holds no images" in with_scores(data, benchmarks=(empty,))


def test_what_a_benchmark_left_out_is_said(data: ReportData) -> None:
    few = ({"shots": 5, "num_classes": 7, "left_out_classes": 3, "left_out_images": 9},)
    facts = BenchmarkFacts("known_species", "val", 50, 10, "", {"species_not_in_training": 4}, few)
    section = with_scores(data, top1("known_species", "sci", "species", 0.5), benchmarks=(facts,))
    assert "Images of split val that are not scored: 4 species_not_in_training." in section
    assert "5-shot: 3 classes (9 images) have too few images and are not scored." in section


def test_classes_with_one_prompt_are_said(data: ReportData) -> None:
    shared = {"com": {"num_classes": 4, "num_prompts": 2, "examples": [{"prompt": "a sparrow", "classes": ["Passer a", "Passer b"]}]}}
    facts = BenchmarkFacts("known_species", "val", 50, 10, "", {}, (), shared)
    section = with_scores(data, top1("known_species", "sci", "species", 0.5), benchmarks=(facts,))
    assert "4 classes share 2 prompts of com and are scored as ties, for example &#39;a sparrow&#39; (Passer a, Passer b)." in section


def test_charts_show_top1_at_the_species_and_preferred_captions_by_rank(data: ReportData) -> None:
    scores = [top1("b", caption, rank, 0.2) for caption in ("sci", "taxon_com") for rank in ("genus", "species")]
    section = with_scores(data, *scores, top1("b", "sci", "species", 0.9, metric="macro_top1"))
    captions = section.split("Zero-shot by caption type (species)")[1].split("</svg>")[0]
    assert section.count("Zero-shot by rank (captions taxon_com)</figcaption>") == 1
    assert "90.0\N{NO-BREAK SPACE}%" not in captions
    assert "90.0\N{NO-BREAK SPACE}%" in section


def test_a_score_without_an_interval_or_chance_is_drawn_without_them(data: ReportData) -> None:
    section = with_scores(data, top1("b", "sci", "species", 0.25, ci_low=None, ci_high=None, chance=None))
    assert 'class="whisker"' not in section
    assert 'class="chance"' not in section
    assert "25.0\N{NO-BREAK SPACE}%" in section


def test_long_score_tables_are_folded(data: ReportData) -> None:
    many = [top1("b", f"type-{number}", "species", 0.5) for number in range(40)]
    assert "<summary>All 40 scores on b</summary>" in with_scores(data, *many)
    assert "<summary>All" not in with_scores(data, *many[:5])


def test_scores_of_an_empty_evaluation_are_absent(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    workspace.write_release()
    evaluation_id = workspace.write_scores()
    facts = {
        "name": "known_species",
        "split": "val",
        "num_images": 0,
        "num_classes": 0,
        "reason": "no images",
        "dropped": {},
        "few_shot": [],
    }
    workspace.storage.write_bytes(f"evaluations/{evaluation_id}/scores.json", json.dumps({"benchmarks": [facts]}).encode())
    scores = gather_report(workspace.storage, VERSION, None, evaluation_id).scores
    assert scores is not None
    assert scores.benchmarks[0].reason == "no images"
    assert scores_section(gather_report(workspace.storage, VERSION)).body is None


def test_the_loss_is_the_one_that_the_model_and_the_console_state(data: ReportData) -> None:
    points = ((1, 4.5, 0.1), (2, 1.5, 0.1))
    training = TrainingSummary("m", "0" * 64, points, (), (4.013, 1.922))
    section = training_section(replace(data, training=training)).render()
    assert "Mean loss of the first 5 % of the steps 4.013, of the last 5 % 1.922." in section
    stated = training_section(replace(data, training=replace(training, loss_ends=None))).render()
    assert "Loss 4.5 at step 1, 1.5 at step 2." in stated


def test_the_head_of_the_page_states_the_model_and_one_score_of_each_benchmark(full_page: str) -> None:
    head = full_page.split("<nav")[0]
    assert f"Model {MODEL_ID}: recipe demo_cpu, 1,500 steps" in head
    tiles = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", head))
    titles = [title.replace("\N{NO-BREAK SPACE}", " ") for title in tiles]
    measure = "zero-shot top-1 accuracy (species, taxon_com), 95 % interval"
    assert [title for title in titles if "zero-shot" in title] == [
        f"known species: {measure} 14.0 % to 24.0 % over 40 images, chance 2.5 %",
        f"held-out species: {measure} 2.0 % to 12.0 % over 40 images, chance 5.0 %",
    ]
    assert tiles[next(title for title in tiles if title.startswith("known species"))] == "19.0\N{NO-BREAK SPACE}%"


def test_every_drop_reason_on_the_page_is_explained(full_page: str, full_workspace: Workspace) -> None:
    reasons = {row["drop_reason"] for row in full_workspace.samples if not row["split"]}
    reasons |= {row["reason"] for row in full_workspace.outcomes if row["status"] != "success"}
    glossary = rows_of(full_page, "Drop reasons")
    explained = {row[0]: row[1] for row in glossary}
    assert reasons <= explained.keys()
    for reason in reasons:
        known = find_reason(reason)
        assert known is not None
        assert html.unescape(explained[reason]).split() == known.sentence.replace("`", " ").split()


def test_a_new_section_is_one_function_in_the_list(data: ReportData, monkeypatch: pytest.MonkeyPatch) -> None:
    def hosts_section(data: ReportData) -> Section:
        return Section("hosts", "Hosts <new>", note("one & only"))

    monkeypatch.setattr(release, "SECTIONS", (*release.SECTIONS, hosts_section))
    page = release.render_report(data, release.render_sections(data)).decode()
    assert '<li><a href="#hosts">Hosts &lt;new&gt;</a></li></ul>' in page
    assert "<p>one &amp; only</p>" in page


def test_a_template_that_uses_an_undefined_name_fails() -> None:
    with pytest.raises(UndefinedError):
        environment().from_string("{{ missing }}").render()
    assert environment().from_string("{{ text }}").render(text=SCRIPT) == escape(SCRIPT)
