from __future__ import annotations

import pytest

from bioclip.taxonomy.backbones.dwca import DwcaBackbone
from bioclip.taxonomy.index.build import compile_backbone
from bioclip.taxonomy.index.lookup import BackboneIndex
from tests.leakage.planting import Sets, plant
from tests.taxonomy.sample_backbone import SAMPLE_BACKBONE


@pytest.fixture(scope="session")
def index() -> BackboneIndex:
    """The bundled backbone."""
    backbone = DwcaBackbone(SAMPLE_BACKBONE)
    return BackboneIndex("sample", compile_backbone(backbone.usages(), backbone.vernaculars()).table)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """One training set with a leak of each kind, and the evaluation set that it gives away."""
    return plant(tmp_path_factory.mktemp("planted"))
