"""What the command line says of the cache."""

from headgate.cache.outcome import REASONS, STORED
from headgate.cli.caching import RULES


def test_every_reason_of_a_request_is_explained():
    assert tuple(RULES) == REASONS[:STORED]
    assert [word for word, text in RULES.items() if not text] == ["none"]
