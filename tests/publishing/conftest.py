"""A release whose settings say all that a card and Croissant ask for."""

from __future__ import annotations

import pytest

from bioclip.sample.server import SampleServer
from bioclip.settings import CardSettings
from tests.conftest import Curated, sample_settings

CARD = CardSettings(
    title="Bundled sample",
    description="Photographs of *organisms*.",
    creators=("Jo Doe", "Museum & Co"),
    url="https://example.org/sample",
    date_published="2026-03-01",
)


@pytest.fixture(scope="session")
def complete(sample_server: SampleServer, tmp_path_factory: pytest.TempPathFactory) -> Curated:
    """The sample, curated with CARD."""
    return Curated(sample_settings(sample_server, tmp_path_factory.mktemp("complete"), card=CARD.model_dump()))
