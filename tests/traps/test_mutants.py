"""A trap's test that passes on spoilt code would prove nothing."""

from __future__ import annotations

import pytest

from tests.traps.mutants import Nursery, gather, spoilt

pytestmark = pytest.mark.slow
ALL = gather()


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.close()


@pytest.mark.parametrize("mutant", ALL, ids=lambda m: f"trap{m.trap:02d}-{m.test.rpartition('::')[2]}")
def test_mutant_is_caught(nursery, mutant, tmp_path):
    code, told = nursery.run(mutant.test, spoilt(mutant, tmp_path), tmp_path)
    assert code == 1, f"the test still passes, or did not run: {code}\n{told[-2500:]}"
