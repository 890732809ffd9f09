"""The page about a run that stops because a stage drops everything."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

from bioclip.sample import sample_path
from flows.commands.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("use_shared_prefect")]
NUM_IMAGES = 6


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Six photographs of three species in class folders."""
    with zipfile.ZipFile(sample_path("media")) as media:
        for place, name in enumerate(sorted(name for name in media.namelist() if name.endswith(".jpg"))[:NUM_IMAGES]):
            target = tmp_path / "photographs" / ("Amphiprion clarkii", "Zanclus cornutus", "Zebrasoma scopas")[place % 3] / f"{place}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(media.read(name))
    shutil.copy(sample_path("backbone"), tmp_path / "backbone.zip")
    tree = {
        "workspace": {"uri": "workspace"},
        "sources": [{"name": "mine", "format": "folder", "path": "photographs"}],
        "taxonomy": {"backbones": [{"name": "b", "path": "backbone.zip"}]},
        "ingest": {"num_partitions": 2},
    }
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize(
    ("wrong", "stage", "reason", "setting", "num_photographs"),
    [
        ("ingest.licenses=[open]", "records", "license_not_allowed", "ingest.licenses", 0),
        ("download.min_side_px=9000", "images", "image_too_small", "download.min_side_px", 0),
        ("taxonomy.min_confidence=100", "taxonomy", "low_confidence", "taxonomy.min_confidence", NUM_IMAGES),
        ("release.min_side_px=9000", "release", "side_below_minimum", "release.min_side_px", NUM_IMAGES),
    ],
)
def test_a_run_that_drops_everything_stops_with_a_page_of_what_there_is(
    settings: Path, wrong: str, stage: str, reason: str, setting: str, num_photographs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curate", "--settings", str(settings), "--set", "taxonomy.keep_labels=false", "--set", wrong]) == 1
    message = capsys.readouterr().err
    assert reason in message
    assert f"set by {setting}" in message
    stages = {path.stem for path in (settings.parent / "workspace" / "stages").iterdir()}
    order = ["records", "images", "backbones", "taxonomy", "duplicates", "release", "shards"]
    assert stages == {*order[: order.index(stage) + 1], "report"}
    found = re.search(r"The report is (\S+/report\.html)\.", message)
    assert found is not None
    page = Path(found[1]).read_text(encoding="utf-8")
    assert page.count(reason) > 1
    assert f"set by {setting}" in page
    assert page.count("data:image/jpeg;base64,") == num_photographs
    assert "From provider rows to splits" in page
    assert "Tree of life" not in page
    assert "taxonomy.html" not in page
    assert not (settings.parent / "workspace" / "releases").exists()


def test_a_stopped_run_is_no_parent_and_continues_once_the_setting_is_corrected(settings: Path) -> None:
    for wrong in ("taxonomy.min_confidence=100", "release.min_side_px=9000"):
        assert main(["curate", "--settings", str(settings), "--set", "taxonomy.keep_labels=false", "--set", wrong]) == 1
    assert main(["curate", "--settings", str(settings), "--set", "taxonomy.keep_labels=false"]) == 0
    (release,) = (path for path in (settings.parent / "workspace" / "releases").iterdir() if path.is_dir())
    assert yaml.safe_load((release / "manifest.json").read_text())["splits"]["train"]["num_samples"] == NUM_IMAGES
