"""Code of the user's own, named `module:function` in the settings, and the typed options of what it builds.

Scorers and objectives are loaded here, so that both are refused in the same words.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bioclip.digests import digest_path
from bioclip.errors import SettingsError
from bioclip.settings import Settings

T = TypeVar("T", bound=Settings)


def is_plugin(name: str) -> bool:
    """True for `module:function`, False for a name that a registry holds."""
    return ":" in name


def build_plugin(kind: str, name: str, **arguments: Any) -> Any:
    """What `module:function` returns for the values of `arguments`, passed by position.

    `kind` says in errors what is built, e.g. `scorer`. Raises SettingsError when the module cannot be imported, has no such function,
    or the function does not take the arguments or refuses its options.
    """
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise SettingsError(
            f"{kind} {name!r}: module {module_name!r} cannot be imported ({type(error).__name__}: {error}); "
            "install it, or put its folder on PYTHONPATH, for this command and for all workers."
        ) from error
    build = getattr(module, function, None)
    if not callable(build):
        raise SettingsError(f"{kind} {name!r}: module {module_name!r} has no function {function!r}; name one that builds the {kind}.")
    try:
        return build(*arguments.values())
    except TypeError as error:
        raise SettingsError(f"{kind} {name!r} cannot be built: {error}; it is called with ({', '.join(arguments)}).") from error
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{kind} {name!r} refuses its options: {type(error).__name__}: {error}.") from error


def source_digest(kind: str, name: str) -> str:
    """SHA-256 of the file of the module in `module:function`, which is not run; empty for a module without a file.

    Raises SettingsError when there is no such module.
    """
    module_name = name.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SettingsError(
            f"{kind} {name!r}: there is no module {module_name!r}; "
            "install it, or put its folder on PYTHONPATH, for this command and for all workers."
        )
    return digest_path(Path(spec.origin)) if spec.has_location and spec.origin else ""


def read_options(model: type[T], options: Mapping[str, Any], owner: str, setting: str) -> T:
    """`options` as the typed settings `model` of `owner`, e.g. `scorer 'sharpness'`, given in the section `setting`.

    Raises SettingsError that names the option and the rule it breaks.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "options"
        known = ", ".join(model.model_fields) or "none"
        raise SettingsError(f"{setting}: option {key!r} of {owner} is refused: {first['msg']}; it takes {known}.") from None
