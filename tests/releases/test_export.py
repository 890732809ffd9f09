"""A copied release is complete after any interruption; and a release can be named by its location."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bioclip import layout
from bioclip.digests import digest_bytes, readable_json
from bioclip.errors import StorageError
from bioclip.releases.aliases import read_aliases
from bioclip.releases.export import export_release
from bioclip.releases.locating import open_release, resolve_release
from bioclip.releases.manifest import open_release_folder
from bioclip.storage import Storage
from bioclip.verification.verify import verify_release
from flows.commands.cli import main
from tests.releases.conftest import Grown, digests_below


@pytest.fixture
def destination(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "elsewhere"))


@pytest.fixture
def workspace(grown: Grown, tmp_path: Path) -> Storage:
    """A copy that tests may spoil."""
    shutil.copytree(grown.storage.root, tmp_path / "workspace")
    return Storage(str(tmp_path / "workspace"))


def test_a_release_that_continues_another_is_whole_elsewhere(
    grown: Grown, destination: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--workspace", grown.storage.root, "latest", destination.root]) == 0
    printed = capsys.readouterr().out
    folder = destination.sub(grown.second.version)
    assert printed.splitlines()[1] == f"to check it: treeoflife release verify {folder.root} --deep"
    assert verify_release(folder, deep=True).findings == ()
    assert open_release_folder(folder).digest == grown.second.digest
    named = {*grown.second.files(), layout.MANIFEST, layout.SEAL}
    assert any(name.startswith(f"../{grown.first.version}/shards/") for name in named)
    targets = {name.removeprefix("../") if name.startswith("../") else f"{grown.second.version}/{name}" for name in named}
    assert set(destination.list()) == targets
    for name in targets:
        assert destination.read_bytes(name) == grown.storage.read_bytes(f"releases/{name}")
    assert main(["verify", folder.root, "--deep"]) == 0


def test_a_destination_called_releases_makes_a_workspace(grown: Grown, tmp_path: Path) -> None:
    export_release(grown.second, Storage(str(tmp_path / "releases")))
    assert main(["verify", "--workspace", str(tmp_path), grown.second.version, "--deep"]) == 0


def test_a_second_run_copies_nothing_and_a_second_release_only_what_is_its_own(grown: Grown, destination: Storage) -> None:
    done = export_release(grown.second, destination)
    assert (done.num_copied, done.num_copied_bytes) == (done.num_files, done.num_bytes)
    before = digests_below(destination)
    again = export_release(grown.second, destination)
    assert (again.num_files, again.num_bytes, again.num_copied, again.num_copied_bytes) == (done.num_files, done.num_bytes, 0, 0)
    assert digests_below(destination) == before
    first = export_release(grown.first, destination)
    assert 0 < first.num_copied < first.num_files
    for release in (grown.first, grown.second):
        assert verify_release(destination.sub(release.version), deep=True).findings == ()


def test_a_copy_that_was_killed_is_no_release_and_the_next_run_goes_on(grown: Grown, destination: Storage) -> None:
    code = (
        "import os, signal, sys, threading\n"
        "from bioclip.releases import export, locating\n"
        "from bioclip.storage import Storage\n"
        "copy, copied = export._copy, []\n"
        "def die_at_the_tenth(*arguments):\n"
        "    copied.append(arguments)\n"
        "    if len(copied) == 10: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    copy(*arguments)\n"
        "export._copy = die_at_the_tenth\n"
        "export.export_release(locating.open_release(Storage(sys.argv[1]), 'latest'), Storage(sys.argv[2]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, grown.storage.root, destination.root], check=False)
    assert killed.returncode == -signal.SIGKILL
    copied = destination.list()
    assert 0 < len(copied) < 10
    assert not any(name.endswith(layout.MANIFEST) for name in copied)
    with pytest.raises(StorageError, match=r"holds no manifest\.json"):
        verify_release(destination.sub(grown.second.version))
    done = export_release(grown.second, destination)
    assert done.num_copied == done.num_files - len(copied)
    assert destination.partials() == ()
    assert verify_release(destination.sub(grown.second.version), deep=True).findings == ()


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "missing"])
def test_a_damaged_file_is_named_and_the_copy_is_no_release(workspace: Storage, destination: Storage, damage: str) -> None:
    release = open_release(workspace, "latest")
    name = next(name for name in release.files() if name.startswith("../") and name.endswith(".tar"))
    path = Path(release.storage.uri(name))
    data = path.read_bytes()
    spoiled = {"flipped": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-512], "longer": data + b"\0", "missing": b""}[damage]
    path.write_bytes(spoiled)
    if damage == "missing":
        path.unlink()
    with pytest.raises(
        StorageError, match=rf"{path.name}' (is missing|does not match the manifest); check the release with `treeoflife release verify"
    ):
        export_release(release, destination)
    assert not destination.exists(name.removeprefix("../"))
    assert not destination.exists(f"{release.version}/{layout.MANIFEST}")
    path.write_bytes(data)
    export_release(release, destination)
    assert verify_release(destination.sub(release.version), deep=True).findings == ()


def test_another_file_in_the_way_is_named_before_anything_is_copied(grown: Grown, destination: Storage) -> None:
    name = f"{grown.second.version}/samples.parquet"
    for other in (b"other", bytes(grown.second.files()["samples.parquet"][1])):  # another size, and the same
        destination.write_bytes(name, other)
        with pytest.raises(StorageError, match=r"1 files at the destination have other content: '.*samples\.parquet'; nothing was copied"):
            export_release(grown.second, destination)
        assert destination.list() == [name]
    destination.remove(name)
    destination.write_bytes(f"{grown.second.version}/{layout.MANIFEST}", b"{}")
    with pytest.raises(StorageError, match=r"have other content: '.*manifest\.json'"):
        export_release(grown.second, destination)


def test_a_manifest_that_names_files_outside_is_refused(workspace: Storage, destination: Storage) -> None:
    folder = open_release(workspace, "latest").storage
    manifest = json.loads(folder.read_bytes(layout.MANIFEST))
    workspace.write_bytes("evil", b"evil")
    manifest["files"]["../../evil"] = {"sha256": digest_bytes(b"evil"), "num_bytes": 4}
    folder.write_bytes(layout.MANIFEST, readable_json(manifest))
    with pytest.raises(StorageError, match=r"names '\.\./\.\./evil', which is outside"):
        export_release(open_release_folder(folder), destination)
    assert destination.list() == []


class TestAddresses:
    """`DESTINATION/<version>`, `<workspace>/releases/<version>`, either with `/manifest.json`."""

    def test_every_command_takes_a_folder_or_its_manifest(self, grown: Grown, capsys: pytest.CaptureFixture[str]) -> None:
        folder, older = grown.second.storage.root, grown.first.storage.uri(layout.MANIFEST)
        for address in (folder, f"{folder}/", f"{folder}/{layout.MANIFEST}"):
            assert main(["verify", address]) == 0
            assert grown.second.digest in capsys.readouterr().out
        assert main(["diff", older, folder]) == 0
        assert capsys.readouterr().out.startswith(f"{grown.first.version} -> {grown.second.version}: ")
        assert main(["releases", "--shards", older]) == 0
        assert len(capsys.readouterr().out.splitlines()) == len(grown.first.shards("train"))
        row = next(row for row in grown.second.samples(["record_id", "split", "shard"]).to_pylist() if row["shard"].startswith("../"))
        assert main(["trace", row["record_id"], "--release", f"{folder}/{layout.MANIFEST}"]) == 0
        printed = capsys.readouterr().out
        assert f"in release {grown.second.version}" in printed
        assert grown.first.version in printed

    def test_a_folder_is_named_from_within(self, grown: Grown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.chdir(grown.second.storage.root)
        for address in (".", layout.MANIFEST, f"../{grown.second.version}"):
            assert main(["verify", address]) == 0
            assert grown.second.digest in capsys.readouterr().out
        monkeypatch.chdir(Path(grown.second.storage.root).parent)
        assert main(["verify", grown.second.version]) == 0

    def test_an_alias_is_given_in_the_workspace_around_the_address(
        self, workspace: Storage, grown: Grown, destination: Storage, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["promote", f"{workspace.root}/releases/{grown.first.version}", "--alias", "paper"]) == 0
        assert read_aliases(workspace)["paper"] == grown.first.version
        folder = export_release(grown.first, destination).folder
        assert main(["promote", folder.root, "--alias", "paper"]) == 2
        assert "is outside a workspace, so it cannot have an alias" in capsys.readouterr().err

    def test_commands_that_write_into_a_workspace_want_the_one_around_the_release(self, grown: Grown, destination: Storage) -> None:
        assert resolve_release(grown.storage, grown.first.storage.uri(layout.MANIFEST)) == grown.first.version
        folder = export_release(grown.first, destination).folder
        for address in (folder.root, f"{grown.storage.root}/releases/nothing", f"s3://bucket/releases/{grown.first.version}"):
            with pytest.raises(StorageError, match=r"is not a release of the workspace .*; give its own workspace with --workspace"):
                resolve_release(grown.storage, address)

    def test_an_address_that_leads_nowhere_is_one_sentence(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for address in (str(tmp_path), f"{tmp_path}/nothing", "nosuchscheme://bucket/release"):
            for command in (["verify", address], ["export", address, str(tmp_path / "copy")], ["diff", address, address]):
                assert main(command) == 1
                [line] = capsys.readouterr().err.splitlines()
                assert line.startswith(f"treeoflife: error: '{address}' ")
        assert list(tmp_path.iterdir()) == []
