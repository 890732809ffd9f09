"""Commands read and write files at URLs as they do at paths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from bioclip.sample import sample_path
from flows.commands.cli import main
from tests.conftest import Curated


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An object store in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def test_names_are_resolved_from_a_url_to_a_url(remote: Any, tmp_path: Path) -> None:
    backbone = sample_path("backbone")
    (tmp_path / "names.csv").write_text("scientific_name\nPrunella vulgaris\n")
    remote.pipe({"/in/names.csv": (tmp_path / "names.csv").read_bytes(), f"/in/{backbone.name}": backbone.read_bytes()})
    assert run("names", "resolve", tmp_path / "names.csv", "--backbone", backbone, "--output", tmp_path / "out.csv") == 0
    addresses = ("memory://in/names.csv", "--backbone", f"memory://in/{backbone.name}")
    assert run("names", "resolve", *addresses, "--output", "memory://out/a.csv", "--report", "memory://out/page.html") == 0
    assert remote.cat("/out/a.csv") == (tmp_path / "out.csv").read_bytes()
    assert b"Prunella" in remote.cat("/out/page.html")
    assert run("names", "parse", "memory://in/names.csv", "--output", (tmp_path / "parsed.csv").as_uri()) == 0
    assert "Prunella vulgaris" in (tmp_path / "parsed.csv").read_text()


def test_a_backbone_is_compiled_from_a_url_to_a_url(remote: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = sample_path("backbone")
    remote.pipe(f"/in/{backbone.name}", backbone.read_bytes())
    assert run("backbone", "build", f"memory://in/{backbone.name}", "--output", "memory://out/index.arrow", "--json") == 0
    built = json.loads(capsys.readouterr().out)
    assert run("backbone", "build", backbone, "--folder", tmp_path / "indexes", "--json") == 0
    local = json.loads(capsys.readouterr().out)
    assert local["backbone"] == built["backbone"]
    assert remote.cat("/out/index.arrow") == Path(local["written"]).read_bytes()
    assert run("backbone", "info", "memory://out/index.arrow", "--json") == 0
    assert json.loads(capsys.readouterr().out)["backbone"] == built["backbone"]


def test_duplicates_of_a_folder_at_a_url_are_those_of_the_folder(
    remote: Any, curated: Curated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = Path(curated.release.storage.root)
    remote.put(str(release), "/releases/one", recursive=True)
    assert run("dataset", "duplicates", release, "--output", tmp_path / "groups.parquet", "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    assert run("dataset", "duplicates", "memory://releases/one", "--output", "memory://out/groups.parquet", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("written") == ["memory://out/groups.parquet"]
    assert expected.pop("written") == [str(tmp_path / "groups.parquet")]
    assert found == expected
    assert remote.cat("/out/groups.parquet") == (tmp_path / "groups.parquet").read_bytes()


def test_leaks_of_a_release_at_a_url_are_those_of_its_folder(
    remote: Any, curated: Curated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = Path(curated.release.storage.root)
    remote.put(str(release), "/ws/releases/one", recursive=True)
    assert run("dataset", "leaks", release, "--against", release, "--workspace", tmp_path, "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    address = "memory://ws/releases/one/manifest.json"
    evidence = ("--output", "memory://out/evidence.parquet")
    assert run("dataset", "leaks", address, "--against", "memory://ws/releases/one", *evidence, "--workspace", tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_leaking"], found["num_training"]) == (expected["num_leaking"], expected["num_training"])
    assert list(found["hits"].values()) == list(expected["hits"].values())
    assert remote.exists("/out/evidence.parquet")


def test_settings_are_read_from_a_url(remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    remote.pipe("/in/settings.yaml", b"download: {timeout_s: 7}\n")
    assert run("settings", "--settings", "memory://in/settings.yaml") == 0
    assert "download.timeout_s = 7.0" in capsys.readouterr().out


def test_a_url_that_holds_nothing_is_one_sentence(remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("names", "parse", "memory://in/absent.csv", "--output", "memory://out/a.csv") == 1
    assert "'memory://in/absent.csv' holds no file" in capsys.readouterr().err
    assert not remote.exists("/out/a.csv")
