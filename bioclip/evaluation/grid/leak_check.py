"""The leak check of a model on a benchmark: the guards of a release compare its training images with those of the benchmark.

A model of the workspace is checked against the releases that it was trained on. The training images of any other model are not known:
its status is `unknown`, unless the benchmark is compared with a release that the user names (the contamination probe).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.errors import LeakageError, SettingsError, StorageError
from bioclip.evaluation.benchmark import Benchmark
from bioclip.leakage import FINGERPRINT_SCHEMA, LEAK_SCHEMA, SetFingerprints, find_leaks
from bioclip.leakage.comparison import settings_of_hashes
from bioclip.leakage.set_fingerprints import fingerprint_set
from bioclip.models.trained import ModelInfo, read_model_info
from bioclip.parquet import read_known_columns
from bioclip.releases import Release, open_release
from bioclip.settings import PipelineSettings, settings_digest

if TYPE_CHECKING:
    from bioclip.models.reference import ModelRef
    from bioclip.storage import Storage

Status = Literal["unknown", "none", "found"]
_MAX_NAMED = 5


@dataclass(frozen=True)
class LeakCheck:
    """How many images of each benchmark have evidence (LEAK_SCHEMA) in the training images of `releases`.

    `basis` is `training` for the releases of the model and `probe` for one that the user named. `num_images` and `num_leaking` are by name
    of the benchmark, `kinds` counts benchmark images by kind of evidence; `reason` states what could not be checked.
    """

    status: Status
    basis: Literal["", "training", "probe"] = ""
    releases: tuple[str, ...] = ()
    num_images: dict[str, int] = field(default_factory=dict)
    num_leaking: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    evidence: pa.Table = field(default_factory=LEAK_SCHEMA.empty_table, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the evidence."""
        names = ("status", "basis", "releases", "num_images", "num_leaking", "kinds", "reason")
        return {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in names}

    def describe(self, benchmark: str) -> str:
        """The result for one benchmark, as a cell of a table."""
        if self.status == "unknown" or benchmark not in self.num_images:
            return "unknown"
        what = "" if self.basis == "training" else " (probe)"
        return f"{self.num_leaking[benchmark]:,} of {self.num_images[benchmark]:,}{what}"


def check_benchmarks(
    ref: ModelRef, benchmarks: Sequence[Benchmark], settings: PipelineSettings, storage: Storage, against: Release | None = None
) -> LeakCheck:
    """The leak check of a model on benchmarks of one set or release; `against` is compared besides the model's own releases.

    Raises LeakageError where leaks are found and `settings.evaluation.on_leak` is `refuse`, UnreadableSetError for a benchmark without a
    readable image, and SettingsError for an `against` without fingerprints.
    """
    releases, gaps = _training_releases(ref, storage)
    basis: Literal["training", "probe"] = "training" if releases else "probe"
    if against is not None:
        _check_fingerprints(against)
        releases += [against] if against.digest not in {one.digest for one in releases} else []
    if not releases:
        return LeakCheck("unknown", reason=gaps)
    scored = [one for one in benchmarks if not one.reason]
    tables = [LEAK_SCHEMA.empty_table()]
    for release in releases:
        hashed, leakage = settings_of_hashes(release.manifest.get("settings", {}), settings), settings.leakage
        try:
            sides = [_side(one, hashed, storage) for one in scored]
        except SettingsError as error:
            return LeakCheck("unknown", reason=str(error))
        found = find_leaks(_training_images(release), sides, leakage.guards, leakage.radius, min_correlation=leakage.min_correlation)
        tables.append(found.evidence)
    versions = tuple(one.version for one in releases)
    check = _judge(pa.concat_tables(tables), scored, LeakCheck("none", basis, versions, reason="" if basis == "probe" else gaps))
    if check.status == "found" and settings.evaluation.on_leak == "refuse":
        raise LeakageError(_refusal(check))
    return check


