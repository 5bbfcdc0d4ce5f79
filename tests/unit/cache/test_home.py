"""What workers say to each other."""

import pytest

from headgate.cache.home import Answer, Question, decode_answer, decode_question
from headgate.cache.outcome import OUTCOMES, REASONS
from headgate.counters import CACHE_ALONE


def question(**others):
    values = {
        "purges": 1_790_000_000_000_000,
        "slice": -1,
        "is_secure": True,
        "route": 3,
        "key": b"https://a/b?c d\ncookie=\xff\x00",
        "host": b"a:8443",
        "path": b"/b?c%20d",
    }
    return Question(**{**values, **others})


@pytest.mark.parametrize("others", [{}, {"slice": 0}, {"host": b"", "path": b""}])
def test_a_question_arrives_as_it_was(others):
    sent = question(**others)
    found = decode_question(sent.encode())
    for name in ("purges", "slice", "is_secure", "route", "key", "host", "path"):
        assert getattr(found, name) == getattr(sent, name)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"sign",
        b"1 2 3 4 .a .b",
        b"1 2 3 4 .a2V5 .aA== .Lw== .Lw==",
        b"1 0 2 3 4 .a2V5 .aA== .Lw==",
        b"-1 0 0 0 .a2V5 .aA== .Lw==",
        b"1234567890123456789 0 0 0 .a2V5 .aA== .Lw==",
        b"0 0 0 0 . .aA== .Lw==",  # no key
        b"0 0 0 0 .a2V .aA== .Lw==",
        b"0 0 0 0 .a?V5 .aA== .Lw==",
        b"0 0 0 0 a2V5 .aA== .Lw==",
    ],
)
def test_what_is_no_question_is_none(value):
    assert decode_question(value) is None


def test_answers_arrive_as_they_were():
    for outcome in range(len(OUTCOMES)):
        found = decode_answer(Answer(outcome, len(REASONS) - 1, "connect").encode())
        assert (found.outcome, found.reason, found.failure, found.alone) == (
            outcome,
            len(REASONS) - 1,
            "connect",
            -1,
        )
    assert decode_answer(Answer(0, 0, "").encode()).failure == ""
    for why in range(len(CACHE_ALONE)):
        assert decode_answer(Answer(0, 0, "", why).encode()).alone == why


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"alone",
        b"alone -1",
        b"alone %d" % len(CACHE_ALONE),
        b"answer 0 0",
        b"answer %d 0 -" % len(OUTCOMES),
        b"answer 0 %d -" % len(REASONS),
        b"answer 0 0 \xff",
        b"sign 0 0 -",
    ],
)
def test_what_is_no_answer_is_none(value):
    assert decode_answer(value) is None
