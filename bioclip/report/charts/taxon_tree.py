"""The tree of accepted taxa as nested, closed lists: bounded, with what is left out summed and counted."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from bioclip.records import RANKS
from bioclip.report.data.name_decisions import Weight
from bioclip.report.html.markup import Markup, element, join, name_of, number

MAX_CHILDREN = 60
MAX_TAXA = 12_000
"""Taxa on the page in all, about 2 MB of it."""
_PLURALS = ("kingdoms", "phyla", "classes", "orders", "families", "genera", "species")


@dataclass(slots=True)
class TaxonNode:
    """A taxon with all below it. `depth` is the place of its rank in RANKS, -1 for the root."""

    name: str
    depth: int
    num_records: int = 0
    num_own_records: int = 0
    """Of `num_records`, those that are named to this taxon and no lower rank."""
    num_species: int = 0
    children: dict[str, TaxonNode] = field(default_factory=dict)
    listed: list[TaxonNode] = field(default_factory=list)
    """The children that are shown, those of most records first."""

    @property
    def unlisted(self) -> list[TaxonNode]:
        """The children that are not shown."""
        names = {child.name for child in self.listed}
        return [child for name, child in self.children.items() if name not in names]


def grow_tree(lineages: Mapping[tuple[str, ...], Weight]) -> TaxonNode:
    """The tree of lineages of seven ranks; a rank that is empty above a named one is a node without a name."""
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
    """Fill `listed` throughout: the taxa of most records, at most `max_taxa` in all and `max_children` below one; how many have a name.

    A taxon never comes without those above it, since it has no more records than they.
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


def render_tree(root: TaxonNode) -> Markup:
    """Nested lists that open and close without a script; kingdoms are open."""
    return element("div", _below(root), class_="tree")


def _below(node: TaxonNode) -> Markup:
    items = [element("li", _taxon(child)) for child in node.listed]
    if node.children and node.num_own_records:
        place = f"named to {RANKS[node.depth]} only" if node.name else "named to no rank below"
        items.append(element("li", element("p", element("i", place), _figures(node.num_own_records)), class_="rest"))
    if rest := node.unlisted:
        plural = _PLURALS[node.depth + 1]
        words = f"{number(len(rest))} {'more ' if node.listed else ''}{plural if len(rest) > 1 else RANKS[node.depth + 1]} not listed"
        figures = _figures(sum(child.num_records for child in rest), sum(child.num_species for child in rest))
        items.append(element("li", element("p", element("i", words), figures), class_="rest"))
    return element("ul", *items)


def _taxon(node: TaxonNode) -> Markup:
    rank = RANKS[node.depth]
    if rank == "species":
        return element("p", element("em", name_of(node.name)), _figures(node.num_records))
    name = name_of(node.name) if node.name else element("i", f"no {rank} given")
    line = [element("em", name) if rank == "genus" else name, " ", element("small", rank), _figures(node.num_records, node.num_species)]
    if not node.children:
        return element("p", *line)
    return element("details", element("summary", *line), _below(node), open=node.depth == 0)


def _figures(num_records: int, num_species: int = 0) -> Markup:
    species = [element("small", f"{number(num_species)} species")] if num_species else []
    return element("span", join(species), element("b", number(num_records)))
