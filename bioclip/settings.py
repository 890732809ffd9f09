"""The one frozen tree of settings; every field is documented by the string below it.

Fields made with `operational(...)` say where and how fast work is done, never what comes out of it. They stay out of
`settings_digest`, so a rerun with more workers, another address or other credentials finds its results again.
How a tree is loaded from YAML, the environment and `--set` is in `bioclip.configuration`.
"""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from bioclip.digests import digest_value

CaptionType = Literal["sci", "com", "taxon", "taxonTag", "sci_com", "taxon_com", "taxonTag_com"]
_CAPTION_OF_A_LANGUAGE = re.compile(r"(com|common_name)\.[a-z]{2,3}")


class Settings(BaseModel):
    """Base of every branch: frozen, unknown keys refused, docs taken from the strings under the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


def operational(default: Any, **constraints: Any) -> Any:
    """A field that cannot change any result: left out of the settings' digest."""
    return Field(default, json_schema_extra={"operational": True}, **constraints)


def rule(default: Any, **constraints: Any) -> Any:
    """A field left out of digests while it has its default: what was made before there was such a rule is found again."""
    return Field(default, json_schema_extra={"rule": True}, **constraints)


class S3Settings(Settings):
    """Access to an S3 service; empty values fall back to the usual AWS environment and profile."""

    endpoint_url: str = operational("")
    """Address of an S3-compatible service, e.g. http://127.0.0.1:8085; empty for AWS."""
    key: SecretStr = operational(SecretStr(""))
    """Access key; better given as TREEOFLIFE_WORKSPACE__S3__KEY than in a file."""
    secret: SecretStr = operational(SecretStr(""))
    """Secret key; better given as TREEOFLIFE_WORKSPACE__S3__SECRET than in a file."""
    region: str = operational("us-east-1")
    """Region name sent with each signature."""
    retry_s: float = operational(60.0, ge=0)
    """Longest that a request is tried again, with growing pauses, while the service is away, overloaded (503) or breaks connections;
    then the run ends with one error, and the next goes on where it stopped. What is refused (403) is not tried again."""
    timeout_s: float = operational(30.0, gt=0)
    """Longest wait for the next byte of an answer before the connection counts as broken."""


class WorkspaceSettings(Settings):
    """Where everything is written."""

    uri: str = operational("treeoflife-workspace")
    """Root of all results: a folder or any fsspec URL such as s3://bucket/prefix."""
    state_dir: str = operational("")
    """Local folder of the embedded services (Prefect, MLflow on SQLite) and of scratch; empty: `<workspace>/.state`, or
    `treeoflife-state` when the workspace is remote."""
    s3: S3Settings = operational(S3Settings())
    """Access to S3 when `uri` is s3://…"""


