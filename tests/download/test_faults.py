"""Every fault of the field, mixed, in processes that are killed five times at random: nothing lost, nothing twice, the same digest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.acquisition.download_faults import compare_runs, expected


@pytest.mark.slow
def test_killed_five_times_every_record_still_ends_in_its_one_outcome(tmp_path: Path) -> None:
    calm, torn = compare_runs(tmp_path, num_records=2000, num_partitions=4, num_kills=5, timeout_s=1.5)
    assert torn.num_kills == 5
    assert calm.digest == torn.digest
    assert calm.outcomes == torn.outcomes == Counter(expected(2000).values())
    assert calm.outcomes.total() == 2000
