"""`treeoflife curate` on a real S3 service, as a user runs it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bioclip.sample import sample_path
from bioclip.sample.server import SampleServer
from flows.commands.cli import main
from tests.conftest import Curated
from tests.ports import free_ports
from tests.services.s3_workspaces import CURATE_S, Workspace
from tests.services.servers import ROOT, S3Service, stop_group, wait_until

pytestmark = pytest.mark.service
BUCKET = "tree-of-life"


@pytest.fixture(scope="module")
def bucket(s3: S3Service) -> S3Service:
    s3.make_bucket(BUCKET)
    return s3


@dataclass(frozen=True)
class CuratedOnS3:
    """A finished workspace, what the command said, and the server that it asked."""

    workspace: Workspace
    output: str
    server: SampleServer


@pytest.fixture(scope="module")
def on_s3(bucket: S3Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CuratedOnS3]:
    """One whole run of the command on S3, which starts a Prefect server of its own, as it does for most users.

    Its own server of images: one that was asked before is busy no more, and the report shows it.
    """
    alone = replace(bucket, command_environment={})
    workspace = Workspace(alone, "some/prefix", tmp_path_factory.mktemp("on-s3"), BUCKET)
    with SampleServer() as server:
        done = workspace.curate(server)
        assert done.returncode == 0, done.stderr
        yield CuratedOnS3(workspace, done.stdout, server)


@pytest.mark.nightly
def test_s3_and_a_local_folder_hold_the_same_bytes(on_s3: CuratedOnS3, curated: Curated, local_digests: dict[str, str]) -> None:
    assert f"releases/{curated.release.version}" in on_s3.output
    found = on_s3.workspace.digests()
    assert len(found) > 50
    assert found == local_digests


@pytest.mark.nightly
def test_a_second_run_on_s3_asks_for_nothing_and_rewrites_nothing(on_s3: CuratedOnS3) -> None:
    before, requests = on_s3.workspace.objects(), on_s3.server.request_counts
    again = on_s3.workspace.curate(on_s3.server)
    assert again.returncode == 0, again.stderr
    assert re.search(r"partitions +0 computed, \d+ reused", again.stdout)
    assert "; 0 attempts in this run" in " ".join(again.stdout.split())
    assert on_s3.server.request_counts == requests
    assert on_s3.workspace.objects() == before


@pytest.fixture
def access(bucket: S3Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 access from the environment, as a shell has it."""
    for name, value in (("ENDPOINT_URL", bucket.endpoint_url), ("KEY", bucket.key), ("SECRET", bucket.secret)):
        monkeypatch.setenv(f"TREEOFLIFE_WORKSPACE__S3__{name}", value)


