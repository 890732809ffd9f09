"""Tables in Markdown, the way that Hugging Face renders them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def cell(text: str) -> str:
    """Text that a provider wrote, made safe for one cell: it can break neither the table nor the page."""
    plain = " ".join(text.split())
    for character in "\\`*_[]<>|":
        plain = plain.replace(character, f"\\{character}")
    return plain


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; one row of dashes where there is none."""
    lines = [f"| {' | '.join(row)} |" for row in rows] or [f"| {' | '.join('-' for _ in head)} |"]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "-|" * len(head), *lines]) + "\n"


def counts_table(title: str, head: str, counts: Mapping[str, int]) -> str:
    """A section with numbers of images by name, the greatest first; an empty name is `not stated`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{title}\n\n" + table((head, "images"), [(cell(name) or "not stated", f"{number:,}") for name, number in ordered])
