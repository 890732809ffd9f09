"""A partition is complete or absent, no URL is requested twice, and the ledger states the outcome of each record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from bioclip import layout
from bioclip.download.outcomes import PERMANENT, RETRY_LATER, SUCCESS
from bioclip.download.stage import plan_images, read_outcomes
from bioclip.partitions import run_partition
from bioclip.sample.server import SampleServer
from bioclip.sources.stage import plan_records
from bioclip.storage import open_workspace
from tests.conftest import Curated, run_jobs, sample_settings


class TestStage:
    def test_each_fault_of_the_sample_server_ends_in_its_outcome(self, curated: Curated) -> None:
        outcomes = {row["media_url"]: row for index in range(8) for row in read_outcomes(curated.storage, index)}
        faults = {url.rsplit("/", 1)[1]: row for url, row in outcomes.items() if "/faults/" in url}
        assert {name: (row["status"], row["reason"]) for name, row in faults.items()} == {
            "missing.jpg": (PERMANENT, "http_404"),
            "landing-page.jpg": (PERMANENT, "not_an_image"),
            "busy.jpg": (SUCCESS, ""),
            "cut.jpg": (RETRY_LATER, "body_truncated"),
            "moved.jpg": (SUCCESS, ""),
            "unavailable.jpg": (RETRY_LATER, "http_503"),
        }
        assert len(outcomes) == sum(result.manifest.counts.written for result in curated.results["records"])

    def test_asking_again_for_failures_asks_for_nothing_else(self, sample_server: SampleServer, tmp_path: Path) -> None:
        settings = sample_settings(sample_server, tmp_path, download={"max_attempts": 1})
        storage = open_workspace(settings.workspace)
        run_jobs(storage, "records", plan_records(storage, settings))
        # The server refuses the first request of its life for busy.jpg, which fails here only if no test asked before.
        busy = set() if sample_server.request_counts.get("faults/busy.jpg") else {"faults/busy.jpg"}
        run_jobs(storage, "images", plan_images(storage, settings))
        before = sample_server.request_counts
        retrying = settings.model_copy(update={"download": settings.download.model_copy(update={"retry_failed": True})})
        run_jobs(storage, "images", plan_images(storage, retrying))
        asked = {path for path, count in sample_server.request_counts.items() if count > before.get(path, 0)}
        assert asked == {"faults/cut.jpg", "faults/unavailable.jpg"} | busy

    def test_a_lost_manifest_costs_no_second_request(self, sample_server: SampleServer, tmp_path: Path) -> None:
        settings = sample_settings(sample_server, tmp_path, ingest={"num_partitions": 64})
        storage = open_workspace(settings.workspace)
        run_jobs(storage, "records", plan_records(storage, settings))
        jobs = {job.name: job for job in plan_images(storage, settings)}
        finals = (
            name for name, job in jobs.items() if "faults" not in str(pq.read_table(storage.uri(job.arguments["records"][0]))["media_url"])
        )
        job = jobs[next(finals)]
        first = run_partition(job)
        storage.remove(job.manifest_name)
        second = run_partition(job)
        assert second.manifest == first.manifest
        assert (first.effort["requests"] > 0, second.effort["requests"]) == (True, 0)
        third = run_partition(replace(job, settings="other settings"))
        assert third.effort["requests"] == 0, "only settings that change the image itself ask again"

    def test_the_ledger_says_when_and_how_often(self, curated: Curated) -> None:
        ledger = pq.read_table(curated.storage.uri(layout.outcomes_part(0)))
        assert ledger["fetched_at"].null_count == 0
        assert min(ledger["attempts"].to_pylist()) == 1
