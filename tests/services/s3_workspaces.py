"""Workspaces on an S3 service: the command that fills one, and what another program sees in it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.releases.release_workspace import make_settings
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from bioclip.settings import PipelineSettings, S3Settings
from tests.ports import free_ports
from tests.services.servers import ROOT, S3Service, clean_environment, program, serving

S3_SECRET = "a-secret-that-is-found-nowhere-else"  # noqa: S105 - of a server that lives as long as the tests
CURATE_S = 600  # a bound for a busy machine; 20 s on a quiet one
_INSTALL_S = 300


@dataclass(frozen=True)
class S3Object:
    """What S3 says about an object."""

    etag: str
    last_modified: str


class Workspace:
    """A workspace on S3, seen from outside, and the command that fills it, which may go another way and with settings of its own."""

    def __init__(self, s3: S3Service, prefix: str, folder: Path, bucket: str, endpoint_url: str = "", **access: Any) -> None:
        self.s3, self.prefix, self.folder, self.bucket, self.client = s3, prefix, folder, bucket, s3.client()
        self.state_dir = folder / "state"
        self.access = {"endpoint_url": endpoint_url or s3.endpoint_url} | access

    def command(self, server: SampleServer) -> list[str]:
        """`treeoflife curate` with a settings file that holds no credentials."""
        tree: dict[str, Any] = demo_settings(server.address, f"s3://{self.bucket}/{self.prefix}")
        tree["workspace"] |= {"state_dir": str(self.state_dir), "s3": self.access}
        tree["cluster"] = {"num_workers": 2}
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        return [program("treeoflife"), "curate", "--settings", str(self.folder / "settings.yaml")]

    def curate(self, server: SampleServer) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(server), env=self.s3.environment(), cwd=ROOT, capture_output=True, text=True, timeout=CURATE_S, check=False
        )

    def objects(self) -> dict[str, S3Object]:
        """All objects by their name within the workspace."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        found = [item for page in pages for item in page.get("Contents", ())]
        return {item["Key"].removeprefix(f"{self.prefix}/"): S3Object(item["ETag"], str(item["LastModified"])) for item in found}

    def read(self, name: str) -> bytes:
        with self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")["Body"] as body:
            data: bytes = body.read()
            return data

    def digests(self) -> dict[str, str]:
        """SHA-256 of every object; outcomes hold times of requests, so they are the one thing that differs between runs."""
        return {name: hashlib.sha256(self.read(name)).hexdigest() for name in self.objects() if not name.startswith("outcomes/")}

    def num_shards(self) -> int:
        return sum(name.endswith(".tar") for name in self.objects())


def complete_releases(client: Any, bucket: str, prefix: str) -> list[str]:
    """Versions of all releases, after asking S3 for each object that a manifest names: all are there, in the size that it says.

    `latest` names one of them.
    """
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/releases/")
    names = [item["Key"].removeprefix(f"{prefix}/releases/") for page in pages for item in page.get("Contents", ())]
    versions = sorted(name.split("/")[0] for name in names if name.endswith("/manifest.json") and name.count("/") == 1)
    for version in versions:
        manifest = _read_json(client, bucket, f"{prefix}/releases/{version}/manifest.json")
        named = {name: file["num_bytes"] for name, file in manifest["files"].items()}
        named |= {shard["name"]: shard["num_bytes"] for split in manifest["splits"].values() for shard in split["shards"]}
        assert named
        for name, num_bytes in named.items():
            key = os.path.normpath(f"{prefix}/releases/{version}/{name}")
            assert client.head_object(Bucket=bucket, Key=key)["ContentLength"] == num_bytes, key
    if "latest.json" in names:
        assert _read_json(client, bucket, f"{prefix}/releases/latest.json")["version"] in versions
    return versions


def _read_json(client: Any, bucket: str, key: str) -> Any:
    with client.get_object(Bucket=bucket, Key=key)["Body"] as body:
        return json.loads(body.read())


def release_settings(
    s3: S3Service, uri: str, num_partitions: int, samples_per_shard: int, parent: str = "auto", **access: Any
) -> PipelineSettings:
    """Settings of the release stages alone, on S3."""
    settings = make_settings(uri, num_partitions, samples_per_shard, parent, true_phash=True)
    found = S3Settings.model_validate({"endpoint_url": s3.endpoint_url, "key": s3.key, "secret": s3.secret} | access)
    return settings.model_copy(update={"workspace": settings.workspace.model_copy(update={"s3": found})})


class RestartableS3:
    """An S3 service of one's own that is killed and comes back with what it held."""

    def __init__(self, folder: Path, command_environment: Mapping[str, str]) -> None:
        self._folder, self._port, self._stack = folder, free_ports(4), ExitStack()
        self._pid = 0
        self.service = S3Service(f"http://127.0.0.1:{self._port}", "test:tester", S3_SECRET, command_environment)

    def start(self) -> None:
        """Serve, on the same port each time; raises NotServingError."""
        log_path = self._folder / "s3_up.log"
        command = [str(ROOT / "infra/services/s3_up.sh"), str(self._folder), str(self._port)]
        environment = clean_environment(S3_SECRET=S3_SECRET)
        process = serving(command, log_path, environment, lambda: "ready: " in log_path.read_text(encoding="utf-8"), _INSTALL_S)
        self._pid = self._stack.enter_context(process).pid

    def kill(self) -> None:
        """All of its processes at once, as when the power fails. Each of Swift's servers leads a group of its own."""
        pids = (self._pid, *_children(self._pid))
        # Stopped first: a proxy that outlives its account server for a moment says that a bucket does not exist.
        for end in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                os.kill(pid, end)
        self.stop()

    def stop(self) -> None:
        """End it in good order."""
        self._stack.close()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
