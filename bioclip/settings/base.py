"""Base class of every settings section, and the digest of the fields that determine a result."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bioclip.digests import digest_value

CaptionType = Literal["sci", "com", "taxon", "taxonTag", "sci_com", "taxon_com", "taxonTag_com"]


CAPTION_OF_A_LANGUAGE = re.compile(r"(com|common_name)\.[a-z]{2,3}")


class Settings(BaseModel):
    """Base of every branch: frozen, unknown keys are rejected, docs come from the strings under the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


def operational(default: Any, **constraints: Any) -> Any:
    """A field that cannot change any result: left out of the settings' digest."""
    return Field(default, json_schema_extra={"operational": True}, **constraints)


def rule(default: Any, **constraints: Any) -> Any:
    """A field that digests omit while it has its default, so results from before the field existed are still reused."""
    return Field(default, json_schema_extra={"rule": True}, **constraints)


def is_operational(model: type[Settings], name: str) -> bool:
    """True when field `name` cannot change any result."""
    extra = model.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("operational"))


def _is_unused_rule(model: type[Settings], name: str, value: Any) -> bool:
    field = model.model_fields[name]
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("rule")) and value == field.default


def meaningful(settings: Settings) -> dict[str, Any]:
    """The fields that determine results, as plain values; digests are computed from these."""
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if is_operational(type(settings), name) or _is_unused_rule(type(settings), name, value):
            continue
        if isinstance(value, Settings):
            values[name] = meaningful(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            values[name] = [meaningful(item) for item in value]
        else:
            values[name] = settings.model_dump(mode="json", include={name})[name]
    return values


def settings_digest(settings: Settings) -> str:
    """SHA-256 of the fields of `settings` that determine results."""
    return digest_value(meaningful(settings))
