"""One sentence for each file error: what failed, where, and the remedy."""

from __future__ import annotations

import errno
import tempfile
from urllib.parse import urlsplit

_LIBRARIES = {"botocore", "aiobotocore", "s3fs", "aiohttp"}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def explain_os_error(error: OSError, where: str) -> str:
    """One sentence: what failed, where, and the remedy."""
    if error.errno in _FULL:
        return f"no space left for {where!r}; free some or set workspace.uri to another location, then run again: finished parts are kept."
    if isinstance(error, FileNotFoundError):
        return f"{where!r} does not exist; run the stage that writes it, or check workspace.uri."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"{where!r} cannot be accessed by this user; fix its permissions or change workspace.uri."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"{where!r} cannot be created: a file is where a folder is needed; set workspace.uri to another location."
    return f"{where!r} failed: {error.strerror or error}."


def explain_user_file(error: OSError, setting: str, path: str) -> str:
    """The same for a user's file that a setting names."""
    if isinstance(error, FileNotFoundError):
        return f"{setting}: there is no file {path!r}; correct the path, or leave the setting empty."
    return f"{setting}: {path!r} cannot be read ({error.strerror or error}); correct the path or its permissions, or leave it empty."


def explain_remote_error(error: OSError, where: str) -> str:
    """The same for a file at a URL."""
    bucket, reason = urlsplit(where).netloc, (error.strerror or str(error)).rstrip(".")
    if error.errno == errno.EHOSTDOWN:
        return f"{where!r} cannot be reached: {reason}. Check workspace.s3 and the service, then run again: finished parts are kept."
    if isinstance(error, PermissionError):
        what = "workspace.s3.key, workspace.s3.secret and their permissions"
        return f"{where!r} is refused ({reason}); check {what} in bucket {bucket!r}, then run again: finished parts are kept."
    if _service_code(error) == "NoSuchBucket":
        return f"bucket {bucket!r} of {where!r} does not exist; create it first, or check workspace.uri and workspace.s3."
    if error.errno in _FULL:
        folder = tempfile.gettempdir()
        return f"no space left in {folder!r}, where {where!r} is assembled before the upload; free some or set TMPDIR to another folder."
    return explain_os_error(error, where)


def _service_code(error: OSError) -> str:
    """The error code of an S3 service, if the error comes from its answer."""
    answer = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def is_of_service_library(error: Exception) -> bool:
    """True for an error of a library for storage services."""
    return type(error).__module__.split(".")[0] in _LIBRARIES
