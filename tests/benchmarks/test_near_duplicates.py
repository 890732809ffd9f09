"""The table of altered copies counts right, and known duplicates are paired through the original that they share."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.duplicates import duplicate_groups
from benchmarks.duplicates.near_duplicates import RADII, changes, run
from benchmarks.peers import Peers
from benchmarks.registry import Context
from tests.images.test_hashing import photographs


def test_recall_grows_with_the_radius_and_orientations_find_mirrored_and_turned_copies(tmp_path: Path) -> None:
    (table,) = run(Context(True, tmp_path, Peers(install=False))).facts
    rows = {row[0]: row[1:] for row in table.rows}
    assert set(rows) == set(changes())
    for shares in rows.values():
        plain = shares[: len(RADII)]
        assert list(plain) == sorted(plain)
        assert 0 <= min(shares) <= max(shares) <= 1
    assert rows["JPEG quality 90"][RADII.index(4)] >= 0.9
    for name in ("mirror", "rotation 90"):
        assert rows[name][RADII.index(12)] < 0.5
        assert rows[name][len(RADII)] == 1.0


def test_known_duplicates_are_pairs_through_a_shared_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = photographs(4)
    rows = []
    for name, body, exact, near in (
        ("a", bodies[0], "", ""),
        ("b", bodies[0], "a", ""),
        ("c", bodies[0], "", "b"),
        ("d", bodies[1], "", ""),
        ("e", bodies[2], "", "d"),
    ):
        (tmp_path / name).write_bytes(body)
        rows.append({"file": name, "exact_dup_of": exact, "near_dup_of": near})
    with (tmp_path / "metadata.csv").open("w", newline="") as sink:
        writer = csv.DictWriter(sink, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.setenv("TREEOFLIFE_PHOTOGRAPHS", str(tmp_path))
    _, known = run(Context(True, tmp_path, Peers(install=False))).facts
    # At r = 0 the three pairs of equal bytes are found, with and without confirmation; the pair of two photographs is not.
    assert known.rows[:2] == (("all", 0, "no", 4, 3, 3, 1.0, 0.75), ("all", 0, "yes", 4, 3, 3, 1.0, 0.75))


def test_every_change_makes_another_picture() -> None:
    picture = Image.effect_mandelbrot((160, 120), (-2.0, -1.5, 1.0, 1.5), 50).convert("RGB")
    for name, change in changes().items():
        assert change(picture).tobytes() != picture.tobytes(), name


def test_the_stage_refuses_the_near_pairs_of_other_pictures(tmp_path: Path) -> None:
    [pairs] = duplicate_groups.run(Context(True, tmp_path, Peers(install=False))).facts
    for _, confirmed, refused, unconfirmed in pairs.rows:
        assert confirmed + refused == unconfirmed
        assert 0.15 < refused / unconfirmed < 0.25
