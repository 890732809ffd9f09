"""Settings come from defaults, file, environment and --set, and say clearly what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bioclip.errors import SettingsError
from bioclip.settings import PipelineSettings, settings_digest
from bioclip.settings.loading import build_settings, describe_settings, load_settings, to_yaml


def test_the_later_of_file_environment_and_assignment_wins(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("download:\n  timeout_s: 1\n  max_attempts: 2\n  backoff_s: 3\n")
    environment = {"TREEOFLIFE_DOWNLOAD__MAX_ATTEMPTS": "5", "TREEOFLIFE_DOWNLOAD__BACKOFF_S": "6", "HOME": "/"}
    download = load_settings(path, environment, ["download.backoff_s=9"]).download
    assert (download.timeout_s, download.max_attempts, download.backoff_s) == (1.0, 5, 9.0)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("download.timout_s=3", r"'download.timout_s' does not exist; did you mean 'timeout_s'\?"),
        ("downlod.timeout_s=3", r"'downlod' does not exist; did you mean 'download'\?"),
        ("download.timeout_s=-1", r"'download.timeout_s' = -1 is refused: Input should be greater than 0"),
        ("download.timeout_s", "has no '='"),
        ("sources=[{name: Bad Name, format: dwca, path: x}]", r"'sources.0.name' = 'Bad Name' is refused"),
        ("leakage.radius=2", "leakage.radius must be at least duplicates.radius"),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(assignments=[assignment])


def test_a_file_that_is_not_yaml_or_not_there_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(SettingsError, match=r"broken.yaml' is not YAML"):
        load_settings(broken)
    with pytest.raises(SettingsError, match=r"absent.yaml' cannot be read: No such file"):
        load_settings(tmp_path / "absent.yaml")


def test_two_sources_of_one_name_are_refused() -> None:
    source = {"name": "gbif", "format": "dwca", "path": "a.zip"}
    with pytest.raises(SettingsError, match="'gbif' is used twice"):
        build_settings({"sources": [source, source]})


def test_every_field_is_documented() -> None:
    undocumented = [key for key, _, documentation in describe_settings(PipelineSettings()) if len(documentation) < 10]
    assert undocumented == []


def test_settings_survive_a_round_trip_without_their_credentials() -> None:
    settings = build_settings({"workspace": {"uri": "s3://b/p", "s3": {"key": "K3Y", "secret": "S3CRET"}}, "training": {"num_steps": 7}})
    text = to_yaml(settings)
    assert "S3CRET" not in text
    assert "K3Y" not in text
    again = build_settings(__import__("yaml").safe_load(text))
    assert again.training == settings.training
    assert again.workspace.uri == "s3://b/p"


def test_how_fast_does_not_change_the_digest_but_what_does() -> None:
    base = settings_digest(PipelineSettings())
    for assignment in ("workspace.uri=x", "cluster.num_workers=7", "download.concurrency=3", "training.device=cpu"):
        assert settings_digest(load_settings(assignments=[assignment])) == base, assignment
    for assignment in ("training.seed=1", "shards.image_px=64", "sources=[{name: a, format: dwca, path: b}]"):
        assert settings_digest(load_settings(assignments=[assignment])) != base, assignment


def test_where_an_archive_lies_does_not_change_the_digest() -> None:
    here, there = ({"sources": [{"name": "a", "format": "dwca", "path": path}]} for path in ("x.zip", "/y/x.zip"))
    assert settings_digest(build_settings(here)) == settings_digest(build_settings(there))


def test_a_place_in_a_list_is_set_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("sources: [{name: a, format: folder, path: x}, {name: b, format: folder, path: y}]\n")
    loaded = load_settings(tmp_path / "settings.yaml", assignments=["sources.1.options.license=CC0-1.0", "sources.0.name=c"])
    assert [source.name for source in loaded.sources] == ["c", "b"]
    assert [dict(source.options) for source in loaded.sources] == [{}, {"license": "CC0-1.0"}]
    with pytest.raises(SettingsError, match=r"settings key sources\.2 does not exist; sources has 2 entries"):
        load_settings(tmp_path / "settings.yaml", assignments=["sources.2.name=c"])


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"sources": {"name": "a", "format": "folder", "path": "x"}}, "'sources' is refused: a list is needed"),
        ({"sources": [{"name": "My Photos", "format": "folder", "path": "x"}]}, "'My Photos' is refused: use lower-case letters, digits"),
        ({"sources": [{"name": "a", "format": "folder", "path": "x", "options": {"images": 5}}]}, "= 5 is refused: text is needed"),
    ],
)
def test_a_refused_value_is_explained_in_words_of_yaml(tree: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        build_settings(tree)
