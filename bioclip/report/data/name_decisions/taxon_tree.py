"""The tree of accepted taxa: a bounded number is listed, and the rest is summed and counted."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from bioclip.records import RANKS
from bioclip.report.data.name_decisions.decision_summary import NameCounts

MAX_CHILDREN = 60
MAX_TAXA = 12_000
"""Taxa on the page in all, about 2 MB of it."""
_PLURALS = ("kingdoms", "phyla", "classes", "orders", "families", "genera", "species")


@dataclass(slots=True)
class TaxonNode:
    """A taxon with its descendants. `depth` is the index of its rank in RANKS, -1 for the root."""

    name: str
    depth: int
    num_records: int = 0
    num_own_records: int = 0
    """Records that are named to this taxon and to no lower rank."""
    num_species: int = 0
    children: dict[str, TaxonNode] = field(default_factory=dict)
    listed: list[TaxonNode] = field(default_factory=list)
    """The children that are shown, most records first."""

    @property
    def rank(self) -> str:
        """The rank of the taxon; empty for the root."""
        return RANKS[self.depth] if self.depth >= 0 else ""

    @property
    def unlisted(self) -> list[TaxonNode]:
        """The children that are not shown."""
        names = {child.name for child in self.listed}
        return [child for name, child in self.children.items() if name not in names]


def grow_tree(lineages: Mapping[tuple[str, ...], NameCounts]) -> TaxonNode:
    """The tree of lineages of seven ranks; an empty rank above a named one becomes a node without a name."""
    root = TaxonNode("", -1)
    for lineage, weight in sorted(lineages.items()):
        depth = max((place + 1 for place, name in enumerate(lineage) if name), default=0)
        node, is_species = root, depth == len(RANKS)
        path = [root]
        for place, name in enumerate(lineage[:depth]):
            node = node.children.setdefault(name, TaxonNode(name, place))
            path.append(node)
        for above in path:
            above.num_records += weight.num_records
            above.num_species += is_species
        node.num_own_records += weight.num_records
    return root


def choose_taxa(root: TaxonNode, max_children: int = MAX_CHILDREN, max_taxa: int = MAX_TAXA) -> int:
    """Fill `listed` of every node with the taxa of most records; return how many of them have a name.

    At most `max_taxa` are listed in all and `max_children` below one taxon. A listed taxon's ancestors are listed too, because they
    have at least as many records.
    """
    waiting: list[tuple[int, tuple[str, ...], TaxonNode, TaxonNode]] = []

    def offer(parent: TaxonNode, path: tuple[str, ...]) -> None:
        for child in heapq.nsmallest(max_children, parent.children.values(), key=lambda child: (-child.num_records, child.name)):
            heapq.heappush(waiting, (-child.num_records, (*path, child.name), parent, child))

    offer(root, ())
    num_chosen = num_named = 0
    while waiting and num_chosen < max_taxa:
        _, path, parent, child = heapq.heappop(waiting)
        parent.listed.append(child)
        num_chosen, num_named = num_chosen + 1, num_named + bool(child.name)
        offer(child, path)
    return num_named


def count_taxa(root: TaxonNode) -> list[int]:
    """Named taxa at each of RANKS."""
    counts = [0] * len(RANKS)
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.name:
            counts[node.depth] += 1
        waiting += node.children.values()
    return counts


def title_unlisted(node: TaxonNode) -> str:
    """What is not listed below `node`, e.g. `12 more genera not listed`."""
    num_rest = len(node.unlisted)
    ranks = _PLURALS[node.depth + 1] if num_rest > 1 else RANKS[node.depth + 1]
    return f"{num_rest:,} {'more ' if node.listed else ''}{ranks} not listed"
