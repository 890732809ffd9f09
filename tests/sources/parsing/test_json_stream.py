"""JSON is read item by item, and every error says where."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.errors import ArchiveError
from bioclip.settings import SourceSettings
from bioclip.sources import source_format
from bioclip.sources.external.row_index import row_index
from bioclip.sources.parsing import json_stream
from bioclip.sources.parsing.json_stream import read_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def items(text: str, arrays: set[str] | None = None) -> list[tuple[str, int, Any]]:
    return list(read_items(io.BytesIO(text.encode("utf-8", "surrogatepass")), "x.json", arrays))


@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 2]), st.integers(1, 9))
def test_an_array_s_items_are_equal_for_any_chunks(values: list[Any], indent: int | None, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK_CHARS", chunk)
        assert [item for _, _, item in items(json.dumps(values, indent=indent))] == values


def test_only_the_wanted_arrays_are_given() -> None:
    text = '\ufeff{"info": {"images": [9]}, "a": [1, 2], "b": [], "c": [{}], "d": 7} \n'
    assert items(text, {"a", "c", "d"}) == [("a", 0, 1), ("a", 1, 2), ("c", 0, {}), ("d", -1, 7)]
    assert items("[]") == items("{}") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"x\.json: the document \(character 0\): the file ends here"),
        ("7", "an object or an array is required"),
        ("[1 2]", r"after \[0\] \(character 3\): ',' or '\]' is required, found '2'"),
        ("[1,", r"\[1\] \(character 3\): the file ends here; it is truncated"),
        ('{"a": [{"b": tru}]}', r"a\[0\] \(character 7\): not JSON"),
        ('{"a" 1}', r"a \(character 5\): ':' is required"),
        ("[1] [2]", "after the document"),
        ("{1: 2}", "a string is required"),
        ("[" + "[" * 100_000, r"\[0\].*nested too deeply"),
    ],
)
def test_damage_is_named_by_path_and_place(text: str, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        items(text)


def test_bytes_that_are_no_text_are_named() -> None:
    with pytest.raises(ArchiveError, match="not UTF-8"):
        list(read_items(io.BytesIO(b'["\xff"]'), "x.json"))


def test_an_item_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ITEM_CHARS", 3000)
    monkeypatch.setattr(json_stream, "_CHUNK_CHARS", 100)
    with pytest.raises(ArchiveError, match="no JSON value ends within 3000 characters"):
        items('["' + "x" * 20_000)


def test_memory_stays_flat_however_many_images_a_document_holds(tmp_path: Path) -> None:
    peaks = []
    for num_images in (400, 4_000):
        path = tmp_path / f"{num_images}.json"
        path.write_text(json.dumps(_document(num_images)))
        source = SourceSettings(name="x", format="coco_camera_traps", path=str(path), options={"images": "https://a.org"})
        tracemalloc.start()
        assert sum(1 for _ in source_format(source).read(source)) == num_images
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20)


def _document(num_images: int) -> dict[str, Any]:
    return {
        "images": [{"id": f"image-{i}", "file_name": f"{i}.jpg", "note": "x" * 100} for i in range(num_images)],
        "annotations": [{"id": f"n{i}", "image_id": f"image-{i}", "category_id": 1} for i in range(num_images)],
        "categories": [{"id": 1, "name": "puma"}],
    }


def test_rows_come_back_in_order_once_and_the_rest_is_counted() -> None:
    def rows() -> Iterator[tuple[str, Any]]:
        for number in range(25_000):
            yield str(number % 5), number

    with row_index() as index:
        index.fill(rows())
        assert (index.take("3") or [])[:3] == [3, 8, 13]
        assert (index.take("3"), index.take("none"), index.num_left()) == (None, [], 20_000)
