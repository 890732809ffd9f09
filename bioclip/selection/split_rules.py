"""The split of an image, decided only by hashes of ids and accepted names, and by the parent release if there is one.

The decision for an image does not depend on the order of others, and is stable when data is added: a species or an occurrence that was
held out stays held out. Images of one occurrence always share a split. Hashes alone do not guarantee this if a species exceeds a
minimum number of images or gets another accepted name; the splits of an earlier release do (`earlier_splits`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.errors import SettingsError
from bioclip.selection.candidates import Candidates, EncodedTexts
from bioclip.selection.splits import (
    ABOVE_SPECIES,
    BY_HASH,
    BY_LIST,
    DRAWN,
    EVALUATED_BEFORE,
    HELD_OUT_BEFORE,
    HELDOUT,
    NOT_DRAWN,
    REASON_CODES,
    SPLIT_NAMES,
    TOO_FEW_IMAGES,
    TRAIN,
    TRAINED_BEFORE,
    VAL,
    Reasons,
    Splits,
    occurrence_keys,
    unit_hash,
    unit_hashes,
)
from bioclip.settings import ReleaseSettings

EARLIER_COLUMNS = ("record_id", "sha256", "source", "occurrence_id", "source_id", "split")
"""Columns of a release's samples that `earlier_splits` needs."""
_TRAIN, _VAL, _HELDOUT = (SPLIT_NAMES.index(split) for split in (TRAIN, VAL, HELDOUT))
_LEAST_VAL_IMAGES = 2
_REASON = {reason: code for code, reason in enumerate(REASON_CODES)}


@dataclass(frozen=True)
class SplitRule:
    """The split decision for each image, derived from the number of distinct images of each species."""

    settings: ReleaseSettings
    heldout: Mapping[str, str]
    """Species -> reason for holding it out, as in SPLIT_REASONS."""
    val_species: frozenset[str]

    @property
    def heldout_species(self) -> frozenset[str]:
        """Accepted binomials that are never trained on."""
        return frozenset(self.heldout)

    @classmethod
    def of(
        cls,
        settings: ReleaseSettings,
        counts: Mapping[str, int],
        before: Collection[tuple[str, str]] = (),
        chosen: Mapping[str, str] | None = None,
    ) -> SplitRule:
        """`counts` gives the images of each accepted binomial; `before` the (binomial, split) pairs that an earlier release's images have
        now; `chosen` are the held-out species, with the reason of each, if `choose_heldout` has chosen them.

        A held-out species stays held out, and a trained species is never drawn; lists in the settings override the latter.
        Raises SettingsError for unknown names.
        """
        trained = {name for name, split in before if split == TRAIN}
        check_listed(settings, counts)
        if chosen is not None:
            heldout = dict(chosen)
        elif settings.heldout_species:
            heldout = dict.fromkeys(settings.heldout_species, BY_LIST)
        else:
            drawn = {
                name
                for name, count in counts.items()
                if count >= settings.heldout_min_images and unit_hash(f"heldout:{settings.seed}", name) < settings.heldout_fraction
            }
            heldout = dict.fromkeys(drawn - trained, BY_HASH)
        heldout = dict.fromkeys({name for name, split in before if split == HELDOUT and name} - trained, HELD_OUT_BEFORE) | heldout
        val = (
            frozenset(name for name, count in counts.items() if count >= least_val_images(settings.val_min_images, counts)) - heldout.keys()
        )
        return cls(settings, heldout, val)

    def assign(self, species: EncodedTexts, occurrences: pa.ChunkedArray, earlier: Splits) -> tuple[Splits, Reasons]:
        """(split [N], reason [N]) of each image, of its accepted species ('' above species) and the key of its occurrence.

        `earlier` is the split that an earlier release put it in: trained images stay in training, evaluated images are never trained on;
        the result is 0 for an evaluated image that no longer has a species.
        """
        is_heldout, may_be_val = (species.chosen(names)[species.numbers] for names in (self.heldout, self.val_species))
        was_evaluated = (earlier == _VAL) | (earlier == _HELDOUT)
        rows = np.flatnonzero(may_be_val)
        is_drawn = np.zeros(len(earlier), np.bool_)
        is_drawn[rows] = unit_hashes(f"val:{self.settings.seed}", occurrences.take(pa.array(rows))) < self.settings.val_fraction
        splits = np.full(len(earlier), _TRAIN, np.int8)
        splits[is_drawn & (earlier == 0)] = _VAL
        splits[was_evaluated] = np.where(species.numbers[was_evaluated] > 0, _VAL, 0)
        splits[is_heldout] = _HELDOUT
        of_species = np.array([_REASON.get(self.heldout.get(name, ""), 0) for name in species.values], np.int8)
        trained = np.where(species.numbers == 0, _REASON[ABOVE_SPECIES], np.where(may_be_val, _REASON[NOT_DRAWN], _REASON[TOO_FEW_IMAGES]))
        trained = np.where(is_drawn, _REASON[TRAINED_BEFORE], trained)
        evaluated = np.where(is_drawn, _REASON[DRAWN], _REASON[EVALUATED_BEFORE])
        reasons = np.select(
            [splits == _TRAIN, splits == _VAL, splits == _HELDOUT], [trained, evaluated, of_species[species.numbers]], default=0
        )
        return splits, reasons.astype(np.int8)


