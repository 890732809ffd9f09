"""`treeoflife backbone`: what compiling a taxonomic backbone prints."""

from __future__ import annotations

from pathlib import Path

from bioclip.taxonomy.index.files import BackboneInfo, build_index, inspect_source, is_index, read_info


def build_backbone(source: Path, format_name: str, output: Path) -> int:
    """Compile a download, or find it compiled, and print what it holds."""
    target, info, is_new = build_index(source, output, format_name)
    print("\n".join(describe(info)))
    print(f"{'written' if is_new else 'unchanged'}: {target}")
    return 0


def print_backbone(path: Path, format_name: str) -> int:
    """Print what a compiled index or a download holds."""
    info = read_info(path) if is_index(path) else inspect_source(path, format_name)
    print("\n".join(describe(info)))
    return 0


def describe(info: BackboneInfo) -> list[str]:
    """Lines of a backbone: identity, counts by status and rank, what was dropped or noted, each with examples."""
    counts = info.counts
    lines = [
        f"backbone  {info.name}",
        f"format    {info.format}",
        f"source    sha256:{info.source_digest}",
        f"index     sha256:{info.digest}",
        f"usages    {counts['read']:,} read = {counts['written']:,} written + {sum(counts['dropped'].values()):,} dropped",
    ]
    for title, values in (("status", info.by_status), ("taxa", info.by_rank)):
        lines.append(f"{title:<9} " + ", ".join(f"{name} {number:,}" for name, number in values.items()))
    for title in ("dropped", "notes"):
        for name, number in sorted(counts[title].items()):
            shown = ", ".join(info.examples.get(name, ()))
            lines.append(f"{title:<9} {name:<28} {number:>10,}{'  e.g. ' + shown if shown else ''}")
    return lines
