from __future__ import annotations

import pytest

from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.backbones import Usage, Vernacular
from bioclip.taxonomy.backbones.dwca import DwcaBackbone
from bioclip.taxonomy.index.build import CompiledBackbone, compile_backbone
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.decisions import Resolution, VerbatimLineage
from bioclip.taxonomy.matching.resolve import resolve_lineages
from tests.taxonomy.sample_backbone import SAMPLE_BACKBONE


@pytest.fixture(scope="session")
def sample_backbone() -> CompiledBackbone:
    backbone = DwcaBackbone(SAMPLE_BACKBONE)
    return compile_backbone(backbone.usages(), backbone.vernaculars())


@pytest.fixture(scope="session")
def sample_index(sample_backbone: CompiledBackbone) -> BackboneIndex:
    return BackboneIndex("sample", sample_backbone.table)


@pytest.fixture
def make_index():
    def make(*usages: Usage, vernaculars: tuple[Vernacular, ...] = (), name: str = "made") -> BackboneIndex:
        return BackboneIndex(name, compile_backbone(usages, vernaculars).table)

    return make


@pytest.fixture
def resolve():
    def one(*indexes: BackboneIndex, settings: TaxonomySettings | None = None, **columns: str) -> Resolution:
        return resolve_lineages([VerbatimLineage(**columns)], indexes, settings or TaxonomySettings())[0]

    return one
