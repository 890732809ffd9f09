"""What a release holds: filters, splits, shards and card."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bioclip.settings.base import CaptionType, Settings, operational, rule


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
