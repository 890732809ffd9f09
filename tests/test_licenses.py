"""Free text becomes one identifier, and filters mean what they say."""

from __future__ import annotations

import pytest

from bioclip.licenses import is_allowed, normalize_license


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("http://creativecommons.org/licenses/by-sa/3.0/", "CC-BY-SA-3.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/legalcode", "CC-BY-NC-4.0"),
        ("http://creativecommons.org/licenses/by-nc-sa/3.0/", "CC-BY-NC-SA-3.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "LicenseRef-public-domain"),
        ("CC BY-NC-ND 4.0", "CC-BY-NC-ND-4.0"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("CC_BY_NC", "CC-BY-NC"),
        ("CC0", "CC0-1.0"),
        ("© Jane Doe, all rights reserved", "LicenseRef-all-rights-reserved"),
        ("Public domain (NOAA NCEI archive)", "LicenseRef-public-domain"),
        ("MIT", "MIT"),
        ("see the museum's terms", "LicenseRef-other"),
        ("", ""),
    ],
)
def test_a_licence_text_becomes_its_identifier(text: str, identifier: str) -> None:
    assert normalize_license(text) == identifier


@pytest.mark.parametrize(
    ("license_id", "classes"),
    [
        ("CC0-1.0", {"any", "open", "commercial", "no-nd"}),
        ("CC-BY-SA-4.0", {"any", "open", "commercial", "no-nd"}),
        ("CC-BY-NC-4.0", {"any", "no-nd"}),
        ("CC-BY-ND-4.0", {"any", "commercial"}),
        ("LicenseRef-all-rights-reserved", {"any"}),
        ("LicenseRef-other", {"any"}),
        ("", {"any"}),
    ],
)
def test_each_class_admits_what_it_promises(license_id: str, classes: set[str]) -> None:
    assert {name for name in ("any", "open", "commercial", "no-nd") if is_allowed(license_id, (name,))} == classes


def test_an_allow_list_admits_what_it_names() -> None:
    assert is_allowed("CC-BY-4.0", ("CC0-1.0", "CC-BY-4.0"))
    assert not is_allowed("CC-BY-3.0", ("CC0-1.0", "CC-BY-4.0"))
