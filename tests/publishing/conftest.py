"""A release whose settings say all that a card and Croissant ask for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bioclip.settings import CardSettings
from tests.conftest import Curated

CARD = CardSettings(
    title="Bundled sample",
    description="Photographs of *organisms*.",
    creators=("Jo Doe", "Museum & Co"),
    url="https://example.org/sample",
    date_published="2026-03-01",
)


@pytest.fixture(scope="session")
def complete(copy_curated: Callable[..., Curated]) -> Curated:
    """The sample, curated with CARD."""
    return copy_curated("complete", card=CARD.model_dump())
