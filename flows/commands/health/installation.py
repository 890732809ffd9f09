"""Python and the installed packages, compared with the ranges that the tests run with, and the stages that they can run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from bioclip.settings import PipelineSettings
from bioclip.stages import STAGES
from flows.commands.health.check import Check, failed, passed, warned

DISTRIBUTION = "bioclip-pipeline"
DEVELOPMENT_EXTRA = "dev"


def check_versions(settings: PipelineSettings) -> Iterator[Check]:
    """Python, the core packages, and the packages of the extras that `settings` need."""
    try:
        package = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        yield warned("packages", f"{DISTRIBUTION} is not installed", "install it with `pip install bioclip-pipeline`")
        return
    yield check_python(platform.python_version(), package.metadata["Requires-Python"] or "")
    needed = extras_of(settings)
    requirements = [Requirement(line) for line in package.requires or ()]
    core = [one for one in requirements if one.marker is None]
    yield check_packages("packages", core, "pip install --upgrade bioclip-pipeline")
    for extra in sorted({name for one in requirements for name in _extras(one)} - {DEVELOPMENT_EXTRA}):
        chosen = [one for one in requirements if extra in _extras(one)]
        if extra in needed or any(_version(one.name) for one in chosen):
            yield check_packages(f"packages ({extra})", chosen, f"pip install --upgrade 'bioclip-pipeline[{extra}]'")


def extras_by_package(package: metadata.Distribution) -> dict[str, list[str]]:
    """Normalised name of each package that an extra needs -> names of those extras, in their order."""
    found: dict[str, list[str]] = {}
    for one in map(Requirement, package.requires or ()):
        for extra in sorted(_extras(one)):
            found.setdefault(canonicalize_name(one.name), []).append(extra)
    return found


def extras_of(settings: PipelineSettings) -> set[str]:
    """Extras that a run with these settings imports."""
    needed = {"pipeline", "train"}
    if settings.workspace.uri.startswith("s3://"):
        needed.add("s3")
    if settings.tracking.enabled and settings.tracking.uri:
        needed.add("mlflow")
    return needed


def check_python(version: str, supported: str) -> Check:
    """Whether this Python is one that the package supports."""
    if not supported or SpecifierSet(supported).contains(version):
        return passed("python", version)
    return failed("python", f"{version}, supported: {supported}", f"create an environment with Python {supported}")


def check_packages(name: str, requirements: list[Requirement], command: str) -> Check:
    """Whether the installed versions are within the tested ranges."""
    wrong = []
    for one in requirements:
        version = _version(one.name)
        if version is None:
            wrong.append(f"{one.name} is missing")
        elif not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} {version} is outside {one.specifier}")
    if wrong:
        return failed(name, "; ".join(wrong), command)
    return passed(name, f"{len(requirements)} within the tested ranges")


def check_stages(settings: PipelineSettings) -> Check:
    """Whether the plan of every stage that these settings ask for can be imported."""
    wanted = [stage for stage in STAGES if stage.is_wanted(settings)]
    for stage in wanted:
        try:
            if stage.plan:
                stage.load_plan()
        except (ImportError, AttributeError) as error:
            return failed("stages", f"stage {stage.name!r} cannot be imported: {error}", "install the packages that are missing above")
    return passed("stages", f"{len(wanted)} of {len(STAGES)} asked for: {', '.join(stage.name for stage in wanted)}")


def _extras(requirement: Requirement) -> set[str]:
    marker = str(requirement.marker or "")
    return {marker.split('"')[1]} if marker.startswith("extra ==") else set()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
