"""Sources, ingest and download."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bioclip.settings.base import Settings, operational


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