class SourceSettings(Settings):
    """One provider archive."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Short lower-case name; part of every record's identity, so never change it between snapshots."""
    format: str
    """Registered reader of the archive, e.g. `dwca` or `eol`."""
    path: str = operational(...)
    """The archive: a local file or folder. Its content decides the result, not where it lies."""
    options: dict[str, str] = {}
    """What this format wants besides, e.g. `taxa` for `eol`; the reader refuses keys it does not know."""
    snapshot_date: str = operational("", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    """Day of the export, YYYY-MM-DD, written beside the snapshot; empty: the newest date inside a zip or tar, if it has one."""
    etag: str = operational("")
    """ETag of the archive where it came by URL, written beside the snapshot."""


class IngestSettings(Settings):
    """From provider archives to records."""

    num_partitions: int = Field(16, gt=0, le=65536)
    """Partitions of records; each is a range of the hashed record id. 10,000 to 50,000 records a partition serve well."""
    licenses: tuple[str, ...] = ("any",)
    """Allowed normalised licences (`CC0-1.0`, `CC-BY-4.0`, …) or classes: `any`, `open` (redistributable: everything stated that is
    neither NC nor ND nor all rights reserved), `commercial` (no NC), `no-nd`. A record passes when one entry admits it."""
    basis_of_record: tuple[str, ...] = ()
    """Allowed values, e.g. HumanObservation; case, spaces and underscores do not count. Empty: all."""
    image_types: tuple[str, ...] = ()
    """Allowed values of `image_type`, e.g. specimen, camera_trap. Empty: all."""
    quality_grades: tuple[str, ...] = ()
    """Allowed grades, e.g. research. Empty: all."""
    taxa: tuple[str, ...] = ()
    """Subtrees by the provider's own names, `rank=name`, e.g. `class=Aves`; a record in one of them passes. Empty: all."""
    region: tuple[float, float, float, float] | None = None
    """Box of decimal degrees: south, west, north, east; west > east crosses the antimeridian. Empty: the whole world."""
    keep_missing: bool = False
    """What becomes of records that say nothing where one of the five settings above asks: kept, or dropped as `…_missing`."""
    takedown: str = operational("")
    """A text or CSV file of record ids, media URLs or SHA-256 hashes that must leave; its content counts, not where it lies."""
    buffer_bytes: int = operational(48 << 20, ge=1 << 12)
    """Bytes of rows that a join or the sort into partitions holds in memory before it goes to disk; peak memory is a few times this."""

    @field_validator("taxa")
    @classmethod
    def _taxa_have_ranks(cls, taxa: tuple[str, ...]) -> tuple[str, ...]:
        ranks = ("kingdom", "phylum", "class", "order", "family", "genus")
        for entry in taxa:
            rank, separator, name = entry.partition("=")
            if rank not in ranks or not separator or not name.strip():
                raise ValueError(f"{entry!r} is not rank=name with a rank of {', '.join(ranks)}")
        return taxa

    @field_validator("region")
    @classmethod
    def _region_is_a_box(cls, region: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
        if region is not None:
            south, west, north, east = region
            if not (-90 <= south <= north <= 90 and all(-180 <= edge <= 180 for edge in (west, east))):
                raise ValueError("give south, west, north, east in degrees, with south at most north")
        return region


class HostSettings(Settings):
    """What one host allows where it differs from the rest."""

    concurrency: int | None = operational(None, gt=0)
    """Requests under way at once, over all workers together; empty: `download.concurrency_per_host`."""
    requests_per_second: float | None = operational(None, gt=0)
    """Highest request rate, over all workers together; empty: `download.requests_per_second_per_host`."""


class DownloadSettings(Settings):
    """From media URLs to checked, hashed images."""

    user_agent: str = operational("treeoflife/0.1 (+https://example.org/set-download.user_agent-to-your-contact)")
    """Sent with every request; put an address where a provider can reach you. Its first word is the name that robots.txt is read for."""
    concurrency: int = operational(128, gt=0)
    """Requests under way at once in one worker."""
    concurrency_per_host: int = operational(8, gt=0)
    """Requests under way at once to one host, over all workers together."""
    requests_per_second_per_host: float = operational(50.0, gt=0)
    """Highest request rate to one host, over all workers together."""
    hosts: dict[str, HostSettings] = operational({})
    """Host name -> its own limits. A name such as `*.example.org` stands for all hosts below it, which then share one allowance."""
    allowance_host: str = operational("")
    """Address at which workers of a cluster reach this machine, where the allowance of each host is kept; empty: found by the route to
    the scheduler."""
    pause_host_after: int = operational(20, gt=0)
    """Failures in a row (time-outs, refused connections, 429, 5xx) after which a host is left alone for `host_pause_s`; what is skipped
    meanwhile is `host_paused`, to be asked for in a later run."""
    host_pause_s: float = operational(60.0, gt=0)
    """Length of that pause; then one request probes the host, and each failed probe doubles the pause, up to an hour."""
    timeout_s: float = operational(30.0, gt=0)
    """Deadline of one whole request, body included."""
    max_attempts: int = Field(4, gt=0, le=20)
    """Tries for one URL before its outcome is final; only 408, 425, 429, 5xx, time-outs and broken connections are tried again."""
    backoff_s: float = operational(0.5, ge=0)
    """First pause before another try; doubles each time, with jitter from the URL and the attempt."""
    max_retry_after_s: float = operational(120.0, ge=0)
    """Longest Retry-After that is waited for; a longer one ends the attempts."""
    max_redirects: int = Field(5, ge=0)
    """Redirects followed; each target is checked like the first address."""
    max_body_bytes: int = Field(64 << 20, gt=0)
    """Largest body, as sent and after undoing a Content-Encoding; a longer one is dropped as `body_too_large`."""
    max_pixels: int = Field(200_000_000, gt=0)
    """Largest width x height, read from the header before anything is decoded."""
    min_side_px: int = Field(32, gt=0)
    """Smallest allowed shorter side; smaller images are dropped as `image_too_small`."""
    allow_networks: tuple[str, ...] = operational(())
    """Private networks that may be contacted all the same, in CIDR form, e.g. 127.0.0.0/8. Empty: public addresses only."""
    connect_to: dict[str, str] = operational({})
    """Host -> `address:port` to contact in its place (a mirror, a test server); URL, Host header and record ids stay as they are."""
    ca_file: str = operational("")
    """PEM file of certificate authorities to trust beside the system's own."""
    respect_robots: bool = False
    """Read each host's robots.txt (RFC 9309) and drop what it forbids as `robots_disallowed`."""
    respect_noai: bool = True
    """Drop what is sent with `X-Robots-Tag: noai` or `noimageai`, as `noai`."""
    retry_failed: bool = operational(False)
    """Ask again for what earlier runs gave up on as `retry_later`."""
    retry_later_after_s: float = operational(0.0, ge=0)
    """Least age of a `retry_later` outcome before it is worth asking again."""
    refetch: bool = operational(False)
    """Ask again for everything, by ETag and Last-Modified; what a server calls unchanged (304) keeps its image."""
    store: Literal["original", "shorter_side", "longer_side", "square"] = "longer_side"
    """What is kept: the bytes as they came, or resized by the shorter or longer side, or squashed to a square as BioCLIP does.
    An image that already fits keeps its bytes."""
    store_px: int = Field(720, gt=0)
    """Target in pixels of `store`; without meaning for `original`."""
    phash256: bool = False
    """Take the 256-bit pHash too, which confirms near duplicates (`duplicates.confirm_by`)."""
    orientations: Literal["none", "mirror", "all"] = "none"
    """Take the pHashes of the mirrored picture, or of all its eight orientations, so that turned copies are found as near duplicates."""
    full_decode: bool = False
    """Decode JPEGs in full, at about twice the CPU time: pixel hashes are then those of lossless copies in any container, and pHashes are
    imagehash's to the bit. Otherwise the smallest decode that serves is hashed, and such copies are near duplicates instead."""
    jpeg_quality: int = Field(90, ge=1, le=100)
    """Quality of JPEGs that had to be made anew."""
    decode_threads: int = operational(2, gt=0)
    """Decoding threads of one worker."""
    decode_buffer_mb: int = operational(64, gt=0)
    """Bodies of one worker that wait to be decoded; when these are full, nothing more is asked for."""
    chunk_records: int = operational(512, gt=0)
    """Outcomes that are made durable together while a partition is under way: the most that a killed worker loses."""


class DuplicateSettings(Settings):
    """Groups of images that are the same photograph."""

    radius: int = Field(4, ge=0, le=12)
    """Greatest Hamming distance in bits between two 64-bit pHashes of one group; these distances are even numbers."""
    min_entropy_bits: float = Field(1.0, ge=0)
    """Images whose 32 x 32 grey thumbnail has less entropy are too flat for pHash and are compared exactly only."""
    grouping: Literal["star", "components"] = "star"
    """`star`: an image joins the best one that it is like directly; `components`: all that a chain of likeness joins is one group."""
    crowd_size: int = Field(4096, ge=64)
    """Distinct pHashes that agree in all blocks of a search table beyond which not every two are compared; what is left out is counted."""
    confirm_above: int = Field(10_000_000, ge=0)
    """With more images than this, near pairs must be confirmed by a second signal: chance alone makes pairs of 64 bits among so many."""
    confirm_from_radius: int = Field(8, ge=0, le=13)
    """Near pairs must be confirmed at this `radius` or a greater one too, however few images there are; 13: never for that reason."""
    confirm_by: str = "phash256"
    """Column of the images (32 bytes) with the second signal; where it is missing near pairs stay, and are counted as unconfirmed."""
    confirm_bits: int = Field(32, ge=0, le=256)
    """Greatest distance in bits of the second signals of a confirmed pair; those of unlike images differ in about 128."""
    label_conflicts: Literal["keep", "drop", "majority"] = "keep"
    """What to do with the image kept of a group whose members carry different accepted names: keep it, drop it, or keep it only if
    more than half of the named members carry its name. All are reported."""
    distribute_above: int = operational(20_000_000, ge=0)
    """With more images than this the search is cut into `search_jobs` jobs for the cluster."""
    search_jobs: int = operational(8, gt=0)
    """Jobs of a search that is cut; each reads all hashes and sorts them by a share of the tables."""


class BackboneSettings(Settings):
    """One taxonomic backbone."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    """Short name that appears beside every decision."""
    format: str = "auto"
    """Registered reader, e.g. `dwca` or `table`; `auto` tells it by the content."""
    path: str = operational(...)
    """The user's own download: a local file or folder. Its content decides the result, not where it lies."""


class TaxonomySettings(Settings):
    """From verbatim names to accepted lineages."""

    backbones: tuple[BackboneSettings, ...] = ()
    """In order of precedence: the first that knows a name decides."""
    min_confidence: int = Field(80, ge=0, le=100)
    """Least confidence of an accepted match."""
    allow_higher_rank: bool = True
    """Resolve to genus, family … when the species is unknown; otherwise such names are dropped."""
    inexact: Literal["none", "stem", "fuzzy"] = "fuzzy"
    """How far spellings of binomials may differ: not at all, in endings and orthographic variants, or by one or two letters too."""
    curation: str = operational("")
    """CSV of decisions by people (name, decision, who, why), which win over matching. Its content decides the result."""


class FilterSettings(Settings):
    """A filter by a score of each image; scores lie in a table of their own, so another threshold scores nothing again."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    """Short name; dropped images have the reason `filter_<name>`."""
    scorer: str
    """Registered scorer, e.g. `zero_shot` or `sharpness`, or a function of your own that builds one, `module:function`."""
    options: dict[str, Any] = {}
    """What this scorer wants, e.g. `model`, `positive` and `negative` for `zero_shot`; it refuses keys it does not know."""
    threshold: float
    """The score that decides."""
    keep: Literal["at_least", "at_most"] = "at_least"
    """Side of the threshold that stays, the threshold itself included."""
    batch_size: int = operational(64, gt=0)
    """Images scored at once."""


class ReleaseSettings(Settings):
    """Which images become samples, and in which split."""

    name: str = Field("tree-of-life", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Name of the dataset; its version is a digest."""
    val_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of the occurrences of known species that is held out as `val`, by hashed id."""
    val_min_images: int = Field(8, gt=0)
    """Species with fewer images give none to `val`: their few are needed for training."""
    heldout_species: tuple[str, ...] = ()
    """Accepted binomials kept out of training as `heldout`; empty: drawn by hashed name."""
    heldout_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of eligible species drawn as held-out when no list is given."""
    heldout_min_images: int = Field(8, gt=0)
    """Species with fewer images are never drawn as held-out."""
    min_rank: Literal["kingdom", "phylum", "class", "order", "family", "genus", "species"] = "kingdom"
    """Least resolved rank of a training sample; evaluation splits hold species only."""
    seed: int = 17
    """Salt of the hashed split decisions; another seed is another dataset."""
    parent: str = operational("auto")
    """Release that this one continues: its shards are used again, and what it held out stays held out. A version, an alias, or empty for
    none; `auto`: what `latest` names, where that has the same name and was split by the same settings."""
    heldout_list: str = operational("")
    """File of names to hold out beside `heldout_species`: one a line, or a CSV or TSV with a column `scientificName` (or `scientific_name`,
    `species`) such as an IUCN Red List export. Synonyms are resolved by the backbones. Its content counts, not where it lies."""
    heldout_categories: tuple[str, ...] = rule(())
    """Categories of the list's column `redlistCategory` (or `category`) that are held out, e.g. Endangered; empty: every name."""
    heldout_num_species: int = rule(0, ge=0)
    """Draw about this many species by hashed name, of those listed where a list is given, in place of `heldout_fraction`; 0: not so."""
    heldout_rank: Literal["species", "genus", "family"] = rule("species")
    """Hold out whole taxa of this rank: all species of a drawn or listed one's genus or family leave training together."""
    heldout_strata: Literal["", "kingdom", "phylum", "class", "order", "family"] = rule("")
    """A rank above `heldout_rank`: of each of its taxa that can spare one, at least one is drawn. Empty: drawn over all alike."""
    train_small_fraction: float = rule(0.0, ge=0, lt=1)
    """Share of training images, by hashed id, that `train_small.parquet` lists; a smaller share is a part of a larger. 0: no list."""
    min_per_species: int = rule(0, ge=0)
    """Species with fewer training images leave training as `species_too_rare`; 0: none does."""
    max_per_species: int = rule(0, ge=0)
    """Training images of one species beyond this many leave as `species_over_cap`; those of lowest hashed id stay. 0: no cap."""
    balance_threshold: int = rule(0, ge=0)
    """MetaCLIP's t: of a taxon with n training images each stays with probability min(1, t / n), by hashed id; the others leave as
    `taxon_balanced`. 0: no balancing."""

    languages: tuple[str, ...] = rule(("en",))
    """Languages of vernacular names (ISO 639 codes) beside English, whose names are in BioCLIP's members: each adds the members
    `common_name.<code>.txt` and `com.<code>.txt`, from the backbones' own vernacular names."""
    sentences: dict[str, str] = rule({})
    """Language -> sentence of its member `com.<code>.txt`, with `{}` for the name, e.g. `de: ein Foto von {}.`; others: `a photo of {}.`"""
    descriptions: str = operational("")
    """CSV or TSV of texts about species: `scientific_name`, `description` and, where known, `source` and `license`. Each becomes the
    member `description.txt` of its species' samples. Its content counts, not where it lies."""

    min_side_px: int = rule(0, ge=0)
    """Images whose shorter side, as they came, is smaller leave as `side_below_minimum`; 0: none does."""
    max_aspect: float = rule(0.0, ge=0)
    """Images whose longer side is more than this many times the shorter leave as `aspect_above_maximum`; 0: none does."""
    min_entropy_bits: float = rule(0.0, ge=0, le=8)
    """Images with less entropy in their 32 x 32 grey thumbnail leave as `near_constant`; 0: none does, 1 is what duplicates call flat."""
    exclude_image_types: tuple[str, ...] = rule(())
    """Values of the records' `image_type`, e.g. label, drawer, habitat, that leave as `image_type_excluded`; case, spaces and
    underscores do not count. Images of which the provider says nothing stay."""
    filters: tuple[FilterSettings, ...] = rule(())
    """Filters by scores, such as a zero-shot classifier of empty scenes; the first that refuses an image is its reason."""

    @field_validator("filters")
    @classmethod
    def _filters_have_names(cls, filters: tuple[FilterSettings, ...]) -> tuple[FilterSettings, ...]:
        names = [one.name for one in filters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"filter {twice[0]!r} is named twice; give each a name of its own")
        return filters

    @field_validator("max_aspect")
    @classmethod
    def _aspect_admits_squares(cls, aspect: float) -> float:
        if 0 < aspect < 1:
            raise ValueError("a ratio of longer to shorter side is at least 1; 0 switches the rule off")
        return aspect

    @field_validator("languages", "sentences")
    @classmethod
    def _languages_are_codes(cls, languages: Any) -> Any:
        for code in languages:
            if not (code.isascii() and code.isalpha() and code.islower() and 2 <= len(code) <= 3):
                raise ValueError(f"{code!r} is no language code of two or three lower-case letters, such as de")
        return languages

    @field_validator("sentences")
    @classmethod
    def _sentences_have_a_place(cls, sentences: dict[str, str]) -> dict[str, str]:
        if wrong := next((sentence for sentence in sentences.values() if sentence.count("{}") != 1), ""):
            raise ValueError(f"{wrong!r} must hold {{}} once, where the name goes")
        return sentences

    @model_validator(mode="after")
    def _heldout_rules_agree(self) -> ReleaseSettings:
        if self.heldout_categories and not self.heldout_list:
            raise ValueError("release.heldout_categories choose from release.heldout_list; name that file too")
        if self.heldout_strata and self.heldout_strata == self.heldout_rank:
            raise ValueError("release.heldout_strata must be a rank above release.heldout_rank")
        return self


class ShardSettings(Settings):
    """WebDataset tars."""

    samples_per_shard: int = Field(0, ge=0)
    """Most samples in one tar; 0: a thousandth of the release's, at least 100 and at most 10,000 (which at 256 px are about 300 MB)."""
    bytes_per_shard: int = rule(1_000_000_000, gt=0)
    """A tar gets no further sample beyond about so many bytes, counted from the stored images."""
    image_px: int = Field(256, gt=0)
    """Longer side in pixels; JPEGs that fit are copied byte for byte."""
    square: bool = False
    """Squash to image_px x image_px as BioCLIP's own shards are."""
    jpeg_quality: int = Field(90, ge=1, le=100)
    """Quality of JPEGs that had to be made anew."""
    caption: CaptionType = "taxon_com"
    """The text that member `txt` repeats: open_clip's own loader reads that member alone."""


class CardSettings(Settings):
    """What a release's card and Croissant file say that no stage can know."""

    title: str = ""
    """Name for people; empty: `release.name`."""
    description: str = ""
    """First paragraph of the card, in Markdown; empty: the numbers alone."""
    creators: tuple[str, ...] = ()
    """People or organisations that publish the release."""
    url: str = Field("", pattern=r"^(https?://\S+)?$")
    """Page of the release."""
    citation: str = ""
    """BibTeX; empty: made of name, version, creators, year and address."""
    date_published: str = Field("", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    """Day of publication, YYYY-MM-DD; empty: none is stated, since no clock may decide what a release holds."""


class ModelSettings(Settings):
    """Architecture and start of a CLIP model, built by open_clip's factory."""

    name: str = "ViT-B-16"
    """An architecture that open_clip knows, or any name together with `architecture`."""
    architecture: dict[str, Any] = {}
    """open_clip's model configuration (`embed_dim`, `vision_cfg`, `text_cfg`); empty: open_clip's own of that name."""
    pretrained: str = ""
    """Start: a local checkpoint or an open_clip tag or hub id (`hf-hub:…`); empty: random from the seed."""
    resize_mode: Literal["", "shortest", "squash"] = ""
    """How a whole image becomes a square outside training: `shortest` resizes the shorter side and crops the centre, `squash` changes
    the aspect; empty: as the start says, or `shortest`."""


class LeakGuards(Settings):
    """What training images are compared by; each guard has its own drop reason `leak_<guard>`."""

    bytes: bool = True
    """SHA-256 of the file as it came."""
    pixels: bool = True
    """SHA-256 of the decoded, upright pixels: the same picture with other metadata or in another lossless container."""
    occurrence: bool = True
    """Occurrence or observation id, and within one source its own id of the encounter."""
    near: bool = True
    """pHash within `leakage.radius`: the same picture encoded or scaled anew, or slightly cropped."""
    embedding: bool = True
    """Cosine of embeddings; needs `leakage.embedding`."""
    observer_day: bool = True
    """The same observer on the same day."""
    species: bool = True
    """Accepted species of sets that hold species out."""


class LeakEmbeddingSettings(Settings):
    """The image tower whose embeddings are compared; the same on both sides, without augmentation."""

    model: ModelSettings = ModelSettings()
    """Architecture and weights; `pretrained` may also name a folder with open_clip_config.json, such as a model of a workspace."""
    seed: int = 0
    """Start of a model without `pretrained`."""
    threshold: float = Field(0.98, gt=-1, le=1)
    """Least cosine of a copy; published audits use 0.98 (copies and crops) to 0.995 (copies)."""
    batch_size: int = operational(64, gt=0)
    """Images encoded at once."""


class EvaluationSetSettings(Settings):
    """An evaluation set from outside: a folder of `class/file`, a table of paths, hashes or ids, or a release."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Short name in the evidence; `train`, `val` and `heldout` are taken."""
    path: str = operational(...)
    """The folder, the CSV, TSV or Parquet file, or the folder of a release. Its content decides the result, not where it lies."""
    images: str = operational("")
    """Folder that the table's paths begin at; empty: the folder of the table."""
    columns: dict[str, str] = {}
    """Table: what the gate wants -> the column that holds it, where the names differ: `path`, `record_id`, `sha256`, `pixel_sha256`,
    `phash`, `occurrence_id`, `observer`, `event_date`, `scientific_name`, and the ranks `kingdom` to `genus`."""
    splits: tuple[str, ...] = ("val", "heldout")
    """Release: the splits that are evaluated on."""
    holds_out_species: bool = False
    """Its species must not be trained on, under whatever name."""

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name in {"train", "val", "heldout"}:
            raise ValueError(f"{name!r} is a split of the release itself; give the set another name")
        return name


class LeakSettings(Settings):
    """The gate between training and evaluation; the release's own splits `val` and `heldout` always stand behind it."""

    against: tuple[EvaluationSetSettings, ...] = ()
    """Further evaluation sets that training images must not give away."""
    guards: LeakGuards = LeakGuards()
    """What is compared."""
    radius: int = Field(8, ge=0, le=12)
    """Greatest pHash distance at which a training image counts as a copy of an evaluation image."""
    embedding: LeakEmbeddingSettings | None = None
    """The model of the embedding guard; empty: none."""
    on_leak: Literal["exclude", "fail"] = "exclude"
    """Take leaking images out of training, or stop the run with the evidence."""

    @field_validator("against")
    @classmethod
    def _names_are_unique(cls, against: tuple[EvaluationSetSettings, ...]) -> tuple[EvaluationSetSettings, ...]:
        names = [one.name for one in against]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"evaluation set {twice[0]!r} is named twice; give each a name of its own")
        return against


class TrainingSettings(Settings):
    """One training run."""

    recipe: str = "demo_cpu"
    """Name of the recipe these values came from."""
    model: ModelSettings = ModelSettings()
    """Architecture and start."""
    loss: str = "clip"
    """Registered objective, e.g. `clip`."""
    split: Literal["train", "train_small"] = rule("train")
    """What is trained on: all of `train`, or the part that a release with `release.train_small_fraction` lists."""
    caption_types: tuple[str, ...] = Field(("sci", "com", "taxon", "sci_com", "taxon_com"), min_length=1)
    """Drawn uniformly per sample and epoch, as BioCLIP mixes five types (it draws per batch). Any text member of the release's shards:
    BioCLIP's ten, `description`, and `com.<code>` and `common_name.<code>` of a language; one named twice is drawn twice as often."""
    caption_fallback: CaptionType = rule("taxon_com")
    """Type for a sample that lacks the one drawn, as where its species has no description; such samples are counted."""
    num_steps: int = Field(1000, gt=0)
    """Optimizer steps."""
    batch_size: int = Field(256, gt=1)
    """Pairs in one step, over all processes."""
    learning_rate: float = Field(1e-4, gt=0)
    """Peak of the cosine schedule."""
    warmup_steps: int = Field(100, ge=0)
    """Linear warm-up."""
    weight_decay: float = Field(0.2, ge=0)
    """AdamW decay; none on biases, norms and the logit scale."""
    adam_betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's betas."""
    adam_epsilon: float = Field(1e-6, gt=0)
    """AdamW's epsilon."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Gradient norm is clipped to this; 0 switches clipping off."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward and backward pass; weights stay fp32."""
    min_crop_area: float = Field(0.9, gt=0, le=1)
    """Least area of the random crop (BioCLIP: 0.9)."""
    horizontal_flip: bool = False
    """Mirror half of the images at random."""
    seed: int = 42
    """Start weights, order of samples, crops and caption types."""
    device: str = operational("auto")
    """`auto`, `cpu` or `cuda`."""
    num_processes: int = operational(1, gt=0)
    """Processes started by torchrun when above 1."""
    num_threads: int = operational(0, ge=0)
    """CPU threads of torch; 0 leaves torch's own choice."""
    grad_checkpointing: bool = operational(False)
    """Compute activations a second time in the backward pass: about a third more time for several times less memory, same gradients."""
    num_loader_workers: int = operational(0, ge=0)
    """Decoding threads; 0 decodes in the training loop."""
    cache_images_mb: int = operational(512, ge=0)
    """Memory for decoded training images kept between epochs; order and pixels are the same with or without."""
    checkpoint_every_steps: int = operational(100, gt=0)
    """Steps between checkpoints; a killed run goes on from the last."""
    log_every_steps: int = operational(10, gt=0)
    """Steps between lines of metrics."""

    @field_validator("caption_types")
    @classmethod
    def _caption_types_can_be(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        known = (*get_args(CaptionType), "scientific_name", "taxonomic_name", "common_name", "description")
        for name in types:
            if name not in known and not _CAPTION_OF_A_LANGUAGE.fullmatch(name):
                raise ValueError(f"{name!r} is no text of a release; choose from {', '.join(known)}, com.<code>, common_name.<code>")
        return types


class EvaluationSettings(Settings):
    """How a model is scored."""

    benchmarks: tuple[str, ...] = ("known_species", "heldout_species", "heldout_generalised")
    """Registered benchmarks."""
    caption_types: tuple[CaptionType, ...] = ("sci", "com", "taxon", "sci_com", "taxon_com")
    """Caption types of zero-shot classification."""
    ranks: tuple[str, ...] = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
    """Ranks scored by summing species probabilities."""
    shots: tuple[int, ...] = (1, 5)
    """Support images per class of SimpleShot."""
    num_folds: int = Field(5, gt=0)
    """Random draws of the support set."""
    num_bootstraps: int = Field(1000, gt=1)
    """Bootstrap resamples behind each interval."""
    seed: int = 17
    """Folds and bootstraps."""
    batch_size: int = operational(64, gt=0)
    """Images encoded at once."""
    device: str = operational("auto")
    """`auto`, `cpu` or `cuda`."""


class ClusterSettings(Settings):
    """The Dask cluster that partitions are mapped over."""

    address: str = operational("")
    """Scheduler address, e.g. tcp://10.0.0.1:8786; empty: a local cluster of this machine's size."""
    num_workers: int = operational(0, ge=0)
    """Worker processes of the local cluster; 0: one a core, at most 8."""
    window_per_worker: int = operational(3, gt=0)
    """Partitions handed out ahead per worker: the bound on what is in flight."""
    retries: int = operational(2, ge=0)
    """Tries again when a worker dies under a partition."""


class TrackingSettings(Settings):
    """MLflow."""

    enabled: bool = operational(True)
    """Log training and evaluation to MLflow (needs the `mlflow` extra)."""
    uri: str = operational("")
    """Tracking server or store; empty: SQLite in the state folder."""
    ui_url: str = operational("http://127.0.0.1:5000")
    """Where the MLflow UI of an embedded store will be opened; links point there."""
    experiment: str = operational("tree-of-life")
    """Experiment that holds training and evaluation runs."""


class PipelineSettings(Settings):
    """Everything."""

    workspace: WorkspaceSettings = operational(WorkspaceSettings())
    """Where everything is written."""
    sources: tuple[SourceSettings, ...] = ()
    """The provider archives."""
    ingest: IngestSettings = IngestSettings()
    """From archives to records."""
    download: DownloadSettings = DownloadSettings()
    """From media URLs to images."""
    duplicates: DuplicateSettings = DuplicateSettings()
    """Groups of equal and nearly equal images."""
    taxonomy: TaxonomySettings = TaxonomySettings()
    """From verbatim names to accepted lineages."""
    release: ReleaseSettings = ReleaseSettings()
    """Samples and splits."""
    leakage: LeakSettings = LeakSettings()
    """What keeps evaluation material out of training."""
    shards: ShardSettings = ShardSettings()
    """WebDataset tars."""
    card: CardSettings = CardSettings()
    """Words of the release's card."""
    training: TrainingSettings = TrainingSettings()
    """The model."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """The scores."""
    cluster: ClusterSettings = operational(ClusterSettings())
    """Dask."""
    tracking: TrackingSettings = operational(TrackingSettings())
    """MLflow."""

    @field_validator("sources")
    @classmethod
    def _names_are_unique(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        names = [source.name for source in sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"source name {twice[0]!r} is used twice; give each archive a name of its own")
        return sources

    @model_validator(mode="after")
    def _leak_radius_covers_groups(self) -> PipelineSettings:
        if self.leakage.radius < self.duplicates.radius:
            raise ValueError("leakage.radius must be at least duplicates.radius, or a duplicate could leak")
        return self


def is_operational(model: type[Settings], name: str) -> bool:
    """True when field `name` cannot change any result."""
    extra = model.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("operational"))


def _is_unused_rule(model: type[Settings], name: str, value: Any) -> bool:
    field = model.model_fields[name]
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("rule")) and value == field.default


def meaningful(settings: Settings) -> dict[str, Any]:
    """The fields that decide what comes out, as plain values: what digests are taken of."""
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if is_operational(type(settings), name) or _is_unused_rule(type(settings), name, value):
            continue
        if isinstance(value, Settings):
            values[name] = meaningful(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            values[name] = [meaningful(item) for item in value]
        else:
            values[name] = settings.model_dump(mode="json", include={name})[name]
    return values


def settings_digest(settings: Settings) -> str:
    """SHA-256 of the fields of `settings` that decide what comes out."""
    return digest_value(meaningful(settings))
