"""Faults in real processes: what dies, hangs or goes away, and that nothing is lost by it."""

import pytest

# Their assertions are to tell as much as those of the tests.
pytest.register_assert_rewrite(
    "tests.faults.harness", "tests.faults.undisturbed", "tests.faults.wholeness"
)
