"""Every file name and address in a workspace, a release, a model and the local state folder, each spelled once.

    records/<source>/<snapshot>/part-00000.parquet   records of one snapshot; _snapshot.json describes it
    images/part-00000.parquet                        encoded images and their hashes
    outcomes/part-00000.parquet                      the ledger: the outcome of each download
    taxonomy/names.parquet                           a decision for each distinct verbatim lineage
    taxonomy/backbones/<backbone>.parquet            the compiled index of a backbone
    taxonomy/vernaculars/<backbone>.parquet          vernacular names in further languages
    duplicates/groups.parquet                        groups of duplicates; index/ and search/ hold what an increment reuses
    evaluation-sets/<set>.parquet                    evaluation sets from outside
    embeddings/                                      image embeddings of the leakage gate
    scores/<filter>/part-00000.parquet               scores of one filter
    splits/                                          tables of the stage `release`, before they are published
    stages/<stage>.json                              manifests of stages
    releases/<version>/                              a release; see the names under "Releases"
    models/<id>/, evaluations/<id>/, reports/<id>/   what training, evaluation and the report write
    features/<key>/                                  features of images, kept for further evaluations of the same model
    heads/<key>.parquet                              zero-shot heads: vectors of classes with their lineages, by model and texts
    comparisons/<id>/                                scores of several models side by side

Names are relative to the workspace (or to the release where it says so) and use `/`.
"""

from __future__ import annotations

import re

PARQUET = ".parquet"

# Partitions

_PART_NUMBER = re.compile(r"part-(\d+)(?=\.parquet$|$)")


def part_name(index: int) -> str:
    """Name of partition `index`, without a folder and a suffix: `part-00003`."""
    return f"part-{index:05d}"


def part_range_name(first: int, last: int) -> str:
    """Name of a run of partitions that one job covers: `parts-00003-00007`, or `part-00003` where it is one."""
    return part_name(first) if first == last else f"parts-{first:05d}-{last:05d}"


def part_number(name: str) -> int | None:
    """Number of the partition that a file or folder name ends with, or None: `images/part-00003.parquet` gives 3."""
    found = _PART_NUMBER.search(name)
    return int(found[1]) if found else None


def file_stem(name: str) -> str:
    """Last part of a table's name without its suffix: `images/part-00003.parquet` gives `part-00003`."""
    return name.rsplit("/", 1)[-1].removesuffix(PARQUET)


# Stages


STAGES_DIR = "stages"


def stage_manifest(stage: str) -> str:
    """Manifest of a stage: which partitions it has, their outputs and counts."""
    return f"{STAGES_DIR}/{stage}.json"


def partition_manifest(directory: str, name: str) -> str:
    """Manifest of a partition. It starts with an underscore, so readers of Parquet folders skip it."""
    return f"{directory}/_{name}.json"


# Records

RECORDS_DIR = "records"


def records_dir(source: str, snapshot: str = "") -> str:
    """Folder of a source's snapshots, or of one snapshot."""
    return f"{RECORDS_DIR}/{source}/{snapshot}" if snapshot else f"{RECORDS_DIR}/{source}"


def records_part(source: str, snapshot: str, index: int) -> str:
    """Records of one partition of a snapshot."""
    return f"{records_dir(source, snapshot)}/{part_name(index)}{PARQUET}"


def snapshot_file(source: str, snapshot: str) -> str:
    """Description of a snapshot: date, ETag and digests of the archive's files."""
    return f"{records_dir(source, snapshot)}/_snapshot.json"


def snapshot_of(name: str) -> tuple[str, str]:
    """(source, snapshot) of a records file."""
    _, source, snapshot, *_ = name.split("/")
    return source, snapshot


def without_snapshot(name: str) -> str:
    """Name of a records file in every snapshot: `records/eol/0123/part-00001.parquet` gives `records/eol/part-00001.parquet`."""
    top, *between, part = name.split("/")
    return "/".join([top, *between[:1], part])


WITHDRAWAL_LIST = "takedown.txt"
"""Ids, URLs and hashes of images that were withdrawn; always read besides `ingest.takedown`."""

# Images and the ledger of downloads

