"""Where and when the sample's photographs were taken, as far as their sources state it.

No source states coordinates. A place that a source names is located by GeoNames (CC BY 4.0), with the radius in metres within which
the photograph was taken; a place that GeoNames' list of cities lacks keeps its words and has no coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from sample_rows import Row


@dataclass(frozen=True)
class Place:
    """A point of GeoNames: WGS84 degrees, and the radius around it in metres."""

    geonames_id: int
    name: str
    latitude: float
    longitude: float
    radius_m: int


@dataclass(frozen=True)
class Event:
    """What a source states about where, when and by whom; empty where it states nothing or the label cannot be read."""

    locality: str = ""
    country_code: str = ""
    date: str = ""
    collector: str = ""
    place: Place | None = None
    remarks: str = ""


REGINA = Place(6119109, "Regina", 50.45008, -104.6178, 15_000)
SWIFT_CURRENT = Place(6160603, "Swift Current", 50.28337, -107.80135, 10_000)
GREENWOOD = Place(5966694, "Greenwood", 49.09979, -118.68561, 5_000)
BAYREUTH = Place(2951825, "Bayreuth", 49.94782, 11.57893, 10_000)
KEY_LARGO = Place(4160795, "Key Largo", 25.08652, -80.44728, 150_000)
HENGCHUN = Place(1676242, "Hengchun", 22.00417, 120.74389, 100_000)

PLANKTON = Event(
    locality="Straits of Florida",
    date="2014-06-03/2014-06-06",
    place=KEY_LARGO,
    remarks="NOAA NCEI Accession 0127422 states the strait and the days, not the place of an image; "
    "the radius reaches Miami, Bimini and Key West",
)
"""PlanktonSet 1.0, by the title of its archive."""
FISH = Event(
    locality="Coral reefs of southern Taiwan",
    country_code="TW",
    place=HENGCHUN,
    remarks="Fish4Knowledge filmed at Nanwan, Houbi and Lanyu and does not state at which; the radius reaches all three",
)
"""Fish4Knowledge, by its description."""
LABELS = {
    "0a3108d6": Event("Francis, 0.8 mi e. on Hwy 33", "CA", "1963-08-14", "J.F. Alex; J. Gebhardt"),
    "0a476e41": Event("Regina", "CA", "1935-06-27", "Wm. Shevkenek", REGINA),
    "0a4a6d53": Event("Greenwood, B.C.", "CA", "1985-10-04", "P. Harris", GREENWOOD),
    "0a883248": Event("Bayreuth, West Germany", "DE", "", "K. Mortensen", BAYREUTH),
    "0ac1e543": Event("54 kms N of Glaslyn", "CA", "1983-08-18"),
    "0ad8fbd2": Event("50-8-15 W, W3 RM 496", "CA", "1987-08-20", "Thomas & Wise"),
    "0adbd61e": Event("Regina Res. Station, North of the library", "CA", "", "D.W. Douglas", REGINA),
    "specimen_001": Event("Swift Current Research Station Saskatchewan", "CA", "1984-09-18", "M. Molloy", SWIFT_CURRENT),
    "specimen_002": Event("Regina Waterfowl Park", "CA", "1961-06-08", "Dorothy Richman Wade; Douglas E. Wade", REGINA),
    "specimen_004": Event("Regina Sask Research Station", "CA", "1987-08-13", "K. Mortensen", REGINA),
    "specimen_005": Event("Texas Creek, B.C.", "CA", "1947-06-20"),
}
"""Herbarium sheets by the start of their file name, read from the label on the photograph."""


def find_event(row: Row) -> Event:
    """Where and when a photograph was taken; empty for sources that state neither."""
    path = PurePosixPath(row["file"])
    if path.parts[0] == "aafc_herbarium":
        return next((event for start, event in LABELS.items() if path.stem.startswith(start)), Event())
    return {"planktonset": PLANKTON, "fish4k": FISH}.get(path.parts[0], Event())


def place_columns(event: Event) -> dict[str, str]:
    """Darwin Core's columns of a place; without coordinates only its words."""
    if event.place is None:
        return {"locality": event.locality}
    return {
        "locality": event.locality,
        "decimalLatitude": str(event.place.latitude),
        "decimalLongitude": str(event.place.longitude),
        "geodeticDatum": "WGS84",
        "coordinateUncertaintyInMeters": str(event.place.radius_m),
        "georeferenceSources": f"GeoNames {event.place.geonames_id} ({event.place.name})",
        "georeferenceRemarks": event.remarks or "the place that the label names",
    }
