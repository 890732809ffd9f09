"""Conversion of external values to text that a table can store."""

from __future__ import annotations

import json
import math
from datetime import date
from typing import Any


def valid_text(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD; JSON and file names can contain one, UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def as_text(value: Any) -> str:
    """A JSON or Parquet value converted to the text of a column.

    None and NaN are empty, whole floats have no point, dates are ISO 8601, lists and objects are JSON, bytes are UTF-8 with U+FFFD for
    all that is not.
    """
    if type(value) is str:
        return valid_text(value)
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    if isinstance(value, dict | list | tuple):
        return valid_text(json.dumps(value, ensure_ascii=False, default=as_text))
    if isinstance(value, date):
        return value.isoformat()
    return valid_text(str(value))
