"""Options of a scorer, checked as settings are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from bioclip.errors import SettingsError
from bioclip.settings import Settings

T = TypeVar("T", bound=Settings)


def read_options(model: type[T], options: Mapping[str, Any], scorer: str) -> T:
    """`options` as the scorer's own settings; raises SettingsError that names the key and the rule."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "options"
        known = ", ".join(model.model_fields)
        raise SettingsError(f"release.filters: option {key!r} of scorer {scorer!r} is refused: {first['msg']}; it takes {known}.") from None
