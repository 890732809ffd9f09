"""A new user's first hour: a folder, a CSV with columns of its own and a GBIF archive; wrong settings, and the same corrected."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioclip.sample import sample_path
from bioclip.sample.demo import MEDIA_HOSTS
from bioclip.sample.server import SampleServer
from bioclip.sources.inspection import guess_source
from flows.commands.cli import main

NUM_PHOTOGRAPHS = 45
NAMES = (
    "Dascyllus reticulatus",
    "Amphiprion clarkii",
    "Zanclus cornutus",
    "Myripristis kuntee",
    "Zebrasoma scopas",
    "Chaetodon lunulatus",
    "Pomacentrus moluccensis",
    "Hemigymnus fasciatus",
    "Plectroglyphidodon dickii",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photographs/<name>/*.jpg`, `list.csv`, `gbif.zip` and `backbone.zip`; the user is elsewhere."""
    home = tmp_path / "home"
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.endswith(".jpg")][:NUM_PHOTOGRAPHS]
        for place, name in enumerate(names):
            target = home / "photographs" / NAMES[place % len(NAMES)] / f"IMG_{place:04}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(media.read(name))
    with (home / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Inventory No", "Bild", "Art", "Fotograf", "Datum"])
        for place, path in enumerate(sorted((home / "photographs").rglob("*.jpg"))):
            row = [f"M-{place:04}", path.relative_to(home / "photographs"), path.parent.name, "A. Nowak", f"2021-05-{place % 28 + 1:02}"]
            table.writerow(row)
    shutil.copy(sample_path("field-observations"), home / "gbif.zip")
    shutil.copy(sample_path("backbone"), home / "backbone.zip")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return home


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, JSON, standard error) of a command."""
    code = main([*words, "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


def init(capsys: pytest.CaptureFixture[str], home: Path, name: str) -> Path:
    settings = home / "settings.yaml"
    code, _, _ = answer(capsys, "init", str(home / name), "--backbone", str(home / "backbone.zip"), "--output", str(settings))
    assert code == 0
    return settings


def change(settings: Path, **options: str) -> None:
    tree = yaml.safe_load(settings.read_text())
    tree["sources"][0].setdefault("options", {}).update(options)
    settings.write_text(yaml.safe_dump(tree))


@pytest.mark.parametrize("name", ["photographs", "list.csv"])
def test_init_and_check_lead_from_data_to_settings_that_fit(home: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, name)
    code, seen, _ = answer(capsys, "check", "--settings", str(settings))
    assert (code, seen["ok"]) == (0, True)
    assert (seen["records"]["written"], seen["names"]["written"]) == (NUM_PHOTOGRAPHS, len(NAMES))
    assert [outcome for _, outcome in seen["media"]] == ["read"] * 20
    assert seen["licenses"] == {"": NUM_PHOTOGRAPHS}
    assert seen["splits"]["val"] > 0
    assert any("release.heldout_min_images" in remark for remark in seen["remarks"])


def test_a_gbif_archive_is_recognised_and_its_images_are_not_requested(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, "gbif.zip")
    code, seen, _ = answer(capsys, "check", "--settings", str(settings))
    assert (code, seen["ok"]) == (0, True)
    assert {outcome for _, outcome in seen["media"]} == {"not requested"}


def test_init_keeps_a_settings_file_that_is_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, "photographs")
    before = settings.read_bytes()
    code, error, _ = answer(capsys, "init", str(home / "list.csv"), "--output", str(settings))
    assert (code, settings.read_bytes()) == (2, before)
    assert "exists" in error["error"]["message"]


def test_the_map_is_guessed_from_names_and_values(home: Path) -> None:
    guess = guess_source(home / "list.csv")
    fields = dict(entry.split("=") for entry in guess.options["map"].split(","))
    names = {"scientific_name": "Art", "label": "Art"}
    assert fields == {"media_url": "Bild", "source_id": "Inventory No", "event_date": "Datum"} | names
    assert guess.options["images"] == str(home / "photographs")


@pytest.mark.parametrize(
    ("header", "rows", "fields"),
    [
        ("filename,class", "a.jpg,my cat|b.jpg,my cat|c.jpg,orchid no. 3", {"media_url": "filename", "label": "class"}),
        ("image_path,label,split", "a.jpg,0,train|b.jpg,1,train|c.jpg,1,val", {"media_url": "image_path", "label": "label"}),
        ("Datei,Klasse,Fotograf", "a.jpg,Katze,A. B.|b.jpg,Katze,A. B.|c.jpg,Hund,A. B.", {"media_url": "Datei", "label": "Klasse"}),
        ("pic,what,who", "a.jpg,my cat,A. B.|b.jpg,my cat,A. B.|c.jpg,dog,A. B.|d.jpg,dog,C. D.", {"media_url": "pic", "label": "what"}),
        ("pic,genus,species", "a.jpg,Felis,catus|b.jpg,Canis,lupus", {"media_url": "pic", "genus": "genus", "specific_epithet": "species"}),
        ("url,species", "https://a.example/1.jpg,Felis catus|https://a.example/2.jpg,my cat",
         {"media_url": "url", "scientific_name": "species", "label": "species"}),
    ],
)  # fmt: skip
def test_the_label_of_a_table_is_guessed(tmp_path: Path, header: str, rows: str, fields: dict[str, str]) -> None:
    (tmp_path / "list.csv").write_text("\n".join([header, *rows.split("|")]) + "\n")
    assert dict(entry.split("=") for entry in guess_source(tmp_path / "list.csv").options["map"].split(",")) == fields


def test_absolute_paths_of_a_table_are_found(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((home / "photographs").rglob("*.jpg"))
    (home / "list.csv").write_text("file,label\n" + "".join(f"{path},{path.parent.name}\n" for path in paths))
    code, seen, _ = answer(capsys, "check", "--settings", str(init(capsys, home, "list.csv")))
    assert (code, {outcome for _, outcome in seen["media"]}) == (0, {"read"})
    assert yaml.safe_load((home / "settings.yaml").read_text())["sources"][0]["options"]["images"] == "/"


def test_a_table_without_a_map_names_its_columns(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, "list.csv")
    tree = yaml.safe_load(settings.read_text())
    del tree["sources"][0]["options"]["map"]
    settings.write_text(yaml.safe_dump(tree))
    code, error, _ = answer(capsys, "check", "--settings", str(settings))
    assert code == 1
    for words in ("'Bild'", "'Art'", "media_url=COLUMN,scientific_name=COLUMN", "treeoflife init"):
        assert words in error["error"]["message"]


def test_check_says_that_no_licence_is_allowed_and_which_setting_decides(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, "photographs")
    code, error, _ = answer(capsys, "check", "--settings", str(settings), "--set", "ingest.licenses=[open]")
    assert code == 1
    assert f"license_not_allowed {NUM_PHOTOGRAPHS}" in error["error"]["message"]
    assert "ingest.licenses, or sources[].options.license" in error["error"]["message"]
    change(settings, license="CC-BY-4.0")
    code, seen, _ = answer(capsys, "check", "--settings", str(settings), "--set", "ingest.licenses=[open]")
    assert (code, seen["licenses"]) == (0, {"CC-BY-4.0": NUM_PHOTOGRAPHS})


@pytest.mark.slow
@pytest.mark.usefixtures("use_shared_prefect")
def test_a_wrong_folder_is_named_and_taken_up_once_corrected(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, "list.csv")
    change(settings, images="../elsewhere")
    assert answer(capsys, "check", "--settings", str(settings))[0] == 1
    code, error, _ = answer(capsys, "curate", "--settings", str(settings))
    assert (code, error["error"]["kind"]) == (1, "NothingLeftError")
    assert f"media_missing {NUM_PHOTOGRAPHS} (" in error["error"]["message"]
    assert "sources[].options.images" in error["error"]["message"]
    change(settings, images="photographs")
    code, first, printed = answer(capsys, "curate", "--settings", str(settings))
    assert code == 0
    assert first["release"]["splits"]["val"]["num_samples"] > 0
    assert "heldout is empty" in printed
    code, second, printed = answer(capsys, "curate", "--settings", str(settings), "--set", "release.val_fraction=0.5")
    assert f"release.val_fraction 0.1 -> 0.5: images of {first['release']['version']} keep their splits" in printed
    assert second["release"]["parent"] == first["release"]["version"]
    for none in ("none", ""):
        words = ("--set", "release.val_fraction=0.5", "--set", f"release.parent={none}")
        code, third, _ = answer(capsys, "curate", "--settings", str(settings), *words)
        assert (code, third["release"]["parent"]) == (0, "")
    assert third["release"]["splits"]["val"]["num_samples"] > first["release"]["splits"]["val"]["num_samples"]


@pytest.mark.nightly
@pytest.mark.usefixtures("use_shared_prefect")
def test_wrong_settings_leave_no_trace_once_corrected(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A workspace in which runs with wrong settings failed gives the release of a new workspace."""
    settings = init(capsys, home, "list.csv")
    right = yaml.safe_load(settings.read_text())
    clean, tried = (("--set", f"workspace.uri={home / name}") for name in ("clean", "tried"))
    columns = right["sources"][0]["options"]["map"]
    wrong: list[tuple[dict[str, str], str, str]] = [
        ({"images": "../elsewhere"}, "ingest.licenses=[any]", "media_missing"),
        ({"map": columns.replace("media_url=Bild", "media_url=Fotograf")}, "ingest.licenses=[any]", "media_missing"),
        ({}, "ingest.licenses=[open]", "license_not_allowed"),
        ({}, "download.min_side_px=5000", "image_too_small"),
        ({"map": columns.replace("=Art", "=Fotograf")}, "taxonomy.keep_labels=false", "not_in_backbone"),
        ({}, "release.min_entropy_bits=8", "near_constant"),
    ]
    for options, change_set, reason in wrong:
        change(settings, **options)
        code, error, _ = answer(capsys, "curate", "--settings", str(settings), *tried, "--set", change_set)
        assert (code, error["error"]["kind"]) == (1, "NothingLeftError"), reason
        assert f"{reason} " in error["error"]["message"]
        settings.write_text(yaml.safe_dump(right))
    found = [answer(capsys, "curate", "--settings", str(settings), *words) for words in (clean, tried)]
    assert [code for code, _, _ in found] == [0, 0]
    assert found[0][1]["release"]["digest"] == found[1][1]["release"]["digest"]


