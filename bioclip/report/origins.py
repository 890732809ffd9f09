"""Licences and sources: how many images and species each gives, and what it asks for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.licenses import license_url, needs_attribution
from bioclip.report.batches import most
from bioclip.report.counting import Codes, DistinctNumbers, Tally
from bioclip.report.data import ReportData
from bioclip.report.markup import Markup, element, join, link, name_of, number, percent, table
from bioclip.report.sample_data import Origin
from bioclip.report.section import Section, note

MAX_ORIGINS = 25
_TERMS = {"SA": "share alike", "NC": "no commercial use", "ND": "no derivatives"}


class OriginTally:
    """Images and species by one column: `license` or `source`."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._origins = Codes()
        self._samples, self._dropped, self._without_holder = Tally(), Tally(), Tally()
        self._species = DistinctNumbers()

    def add(self, samples: pa.Table, dropped: pa.Table, species: Codes) -> None:
        """Count the rows; `species` numbers their species."""
        places = self._origins.encode(samples[self._column])
        self._samples.add(places)
        self._dropped.add(self._origins.encode(dropped[self._column]))
        holderless = pc.and_(pc.equal(samples["creator"], ""), pc.equal(samples["rights_holder"], ""))
        self._without_holder.add(places[holderless.to_numpy().astype(bool)])
        is_named = pc.not_equal(samples["species"], "").to_numpy().astype(bool)
        pairs = (places << 32) | species.encode(samples["species"])
        self._species.add(pairs[is_named].astype(np.uint64))

    def summary(self) -> tuple[Origin, ...]:
        """The largest origins, and one that stands for all others where there are more."""
        names, length = self._origins.names, len(self._origins)
        samples, dropped, without = (tally.of(length) for tally in (self._samples, self._dropped, self._without_holder))
        num_species = np.bincount((self._species.values() >> np.uint64(32)).astype(np.int64), minlength=length)
        totals = Counter(dict(zip(names, (samples + dropped).tolist(), strict=True)))
        places = {name: place for place, name in enumerate(names)}
        shown = [name for name, _ in most(totals.items(), MAX_ORIGINS)]
        origins = [
            Origin(name, int(samples[p]), int(dropped[p]), int(num_species[p]), int(without[p])) for name in shown for p in [places[name]]
        ]
        if rest := sorted(set(places.values()) - {places[name] for name in shown}):
            origins.append(Origin("", int(samples[rest].sum()), int(dropped[rest].sum()), None, int(without[rest].sum())))
        return tuple(origins)


def licenses_section(data: ReportData) -> Section:
    """Licences and sources of all images, with what they ask for."""
    samples = data.samples
    if not samples.num_images:
        return Section("licenses", "Licences and sources", None, "This release considered no images.")
    attribution = note(
        "Every sample carries its licence as given and normalised, its rights holder and its creator in samples.parquet, and "
        "attribution.parquet lists them ready for use. Whoever passes images on must name them and keep to each licence; photographs on "
        "this page name theirs below the picture. Licences that forbid derivatives or commercial use can be excluded with ",
        element("code", "ingest.licenses"),
        ".",
    )
    parts = [_license_table(data), _source_table(data), attribution]
    return Section("licenses", "Licences and sources", join(parts), "")


def _license_table(data: ReportData) -> Markup:
    rows = [
        (
            link(license_url(o.name), shown=name_of(o.name, 44)) if o.name else _other(o, "no licence stated"),
            *_counts(o, data.samples.num_samples),
            number(o.num_without_holder),
            "—" if o.is_rest else "must be named" if needs_attribution(o.name) else "not asked for",
            "—" if o.is_rest else _terms(o.name),
        )
        for o in data.samples.licenses
    ]
    header = ("Licence", "Samples", "Share", "Species", "Left out", "No holder given", "Attribution", "Further terms")
    return table("Images by licence, with links to the texts", header, rows, numeric=(1, 2, 3, 4, 5))


def _source_table(data: ReportData) -> Markup:
    rows = [
        (
            name_of(o.name, 44) if o.name else _other(o, "(no source)"),
            *_counts(o, data.samples.num_samples),
            number(o.num_without_holder),
        )
        for o in data.samples.sources
    ]
    return table(
        "Images by source", ("Source", "Samples", "Share", "Species", "Left out", "No holder given"), rows, numeric=(1, 2, 3, 4, 5)
    )


def _other(origin: Origin, nothing: str) -> str:
    return "all others" if origin.is_rest else nothing


def _counts(origin: Origin, num_samples: int) -> tuple[str, ...]:
    species = "—" if origin.num_species is None else number(origin.num_species)
    return number(origin.num_samples), percent(origin.num_samples, num_samples), species, number(origin.num_dropped)


def _terms(license_id: str) -> str:
    if license_id == "":
        return "none known: all rights may be reserved"
    elements = license_id.split("-") if license_id.startswith("CC-") else []
    return ", ".join(said for short, said in _TERMS.items() if short in elements) or "—"
