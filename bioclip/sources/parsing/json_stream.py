"""JSON documents of any length, item by item: the elements of a document's top-level arrays, and JSON lines.

ijson is not used: the standard library's scanner is written in C and parses one whole item at a time, which is enough for the
providers' files, at several times the speed of an event parser and with no dependency. Memory is the longest single item.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Container, Iterator
from typing import IO, Any

from bioclip.delimited.damage import ROW_DAMAGED, DamagedRow, OnDamage, refuse
from bioclip.errors import ArchiveError

MAX_ITEM_CHARS = 64 << 20
"""Longest single item; a longer one means that the file has another format."""

_CHUNK_CHARS = 1 << 20
_SPACE = " \t\r\n"
_SPACES = re.compile(f"[{_SPACE}]*")
_SCALAR_END = _SPACE + ",]}"


def read_items(stream: IO[bytes], where: str, arrays: Container[str] | None = None) -> Iterator[tuple[str, int, Any]]:
    """(array's name, index, item) of the document's top-level arrays, in the file's order.

    `arrays` names the arrays to read (None: all); the others are skipped. Other values are yielded as one
    item with index -1. A document that is itself an array has the name "". Raises ArchiveError with file, JSON path and offset.
    """
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        cursor = _Cursor(text, where)
        first = cursor.peek("the document")
        if first == "[":
            yield from cursor.array("")
        elif first == "{":
            for name in cursor.members():
                wanted = arrays is None or name in arrays
                for index, item in cursor.value(name):
                    if wanted:
                        yield name, index, item
        else:
            raise cursor.error("the document", "an object or an array is required")
        cursor.end()


def read_lines(stream: IO[bytes], where: str, on_damage: OnDamage = refuse) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of JSON lines; blank lines are skipped.

    A line that is not an object in UTF-8 goes to `on_damage`. Raises ArchiveError with file, line and rule.
    """
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                value = json.loads(text) if text else None
            except (ValueError, RecursionError) as error:
                on_damage(DamagedRow(where, number, ROW_DAMAGED, f"not one JSON object per line in UTF-8: {error}"))
                continue
            if isinstance(value, dict):
                yield number, value
            elif text:
                rule = f"not one JSON object per line: an object is required, found {type(value).__name__}"
                on_damage(DamagedRow(where, number, ROW_DAMAGED, rule))
    except (OSError, EOFError) as error:
        raise ArchiveError(f"{where}, line {number + 1}: the rest of the file cannot be read ({error}); download it again.") from None


class _Cursor:
    """A position in the text; memory holds the item that is being read."""

    def __init__(self, text: IO[str], where: str) -> None:
        self._text = text
        self._where = where
        self._buffer, self._at, self._base, self._is_done = "", 0, 0, False
        self._decoder = json.JSONDecoder()

    def error(self, path: str, rule: str) -> ArchiveError:
        return ArchiveError(f"{self._where}: {path} (character {self._base + self._at}): {rule}.")

    def peek(self, path: str) -> str:
        """The next character that is not white space."""
        while True:
            self._at = _SPACES.match(self._buffer, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._grow(path):
                raise self.error(path, "the file ends here; it is truncated, download it again")

    def expect(self, characters: str, path: str) -> str:
        found = self.peek(path)
        if found not in characters:
            raise self.error(path, f"{' or '.join(map(repr, characters))} is required, found {found!r}")
        self._at += 1
        return found

    def item(self, path: str) -> Any:
        """The whole value that begins here."""
        self.peek(path)
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if self._is_done:
                    raise self.error(path, f"not JSON ({error.msg}); the file is damaged or truncated, download it again") from None
            except RecursionError:
                raise self.error(path, "nested too deeply") from None
            else:
                # A number at the end of the buffer may continue after it.
                if self._is_done or (end < len(self._buffer) and (self._buffer[end - 1] in '}]"' or self._buffer[end] in _SCALAR_END)):
                    self._at = end
                    return value
            if len(self._buffer) - self._at > MAX_ITEM_CHARS:
                raise self.error(path, f"no JSON value ends within {MAX_ITEM_CHARS} characters")
            self._grow(path)

    def members(self) -> Iterator[str]:
        """Each member's name; its value must be read before the next name."""
        self.expect("{", "the document")
        if self.peek("the document") == "}":
            self.expect("}", "the document")
            return
        while True:
            name = self.item("a member's name")
            if not isinstance(name, str):
                raise self.error("a member's name", "a string is required")
            self.expect(":", name)
            yield name
            if self.expect(",}", f"after {name}") == "}":
                return

    def value(self, name: str) -> Iterator[tuple[int, Any]]:
        """The items of the member's array, or its one value with index -1."""
        if self.peek(name) == "[":
            yield from ((index, item) for _, index, item in self.array(name))
        else:
            yield -1, self.item(name)

    def array(self, name: str) -> Iterator[tuple[str, int, Any]]:
        """The items of the array that begins here."""
        self.expect("[", name)
        if self.peek(name) == "]":
            self.expect("]", name)
            return
        index = 0
        while True:
            yield name, index, self.item(f"{name}[{index}]")
            if self.expect(",]", f"after {name}[{index}]") == "]":
                return
            index += 1

    def end(self) -> None:
        """Raises ArchiveError if anything follows."""
        while not self._is_done or self._at < len(self._buffer):
            if self._at == len(self._buffer):
                self._grow("after the document")
            elif self._buffer[self._at] in _SPACE:
                self._at += 1
            else:
                raise self.error("after the document", "only one document is allowed; JSON lines have the suffix .jsonl")

    def _grow(self, path: str) -> bool:
        """Read more and drop the text before the cursor. Reads double, so an item of n chunks is parsed log2(n) times."""
        rest = self._buffer[self._at :]
        self._base += self._at
        self._buffer, self._at = rest, 0
        try:
            chunk = self._text.read(max(_CHUNK_CHARS, len(rest)))
        except UnicodeDecodeError as error:
            raise self.error(path, f"not UTF-8 ({error.reason})") from None
        except (OSError, EOFError) as error:
            raise self.error(path, f"the rest of the file cannot be read ({error}); download it again") from None
        self._buffer, self._is_done = rest + chunk, not chunk
        return bool(chunk)
