"""Which pairs of cryptography and pyOpenSSL `make pairs` takes, and that the tests it names are there."""

import pytest
from tests.integration.outbound.table import TABLE
from tools.tls_pairs import FAULTS, NAMES, ROOT, TESTS, floor, ranges


def test_both_ends_come_from_pyproject():
    found = ranges()
    assert tuple(found) == NAMES
    assert all(floor(allowed).startswith("==") for allowed in found.values())


@pytest.mark.parametrize(("allowed", "pinned"), [(">=46,<52", "==46"), ("<27,>=26.0.1", "==26.0.1")])
def test_the_floor_is_the_first_release_of_a_range(allowed, pinned):
    assert floor(allowed) == pinned


def test_a_range_without_a_lower_end_is_refused():
    with pytest.raises(SystemExit, match="no lower end"):
        floor("<52")


def test_what_is_named_is_there():
    assert [test for test in TESTS if not (ROOT / test.partition("::")[0]).exists()] == []


def test_the_rows_are_those_of_the_fault_table():
    assert sorted(set(FAULTS) - {row.name for row in TABLE}) == []
