"""The Jinja environment of the report: text is escaped by default, and a template that uses an undefined name fails."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bioclip.report.data.name_decisions.taxon_tree import title_unlisted
from bioclip.report.html.text import is_web_address, number, percent, plain, shorten


@cache
def environment() -> Environment:
    """The environment with the templates of this folder. Text that is not `Markup` is cleaned by `plain`, then escaped."""
    created = Environment(
        loader=PackageLoader("bioclip.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    created.filters |= {
        "number": number,
        "percent": percent,
        "plain": plain,
        "shorten": shorten,
        "base64": _encode,
        "title_unlisted": title_unlisted,
    }
    created.tests["web_address"] = is_web_address
    return created


def render_macro(template: str, macro: str, *arguments: Any) -> Markup:
    """What a macro of a template returns for `arguments`."""
    return Markup(getattr(_macros(template), macro)(*arguments))  # noqa: S704 (autoescape is on)


def render_page(template: str, **values: Any) -> bytes:
    """A whole page as UTF-8."""
    return environment().get_template(template).render(values).encode()


@cache
def _macros(template: str) -> Any:
    return environment().get_template(template).module


def _clean(value: Any) -> Any:
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
