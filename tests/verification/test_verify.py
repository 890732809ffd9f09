"""`verify --deep` finds every change to a release; the quick check states what it does not read."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bioclip import layout
from bioclip.digests import digest_bytes, readable_json
from bioclip.errors import StorageError
from bioclip.releases.manifest import list_releases
from bioclip.storage import Storage
from bioclip.verification.verify import Verification, named_files, verify_release
from flows.commands.cli import main
from tests.conftest import Curated

NUM_CORRUPTIONS = 12


@pytest.fixture(scope="module")
def release(curated: Curated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sample's release that tests may spoil, as long as they mend it."""
    storage = curated.storage
    [version] = list_releases(storage)
    target = tmp_path_factory.mktemp("verify") / "release"
    shutil.copytree(storage.uri(f"releases/{version}"), target)
    return target


@pytest.fixture
def spoiled(release: Path, tmp_path: Path) -> Path:
    """A release of one's own."""
    shutil.copytree(release, tmp_path / "release")
    return tmp_path / "release"


def check(folder: Path, deep: bool = True) -> Verification:
    return verify_release(Storage(str(folder)), deep)


def kinds(folder: Path, deep: bool = True) -> set[str]:
    return {finding.kind for finding in check(folder, deep).findings}


def edit_manifest(folder: Path, **values: object) -> None:
    """Change the manifest and seal it again, as one would who knows how."""
    manifest = json.loads((folder / "manifest.json").read_bytes()) | values
    seal(folder, readable_json(manifest))


def seal(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    (folder / layout.SEAL).write_text(f"{digest_bytes(data)}  manifest.json\n")


def test_a_release_as_it_was_made_is_sound(release: Path) -> None:
    deep, plain = check(release), check(release, deep=False)
    assert deep.findings == plain.findings == ()
    assert (deep.num_unread_bytes, plain.num_unread_bytes) == (0, plain.num_bytes)


def corruptions(folder: Path, number: int, seed: int) -> Iterator[tuple[str, Path, bytes]]:
    """Do one thing after another to the folder; yields what was done, and the file with its former bytes."""
    draw = random.Random(seed)
    names = sorted([*named_files(json.loads((folder / "manifest.json").read_bytes())), "manifest.json", layout.SEAL])
    for _ in range(number):
        name = draw.choice(names)
        path = folder / name
        data = path.read_bytes()
        what = draw.choice(["flip", "truncate", "swap", "extend", "zero"])
        place = draw.randrange(len(data))
        if what == "flip":
            spoiled = data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]
        elif what == "truncate":
            spoiled = data[:place]
        elif what == "extend":
            spoiled = data + b"\0"
        elif what == "zero":
            spoiled = data[:place] + bytes(len(data[place : place + 512])) + data[place + 512 :]
        else:
            spoiled = (folder / draw.choice([other for other in names if other != name])).read_bytes()
        if spoiled == data:
            continue
        path.write_bytes(spoiled)
        yield f"{what} {name} at {place}", path, data


@pytest.mark.slow
def test_the_deep_check_finds_every_corruption(spoiled: Path) -> None:
    done = 0
    for what, path, data in corruptions(spoiled, NUM_CORRUPTIONS, seed=20):
        assert check(spoiled).findings, what
        path.write_bytes(data)
        done += 1
    assert done > NUM_CORRUPTIONS * 0.8
    assert check(spoiled).findings == ()


def test_a_seal_that_says_more_than_it_should_is_named(spoiled: Path) -> None:
    path = spoiled / layout.SEAL
    path.write_bytes(path.read_bytes() + b"\0")
    assert kinds(spoiled, deep=False) == {"seal_changed"}


def test_a_damaged_table_is_a_finding_of_the_plain_check_too(spoiled: Path) -> None:
    path = spoiled / "samples.parquet"
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    path.write_bytes(data[:footer] + b"\xff" * 64 + data[footer + 64 :])
    assert kinds(spoiled, deep=False) == {"table_unreadable"}
    assert kinds(spoiled) == {"digest_differs"}


def test_missing_and_foreign_files_are_named(spoiled: Path) -> None:
    shard = next(iter(sorted(spoiled.rglob("*.tar"))))
    shard.rename(shard.with_name("elsewhere.tar"))
    assert kinds(spoiled, deep=False) == {"file_missing", "file_not_named"}


