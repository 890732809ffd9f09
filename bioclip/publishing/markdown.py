"""Markdown tables as Hugging Face renders them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def cell(text: str) -> str:
    """A provider's text, escaped so that it stays within one table cell."""
    plain = " ".join(text.split())
    for character in "\\`*_[]<>|":
        plain = plain.replace(character, f"\\{character}")
    return plain


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a row of dashes if there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows] or [f"| {' | '.join('-' for _ in head)} |"]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "-|" * len(head), *lines]) + "\n"


def counts_table(title: str, head: str, counts: Mapping[str, int]) -> str:
    """A section with numbers of images by name, the greatest first; an empty name is shown as `not stated`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{title}\n\n" + table((head, "images"), [(cell(name) or "not stated", f"{number:,}") for name, number in ordered])