IMAGES_DIR, OUTCOMES_DIR = "images", "outcomes"


def images_part(index: int) -> str:
    """Images of a partition."""
    return f"{IMAGES_DIR}/{part_name(index)}{PARQUET}"


def outcomes_part(index: int) -> str:
    """Outcomes of a partition."""
    return f"{OUTCOMES_DIR}/{part_name(index)}{PARQUET}"


def outcomes_of(images: str) -> str:
    """Outcomes of the partition whose images are in the file `images`."""
    return f"{OUTCOMES_DIR}/{images.removeprefix(f'{IMAGES_DIR}/')}"


def unfinished_images_dir(index: int) -> str:
    """Folder of the chunks that a partition has downloaded so far, until the partition is done."""
    return f"{IMAGES_DIR}/.{part_name(index)}"


# Taxonomy

TAXONOMY_DIR, BACKBONES_DIR, VERNACULARS_DIR = "taxonomy", "taxonomy/backbones", "taxonomy/vernaculars"
NAMES = "taxonomy/names.parquet"


def backbone_index(backbone: str) -> str:
    """Compiled index of a backbone."""
    return f"{BACKBONES_DIR}/{backbone}{PARQUET}"


def vernaculars(backbone: str) -> str:
    """Vernacular names of a backbone in further languages."""
    return f"{VERNACULARS_DIR}/{backbone}{PARQUET}"


# Duplicates

DUPLICATES_DIR, DUPLICATE_SEARCH_DIR = "duplicates", "duplicates/search"
DUPLICATE_GROUPS = "duplicates/groups.parquet"
INDEXED_HASHES, INDEXED_PAIRS = "duplicates/index/hashes.parquet", "duplicates/index/pairs.parquet"


def duplicate_search_part(part: int, num_parts: int) -> str:
    """Start of the names of what one of `num_parts` search jobs writes, without a folder."""
    return f"part-{part:03d}-of-{num_parts:03d}"


# Evaluation sets, embeddings and scores

EVALUATION_SETS_DIR, EMBEDDINGS_DIR, SCORES_DIR = "evaluation-sets", "embeddings", "scores"


def evaluation_set(name: str) -> str:
    """Table of an evaluation set from outside."""
    return f"{EVALUATION_SETS_DIR}/{name}{PARQUET}"


def set_embeddings(name: str) -> str:
    """Embeddings of an evaluation set's images."""
    return f"{EMBEDDINGS_DIR}/sets/{name}{PARQUET}"


def image_embeddings(part: str) -> str:
    """Embeddings of the images of one partition, e.g. `part-00003`."""
    return f"{EMBEDDINGS_DIR}/{part}{PARQUET}"


def filter_scores_dir(filter_name: str) -> str:
    """Folder of the scores of a filter."""
    return f"{SCORES_DIR}/{filter_name}"


def filter_scores(filter_name: str, part: str) -> str:
    """Scores of a filter for the images of one partition, e.g. `part-00003`."""
    return f"{filter_scores_dir(filter_name)}/{part}{PARQUET}"


# The stage `release`: tables under splits/, most of which a release publishes under the same file name

SPLITS_DIR = "splits"
SAMPLES, FINGERPRINTS, LEAKS, EVALUATED = "samples.parquet", "fingerprints.parquet", "leaks.parquet", "evaluated.parquet"
TEXTS, TRAIN_SMALL, HELDOUT_LIST = "texts.parquet", "train_small.parquet", "heldout_list.parquet"
LABEL_CONFLICTS, REFUSED_LEAKS, LONG_TAIL, PARENT = "conflicts.parquet", "leaks-refused.parquet", "tail.json", "parent.json"


def in_splits(file: str) -> str:
    """Name in the workspace of a table of the stage `release`."""
    return f"{SPLITS_DIR}/{file}"


# Releases: names are relative to the release's folder