def least_val_images(val_min_images: int, counts: Mapping[str, int]) -> int:
    """Images that a species needs to give some to val: `release.val_min_images`, or 2 in a set so small that no species has as many."""
    return val_min_images if any(count >= val_min_images for count in counts.values()) else _LEAST_VAL_IMAGES


def check_listed(settings: ReleaseSettings, known: Collection[str]) -> None:
    """Raise SettingsError if a name of `release.heldout_species` is not among the `known` accepted binomials."""
    if missing := sorted(set(settings.heldout_species) - set(known)):
        raise SettingsError(
            f"release.heldout_species: {missing[0]!r} is not the accepted name of any image; "
            "use the accepted binomial, or the label, in taxonomy/names.parquet."
        )


def earlier_splits(candidates: Candidates, samples: pa.Table, evaluated: pa.Table) -> Splits:
    """The split [N] that an earlier release gave to each candidate's picture, else to its occurrence.

    `samples` are that release's, with EARLIER_COLUMNS, and `evaluated` its EVALUATED_SCHEMA. A picture is recognised by record id, by its
    stored bytes, or (evaluated ones) by its pixels. In a group of duplicates, and for conflicting splits, evaluation takes precedence.
    """
    strengths = _strengths(pa.chunked_array([*samples["split"].chunks, *evaluated["split"].chunks], pa.string()))
    picture = np.zeros(len(candidates), np.int8)
    for name, known in (("record_id", "record_id"), ("sha256", "stored_sha256")):
        keys = pa.chunked_array([*samples[name].chunks, *evaluated[known].chunks], pa.string())
        picture = np.maximum(picture, _known(candidates.column(name), keys, strengths))
    of_evaluated = _strengths(evaluated["split"])
    picture = np.maximum(picture, _known(candidates.column("pixel_sha256"), evaluated["pixel_sha256"], of_evaluated))
    encounters = pa.chunked_array([*occurrence_keys(samples).chunks, *evaluated["occurrence"].chunks], pa.string())
    own = np.where(picture > 0, picture, _known(candidates.column("occurrence"), encounters, strengths))
    groups = candidates.codes("kept_record_id")
    strongest = np.zeros(len(groups.values), np.int8)
    np.maximum.at(strongest, groups.numbers, own)
    strongest[0] = 0
    return np.maximum(own, strongest[groups.numbers])


def _strengths(splits: pa.ChunkedArray) -> Splits:
    codes: Splits = pc.index_in(splits, value_set=pa.array(SPLIT_NAMES)).to_numpy().astype(np.int8)
    return codes


def _known(keys: pa.ChunkedArray, known: pa.ChunkedArray, strengths: Splits) -> Splits:
    """The strongest of `strengths` among the rows of `known` that have each key, 0 if none has."""
    # Millions of texts exceed the 32-bit offsets of a plain string column.
    known, keys = known.cast(pa.large_string()), keys.cast(pa.large_string())
    strongest = pa.table({"key": known, "strength": pa.array(strengths)}).group_by("key").aggregate([("strength", "max")])
    places = pc.index_in(keys, value_set=strongest["key"].combine_chunks(), skip_nulls=True)
    places = pc.fill_null(places, -1).to_numpy()
    found: Splits = np.append(strongest["strength_max"].to_numpy(), 0).astype(np.int8)[places]
    return found
