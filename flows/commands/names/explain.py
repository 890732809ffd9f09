"""`treeoflife names explain`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, SettingsOptions

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
        Parameter(
            metavar="PATH",
            help="backbone download or index (path or URL); repeatable (default: those of --settings, else the sample's small backbone)",
        ),
    ] = (),
    context: Context = _NOTHING,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Show every candidate of a name with its score, and why one was chosen.

    Names are matched under the settings of `taxonomy`, as in a run.

    Example: `treeoflife names explain "Prunella vulgaris" --kingdom Plantae --settings settings.yaml`

    JSON keys: name, decision, lines.
    """
    from bioclip.sample import sample_path
    from bioclip.storage.local_copies import local_input
    from bioclip.taxonomy.index.files import open_index
    from bioclip.taxonomy.matching.decisions import VerbatimLineage
    from bioclip.taxonomy.matching.resolve import explain_lineage
    from flows.commands.names.batch_resolution import compiled_backbones

    taxonomy = options.load().taxonomy
    wanted = list(backbone) or [one.path for one in taxonomy.backbones]
    with ExitStack() as stack:
        paths = [stack.enter_context(local_input(path, options.access)) for path in wanted] or [sample_path("backbone")]
        files, _ = compiled_backbones(paths)
        lineage = VerbatimLineage(scientific_name=name, **asdict(context))
        lines, decision = explain_lineage(lineage, [open_index(*file) for file in files], taxonomy)
    notes = [] if wanted else ["No --backbone and no --settings with backbones given; using the small backbone of the bundled sample."]
    return Answer({"name": name, "decision": decision, "lines": lines}, [*notes, *lines])
