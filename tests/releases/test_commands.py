"""`treeoflife release list`, `diff`, `promote`, `gc`, and aliases in place of versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bioclip.errors import StorageError, UsageError
from bioclip.releases.aliases import point_alias, read_aliases
from bioclip.releases.diff import UNKNOWN, compare_releases
from bioclip.releases.listing import list_facts
from bioclip.releases.locating import open_release, resolve_release
from bioclip.storage import Storage
from flows.commands.cli import main
from tests.releases.conftest import Grown


@pytest.fixture
def storage(grown: Grown, tmp_path: Path) -> Storage:
    shutil.copytree(grown.storage.root, tmp_path / "workspace")
    return Storage(str(tmp_path / "workspace"))


def run(storage: Storage, *arguments: str) -> int:
    return main([arguments[0], "--workspace", storage.root, *arguments[1:]])


def test_releases_come_in_the_order_of_their_line_with_what_each_added(
    grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = list_facts(storage)
    assert (first.version, second.version, second.parent) == (grown.first.version, grown.second.version, first.version)
    assert (first.aliases, second.aliases) == ((), ("latest",))
    assert first.num_own_bytes == first.num_bytes
    own = [path for path in Path(grown.second.storage.root).rglob("*") if path.is_file() and "partitions" not in path.parts]
    assert second.num_own_bytes == sum(path.stat().st_size for path in own if not path.name.startswith("manifest"))
    assert run(storage, "releases") == 0
    printed = capsys.readouterr().out
    for shown in (first.version, second.version, f"{second.num_own_bytes:,}", "latest", "2 releases"):
        assert shown in printed


def test_the_addresses_of_shards_can_be_handed_to_loaders(grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(storage, "releases", "--shards", "latest") == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert len(paths) == len(grown.second.shards("train"))
    assert all(path.is_file() for path in paths)
    assert paths[0].with_name("sizes.json").parent.parent.parent.name == grown.second.version


def test_diff_counts_samples_by_reason_and_shards_and_bytes(grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    found = compare_releases(grown.first, grown.second)
    assert found.removed[UNKNOWN] == len(grown.withdrawn)
    assert found.added[UNKNOWN] <= len(grown.added)
    assert found.num_common + sum(found.added.values()) == sum(grown.second.num_samples(split) for split in ("train", "val", "heldout"))
    assert found.num_common + sum(found.removed.values()) == sum(grown.first.num_samples(split) for split in ("train", "val", "heldout"))
    assert not any(before != "train" and after == "train" for before, after in found.moved)
    assert found.relabelled == found.changed == 0
    assert found.shards_gone == found.shards_rewritten > 0
    back = compare_releases(grown.second, grown.first)
    assert (sum(back.added.values()), sum(back.removed.values())) == (sum(found.removed.values()), sum(found.added.values()))
    assert run(storage, "diff", grown.first.version, "latest") == 0
    printed = capsys.readouterr().out
    assert f"{UNKNOWN} {len(grown.withdrawn):,}" in printed
    assert f"shards: {found.shards_kept:,} kept, {found.shards_rewritten:,} rewritten" in printed
    assert f"bytes: {found.num_new_bytes:,} of {found.num_bytes:,} new" in printed


def test_an_alias_is_accepted_in_place_of_a_version(grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(storage, "promote", grown.first.version, "--alias", "paper") == 0
    assert capsys.readouterr().out == f"paper -> {grown.first.version}\n"
    assert run(storage, "promote", "paper") == 0
    assert read_aliases(storage) == {"latest": grown.first.version, "paper": grown.first.version}
    assert open_release(storage, "paper").digest == grown.first.digest
    assert run(storage, "verify", "paper") == 0
    assert grown.first.digest in capsys.readouterr().out


def test_a_wrong_alias_or_name_is_one_sentence(grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    for alias in ("Latest", "x", "../evil", "0123456789ab", "a b", grown.first.version):
        with pytest.raises(UsageError, match="use a lower-case word such as `latest`"):
            point_alias(storage, alias, grown.first.version)
    assert run(storage, "promote", "nope") == 1
    assert "release 'nope' is not in" in capsys.readouterr().err
    point_alias(storage, "stale", "0123456789ab")
    with pytest.raises(StorageError, match="alias 'stale' names release '0123456789ab', which is not in"):
        open_release(storage, "stale")
    storage.write_bytes("releases/broken.json", b"{}")
    with pytest.raises(StorageError, match=r"broken.json' is not an alias file; remove it"):
        resolve_release(storage, "paper")


def test_gc_lists_first_and_deletes_on_demand(grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(storage, "gc") == 0
    assert capsys.readouterr().out == "nothing to delete\n"
    assert run(storage, "gc", "--give-up", grown.first.version) == 0
    assert "nothing was deleted; add --delete to delete" in capsys.readouterr().out
    assert open_release(storage, grown.first.version).digest == grown.first.digest
    assert run(storage, "gc", "--give-up", grown.first.version, "--delete") == 0
    assert capsys.readouterr().out.endswith("deleted\n")
    assert run(storage, "verify", "latest", "--deep") == 0
    assert run(storage, "gc") == 0


class TestAliases:
    def test_an_alias_is_taken_away_and_its_release_stays(self, grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
        point_alias(storage, "paper", grown.first.version)
        assert run(storage, "promote", "--alias", "paper", "--remove") == 0
        assert capsys.readouterr().out == f"alias `paper` removed; release {grown.first.version} kept\n"
        assert read_aliases(storage) == {"latest": grown.second.version}
        assert open_release(storage, grown.first.version).digest == grown.first.digest
        assert run(storage, "promote", "--alias", "paper", "--remove") == 2
        assert "alias 'paper' is not in" in capsys.readouterr().err
        for arguments in ((), (grown.first.version, "--remove")):
            assert run(storage, "promote", *arguments) == 2
            assert "either a RELEASE" in capsys.readouterr().err

    @pytest.mark.parametrize("split", ["train", "val", "heldout"])
    def test_the_name_of_a_split_is_refused(self, grown: Grown, storage: Storage, split: str) -> None:
        with pytest.raises(UsageError, match=f"alias '{split}' is refused: it is the name of a split"):
            point_alias(storage, split, grown.first.version)

    def test_giving_up_by_alias_says_why_not_and_how(self, grown: Grown, storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
        point_alias(storage, "paper", grown.first.version)
        assert run(storage, "gc", "--give-up", "paper") == 2
        printed = capsys.readouterr().err
        assert f"release {grown.first.version!r} has the alias 'paper', so it is kept" in printed
        assert "`treeoflife release promote --alias paper --remove`" in printed

    @pytest.mark.parametrize("command", ["releases", "gc"])
    def test_an_alias_of_a_missing_version_is_told(self, storage: Storage, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(storage, command) == 0
        assert "is missing" not in capsys.readouterr().out
        point_alias(storage, "stale", "0123456789ab")
        assert run(storage, command) == 0
        assert "alias stale points to 0123456789ab, which is missing: " in capsys.readouterr().out
