"""Sources, ingest and download."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bioclip.settings.base import Settings, operational, rule


class SourceSettings(Settings):
    """One provider archive."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Short lower-case name; part of every record's identity, so do not change it between snapshots."""
    format: str
    """Registered reader of the archive, e.g. `dwca` or `eol`."""
    path: str = operational(...)
    """The archive: a local file or folder. Its content decides the result, its location does not."""
    options: dict[str, str] = {}
    """Options of the format, e.g. `taxa` for `eol`; the reader rejects unknown keys."""
    snapshot_date: str = operational("", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    """Day of the export, YYYY-MM-DD, stored with the snapshot; empty: the newest date inside a zip or tar, if it has one."""
    etag: str = operational("")
    """ETag of the archive if it was downloaded, stored with the snapshot."""
    max_damaged_share: float = operational(0.1, ge=0, le=1)
    """Share of rows that may be damaged (stray quotes, another number of fields than the header, bytes outside the encoding). Damaged rows
    are dropped and counted with their lines; more than this share, of 100 rows or more, refuses the source."""


class IngestSettings(Settings):
    """From provider archives to records."""

    num_partitions: int = Field(16, gt=0, le=65536)
    """Partitions of records; each is a range of the hashed record id. 10,000 to 50,000 records per partition work well."""
    licenses: tuple[str, ...] = ("any",)
    """Allowed normalised licences (`CC0-1.0`, `CC-BY-4.0`, …) or classes: `any`, `open` (redistributable: everything stated that is
    neither NC nor ND nor all rights reserved), `commercial` (no NC), `no-nd`. A record passes if one entry admits it."""
    basis_of_record: tuple[str, ...] = ()
    """Allowed values, e.g. HumanObservation; case, spaces and underscores are ignored. Empty: all."""
    image_types: tuple[str, ...] = ()
    """Allowed values of `image_type`, e.g. specimen, camera_trap. Empty: all."""
    quality_grades: tuple[str, ...] = ()
    """Allowed grades, e.g. research. Empty: all."""
    taxa: tuple[str, ...] = ()
    """Subtrees by the provider's own names, `rank=name`, e.g. `class=Aves`; a record in one of them passes. Empty: all."""
    region: tuple[float, float, float, float] | None = None
    """Box of decimal degrees: south, west, north, east; west > east crosses the antimeridian. Empty: the whole world."""
    keep_missing: bool = False
    """Keep records without a value for one of the five settings above; otherwise they are dropped as `…_missing`."""
    takedown: str = operational("")
    """A text or CSV file of record ids, media URLs or SHA-256 hashes to withdraw; its content decides the result, its location does not."""
    buffer_bytes: int = operational(48 << 20, ge=1 << 12)
    """Bytes of rows that a join or the sort into partitions holds in memory before spilling to disk; peak memory is a few times this."""

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
    """Limits of one host that differ from the general ones."""

    concurrency: int | None = operational(None, gt=0)
    """Concurrent requests, over all workers; empty: `download.concurrency_per_host`."""
    requests_per_second: float | None = operational(None, gt=0)
    """Highest request rate, over all workers; empty: `download.requests_per_second_per_host`."""


class DownloadSettings(Settings):
    """From media URLs to checked, hashed images."""

    user_agent: str = operational("treeoflife/0.1 (+https://example.org/set-download.user_agent-to-your-contact)")
    """Sent with every request; include an address where a provider can reach you. Its first word is the name looked up in robots.txt."""
    concurrency: int = operational(128, gt=0)
    """Concurrent requests of one worker."""
    concurrency_per_host: int = operational(8, gt=0)
    """Concurrent requests to one host, over all workers."""
    requests_per_second_per_host: float = operational(50.0, gt=0)
    """Highest request rate to one host, over all workers."""
    hosts: dict[str, HostSettings] = operational({})
    """Host name -> its own limits. A name such as `*.example.org` covers all hosts below it, which then share one allowance."""
    allowance_host: str = operational("")
    """Address at which workers of a cluster reach this machine, which keeps the allowance of each host; empty: the address of the route
    to the scheduler."""
    pause_host_after: int = operational(20, gt=0)
    """Consecutive failures (timeouts, refused connections, 429, 5xx) after which a host is paused for `host_pause_s`; URLs skipped
    meanwhile get the outcome `host_paused` and can be requested in a later run."""
    host_pause_s: float = operational(60.0, gt=0)
    """Length of that pause; then one request probes the host, and each failed probe doubles the pause, up to an hour."""
    timeout_s: float = operational(30.0, gt=0)
    """Deadline of one request, body included."""
    max_attempts: int = Field(4, gt=0, le=20)
    """Attempts for one URL before its outcome is final; only 408, 425, 429, 5xx, timeouts and broken connections are retried."""
    backoff_s: float = operational(0.5, ge=0)
    """Pause before the first retry; doubles each time, with jitter from the URL and the attempt."""
    max_retry_after_s: float = operational(120.0, ge=0)
    """Longest Retry-After that is obeyed; a longer one ends the attempts."""
    max_redirects: int = Field(5, ge=0)
    """Redirects followed; each target is checked like the first address."""
    max_body_bytes: int = Field(64 << 20, gt=0)
    """Largest body, as sent and after decoding a Content-Encoding; a longer one is dropped as `body_too_large`."""
    max_pixels: int = Field(200_000_000, gt=0)
    """Largest width x height, read from the header before decoding."""
    min_side_px: int = Field(32, gt=0)
    """Smallest allowed shorter side; smaller images are dropped as `image_too_small`."""
    allow_networks: tuple[str, ...] = operational(())
    """Private networks that may be contacted, in CIDR form, e.g. 127.0.0.0/8. Empty: public addresses only."""
    connect_to: dict[str, str] = operational({})
    """Host -> `address:port` to contact instead (a mirror, a test server); URL, Host header and record ids do not change."""
    ca_file: str = operational("")
    """PEM file of certificate authorities to trust in addition to the system's."""
    respect_robots: bool = False
    """Read each host's robots.txt (RFC 9309) and drop URLs that it forbids as `robots_disallowed`."""
    respect_noai: bool = True
    """Drop images sent with `X-Robots-Tag: noai` or `noimageai`, as `noai`."""
    retry_failed: bool = operational(False)
    """Request URLs again whose outcome in earlier runs was `retry_later`, and local files that could not be had. A failed outcome whose
    deciding setting or local file has changed is requested again without this."""
    retry_later_after_s: float = operational(0.0, ge=0)
    """Least age of a `retry_later` outcome before its URL is requested again."""
    refetch: bool = operational(False)
    """Request every URL again, by ETag and Last-Modified; an unchanged one (304) keeps its image."""
    store: Literal["original", "shorter_side", "longer_side", "square"] = "longer_side"
    """What is stored: the original bytes, or the image resized by its shorter or longer side, or squashed to a square as BioCLIP does.
    An image that already fits keeps its bytes."""
    store_px: int = Field(720, gt=0)
    """Target of `store` in pixels; no effect for `original`."""
    orientations: Literal["none", "mirror", "all"] = "none"
    """Also compute the pHashes of the mirrored image, or of all eight orientations, to find rotated copies as near duplicates."""
    full_decode: bool = False
    """Decode JPEGs in full, at about twice the CPU time: pixel hashes then equal those of lossless copies in any container, and pHashes
    equal imagehash's bit for bit. Otherwise the smallest sufficient decode is hashed, and such copies are found as near duplicates."""
    keep_location: bool = rule(False)
    """Keep EXIF and XMP metadata with coordinates in images that are stored unchanged. By default such metadata are removed from them,
    without touching a pixel; images that are re-encoded never have metadata."""
    jpeg_quality: int = Field(90, ge=1, le=100)
    """Quality of re-encoded JPEGs."""
    decode_threads: int = operational(2, gt=0)
    """Decoding threads of one worker."""
    decode_buffer_mb: int = operational(64, gt=0)
    """Bodies of one worker that wait to be decoded, in MB; when this is reached, no further URL is requested."""
    chunk_records: int = operational(512, gt=0)
    """Outcomes written to disk together while a partition is in progress; the most that a killed worker loses."""
