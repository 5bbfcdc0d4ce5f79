"""Server names to identities: exact before wildcard, one identity for each key type, contexts kept over changes."""

import pytest

from headgate.tls.identity import Identity
from headgate.tls.selection import Selection

NOW = 1_000.0


def identity(name: str, *names: str, key_type="ecdsa", not_after: float = 2_000.0) -> Identity:
    return Identity(
        name, b"", b"", names=names, key_type=key_type, fingerprint=name, not_before=0, not_after=not_after
    )


def found(selection: Selection, name: bytes) -> list[str] | None:
    choice = selection.find(name)
    return None if choice is None else [item.name for item in choice.identities]


@pytest.fixture
def selection() -> Selection:
    return Selection(
        [
            identity("exact", "a.test", "b.test"),
            identity("wild", "*.test", "*.deep.test"),
            identity("rsa", "a.test", key_type="rsa"),
        ],
        NOW,
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.test", ["exact", "rsa"]),
        (b"A.TEST", ["exact", "rsa"]),
        (b"a.test.", ["exact", "rsa"]),
        (b"b.test", ["exact"]),
        (b"other.test", ["wild"]),
        (b"x.deep.test", ["wild"]),
        (b"deep.test", ["wild"]),
        (b"x.y.deep.test", None),  # RFC 9525 6.3: a wildcard stands for one label
        (b"test", None),
        (b"", None),
        (b".", None),
        (b"..", None),
        (b"\xff\x00", None),
        (b"*.test", ["wild"]),
        (b"a" * 70_000, None),
    ],
)
def test_find(selection, name, expected):
    assert found(selection, name) == expected


def test_first_identity_answers_for_unknown_names_with_its_other_key_types(selection):
    assert [item.name for item in selection.first.identities] == ["exact", "rsa"]


def test_first_of_nothing_and_first_without_names():
    assert Selection([], NOW).first is None
    assert [item.name for item in Selection([identity("bare")], NOW).first.identities] == ["bare"]


def test_of_one_type_the_first_in_order_wins_unless_its_dates_are_over():
    old, new = identity("old", "a.test", not_after=500.0), identity("new", "a.test")
    assert found(Selection([identity("one", "a.test"), new], NOW), b"a.test") == ["one"]
    assert found(Selection([old, new], NOW), b"a.test") == ["new"]
    assert found(Selection([old], NOW), b"a.test") == ["old"]


def test_choices_are_shared_by_names_and_kept_over_changes():
    one, two = identity("one", "a.test", "b.test"), identity("two", "c.test")
    before = Selection([one, two], NOW)
    assert before.find(b"a.test") is before.find(b"b.test")
    kept = before.find(b"a.test")
    after = Selection([one, identity("three", "c.test")], NOW, before)
    assert after.find(b"a.test") is kept
    assert after.find(b"c.test") is not before.find(b"c.test")


def test_a_choice_that_failed_gets_another_chance_after_a_change():
    one = identity("one", "a.test")
    before = Selection([one], NOW)
    before.find(b"a.test").failure = "no"
    assert Selection([one], NOW, before).find(b"a.test").failure == ""


def test_repr():
    selection = Selection([identity("one", "a.test", "*.b.test")], NOW)
    assert repr(selection) == "<Selection 1 names, 1 wildcards, 1 choices>"
    assert repr(selection.first) == "<Choice one (ecdsa)>"
