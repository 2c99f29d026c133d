"""A trap's test that passes on spoilt code would prove nothing."""

from __future__ import annotations

import pytest

from tests.traps.mutants import gather, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mutant", gather(), ids=lambda m: f"trap{m.trap:02d}-{m.test.rpartition('::')[2]}")
def test_mutant_is_caught(mutant, tmp_path):
    result = run(mutant, tmp_path)
    assert result.returncode == 1, f"the test still passes, or did not run:\n{result.stdout[-2000:]}\n{result.stderr[-500:]}"
