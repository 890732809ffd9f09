"""`treeoflife names explain`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import ANSWER, AnswerOptions

_Text = Annotated[str, Parameter(metavar="TEXT")]


@Parameter(name="*")
@dataclass(frozen=True)
class Context:
    """What a record states besides the name."""

    scientific_name_authorship: Annotated[_Text, Parameter(name="--authorship", help="author of the name")] = ""
    taxon_rank: Annotated[_Text, Parameter(name="--rank", help="rank of the name")] = ""
    kingdom: Annotated[_Text, Parameter(help="kingdom that the record states")] = ""
    phylum: Annotated[_Text, Parameter(help="phylum that the record states")] = ""
    class_: Annotated[_Text, Parameter(name="--class", help="class that the record states")] = ""
    order: Annotated[_Text, Parameter(help="order that the record states")] = ""
    family: Annotated[_Text, Parameter(help="family that the record states")] = ""
    genus: Annotated[_Text, Parameter(help="genus that the record states")] = ""


_NOTHING = Context()


def explain_name(
    name: Annotated[str, Parameter(metavar="NAME", help="scientific name as written")],
    /,
    *,
    backbone: Annotated[
        tuple[str, ...],
        Parameter(metavar="PATH", help="backbone download or index (path or URL); repeatable (default: the sample's small backbone)"),
    ] = (),
    context: Context = _NOTHING,
    options: AnswerOptions = ANSWER,
) -> Answer:
    """Show every candidate of a name with its score, and why one was chosen.

    Example: `treeoflife names explain "Prunella vulgaris" --kingdom Plantae --backbone backbone.zip`

    JSON keys: name, decision, lines.
    """
    from bioclip.sample import sample_path
    from bioclip.settings import TaxonomySettings
    from bioclip.storage.local_copies import local_input
    from bioclip.taxonomy.index.files import open_index
    from bioclip.taxonomy.matching.decisions import VerbatimLineage
    from bioclip.taxonomy.matching.resolve import explain_lineage
    from flows.commands.names.batch_resolution import compiled_backbones

    with ExitStack() as stack:
        paths = [stack.enter_context(local_input(path, options.access)) for path in backbone] or [sample_path("backbone")]
        files, _ = compiled_backbones(paths)
        lineage = VerbatimLineage(scientific_name=name, **asdict(context))
        lines, decision = explain_lineage(lineage, [open_index(*file) for file in files], TaxonomySettings())
    notes = [] if backbone else ["No --backbone given; using the small backbone of the bundled sample."]
    return Answer({"name": name, "decision": decision, "lines": lines}, [*notes, *lines])
