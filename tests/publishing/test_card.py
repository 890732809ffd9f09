"""The card is valid for the Hub, its numbers are those of the release, and providers' words cannot break it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from huggingface_hub import DatasetCard

from bioclip.errors import SettingsError
from bioclip.publishing.attribution import attribution_text
from bioclip.publishing.card import front_matter
from bioclip.publishing.citation import bibtex
from bioclip.publishing.markdown import cell
from bioclip.publishing.sample_counts import SampleCounts, count_samples
from bioclip.sample.server import SampleServer
from bioclip.schemas import LICENSES_SCHEMA
from bioclip.settings import CardSettings
from tests.conftest import Curated, sample_settings
from tests.publishing.conftest import CARD

HUB_TASKS = {"image-classification", "zero-shot-image-classification"}
HUB_SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"}


@pytest.fixture(scope="module")
def card(curated: Curated) -> DatasetCard:
    """The card as huggingface_hub reads it."""
    return DatasetCard(curated.release.storage.read_bytes("README.md").decode())


@pytest.fixture(scope="module")
def rows(curated: Curated) -> list[dict[str, Any]]:
    """samples.parquet."""
    found: list[dict[str, Any]] = curated.release.samples().to_pylist()
    return found


class TestFrontMatter:
    def test_huggingface_hub_reads_every_key_in_the_hubs_vocabulary(self, card: DatasetCard, curated: Curated) -> None:
        data = card.data.to_dict()
        assert (data["license"], data["license_name"], data["license_link"]) == ("other", "per-image", "ATTRIBUTION.md")
        assert curated.release.storage.exists(data["license_link"])
        assert set(data["task_categories"]) <= HUB_TASKS
        assert data["size_categories"] == ["1K<n<10K"]
        assert data["pretty_name"].endswith(curated.release.version)
        assert re.fullmatch(r"[a-z0-9.-]+", data["license_name"])

    def test_each_splits_pattern_matches_its_own_tars_alone(self, card: DatasetCard, curated: Curated) -> None:
        [config] = card.data.to_dict()["configs"]
        for entry in config["data_files"]:
            matched = [
                str(path.relative_to(curated.release.storage.root)) for path in Path(curated.release.storage.root).glob(entry["path"])
            ]
            assert sorted(matched) == curated.release.shards(entry["split"])
        assert [entry["split"] for entry in config["data_files"]] == ["train", "val", "heldout"]

    @pytest.mark.parametrize(("number", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (213_900_000, "100M<n<1B")])
    def test_sizes_are_the_hubs_classes(self, curated: Curated, number: int, size: str) -> None:
        front = front_matter(curated.release.manifest, SampleCounts(num_samples=number), CardSettings())
        assert front["size_categories"] == [size]
        assert set(front["size_categories"]) <= HUB_SIZES

    def test_one_licence_that_the_hub_knows_is_the_datasets_own(self, curated: Curated) -> None:
        front = front_matter(curated.release.manifest, SampleCounts(licenses=Counter({"CC-BY-4.0": 3})), CardSettings())
        assert front["license"] == "cc-by-4.0"
        assert "license_name" not in front

    def test_shards_that_lie_elsewhere_are_named_one_by_one(self, curated: Curated) -> None:
        manifest = json.loads(json.dumps(curated.release.manifest))
        manifest["splits"]["val"]["shards"][0]["name"] = "../earlier/shards/val/shard-00000.tar"
        manifest["splits"]["heldout"]["shards"] = []
        [config] = front_matter(manifest, SampleCounts(), CardSettings())["configs"]
        paths = {entry["split"]: entry["path"] for entry in config["data_files"]}
        assert paths["train"] == "shards/train/*.tar"
        assert paths["val"] == [shard["name"] for shard in manifest["splits"]["val"]["shards"]]
        assert "heldout" not in paths


class TestNumbers:
    def test_splits_sources_licences_and_drops_are_those_of_the_samples(self, card: DatasetCard, curated: Curated, rows: Any) -> None:
        kept = [row for row in rows if row["split"]]
        for name, split in curated.release.manifest["splits"].items():
            assert f"| {name} | {split['num_samples']:,} | {split['num_species']:,} |" in card.text
        for source, number in Counter(row["source"] for row in kept).items():
            assert f"| {source} | {number:,} |" in card.text
        for name, number in Counter(row["license"] for row in kept).items():
            assert re.search(rf"\| \[?{re.escape(name)}\]?(\(\S+\))? \| {number:,} \|", card.text)
        for reason, number in Counter(row["drop_reason"] for row in rows if row["drop_reason"]).items():
            assert f"| release | `{reason}` | {number:,} |" in card.text
        for reason, number in curated.release.manifest["counts"]["images"]["dropped"].items():
            assert f"| images | `{reason}` | {number:,} |" in card.text

    def test_the_tally_agrees_with_counting_row_by_row(self, curated: Curated, rows: Any) -> None:
        sample_counts = count_samples(curated.release.storage, "samples.parquet")
        kept = [row for row in rows if row["split"]]
        assert (sample_counts.num_considered, sample_counts.num_samples) == (len(rows), len(kept))
        assert sample_counts.num_species == len({row["species"] for row in kept} - {""})
        assert sample_counts.num_common_names == sum(bool(row["common_name"]) for row in kept)
        assert sample_counts.holders == Counter(row["rights_holder"] or row["creator"] for row in kept)
        trained = sorted(Counter(row["species"] for row in kept if row["split"] == "train" and row["species"]).values(), reverse=True)
        tail = sample_counts.long_tail()
        assert (tail["species"], tail["most"], tail["below_10"]) == (len(trained), trained[0], sum(number < 10 for number in trained))
        assert tail["head_share"] == pytest.approx(sum(trained[: -(-len(trained) // 10)]) / sum(trained))

    def test_where_pictures_were_taken_is_told_by_zone(self) -> None:
        sample_counts = SampleCounts()
        columns = dict.fromkeys(
            ("kingdom", "species", "resolved_rank", "common_name", "source", "license", "rights_holder", "creator", "drop_reason"), [""] * 5
        )
        table = pa.table(columns | {"split": ["train"] * 4 + [""], "latitude": [50.0, 0.0, -40.0, None, 60.0], "longitude": [1.0] * 5})
        sample_counts.add(table)
        assert sample_counts.zones == {"north": 1, "tropics": 1, "south": 1}
        assert SampleCounts().long_tail()["species"] == 0

    def test_every_file_that_the_card_names_is_in_the_release(self, card: DatasetCard, curated: Curated) -> None:
        for name in set(re.findall(r"`([\w-]+\.(?:parquet|json|md|sha256))`", card.text)) - {"sizes.json"}:
            assert curated.release.storage.exists(name)


class TestWords:
    def test_what_no_stage_can_know_comes_from_the_settings(self, complete: Curated) -> None:
        text = complete.release.storage.read_bytes("README.md").decode()
        assert f"# Bundled sample {complete.release.version}" in text
        assert "Photographs of *organisms*." in text
        assert yaml.safe_load(text.split("---")[1])["pretty_name"] == f"Bundled sample {complete.release.version}"
        stated = json.loads(complete.release.storage.read_bytes("croissant.json"))
        assert (stated["url"], stated["datePublished"]) == ("https://example.org/sample", "2026-03-01")
        assert [creator["name"] for creator in stated["creator"]] == ["Jo Doe", "Museum & Co"]

    def test_the_citation_is_made_of_them_or_given_whole(self, curated: Curated) -> None:
        made = bibtex(curated.release.manifest, CARD)
        assert "author = {{Jo Doe} and {Museum & Co}}" in made
        assert "year = {2026}" in made
        assert f"version = {{{curated.release.version}}}" in made
        assert bibtex(curated.release.manifest, CardSettings(citation="@misc{x}")) == "@misc{x}\n"

    def test_a_day_or_address_that_is_none_is_refused(self, sample_server: SampleServer, tmp_path: Path) -> None:
        for wrong in ({"date_published": "yesterday"}, {"url": "example.org"}):
            with pytest.raises(SettingsError, match="card"):
                sample_settings(sample_server, tmp_path, card=wrong)

    def test_a_holders_name_cannot_break_the_table(self, curated: Curated) -> None:
        name = "a | b\n\n# [x](javascript:1) <b>"
        assert "\n" not in cell(name)
        assert "|" not in cell(name).replace("\\|", "")
        licenses = pa.table([["MIT"], [""], [True], [1], [0]], schema=LICENSES_SCHEMA)
        text = attribution_text(curated.release.manifest, SampleCounts(num_samples=1, holders=Counter({name: 1})), licenses)
        assert f"| {cell(name)} | 1 |" in text
        assert "<b>" not in text.replace("\\<b\\>", "")

    def test_images_without_a_holder_are_spoken_of(self, curated: Curated) -> None:
        licenses = pa.table([["CC-BY-4.0"], [""], [True], [5], [2]], schema=LICENSES_SCHEMA)
        sample_counts = SampleCounts(num_samples=5, holders=Counter({f"holder {index:03d}": 2 for index in range(300)}))
        text = attribution_text(curated.release.manifest, sample_counts, licenses)
        assert "2 images need attribution, but their provider names neither holder nor creator" in text
        assert "100 further holders of 200 images" in text


LOAD = """
import json, sys
import datasets
loaded = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
print(json.dumps({split: list(rows["__key__"]) for split, rows in loaded.items()}))
"""


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="Hugging Face datasets is not installed")
def test_load_dataset_finds_all_splits_in_the_folder_of_a_release(curated: Curated, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOAD, curated.release.storage.root, str(tmp_path / "cache")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    rows = curated.release.samples(["record_id", "split"]).to_pylist()
    assert {split: sorted(keys) for split, keys in found.items()} == {
        split: sorted(row["record_id"] for row in rows if row["split"] == split) for split in ("train", "val", "heldout")
    }
