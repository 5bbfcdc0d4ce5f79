"""Keys that outlive a restart, keys that must not, and what happens when a disk will not have them."""

import asyncio
import os

import pytest

from headgate.process.channel import ChannelError
from headgate.process.quic_keys import FILE_NAME, TICKET_SECONDS, QuicKeyShelf, decode_keys, encode_keys
from headgate.testing.clock import FakeClock


class Events:
    def __init__(self):
        self.told = []

    def event(self, name, level="info", *, limit_key="", **fields):
        self.told.append((name, level, fields))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def events():
    return Events()


def loaded(folder, clock, events):
    shelf = QuicKeyShelf(folder, clock, events)
    shelf.load()
    return shelf


def test_reset_and_token_keys_survive_a_restart_and_the_others_do_not(tmp_path, clock, events):
    first, second = (loaded(tmp_path, clock, events).keys for _ in range(2))
    assert (first.resets, first.tokens) == (second.resets, second.tokens)
    # RFC 9000 section 10.3.2: an ID whose reset token may have been told is given to nobody else.
    assert first.connection_ids != second.connection_ids
    assert first.tickets != second.tickets
    assert events.told == []


def test_only_the_owner_can_read_the_file_and_no_ticket_key_is_in_it(tmp_path, clock, events):
    keys = loaded(tmp_path, clock, events).keys
    path = tmp_path / FILE_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    assert keys.resets in content
    assert keys.tokens in content
    assert keys.tickets[0] not in content
    assert keys.connection_ids not in content
    assert os.listdir(tmp_path) == [FILE_NAME]


@pytest.mark.parametrize("content", [b"", b"x" * 80, b"headgate quic 1\n" + b"k" * 65])
def test_a_file_that_is_none_of_ours_is_told_and_replaced(tmp_path, clock, events, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    keys = loaded(tmp_path, clock, events).keys
    [(name, level, fields)] = events.told
    assert (name, level) == ("quic-keys-not-kept", "warning")
    assert FILE_NAME in fields["file"]
    assert loaded(tmp_path, clock, events).keys.resets == keys.resets


def test_a_link_is_not_followed(tmp_path, clock, events):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"headgate quic 1\n" + b"k" * 64)
    (tmp_path / FILE_NAME).symlink_to(elsewhere)
    assert loaded(tmp_path, clock, events).keys.resets != b"k" * 32
    assert events.told


def test_a_disk_that_takes_nothing_costs_a_warning_only(tmp_path, clock, events):
    shelf = QuicKeyShelf(tmp_path / "gone", clock, events)
    shelf.load()
    assert shelf.keys is not None
    [(_, _, fields)] = events.told
    assert "errno 2" in fields["reason"]


def test_tickets_rotate_and_the_one_before_is_kept(tmp_path, clock, events):
    shelf = loaded(tmp_path, clock, events)
    first = shelf.keys
    asyncio.run(clock.advance(TICKET_SECONDS - 1))
    assert not shelf.poll()
    asyncio.run(clock.advance(1))
    assert shelf.poll()
    second = shelf.keys
    assert second.tickets[1:] == first.tickets
    assert (second.connection_ids, second.resets) == (first.connection_ids, first.resets)
    assert not shelf.poll()
    asyncio.run(clock.advance(TICKET_SECONDS))
    assert shelf.poll()
    assert first.tickets[0] not in shelf.keys.tickets
    assert len(shelf.keys.tickets) == 2


def test_over_the_wire(tmp_path, clock, events):
    shelf = loaded(tmp_path, clock, events)
    assert decode_keys(encode_keys(shelf.keys)) == shelf.keys
    assert decode_keys(encode_keys(None)) is None
    assert "keys" not in repr(shelf.keys).lower().replace("quickeys", "")


@pytest.mark.parametrize(
    "value", [{}, {"keys": ["AA=="]}, {"keys": [1, 2, 3, 4]}, {"keys": ["AA=="] * 4}, "keys"]
)
def test_what_are_no_keys_is_refused(value):
    with pytest.raises(ChannelError):
        decode_keys(value)
