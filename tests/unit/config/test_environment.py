"""`${NAME}`, `${NAME:-default}` and the escape."""

import pytest

from headgate.config.environment import ExpansionError, expand, hide_expanded
from headgate.config.table import Expanded

ENVIRON = {"A": "x", "EMPTY": "", "NESTED": "${A}", "_a1": "y"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$A costs 5$", "$A costs 5$"),
        ("${A}", "x"),
        ("<${A}${_a1}>", "<xy>"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${NOPE:-d:-e}", "d:-e"),
        ("${NOPE:-}", ""),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("${NESTED}", "${A}"),
        ("^/x$", "^/x$"),
    ],
)
def test_expansion(text, result):
    assert expand(text, ENVIRON) == result


def test_only_what_came_from_a_variable_may_stand_for_a_number():
    assert isinstance(expand("${A}", ENVIRON), Expanded)
    assert not isinstance(expand("$${A}", ENVIRON), Expanded)
    assert not isinstance(expand("5", ENVIRON), Expanded)


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1}", "${a b}", "${a-b}", "a ${:-x}"])
def test_what_is_no_variable(text):
    with pytest.raises(ExpansionError, match="is no variable") as caught:
        expand(text, ENVIRON)
    assert caught.value.hint == 'write "$${" for a plain "${"'


def test_an_unset_variable_is_named():
    with pytest.raises(ExpansionError, match="the environment variable NOPE is not set"):
        expand("${A}${NOPE}", ENVIRON)


def test_what_was_expanded_is_hidden_but_for_what_all_programs_need():
    environ = {"TEST_SECRET": "s", "TEST_FALLBACK": "f", "TEST_OTHER": "o", "HOME": "/root"}
    expand("${TEST_SECRET} ${TEST_FALLBACK:-x} ${HOME} $${TEST_OTHER}", environ)
    hide_expanded(environ)
    assert environ == {"TEST_OTHER": "o", "HOME": "/root"}