def _judge(evidence: pa.Table, benchmarks: Sequence[Benchmark], check: LeakCheck) -> LeakCheck:
    """`check` with the counts of the evidence; without any, a gap in what was compared leaves the status unknown."""
    rows = evidence.select(["evaluation_set", "evaluation_record_id", "kind"]).to_pylist()
    leaking = {(row["evaluation_set"], row["evaluation_record_id"]) for row in rows}
    kinds = Counter(kind for _, _, kind in {tuple(row.values()) for row in rows})
    by_benchmark = Counter(name for name, _ in leaking)
    return replace(
        check,
        status="found" if leaking else "unknown" if check.reason else "none",
        num_images={one.name: len(one.labels) for one in benchmarks},
        num_leaking={one.name: by_benchmark[one.name] for one in benchmarks},
        kinds=dict(sorted(kinds.items())),
        evidence=evidence,
    )


def _refusal(check: LeakCheck) -> str:
    named = list(dict.fromkeys(check.evidence["evaluation_record_id"].to_pylist()))[:_MAX_NAMED]
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in check.kinds.items())
    num_leaking, num_images = sum(check.num_leaking.values()), sum(check.num_images.values())
    return (
        f"{num_leaking:,} of {num_images:,} benchmark images are among the training images of release "
        f"{', '.join(check.releases)} ({kinds}): {', '.join(named)}; "
        "remove them from the benchmark, or set evaluation.on_leak=mark to score them."
    )


def _training_releases(ref: ModelRef, storage: Storage) -> tuple[list[Release], str]:
    """(the releases that the model was trained on, what else it was trained on and why that is not known)."""
    if ref.kind != "workspace":
        return [], "the training images of the model are not known"
    info: ModelInfo = read_model_info(storage, ref.name)
    streams = info.settings.get("data") or [{"release": ""}]
    versions = dict.fromkeys(stream.get("release") or info.release_version for stream in streams if not stream.get("shards"))
    gaps = [f"shards {stream['shards']!r} have no fingerprints" for stream in streams if stream.get("shards")]
    found = []
    for version in versions:
        try:
            found.append(open_release(storage, version))
            _check_fingerprints(found[-1])
        except StorageError:
            gaps.append(f"release {version} of its training is not in the workspace")
        except SettingsError as error:
            found.pop()
            gaps.append(str(error))
    return found, "; ".join(gaps)


def _check_fingerprints(release: Release) -> None:
    if not release.storage.exists(layout.FINGERPRINTS):
        raise SettingsError(
            f"release {release.version} has no {layout.FINGERPRINTS}; make it again with this version to search it for leaks."
        )


def _training_images(release: Release) -> pa.Table:
    """FINGERPRINT_SCHEMA rows of the split `train`."""
    schema = pa.schema([*FINGERPRINT_SCHEMA, pa.field("split", pa.string())])
    parts = [
        rows.filter(pa.compute.equal(rows["split"], "train")) for rows in read_known_columns(release.storage, layout.FINGERPRINTS, schema)
    ]
    table = pa.concat_tables([schema.empty_table(), *parts]).drop_columns(["split"])
    return table.sort_by("record_id").combine_chunks()


def _side(benchmark: Benchmark, settings: PipelineSettings, storage: Storage) -> SetFingerprints:
    """The benchmark's labelled images; they are hashed once and their hashes kept by the content of the set."""
    images = benchmark.images.select(benchmark.labels)
    parts = [images.revision, sorted(benchmark.labels), settings_digest(settings.download), settings.duplicates.min_entropy_bits]
    name = layout.set_fingerprints(digest_value(["fingerprints", 1, *parts])[:16])
    if not storage.exists(name):
        prints, _ = fingerprint_set(images, settings.download, settings.duplicates.min_entropy_bits, [], settings.taxonomy)
        with storage.writer(name) as stream:
            pq.write_table(prints, stream)
    with storage.reader(name) as stream:
        return SetFingerprints(benchmark.name, pq.read_table(stream, schema=FINGERPRINT_SCHEMA), benchmark.unit == "species")
