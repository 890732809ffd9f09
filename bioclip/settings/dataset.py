"""What a release holds: filters, splits, shards and card."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bioclip.settings.base import CaptionType, Settings, operational, rule


class FilterSettings(Settings):
    """A filter by a score of each image; scores are stored in a separate table, so a changed threshold reuses them."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    """Short name; dropped images have the reason `filter_<name>`."""
    scorer: str
    """Registered scorer, e.g. `zero_shot` or `sharpness`, or a function of your own that builds one, `module:function`."""
    options: dict[str, Any] = {}
    """Options of the scorer, e.g. `model`, `positive` and `negative` for `zero_shot`; it rejects unknown keys."""
    threshold: float
    """The score that the image is compared with."""
    keep: Literal["at_least", "at_most"] = "at_least"
    """Which side of the threshold is kept, including the threshold itself."""
    batch_size: int = operational(64, gt=0)
    """Images per batch."""


class ReleaseSettings(Settings):
    """Which images become samples, and in which split."""

    name: str = Field("tree-of-life", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Name of the dataset; its version is a digest."""
    val_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of the occurrences of known species assigned to `val`, by hashed id."""
    val_min_images: int = Field(8, gt=0)
    """Species with fewer images have none in `val`; all of their images are used for training. If no species has as many, those with two or
    more images have some in `val`."""
    heldout_species: tuple[str, ...] = ()
    """Accepted binomials, or labels, kept out of training as `heldout`; empty: drawn by hashed name."""
    heldout_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of eligible species drawn as held-out when no list is given."""
    heldout_min_images: int = Field(8, gt=0)
    """Species with fewer images are never drawn as held-out."""
    min_rank: Literal["kingdom", "phylum", "class", "order", "family", "genus", "species"] = "kingdom"
    """Least resolved rank of a training sample; evaluation splits contain species only."""
    seed: int = 17
    """Salt of the hashed split decisions; another seed is another dataset."""
    parent: str = operational("auto")
    """Parent release: its shards are reused and its images keep their splits, so changed split settings apply to new images only. A
    version or an alias; `none` or empty: no parent, all images get new splits; `auto`: the release `latest`, if it has the same `name`
    and `seed`."""
    heldout_list: str = operational("")
    """File of names to hold out in addition to `heldout_species`: one per line, or a CSV or TSV with a column `scientificName` (or
    `scientific_name`, `species`) such as an IUCN Red List export. Synonyms are resolved by the backbones. Its content decides the result,
    its location does not."""
    heldout_categories: tuple[str, ...] = rule(())
    """Categories of the list's column `redlistCategory` (or `category`) that are held out, e.g. Endangered; empty: every name."""
    heldout_num_species: int = rule(0, ge=0)
    """Draw about this many species by hashed name (from the list, if given) in place of `heldout_fraction`; 0: off."""
    heldout_rank: Literal["species", "genus", "family"] = rule("species")
    """Hold out whole taxa of this rank: all species in the genus or family of a drawn or listed species leave training together."""
    heldout_strata: Literal["", "kingdom", "phylum", "class", "order", "family"] = rule("")
    """A rank above `heldout_rank` to stratify by: at least one is drawn from each taxon of this rank that has enough. Empty: no strata."""
    train_small_fraction: float = rule(0.0, ge=0, lt=1)
    """Share of training images, by hashed id, listed in `train_small.parquet`; a smaller share is a subset of a larger one. 0: no list."""
    min_per_species: int = rule(0, ge=0)
    """Species with fewer training images are dropped from training as `species_too_rare`; 0: off."""
    max_per_species: int = rule(0, ge=0)
    """Training images of one species beyond this number are dropped as `species_over_cap`; the lowest hashed ids are kept. 0: no cap."""
    balance_threshold: int = rule(0, ge=0)
    """MetaCLIP's t: of a taxon with n training images each is kept with probability min(1, t / n), by hashed id; the others are dropped as
    `taxon_balanced`. 0: no balancing."""

    languages: tuple[str, ...] = rule(("en",))
    """Languages of vernacular names (ISO 639 codes) besides English, which BioCLIP's own members use: each adds the members
    `common_name.<code>.txt` and `com.<code>.txt`, from the backbones' vernacular names."""
    sentences: dict[str, str] = rule({})
    """Language -> sentence of its member `com.<code>.txt`, with `{}` for the name, e.g. `de: ein Foto von {}.`; others: `a photo of {}.`"""
    descriptions: str = operational("")
    """CSV or TSV of texts about species: `scientific_name`, `description` and, where known, `source` and `license`. Each becomes the
    member `description.txt` of its species' samples. Its content decides the result, its location does not."""

    min_side_px: int = rule(0, ge=0)
    """Images whose original shorter side is smaller are dropped as `side_below_minimum`; 0: off."""
    max_aspect: float = rule(0.0, ge=0)
    """Images whose longer side is more than this many times the shorter are dropped as `aspect_above_maximum`; 0: off."""
    min_entropy_bits: float = rule(0.0, ge=0, le=8)
    """Images with less entropy in their 32 x 32 grey thumbnail are dropped as `near_constant`; 0: off; 1: as in `duplicates`."""
    exclude_image_types: tuple[str, ...] = rule(())
    """Values of the records' `image_type`, e.g. label, drawer, habitat, that are dropped as `image_type_excluded`; case, spaces and
    underscores are ignored. Images without a stated type are kept."""
    filters: tuple[FilterSettings, ...] = rule(())
    """Filters by scores, such as a zero-shot classifier of empty scenes; the first filter that rejects an image gives the reason."""

    @field_validator("parent", mode="before")
    @classmethod
    def _none_is_no_parent(cls, parent: Any) -> Any:
        return "" if parent is None or parent == "none" else parent

    @field_validator("filters")
    @classmethod
    def _filters_have_names(cls, filters: tuple[FilterSettings, ...]) -> tuple[FilterSettings, ...]:
        names = [one.name for one in filters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"filter {twice[0]!r} is named twice; give each a distinct name")
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
                raise ValueError(f"{code!r} is not a language code; use two or three lower-case letters, such as de")
        return languages

    @field_validator("sentences")
    @classmethod
    def _sentences_have_a_place(cls, sentences: dict[str, str]) -> dict[str, str]:
        if wrong := next((sentence for sentence in sentences.values() if sentence.count("{}") != 1), ""):
            raise ValueError(f"{wrong!r} must contain {{}} exactly once, in place of the name")
        return sentences

    @model_validator(mode="after")
    def _heldout_rules_agree(self) -> ReleaseSettings:
        if self.heldout_categories and not self.heldout_list:
            raise ValueError("release.heldout_categories selects from release.heldout_list; set that file too")
        if self.heldout_strata and self.heldout_strata == self.heldout_rank:
            raise ValueError("release.heldout_strata must be a rank above release.heldout_rank")
        return self