RELEASES_DIR, RELEASE_PARTITIONS_DIR = "releases", "partitions"
MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
"""SHA-256 of manifest.json, in the form that `sha256sum --check` reads."""
CATALOG, PROVENANCE, ATTRIBUTION, LICENSES = "catalog.parquet", "provenance.parquet", "attribution.parquet", "licenses.parquet"
CARD, ATTRIBUTION_TEXT, CROISSANT = "README.md", "ATTRIBUTION.md", "croissant.json"
WIDS_INDEX, SHARD_SIZES = "shardindex.json", "sizes.json"
"""Lists of a split's shards: for `wids`, and for open_clip."""
SHARD_NAME = re.compile(r"(?:\.\./(?P<version>[0-9a-f]{12})/)?shards/(?P<split>[a-z]+)/shard-(?P<number>\d{5,})\.tar")
SHARD_INDEX_NAME = re.compile(r"\.\./[0-9a-f]{12}/shards/[a-z]+/shard-\d{5,}\.index\.parquet")
TAR = ".tar"


def release_dir(version: str) -> str:
    """Folder of a release in the workspace."""
    return f"{RELEASES_DIR}/{version}"


def release_manifest(version: str) -> str:
    """Manifest of a release in the workspace."""
    return f"{release_dir(version)}/{MANIFEST}"


def release_partitions_dir(version: str) -> str:
    """Folder of the manifests of a release's shard jobs."""
    return f"{release_dir(version)}/{RELEASE_PARTITIONS_DIR}"


def alias_file(alias: str) -> str:
    """File of an alias such as `latest`, which names a version."""
    return f"{RELEASES_DIR}/{alias}.json"


def alias_of(name: str) -> str | None:
    """Alias whose file `name` is, or None."""
    folder, _, file = name.rpartition("/")
    return file.removesuffix(".json") if folder == RELEASES_DIR and file.endswith(".json") else None


def split_dir(split: str) -> str:
    """Folder of a split's shards in its release."""
    return f"shards/{split}"


def shard_file(number: int) -> str:
    """File name of a shard: `shard-00000.tar`."""
    return f"shard-{number:05d}{TAR}"


def shard_name(split: str, number: int) -> str:
    """Name of a shard in its release."""
    return f"{split_dir(split)}/{shard_file(number)}"


def shard_number(name: str) -> int:
    """Number of a shard."""
    return int(name.rpartition("/")[2].removeprefix("shard-").removesuffix(TAR))


def shard_index(shard: str) -> str:
    """Name of a shard's index: `shards/val/shard-00000.tar` gives `shards/val/shard-00000.index.parquet`."""
    return f"{shard.removesuffix(TAR)}.index{PARQUET}"


# Models, evaluations and reports

MODELS_DIR, EVALUATIONS_DIR, REPORTS_DIR, FEATURES_DIR, HEADS_DIR = "models", "evaluations", "reports", "features", "heads"
MODEL_INFO, TRAINING_METRICS = "model.json", "metrics.jsonl"
MODEL_CONFIG, MODEL_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
OBJECTIVE_WEIGHTS = "objectives.safetensors"
"""Parameters added by the objectives; absent if they added none."""
TEACHER_CAPTIONS = "captions.parquet"
"""A teacher's features of captions, in a folder of features to distill."""
SCORES_INFO, SCORES_TABLE, SCORES_OUTCOMES = "scores.json", "scores.parquet", "outcomes.parquet"
SCORES_MAP = "embedding-map.parquet"
"""Images in two dimensions; absent unless the task `embedding_map` made them."""
COMPARISONS_DIR, COMPARISON_INFO, COMPARISON_TABLE = "comparisons", "comparison.json", "comparison.parquet"
COMPARISON_LEAKS, COMPARISON_DIFFERENCES, COMPARISON_PAGE = "benchmark-leaks.parquet", "differences.parquet", "comparison.html"
COMPARISON_COMPONENTS = "principal-components.parquet"
"""Evidence that images of a benchmark were trained on."""
TRACKING = "mlflow.json"
"""The MLflow run of a model or an evaluation."""
RELEASE_PAGE, NAMES_PAGE = "report.html", "taxonomy.html"


def model_dir(model_id: str) -> str:
    """Folder of a model in the workspace."""
    return f"{MODELS_DIR}/{model_id}"


def model_info(model_id: str) -> str:
    """Description of a model; it is written last, so a model with one is finished."""
    return f"{model_dir(model_id)}/{MODEL_INFO}"


