"""Every reason for which the pipeline drops a row: its name, the stages that use it, and one sentence.

`Counts` rejects any other reason, reports explain each one, and the table in the documentation is generated from this module.
A source format with further reasons lists them in its `SourceFormat`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True)
class DropReason:
    """`stages` use the reason; the first of them decides it. The name of a family has a part in angle brackets: `http_<status>`."""

    name: str
    stages: tuple[str, ...]
    sentence: str

    @property
    def is_family(self) -> bool:
        """True for a family of reasons, such as `http_<status>`."""
        return "<" in self.name

    def covers(self, name: str) -> bool:
        """True when `name` is this reason or a member of this family."""
        if not self.is_family:
            return name == self.name
        pattern = re.sub(r"<[a-z]+>", "[a-z0-9_]+", self.name)
        return re.fullmatch(pattern, name) is not None


# (reason, sentence) by the stages that use them; the first stage is the one that decides.
_BY_STAGES: tuple[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], ...] = (
    (
        ("records", "images", "release"),
        (("taken_down", "A withdrawal list names the record id, the URL or a hash of the image."),),
    ),
    (
        ("records", "backbones"),
        (
            ("row_damaged", "A quote of the row is not closed, or closed within a value, so its end is unknown."),
            ("row_ragged", "The row has another number of fields than the header."),
        ),
    ),
    (
        ("records",),
        (
            ("no_media_url", "The row has no address of an image."),
            ("crop_out_of_range", "The crop is beyond the pixels that an image can have."),
            ("sample_damaged", "A text or JSON member of the WebDataset sample cannot be read, so its label may be missing."),
            ("not_a_photograph", "The WebDataset member is a mask, a depth map or another annotation of the image."),
            ("not_a_still_image", "The media item is a sound, a video or another type that is not a still image."),
            ("record_repeated", "An earlier row of the source has the same id and address."),
            ("license_not_allowed", "The licence is not among `ingest.licenses`."),
            ("basis_of_record_not_allowed", "The basis of record is not among `ingest.basis_of_record`."),
            ("basis_of_record_missing", "`ingest.basis_of_record` is set and the row states none."),
            ("image_type_not_allowed", "The image type is not among `ingest.image_types`."),
            ("image_type_missing", "`ingest.image_types` is set and the row states none."),
            ("quality_grade_not_allowed", "The quality grade is not among `ingest.quality_grades`."),
            ("quality_grade_missing", "`ingest.quality_grades` is set and the row states none."),
            ("taxon_not_wanted", "No entry of `ingest.taxa` covers the taxon."),
            ("taxon_missing", "`ingest.taxa` is set and the row names no taxon at those ranks."),
            ("outside_region", "The coordinates are outside `ingest.region`."),
            ("coordinates_missing", "`ingest.region` is set and the row has no coordinates."),
            ("media_without_occurrence", "The media row refers to an occurrence that the archive does not have."),
            ("media_without_taxon", "The media row refers to a taxon that the archive does not have."),
            ("media_without_event", "The media row refers to an event that the archive does not have."),
            ("media_without_core", "The media row refers to a core row that the archive does not have."),
            ("occurrence_without_media", "The occurrence has no media row."),
            ("occurrence_repeated", "An earlier row has the same occurrence id."),
            ("taxon_repeated", "An earlier row has the same taxon id."),
            ("taxon_inactive", "The provider marks the taxon as inactive."),
            ("category_unknown", "The annotation refers to a category that the file does not have."),
            ("annotation_without_image", "The annotation refers to an image that the file does not have."),
            ("annotation_repeated", "An earlier annotation has the same image and category."),
            ("image_without_annotation", "No annotation refers to the image."),
            ("image_repeated", "An earlier image has the same id."),
            ("image_without_boxes", "The image has no bounding box."),
            ("non_taxon_category", "The category names no organism, for example `empty` or `vehicle`."),
            ("marked_corrupt", "The provider marks the image as corrupt."),
            ("box_malformed", "The bounding box is not four finite numbers."),
            ("box_empty", "The bounding box has no area."),
            ("box_outside_image", "The bounding box is outside the image."),
            ("box_without_uuid", "The bounding box has no UUID."),
            ("sample_without_image", "The WebDataset sample has no image member."),
            ("not_a_plain_member", "The tar member is a link, a device or another member that is not a plain file."),
            ("not_in_a_class_folder", "The file is not inside a folder that names its class."),
            ("not_an_image_file", "The file name does not end as image files do."),
            ("symbolic_link", "The file is a symbolic link."),
            ("unprintable_file_name", "The file name has characters that cannot be printed."),
            ("not_classified", "The row is not classified to a taxon."),
        ),
    ),
    (
        ("images",),
        (
            ("http_<status>", "The server answered with this HTTP status."),
            ("scheme_refused", "The address has a scheme that is not downloaded."),
            ("credentials_refused", "The address contains a user name or a password."),
            ("port_refused", "The address has a port of another protocol."),
            ("address_refused", "The host is in a private or reserved network."),
            ("invalid_url", "The address is not a valid URL."),
            ("too_many_redirects", "The server redirected more often than `download.max_redirects`."),
            ("robots_disallowed", "The host's robots.txt forbids the path."),
            ("robots_unreachable", "The host's robots.txt could not be read; retried by the next run."),
            ("noai", "The server forbids machine learning with a `noai` directive."),
            ("body_too_large", "The body is larger than `download.max_body_bytes`."),
            ("body_truncated", "The body ended before the announced length."),
            ("content_encoding_refused", "The body has a content encoding that was not requested."),
            ("timeout", "No complete response within `download.timeout_s`; retried by the next run."),
            ("connection_failed", "The connection failed; retried by the next run."),
            ("name_not_resolved", "The host name could not be resolved; retried by the next run."),
            ("response_malformed", "The answer is not valid HTTP; retried by the next run."),
            ("certificate_refused", "The TLS certificate is not valid; retried by the next run."),
            ("host_paused", "The host failed too often in a row and was paused; retried by the next run."),
            ("empty_body", "The body has no bytes."),
            ("too_many_pixels", "The image has more pixels than `download.max_pixels`."),
            ("image_too_small", "The shorter side of the image or its crop is below `download.min_side_px`."),
            ("image_animated", "The image has several frames."),
            ("image_multipage", "The image has several pages."),
            ("image_truncated", "The image data end early."),
            ("crop_image_differs", "The image has another aspect ratio than the one that the crop was drawn on."),
            ("crop_beyond_image", "The crop extends far beyond the image, so it was drawn on another size, which is not stated."),
            ("crop_empty", "The crop has no area inside the image."),
            ("media_missing", "The local file does not exist."),
            ("archive_unreadable", "The local archive that holds the file cannot be read."),
            ("unsafe_path", "The path of the local file leaves the media root of its source."),
        ),
    ),
    (
        ("images", "evaluation-sets", "embeddings", "scores"),
        (
            ("image_undecodable", "The image data cannot be decoded."),
            ("not_an_image", "The bytes are not an image in a supported format."),
        ),
    ),
    (
        ("evaluation-sets", "duplicates"),
        (
            ("image_not_local", "The image is given by a URL; images of evaluation sets are read from files."),
            ("nothing_to_compare", "The row has neither an image nor hashes."),
        ),
    ),
    (
        ("backbones",),
        (
            ("id_missing", "The usage has no id."),
            ("name_missing", "The usage has no name."),
            ("id_duplicate", "An earlier usage has the same id."),
            ("excluded_by_source", "The backbone itself says that the row is not a taxon."),
            ("no_linnaean_rank", "The taxon is above or beside the seven ranks, for example a root."),
            ("synonym_dangling", "The synonym leads to no accepted usage."),
            ("synonym_cycle", "The synonym leads back to itself."),
            ("synonym_chain_too_long", "The synonym's chain is longer than is followed."),
        ),
    ),
    (
        ("vernaculars",),
        (
            ("other_language", "The vernacular name is in a language that `release.languages` does not list."),
            ("vernacular_dangling", "The vernacular name refers to a taxon that the backbone does not have."),
            ("vernacular_below_label", "The vernacular name belongs to a taxon below the label's rank."),
            ("not_chosen", "The taxon has another vernacular name in this language that ranks before it."),
        ),
    ),
    (
        ("taxonomy",),
        (
            ("empty_name", "The record states no name."),
            ("placeholder", "The name is a placeholder such as `unknown`."),
            ("identifier", "The name is an identifier such as a BIN, not a scientific name."),
            ("virus", "The name is a virus name, which the backbones do not hold as binomials."),
            ("non_taxon", "The name denotes no organism, for example a substrate."),
            ("unparsable", "The name cannot be parsed as a scientific name."),
            ("hybrid_formula", "The name is a hybrid formula."),
            ("open_nomenclature", "The name is provisional, for example `Genus sp.`"),
            ("not_in_backbone", "No backbone has the name."),
            ("homonym_ambiguous", "Several taxa share the name and the record does not say which one is meant."),
            ("kingdom_conflict", "The only taxon of that name is in another kingdom than the record states."),
            ("low_confidence", "The best match is below `taxonomy.min_confidence`."),
            ("curated", "The curation file rejects the name."),
        ),
    ),
    (
        ("duplicates",),
        (
            ("duplicate_bytes", "Another image has the same bytes and was kept."),
            ("duplicate_pixels", "Another image has the same pixels and was kept."),
            ("duplicate_near", "A near duplicate was kept: the pHashes differ in at most `duplicates.radius` bits."),
        ),
    ),
    (
        ("release",),
        (
            ("lineage_not_resolved", "The name was not resolved and no reason was recorded."),
            ("rank_above_minimum", "The name is resolved to a rank above `release.min_rank`."),
            ("label_conflict", "Images of one duplicate group have different accepted names."),
            ("side_below_minimum", "The shorter side is below `release.min_side_px`."),
            ("aspect_above_maximum", "The image is longer than `release.max_aspect` allows."),
            ("near_constant", "The image is almost of one colour: its entropy is below `release.min_entropy_bits`."),
            ("image_type_excluded", "The image type is among `release.exclude_image_types`."),
            ("filter_<name>", "The score of this filter is beyond its threshold."),
            ("filter_<name>_unscored", "This filter has no score, since the image could not be decoded."),
            ("leak_bytes", "An evaluation image has the same bytes."),
            ("leak_pixels", "An evaluation image has the same pixels."),
            ("leak_occurrence", "An evaluation image shows the same occurrence."),
            ("leak_near", "An evaluation image is a near duplicate: the pHashes differ in at most `leakage.radius` bits."),
            ("leak_embedding", "An evaluation image has an embedding closer than `leakage.embedding.threshold`."),
            ("leak_observer_day", "An evaluation image was made by the same observer on the same day."),
            ("leak_species", "The species is held out by an evaluation set."),
            ("evaluated_before", "An earlier release of the line evaluated on the image, so it is never trained on."),
            ("above_heldout_species", "The label is a higher taxon of a held-out species."),
            ("val_species_without_training", "The species has images in val and none in train."),
            ("species_too_rare", "The species has fewer training images than `release.min_per_species`."),
            ("taxon_balanced", "Its taxon reached its share of training images."),
            ("species_over_cap", "Its species reached `release.max_per_species`."),
        ),
    ),
    (
        ("report",),
        (("section_without_data", "The workspace has no data for the section."),),
    ),
)

_REASONS: dict[str, DropReason] = {name: DropReason(name, stages, sentence) for stages, reasons in _BY_STAGES for name, sentence in reasons}


# Setting that decides, by reasons; a reason that no setting decides is not here.
_DECIDED_BY: tuple[tuple[str, str], ...] = (
    ("media_missing unsafe_path archive_unreadable", "sources[].options.images"),
    ("no_media_url", "sources[].options.map"),
    ("not_in_a_class_folder", "sources[].options.levels"),
    ("not_an_image_file", "sources[].path"),
    ("row_ragged row_damaged", "sources[].options.delimiter"),
    ("license_not_allowed", "ingest.licenses, or sources[].options.license where the data state no licence"),
    ("basis_of_record_not_allowed", "ingest.basis_of_record"),
    ("image_type_not_allowed", "ingest.image_types"),
    ("quality_grade_not_allowed", "ingest.quality_grades"),
    ("taxon_not_wanted", "ingest.taxa"),
    ("outside_region", "ingest.region"),
    ("basis_of_record_missing image_type_missing quality_grade_missing taxon_missing coordinates_missing", "ingest.keep_missing"),
    ("taken_down", "ingest.takedown"),
    ("address_refused", "download.allow_networks"),
    ("http_<status> robots_disallowed", "download.user_agent"),
    ("name_not_resolved connection_failed certificate_refused", "download.connect_to, download.ca_file"),
    ("timeout host_paused robots_unreachable", "download.timeout_s, download.retry_failed"),
    ("noai", "download.respect_noai"),
    ("body_too_large too_many_pixels", "download.max_body_bytes, download.max_pixels"),
    ("image_too_small", "download.min_side_px"),
    ("not_in_backbone lineage_not_resolved homonym_ambiguous kingdom_conflict", "taxonomy.backbones"),
    ("empty_name placeholder unparsable", "the column or folder that holds the scientific name: sources[].options.map, options.levels"),
    ("low_confidence", "taxonomy.min_confidence"),
    ("curated", "taxonomy.curation"),
    ("rank_above_minimum", "release.min_rank"),
    ("duplicate_near", "duplicates.radius"),
    ("label_conflict", "duplicates.label_conflicts"),
    ("side_below_minimum aspect_above_maximum", "release.min_side_px, release.max_aspect"),
    ("near_constant", "release.min_entropy_bits"),
    ("image_type_excluded", "release.exclude_image_types"),
    ("filter_<name> filter_<name>_unscored", "release.filters"),
    ("leak_near", "leakage.radius"),
    ("leak_bytes leak_pixels leak_occurrence leak_embedding leak_observer_day leak_species", "leakage.against, leakage.guards"),
    ("evaluated_before", "release.parent"),
    ("above_heldout_species", "release.heldout_species, release.heldout_list"),
    ("species_too_rare", "release.min_per_species"),
)
_SETTING_OF = {name: setting for names, setting in _DECIDED_BY for name in names.split()}


# Reasons of the release by the step that decides; the other reasons of the release judge an image by itself.
_STEPS: dict[str, str] = {
    "splits": "leak_bytes leak_pixels leak_occurrence leak_near leak_embedding leak_observer_day leak_species evaluated_before"
    " above_heldout_species val_species_without_training",
    "balance": "species_too_rare taxon_balanced species_over_cap",
}


def reasons_of_step(step: str) -> tuple[str, ...]:
    """Reasons of the release that its step `splits` (assigning and guarding the splits) or `balance` (caps and floors) decides."""
    return tuple(_STEPS[step].split())


def deciding_setting(name: str) -> str:
    """The settings that decide a drop reason, as people read them; empty where none does."""
    reason = find_reason(name)
    return _SETTING_OF.get(reason.name, "") if reason else ""


def all_reasons() -> Iterator[DropReason]:
    """Every registered reason, in the order of the stages."""
    yield from _REASONS.values()


def register_reasons(reasons: Iterable[DropReason]) -> None:
    """Add reasons, for example of a source format from outside; raises ValueError for a name that is registered with another sentence."""
    for reason in reasons:
        if not _NAME.fullmatch(reason.name):
            raise ValueError(f"drop reason {reason.name!r} is not snake_case; use lower-case words joined by underscores.")
        known = find_reason(reason.name)
        if known is not None and known.sentence != reason.sentence:
            raise ValueError(f"drop reason {reason.name!r} is registered already: {known.sentence!r}; choose another name.")
        _REASONS.setdefault(reason.name, reason)


def find_reason(name: str) -> DropReason | None:
    """The reason of that name, or the most specific family that covers it; None for an unknown one."""
    if name in _REASONS:
        return _REASONS[name]
    families = (reason for reason in _REASONS.values() if reason.is_family and reason.covers(name))
    return max(families, key=lambda reason: len(reason.name), default=None)
