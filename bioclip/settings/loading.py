"""Loading settings: defaults, then a YAML file, then the environment, then `--set a.b=c`; later sources override earlier ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bioclip.errors import SettingsError
from bioclip.settings.base import Settings
from bioclip.settings.pipeline import PipelineSettings

ENVIRONMENT_PREFIX = "TREEOFLIFE_"
_PATHS = frozenset(
    [
        "workspace.uri",
        "workspace.state_dir",
        "sources.path",
        "sources.options.images",
        "sources.options.taxa",
        "sources.options.media",
        "ingest.takedown",
        "download.ca_file",
        "taxonomy.backbones.path",
        "taxonomy.curation",
        "release.heldout_list",
        "release.descriptions",
        "leakage.against.path",
        "leakage.against.images",
        "evaluation.descriptions",
        "evaluation.non_organisms",
    ]
)
"""Settings that are paths; those in a list are named without their place in it."""
_RULES = {
    "tuple_type": "a list is needed; put the entry in [ ] or after a dash",
    "string_type": "text is needed; put it in quotes",
    "model_type": "a section of keys is needed, e.g. `key: value`",
}
"""Type of an error of pydantic -> the rule in words of YAML."""


def load_settings(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    assignments: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
    relative_to: Path | None = None,
) -> PipelineSettings:
    """The effective settings. Paths in the file are relative to its folder, or to `relative_to` for a file that was downloaded; all
    others are relative to the working directory.

    `environment` holds names such as TREEOFLIFE_WORKSPACE__URI (two underscores go one level down); `assignments` are strings `a.b=c`
    whose right side is YAML; a number is a place in a list (`sources.0.path=x`). `base` replaces the built-in defaults (the demo's own
    settings). Raises SettingsError that names the key or value, the rule and the nearest known key.
    """
    tree: dict[str, Any] = _merged({}, base or {})
    if path is not None:
        tree = _merged(tree, with_absolute_paths(read_yaml(path), relative_to or path.absolute().parent))
    for name, value in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name.removeprefix(ENVIRONMENT_PREFIX):
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            tree = _merged(tree, _nested(keys, _scalar(value, name)))
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise SettingsError(f"--set {assignment!r} has no '='; write it as --set section.key=value.")
        tree = _merged(tree, _nested(key.split("."), _scalar(value, key)))
    return build_settings(tree)


def build_settings(tree: Mapping[str, Any]) -> PipelineSettings:
    """Settings from nested plain values; raises SettingsError."""
    try:
        return PipelineSettings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(detail) for detail in error.errors()[:5])) from None


def with_absolute_paths(tree: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Nested plain values whose relative paths are joined to `folder`; addresses with a scheme and empty values are kept."""
    return {key: _absolute(value, (key,), folder) for key, value in tree.items()}


def _absolute(value: Any, place: tuple[str, ...], folder: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _absolute(one, (*place, str(key)), folder) for key, one in value.items()}
    if isinstance(value, list):
        return [_absolute(one, place, folder) for one in value]
    if ".".join(place) not in _PATHS or not isinstance(value, str) or not value or "://" in value:
        return value
    return str(folder / Path(value).expanduser())


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; raises SettingsError."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {str(path)!r} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {str(path)!r} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict | None):
        raise SettingsError(f"settings file {str(path)!r} contains a {type(tree).__name__}; it must contain sections such as `download:`.")
    return tree or {}


def describe_settings(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted key, effective value, documentation) of every leaf, in order of declaration; secrets stay masked."""
    for name, field in type(settings).model_fields.items():
        value, key = getattr(settings, name), f"{prefix}{name}"
        if isinstance(value, Settings):
            yield from describe_settings(value, f"{key}.")
        else:
            yield key, settings.model_dump(mode="json", include={name})[name], " ".join((field.description or "").split())


def to_yaml(settings: PipelineSettings) -> str:
    """YAML that loads to the same settings from any folder, without credentials: its paths are absolute."""
    tree = with_absolute_paths(settings.model_dump(mode="json", exclude={"workspace": {"s3": {"key", "secret"}}}), Path.cwd())
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = _merged(below, value)
        elif isinstance(value, Mapping) and isinstance(below, list) and value and all(name.isdigit() for name in value):
            result[key] = _merged_list(below, value, key)
        else:
            result[key] = value
    return result


def _merged_list(under: Sequence[Any], over: Mapping[str, Any], key: str) -> list[Any]:
    """`over` maps places in the list to values; raises SettingsError for a place that the list lacks."""
    result = list(under)
    for name, value in over.items():
        if int(name) >= len(result):
            raise SettingsError(f"settings key {key}.{name} does not exist; {key} has {len(result)} entries, the first is {key}.0.")
        below = result[int(name)]
        result[int(name)] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _scalar(text: str, key: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"value {text!r} of {key} is not YAML; quote it.") from None


def _sentence(detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"]) or "settings"
    if detail["type"] == "extra_forbidden":
        known = _keys_beside(detail["loc"])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}."
        return f"settings key {key!r} does not exist; {hint}"
    shown = "" if isinstance(detail["input"], dict) else f" = {detail['input']!r}"
    rule = _RULES.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    if str(detail.get("ctx", {}).get("pattern", "")).startswith("^[a-z0-9]"):
        rule = "use lower-case letters, digits, '-' and '_'"
    return f"settings key {key!r}{shown} is refused: {rule}."


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: Any = PipelineSettings
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, Settings)), model)
    return list(model.model_fields)