class ShardSettings(Settings):
    """WebDataset tars."""

    samples_per_shard: int = Field(0, ge=0)
    """Most samples in one tar; 0: a thousandth of the release's, at least 100 and at most 10,000 (which at 256 px are about 300 MB)."""
    bytes_per_shard: int = rule(1_000_000_000, gt=0)
    """Target size of a tar in bytes, counted from the stored images; a tar that reaches it is closed."""
    image_px: int = Field(256, gt=0)
    """Longer side in pixels; JPEGs that fit are copied byte for byte."""
    square: bool = False
    """Squash to image_px x image_px as BioCLIP's own shards are."""
    jpeg_quality: int = Field(90, ge=1, le=100)
    """Quality of re-encoded JPEGs."""
    caption: CaptionType = "taxon_com"
    """Caption type copied to the member `txt`, the only text that open_clip's loader reads."""


class CardSettings(Settings):
    """Statements of a release's card and Croissant file that come from its publisher."""

    title: str = ""
    """Title; empty: `release.name`."""
    description: str = ""
    """First paragraph of the card, in Markdown; empty: only the numbers."""
    creators: tuple[str, ...] = ()
    """People or organisations that publish the release."""
    url: str = Field("", pattern=r"^(https?://\S+)?$")
    """Page of the release."""
    citation: str = ""
    """BibTeX; empty: generated from name, version, creators, year and address."""
    date_published: str = Field("", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    """Day of publication, YYYY-MM-DD; empty: no date, since a release must not depend on the clock."""
