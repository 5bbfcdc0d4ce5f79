"""Purges that later workers are told again."""

from headgate.process.channel import HEAD, Kind, Message, encode_frame
from headgate.process.purge_relay import MAX_PURGES, PurgeRelay


def purge(number):
    return Message(Kind.PURGE, {"kind": 4, "pattern": "a", "soft": False, "generation": number})


def test_without_a_disk_a_new_worker_hears_the_last_number_alone():
    relay = PurgeRelay(keeps=False)
    assert relay.frames() == []
    assert HEAD.unpack_from(relay.take(purge(1)))[1] == Kind.PURGE
    relay.take(purge(2))
    (frame,) = relay.frames()
    everything = {"kind": 0, "pattern": "", "soft": False, "generation": 2}
    assert frame == encode_frame(Kind.PURGE, everything)


def test_one_purge_more_than_are_kept_stands_for_all():
    relay = PurgeRelay(keeps=True)
    for number in range(MAX_PURGES):
        relay.take(purge(number))
    assert len(relay.frames()) == MAX_PURGES
    relay.take(purge(MAX_PURGES))
    (frame,) = relay.frames()
    assert b'"kind":0' in frame
    assert b'"generation":%d' % MAX_PURGES in frame
