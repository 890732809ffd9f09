"""Every homonym of the bundled backbone: one hint is enough or the matcher abstains, and without any it always abstains."""

from __future__ import annotations

from collections import defaultdict

import pytest

from bioclip.records import RANKS
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.lookup import BackboneIndex, Candidate
from bioclip.taxonomy.matching.decisions import VerbatimLineage
from bioclip.taxonomy.matching.resolve import resolve_lineages

STRICT = TaxonomySettings(allow_higher_rank=False)


@pytest.fixture(scope="module")
def homonyms(sample_index: BackboneIndex) -> dict[str, list[Candidate]]:
    """Accepted genera and species of one name that are different taxa."""
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    for key in dict.fromkeys(sample_index.column("key").to_pylist()):
        for candidate in sample_index.candidates(key):
            if candidate.status == "accepted" and candidate.taxon.taxon_id == candidate.taxon_id and candidate.rank in {"genus", "species"}:
                found[key].append(candidate)
    return {key: candidates for key, candidates in found.items() if len(candidates) > 1}


def resolved_id(index: BackboneIndex, **columns: str) -> str:
    return resolve_lineages([VerbatimLineage(**columns)], [index], STRICT)[0].accepted_id


def test_without_a_hint_none_is_chosen(sample_index: BackboneIndex, homonyms: dict[str, list[Candidate]]) -> None:
    assert {"liriope", "oenanthe", "prunella"} <= homonyms.keys()
    assert {resolved_id(sample_index, scientific_name=candidates[0].name) for candidates in homonyms.values()} == {""}


def test_one_hint_leads_to_the_right_one(sample_index: BackboneIndex, homonyms: dict[str, list[Candidate]]) -> None:
    num_right = num_hints = 0
    for candidates in homonyms.values():
        for one in candidates:
            for place, rank in enumerate(RANKS[:5]):
                hint = one.taxon.lineage[place]
                if not hint or sum(other.taxon.lineage[place] == hint for other in candidates) > 1:
                    continue
                found = resolved_id(sample_index, scientific_name=one.name, **{"class_" if rank == "class" else rank: hint})
                assert found in {one.taxon_id, ""}, (one.name, rank, hint)
                num_right, num_hints = num_right + (found == one.taxon_id), num_hints + 1
    assert num_hints >= 20
    assert num_right >= 0.95 * num_hints
