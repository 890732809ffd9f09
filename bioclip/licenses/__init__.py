"""Licences: a provider's free text to one identifier, and the classes that filters use.

Identifiers are SPDX's for Creative Commons and a few others (https://spdx.org/licenses/). Every licence and every restriction that a
text names is read, in the languages that providers write, and the result is never more open than the strictest of them: two licences of
which one includes the other's restrictions give the stricter one; a licence for data or texts alone, and anything that is contradictory,
denied, doubtful or unknown, is `LicenseRef-other`. Beside a licence only names and words that are known to be neutral are allowed. An
empty text, or one that states only that no licence is given, becomes an empty string. The verbatim text is always kept as well.
"""

from bioclip.licenses.classes import CLASSES, is_allowed, license_url, needs_attribution
from bioclip.licenses.statements import normalize_license
from bioclip.licenses.vocabulary import OTHER

__all__ = ["CLASSES", "OTHER", "is_allowed", "license_url", "needs_attribution", "normalize_license"]