@pytest.mark.slow
def test_two_swapped_shards_are_seen_even_where_the_manifest_was_made_to_fit(spoiled: Path) -> None:
    first, second = sorted(spoiled.rglob("shards/train/*.tar"))[:2]
    ours, theirs = first.read_bytes(), second.read_bytes()
    first.write_bytes(theirs)
    second.write_bytes(ours)
    assert "digest_differs" in kinds(spoiled) or "size_differs" in kinds(spoiled)
    manifest = json.loads((spoiled / "manifest.json").read_bytes())
    for shard in manifest["splits"]["train"]["shards"]:
        data = (spoiled / shard["name"]).read_bytes()
        shard.update(sha256=digest_bytes(data), num_bytes=len(data))
    seal(spoiled, readable_json(manifest))
    assert {found.name for found in check(spoiled).findings if found.kind == "members_differ"} == {
        first.relative_to(spoiled).as_posix(),
        second.relative_to(spoiled).as_posix(),
    }


def test_counts_that_do_not_add_up_are_seen_without_reading_the_shards(spoiled: Path) -> None:
    manifest = json.loads((spoiled / "manifest.json").read_bytes())
    counts = manifest["counts"]
    counts["images"]["written"] += 1
    edit_manifest(spoiled, counts=counts)
    assert kinds(spoiled, deep=False) == {"counts_do_not_add_up"}


def test_an_edited_setting_no_longer_makes_the_version(spoiled: Path) -> None:
    settings = json.loads((spoiled / "manifest.json").read_bytes())["settings"]
    settings["shards"]["image_px"] += 1
    edit_manifest(spoiled, settings=settings)
    assert kinds(spoiled, deep=False) == {"version_differs"}


def test_a_release_of_an_older_form_says_who_can_check_it(spoiled: Path) -> None:
    edit_manifest(spoiled, schema_version=1, code_version="0.0.9")
    [finding] = check(spoiled, deep=False).findings
    assert finding.kind == "schema_unknown"
    assert "check with bioclip-pipeline 0.0.9, which wrote it" in finding.detail


def test_a_manifest_that_was_edited_or_is_no_json_is_named(spoiled: Path) -> None:
    path = spoiled / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"code_version"', b'"code_Version"'))
    assert kinds(spoiled, deep=False) == {"manifest_changed"}
    path.write_bytes(b"{}")
    assert kinds(spoiled, deep=False) == {"manifest_changed", "manifest_damaged"}


def test_a_leaked_image_is_named_with_what_it_gives_away(spoiled: Path) -> None:
    path = spoiled / "fingerprints.parquet"
    prints = pq.read_table(path)
    train, val = (prints["split"].to_pylist().index(split) for split in ("train", "val"))
    column = prints["pixel_sha256"].to_pylist()
    column[train] = column[val]
    place = prints.schema.get_field_index("pixel_sha256")
    pq.write_table(prints.set_column(place, "pixel_sha256", pa.array(column, prints.schema.field(place).type)), path)
    manifest = json.loads((spoiled / "manifest.json").read_bytes())
    manifest["files"]["fingerprints.parquet"] = {"sha256": digest_bytes(path.read_bytes()), "num_bytes": path.stat().st_size}
    seal(spoiled, readable_json(manifest))
    [finding] = check(spoiled, deep=False).findings
    assert finding.kind == "leaked_pixels"
    ids = prints["record_id"].to_pylist()
    assert ids[train] in finding.detail
    assert ids[val] in finding.detail


def test_a_held_out_species_in_training_is_named(spoiled: Path) -> None:
    path = spoiled / "samples.parquet"
    samples = pq.read_table(path)
    heldout = samples.filter(pc.equal(samples["split"], "heldout"))["species"][0].as_py()
    species = samples["species"].to_pylist()
    species[samples["split"].to_pylist().index("train")] = heldout
    place = samples.schema.get_field_index("species")
    pq.write_table(samples.set_column(place, samples.schema.field(place), pa.array(species)), path)
    manifest = json.loads((spoiled / "manifest.json").read_bytes())
    manifest["files"]["samples.parquet"] = {"sha256": digest_bytes(path.read_bytes()), "num_bytes": path.stat().st_size}
    seal(spoiled, readable_json(manifest))
    assert kinds(spoiled, deep=False) == {"leaked_species", "counts_do_not_add_up"}


def test_a_folder_without_a_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"holds no manifest\.json; give the folder of a release"):
        check(tmp_path)


def test_the_command_says_what_it_did_not_look_at(spoiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(spoiled)]) == 0
    out = capsys.readouterr().out
    assert "Not checked: file contents other than tables" in out
    assert "OK (quick check; use `--deep` to read all bytes)" in out
    shard = next(iter(sorted(spoiled.rglob("*.tar"))))
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    assert main(["verify", str(spoiled), "--deep"]) == 4
    assert "digest_differs  shards/" in capsys.readouterr().out
