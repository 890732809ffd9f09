"""Parameters that several commands share: one name and one help text each. Imports nothing heavy, so that `--help` stays fast."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from bioclip.settings import PipelineSettings, S3Settings

_PANEL = Group("Settings", sort_key=1)
Release = Annotated[str, Parameter(metavar="RELEASE", help="release: version, alias, folder, URL, or address of its manifest.json")]
Radius = Annotated[int | None, Parameter(metavar="N", help="greatest pHash distance in bits, 0 to 12 (default: the setting)")]
Backbones = Annotated[
    list[str],
    Parameter(name="--backbone", metavar="PATH", help="backbone download or index (path or URL); repeatable, the first match wins"),
]
Format = Annotated[str, Parameter(metavar="NAME", help="registered format; `auto` detects it from the content")]


@Parameter(name="*")
@dataclass(frozen=True)
class AnswerOptions:
    """The option of every command that answers."""

    json: Annotated[bool, Parameter(help="print JSON to standard output, and nothing else")] = False

    def access(self) -> S3Settings:
        """S3 access from the environment, for commands that read no settings; raises SettingsError."""
        return environment_access()


@Parameter(name="*")
@dataclass(frozen=True)
class SettingsSource:
    """Where a command's settings come from."""

    settings: Annotated[str, Parameter(group=_PANEL, metavar="FILE", help="YAML file of settings (path or URL)")] = ""
    set: Annotated[
        tuple[str, ...], Parameter(group=_PANEL, metavar="A.B=C", help="one setting; overrides file and environment; repeatable")
    ] = ()
    workspace: Annotated[str, Parameter(group=_PANEL, metavar="URI", help="short for --set workspace.uri=URI")] = ""
    recipe: Annotated[
        str, Parameter(group=_PANEL, metavar="NAME", help="training recipe; file, environment and --set override its values")
    ] = ""
    verbose: Annotated[bool, Parameter(group=_PANEL, help="show Prefect's log on standard error")] = False

    def load(self, base: Mapping[str, Any] | None = None) -> PipelineSettings:
        """The effective settings over `base`; raises SettingsError."""
        from bioclip.settings.loading import load_settings
        from bioclip.storage.local_copies import local_input

        tree = dict(base or {})
        if self.recipe:
            from bioclip.training import load_recipe

            tree["training"] = load_recipe(self.recipe)
        assignments = [f"workspace.uri={self.workspace}", *self.set] if self.workspace else list(self.set)
        if not self.settings:
            return load_settings(None, os.environ, assignments, base=tree)
        with local_input(self.settings, environment_access) as path:
            is_remote = "://" in self.settings
            return load_settings(path, os.environ, assignments, base=tree, relative_to=Path.cwd() if is_remote else None)


@Parameter(name="*")
@dataclass(frozen=True)
class SettingsOptions(AnswerOptions, SettingsSource):
    """The options of every command that reads settings and answers."""


_DemoWorkspace = Annotated[str, Parameter(group=_PANEL, metavar="URI", help="workspace: folder or URL")]


@Parameter(name="*")
@dataclass(frozen=True)
class DemoOptions(SettingsOptions):
    """Settings of the demo; its workspace is the folder `demo` and its recipe `demo_cpu` unless others are named."""

    workspace: _DemoWorkspace = "demo"

    def load(self, base: Mapping[str, Any] | None = None) -> PipelineSettings:
        """As for every command, with the demo's recipe."""
        return SettingsOptions.load(replace(self, recipe=self.recipe or "demo_cpu"), base)


@Parameter(name="*")
@dataclass(frozen=True)
class UiOptions(SettingsSource):
    """Settings of a command that serves a workspace, the folder `demo` unless another is named."""

    workspace: _DemoWorkspace = "demo"


def environment_access() -> S3Settings:
    """S3 access from the environment; raises SettingsError."""
    from bioclip.settings.loading import load_settings

    return load_settings(environment=os.environ).workspace.s3


ANSWER, SETTINGS, DEMO, UI = AnswerOptions(), SettingsOptions(), DemoOptions(), UiOptions()
"""The options when none is given."""
