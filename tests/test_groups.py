"""The processes of a test run."""

from __future__ import annotations

import pytest


@pytest.mark.slow
def test_the_slow_tests_of_a_module_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist spreads tests by the end of their ids, which it adds itself; a pytest that it does not know ignores that."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("these processes do not take tests by group")
    assert request.node.nodeid.endswith("@tests/test_groups.py")