def teacher_crop(number: str) -> str:
    """A teacher's features of one crop of every image, in a folder of features to distill."""
    return f"crop-{number}.parquet"


def checkpoints_dir(model_dir: str) -> str:
    """Folder of an unfinished model's checkpoints."""
    return f"{model_dir}/checkpoints"


def checkpoint_dir(model_dir: str, num_steps: int) -> str:
    """Folder of the checkpoint after `num_steps` steps."""
    return f"{checkpoints_dir(model_dir)}/step-{num_steps:08d}"


def checkpoint_steps(folder: str) -> int:
    """Number of steps done at a checkpoint, from the name of its folder."""
    return int(folder.rpartition("-")[2])


def checkpoint_manifest(sha256: str) -> str:
    """Manifest of a checkpoint in its folder; it is written last, and its name has the start of the SHA-256 of its content."""
    return f"manifest-{sha256[:16]}.json"


def is_checkpoint_manifest(name: str) -> bool:
    """True for the name of a checkpoint's manifest, with or without its folder."""
    return name.rpartition("/")[2].startswith("manifest-")


def divergence_report(model_dir: str, step: int) -> str:
    """The step, counted from 1, at which training diverged, and the samples of its batch."""
    return f"{model_dir}/divergence/step-{step:08d}.json"


NETWORK_STATE, OBJECTIVES_STATE, OPTIMIZER_STATE = "network.safetensors", "objectives-state.safetensors", "optimizer.safetensors"
AVERAGED_STATE, STEP_HISTORY = "averaged.safetensors", "history.safetensors"
"""Files of a checkpoint: tensors of the network, the objectives, the optimizer, the averaged network, and the metrics of each step."""
SHARDED_TENSORS = "tensors.json"
"""In a checkpoint of a sharded network: type, shape and parts of each tensor. The parts are in the files of `process_parts`."""


def process_parts(rank: int) -> str:
    """The parts that the process `rank` of a sharded run wrote."""
    return f"process-{rank:05d}.safetensors"


def unreadable_dir(model_dir: str) -> str:
    """Folder of the lists of samples that the processes of an unfinished run could not read."""
    return f"{model_dir}/unreadable"


def unreadable_samples(model_dir: str, rank: int) -> str:
    """List of the process `rank`."""
    return f"{unreadable_dir(model_dir)}/rank-{rank:05d}.json"


def evaluation_dir(evaluation_id: str) -> str:
    """Folder of an evaluation in the workspace."""
    return f"{EVALUATIONS_DIR}/{evaluation_id}"


def evaluation_info(evaluation_id: str) -> str:
    """Description of an evaluation; it is written last, so an evaluation with one is finished."""
    return f"{evaluation_dir(evaluation_id)}/{SCORES_INFO}"


def comparison_dir(comparison_id: str) -> str:
    """Folder of a comparison of models in the workspace."""
    return f"{COMPARISONS_DIR}/{comparison_id}"


def set_fingerprints(key: str) -> str:
    """Hashes of the images of a benchmark."""
    return f"{COMPARISONS_DIR}/fingerprints/{key}{PARQUET}"


def features_dir(key: str) -> str:
    """Folder of the features that one way of encoding images gives."""
    return f"{FEATURES_DIR}/{key}"


def head_file(key: str) -> str:
    """Vectors of the classes of one zero-shot head of one model, with their lineages."""
    return f"{HEADS_DIR}/{key}{PARQUET}"


def report_dir(report_id: str) -> str:
    """Folder of a report in the workspace."""
    return f"{REPORTS_DIR}/{report_id}"


# The local state folder

STATE_DIR, TRAINING_CACHE_DIR, SAMPLE_INDEXES_DIR, CACHED_SHARDS_DIR = ".state", "training-cache", "indexes", "shards"
SAMPLE_INDEX_ROWS, SAMPLE_INDEX_FACTS, SAMPLE_INDEX_GROUPS = "rows.bin", "facts.json", "by-lineage.bin"
"""Files of an index of samples; see bioclip/shards/index_building.py."""

ARCHIVE_DIGESTS, EVALUATION_SET_DIGESTS = "digests.json", "evaluation-digests.json"
DEMO_SETTINGS = "settings.yaml"