@pytest.mark.slow
@pytest.mark.usefixtures("use_shared_prefect")
def test_an_image_is_traced_by_what_the_users_own_table_says(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By inventory number, path, file name, and a value of a column that fills no field."""
    settings = init(capsys, home, "list.csv")
    assert answer(capsys, "curate", "--settings", str(settings))[0] == 0
    with (home / "list.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    traced = {}
    for text in (row["Inventory No"], row["Bild"], f"photographs/{row['Bild']}", Path(row["Bild"]).name):
        code, seen, _ = answer(capsys, "trace", text, "--settings", str(settings))
        assert (code, seen["num_images"]) == (0, 1), text
        traced[text] = seen["images"]
    assert len({json.dumps(images) for images in traced.values()}) == 1
    assert answer(capsys, "trace", row["Fotograf"], "--settings", str(settings))[1]["num_images"] == NUM_PHOTOGRAPHS


def test_explain_uses_the_backbones_of_the_settings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, "photographs")
    words = ("explain", "Amphiprion clarki", "--settings", str(settings))
    assert answer(capsys, *words)[1]["decision"]["accepted_name"] == "Amphiprion clarkii"
    assert answer(capsys, *words, "--set", "taxonomy.inexact=none")[1]["decision"]["accepted_name"] != "Amphiprion clarkii"


def test_a_recipe_for_a_gpu_is_refused_before_anything_is_started(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = init(capsys, home, "photographs")
    code, error, printed = answer(capsys, "run", "--settings", str(settings), "--recipe", "vit_b16_1gpu")
    assert code == 1
    assert "recipe 'vit_b16_1gpu': device is 'cuda' but torch sees no GPU" in error["error"]["message"]
    assert "Starting" not in printed
    assert not (home / "workspace").exists()


def test_the_workspace_of_a_folder_is_beside_it(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A workspace in the folder of a source would be read as data by the next run."""
    monkeypatch.chdir(home / "photographs")
    assert answer(capsys, "init", ".", "--backbone", "../backbone.zip")[0] == 0
    settings = home / "photographs" / "settings.yaml"
    assert yaml.safe_load(settings.read_text())["workspace"]["uri"] == "../photographs-workspace"
    first, second = (answer(capsys, "check", "--settings", str(settings))[1] for _ in range(2))
    assert first == second
    code, error, _ = answer(capsys, "check", "--settings", str(settings), "--set", "workspace.uri=results")
    assert code == 2
    assert "is within the folder of source 'photographs'" in error["error"]["message"]


@pytest.mark.slow
@pytest.mark.usefixtures("use_shared_prefect")
def test_a_gbif_archive_becomes_a_release_once_its_host_can_be_reached(
    home: Path, sample_server: SampleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run without an image names the reason and the setting; corrected, the same command downloads them."""
    settings = init(capsys, home, "gbif.zip")
    tree = yaml.safe_load(settings.read_text()) | {"ingest": {"licenses": ["open"]}}
    tree["download"] = {"max_attempts": 1, "connect_to": dict.fromkeys(MEDIA_HOSTS, "127.0.0.1:9"), "allow_networks": ["127.0.0.0/8"]}
    settings.write_text(yaml.safe_dump(tree))
    code, error, _ = answer(capsys, "curate", "--settings", str(settings))
    assert (code, error["error"]["kind"]) == (1, "NothingLeftError")
    assert "set by download.connect_to, download.ca_file" in error["error"]["message"]
    tree["download"]["connect_to"] = dict.fromkeys(MEDIA_HOSTS, sample_server.address)
    settings.write_text(yaml.safe_dump(tree))
    code, done, _ = answer(capsys, "curate", "--settings", str(settings))
    assert code == 0
    assert all(done["release"]["splits"][split]["num_samples"] > 0 for split in ("train", "val", "heldout"))


@pytest.mark.slow
@pytest.mark.usefixtures("use_shared_prefect")
def test_a_source_that_gives_nothing_is_named_beside_others_that_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, "photographs")
    tree = yaml.safe_load(settings.read_text())
    table = {"format": "table", "path": "list.csv"}
    tree["sources"][0]["options"] = {"license": "CC0-1.0"}
    tree["sources"] += [
        {"name": "closed", **table, "options": {"map": "media_url=Bild,label=Art", "images": "photographs"}},
        {"name": "lost", **table, "options": {"map": "media_url=Bild,label=Art", "images": "../elsewhere", "license": "CC0-1.0"}},
    ]
    tree["ingest"] = {"licenses": ["open"]}
    settings.write_text(yaml.safe_dump(tree))
    code, seen, _ = answer(capsys, "check", "--settings", str(settings))
    assert code == 0
    closed = f"source 'closed': all {NUM_PHOTOGRAPHS} rows are dropped: license_not_allowed {NUM_PHOTOGRAPHS} ("
    assert any(remark.startswith(closed) for remark in seen["remarks"])
    assert any(remark.startswith("source 'lost': 10 of the first 10 images cannot be read") for remark in seen["remarks"])
    code, done, printed = answer(capsys, "curate", "--settings", str(settings))
    assert code == 0
    assert closed in printed
    assert f"source 'lost': none of its {NUM_PHOTOGRAPHS} records gives an image" in " ".join(done["release"]["remarks"])


def test_labels_need_no_backbone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = init(capsys, home, "photographs")
    tree = yaml.safe_load(settings.read_text())
    del tree["taxonomy"]
    settings.write_text(yaml.safe_dump(tree))
    code, seen, _ = answer(capsys, "check", "--settings", str(settings))
    assert (code, seen["names"]["notes"]["match_label"], seen["splits"]["species"]) == (0, len(NAMES), len(NAMES))
    for wrong in ("taxonomy.keep_labels=false", "sources=[{name: g, format: dwca, path: gbif.zip}]"):
        code, error, _ = answer(capsys, "check", "--settings", str(settings), "--set", wrong)
        assert code == 2
        assert "taxonomy.backbones is empty" in error["error"]["message"]
