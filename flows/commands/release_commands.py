"""The commands on releases, as the command line takes them. Nothing heavy is imported before one is run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from bioclip.errors import UsageError
from bioclip.settings import PipelineSettings

Load = Callable[[argparse.Namespace], PipelineSettings]


def add_release_commands(commands: Any, add: Callable[..., argparse.ArgumentParser], load: Load) -> None:
    """Add `releases`, `diff`, `promote`, `export`, `withdraw` and `gc`; `add` makes a command with the usual options, `load` reads them."""

    def releases(options: argparse.Namespace) -> int:
        from flows.commands.releases import show_releases, show_shards

        return show_shards(load(options), options.shards, options.split) if options.shards else show_releases(load(options))

    def diff(options: argparse.Namespace) -> int:
        from flows.commands.releases import show_difference

        return show_difference(load(options), options.older, options.newer)

    def promote(options: argparse.Namespace) -> int:
        from flows.commands.releases import promote, take_alias_away

        if options.remove == bool(options.release):
            raise UsageError("promote takes either a RELEASE, which gets the alias, or --remove, which takes the alias away.")
        return take_alias_away(load(options), options.alias) if options.remove else promote(load(options), options.release, options.alias)

    def export(options: argparse.Namespace) -> int:
        from flows.commands.releases import export

        return export(load(options), options.release, options.destination)

    def gc(options: argparse.Namespace) -> int:
        from flows.commands.releases import collect_garbage

        return collect_garbage(load(options), options.give_up, options.delete)

    def withdraw(options: argparse.Namespace) -> int:
        from flows.commands.withdraw import withdraw

        return withdraw(load(options), options.values, options.reason)

    listing = add(commands, "releases", releases, "list the releases of a workspace")
    listing.add_argument("--shards", metavar="RELEASE", help="print the addresses of this release's shards instead, one a line")
    listing.add_argument("--split", default="train", choices=("train", "val", "heldout"), help="of this split (default: train)")
    difference = add(commands, "diff", diff, "count what a release adds, removes, moves and relabels beside another")
    difference.add_argument("older", metavar="A", help="the older release: version, alias or address")
    difference.add_argument("newer", metavar="B", help="the newer release: version, alias or address")
    promotion = add(commands, "promote", promote, "give a release an alias, which is accepted wherever a version is")
    promotion.add_argument("release", nargs="?", default="", metavar="RELEASE", help="version, alias or address (folder or URL)")
    promotion.add_argument("--remove", action="store_true", help="take the alias away instead; no release is removed")
    promotion.add_argument("--alias", default="latest", metavar="NAME", help="lower-case word (default: latest)")
    withdrawal = add(commands, "withdraw", withdraw, "list images that must leave, and tell which releases hold them")
    withdrawal.add_argument("values", nargs="+", metavar="ID", help="record id, media URL or SHA-256")
    withdrawal.add_argument("--reason", default="", metavar="TEXT", help="written beside it in the list, with day and user")
    copy = add(commands, "export", export, "copy a release, with what it uses of earlier ones, so that it is whole elsewhere")
    copy.add_argument("release", metavar="RELEASE", help="version, alias or address (folder or URL)")
    copy.add_argument("destination", metavar="DESTINATION", help="folder or URL below which <version>/ is made; a second run goes on")
    garbage = add(commands, "gc", gc, "list files that no release and no stage names")
    garbage.add_argument("--give-up", action="append", default=[], metavar="RELEASE", help="a release that is to go too; repeatable")
    garbage.add_argument("--delete", action="store_true", help="delete what is listed; do so while no run is at work")