@pytest.mark.usefixtures("access")
def test_tables_and_reports_are_read_and_written_on_s3(
    bucket: S3Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names, client, backbone = b"scientific_name\nPrunella vulgaris\n", bucket.client(), sample_path("backbone")
    client.put_object(Bucket=BUCKET, Key="in/names.csv", Body=names)
    client.put_object(Bucket=BUCKET, Key=f"in/{backbone.name}", Body=backbone.read_bytes())
    (tmp_path / "names.csv").write_bytes(names)
    here = ["names", "resolve", str(tmp_path / "names.csv"), "--backbone", str(backbone), "--output", str(tmp_path / "out.csv")]
    there = ["names", "resolve", f"s3://{BUCKET}/in/names.csv", "--backbone", f"s3://{BUCKET}/in/{backbone.name}"]
    assert main(here) == 0
    assert main([*there, "--output", f"s3://{BUCKET}/out/a.csv", "--report", f"s3://{BUCKET}/out/page.html"]) == 0
    assert client.get_object(Bucket=BUCKET, Key="out/a.csv")["Body"].read() == (tmp_path / "out.csv").read_bytes()
    assert b"Prunella" in client.get_object(Bucket=BUCKET, Key="out/page.html")["Body"].read()
    assert main(["names", "parse", f"s3://{BUCKET}/absent.csv", "--output", str(tmp_path / "parsed.csv")]) == 1
    assert "holds no file" in capsys.readouterr().err


@pytest.mark.nightly
def test_an_image_is_traced_by_the_url_of_its_release(
    on_s3: CuratedOnS3, curated: Curated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("ENDPOINT_URL", on_s3.workspace.s3.endpoint_url),
        ("KEY", on_s3.workspace.s3.key),
        ("SECRET", on_s3.workspace.s3.secret),
    ):
        monkeypatch.setenv(f"TREEOFLIFE_WORKSPACE__S3__{name}", value)
    row = next(row for row in curated.release.samples(["record_id", "split"]).to_pylist() if row["split"] == "train")
    url = f"s3://{BUCKET}/some/prefix/releases/{curated.release.version}/manifest.json"
    assert main(["trace", row["record_id"], "--release", url]) == 0
    printed = capsys.readouterr().out
    assert f"sample of train in release {curated.release.version}" in printed
    assert "unavailable here" not in printed  # the workspace around it was found too


@pytest.mark.nightly
def test_the_secret_is_written_nowhere(on_s3: CuratedOnS3) -> None:
    secret = on_s3.workspace.s3.secret.encode()
    state = [path for path in on_s3.workspace.folder.rglob("*") if path.is_file()]
    assert any(path.name == "prefect.db" for path in state)
    assert [path.name for path in state if secret in path.read_bytes()] == []
    assert [name for name in on_s3.workspace.objects() if secret in on_s3.workspace.read(name)] == []


@pytest.fixture
def killed(bucket: S3Service, server: SampleServer, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose `curate` was killed while it wrote shards."""
    workspace = Workspace(bucket, "killed", tmp_path, BUCKET)
    with (tmp_path / "killed.log").open("wb") as log:
        run = subprocess.Popen(
            workspace.command(server), env=bucket.environment(), cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: run.poll() is not None or workspace.num_shards() > 0, CURATE_S, "the first shard", poll_s=0.02)
        run.kill()
        assert run.wait() == -signal.SIGKILL, (tmp_path / "killed.log").read_text(encoding="utf-8")
        stop_group(run)  # also its workers, at any point of a shard, as when a machine fails
        yield workspace
    finally:
        stop_group(run)


@pytest.mark.nightly
def test_a_run_killed_while_writing_shards_is_finished_by_the_next(
    killed: Workspace, server: SampleServer, local_digests: dict[str, str]
) -> None:
    all_shards = sum(name.endswith(".tar") for name in local_digests)
    assert 0 < killed.num_shards() < all_shards
    assert not any(name.endswith("manifest.json") and name.startswith("releases/") for name in killed.objects())
    requests = server.request_counts
    finished = killed.curate(server)
    assert finished.returncode == 0, finished.stderr
    assert server.request_counts == requests
    assert killed.digests() == local_digests


@pytest.mark.parametrize("case", ["wrong secret", "nobody there", "no such bucket"])
def test_a_service_that_cannot_be_used_is_told_in_one_sentence(bucket: S3Service, server: SampleServer, tmp_path: Path, case: str) -> None:
    service, name = bucket, BUCKET
    if case == "wrong secret":
        service = replace(bucket, secret="another-secret")  # noqa: S106 - of no service
    elif case == "nobody there":
        service = replace(bucket, endpoint_url=f"http://127.0.0.1:{free_ports(1)}")
    else:
        name = "bucket-that-nobody-made"
    refused = Workspace(service, "prefix", tmp_path, name).curate(server)
    assert refused.returncode == 1
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("treeoflife: error: ")
    assert f"s3://{name}/" in line
    assert line.endswith(".")
    assert "another-secret" not in line
    if case == "no such bucket":
        assert name not in {found["Name"] for found in bucket.client().list_buckets()["Buckets"]}
