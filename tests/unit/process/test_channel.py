"""Frames: whole, in pieces, too large, broken, with descriptors."""

import asyncio
import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.process.channel import (
    HEAD,
    MAX_DESCRIPTORS,
    MAX_UNSENT_LARGE,
    AsyncChannel,
    Channel,
    ChannelError,
    FrameReader,
    Kind,
    encode_frame,
    socket_pair,
)

VALUES = [None, {}, {"name": "a.pem", "staple": None}, [1, 2.5, "ü"], "text", True]


def read_all(reader):
    messages = []
    while (message := reader.next_message()) is not None:
        messages.append((message.kind, message.value))
    return messages


@settings(max_examples=50)
@given(st.integers(1, 40))
def test_frames_survive_any_cut(size):
    stream = b"".join(encode_frame(Kind.STAPLE, value) for value in VALUES)
    reader = FrameReader(1000)
    got = []
    for start in range(0, len(stream), size):
        reader.receive(stream[start : start + size], [])
        got += read_all(reader)
    assert got == [(Kind.STAPLE, value) for value in VALUES]


def test_frame_at_the_limit_and_one_beyond():
    at = encode_frame(Kind.STAPLE, "x" * 98)
    reader = FrameReader(100)
    reader.receive(at, [])
    assert read_all(reader) == [(Kind.STAPLE, "x" * 98)]
    reader.receive(encode_frame(Kind.STAPLE, "x" * 99)[: HEAD.size], [])
    # Refused by its head: nothing of a frame that is too large is ever held.
    with pytest.raises(ChannelError, match="101 bytes, the limit is 100"):
        reader.next_message()


@pytest.mark.parametrize(
    "frame",
    [
        HEAD.pack(2, 99, 0) + b"{}",
        HEAD.pack(2, Kind.STAPLE, 0) + b"{x",
        HEAD.pack(0, Kind.STAPLE, 0),
        HEAD.pack(2, Kind.STAPLE, 1) + b"{}",
    ],
    ids=["unknown kind", "no JSON", "empty", "a descriptor that did not come"],
)
def test_broken_frames(frame):
    reader = FrameReader(100)
    reader.receive(frame, [])
    with pytest.raises(ChannelError):
        reader.next_message()


def test_descriptors_beyond_the_limit_are_refused():
    reader = FrameReader(100)
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(MAX_DESCRIPTORS + 1)]
    with pytest.raises(ChannelError, match="more than 64 descriptors"):
        reader.receive(b"", descriptors)
    reader.close()
    for descriptor in descriptors:
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_message_accessors_name_what_is_missing():
    reader = FrameReader(100)
    reader.receive(encode_frame(Kind.READY, {"snapshot": True, "name": 3}), [])
    message = reader.next_message()
    assert message is not None
    with pytest.raises(ChannelError, match="READY has no integer 'snapshot'"):
        message.integer("snapshot")
    with pytest.raises(ChannelError, match="READY has no string 'name'"):
        message.text("name")
    assert message.item("absent") is None
    assert repr(message) == "<Message READY {'snapshot': True, 'name': 3}>"


def test_channel_never_blocks_and_gives_up_a_child_that_does_not_read():
    ours, theirs = socket_pair()
    channel = Channel(ours, unsent_limit=1000)
    large = encode_frame(Kind.SNAPSHOT, "x" * 5_000_000)
    for _ in range(MAX_UNSENT_LARGE):
        channel.send(large)
    assert channel.unsent > 14_000_000
    with pytest.raises(ChannelError, match="unread by the other side"):
        channel.send(large)
    small = encode_frame(Kind.STAPLE, "x" * 500)
    channel.send(small)  # a Snapshot on its way is no reason to refuse what comes behind it
    channel.send(small)
    with pytest.raises(ChannelError, match="unread by the other side"):
        channel.send(small)
    reader = FrameReader(6_000_000)
    got = []
    while len(got) < MAX_UNSENT_LARGE + 2:
        channel.flush()
        reader.receive(theirs.recv(1 << 20), [])
        got += read_all(reader)
    assert channel.unsent == 0
    assert [len(value) for _, value in got] == [5_000_000] * MAX_UNSENT_LARGE + [500, 500]
    channel.send(small)
    channel.close()
    theirs.close()


def test_channel_reports_the_end_and_writing_to_a_dead_child_is_no_error():
    ours, theirs = socket_pair()
    channel = Channel(ours)
    assert channel.receive() == []
    assert not channel.eof
    theirs.close()
    channel.send(encode_frame(Kind.DRAIN))
    assert channel.unsent == 0
    assert channel.receive() == []
    assert channel.eof
    channel.close()
    assert channel.fileno() == -1


def test_descriptors_travel():
    async def main():
        ours, theirs = socket_pair()
        supervisor, child = Channel(ours), AsyncChannel(theirs)
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            supervisor.send(encode_frame(Kind.SNAPSHOT, {"a": 1}, 1), [bound.fileno()])
            message = await child.receive()
            with socket.socket(fileno=message.descriptors[0]) as again:
                assert again.getsockname() == bound.getsockname()
        supervisor.close()
        assert await child.receive() is None
        child.close()

    asyncio.run(main())


def test_async_channel_both_ways_with_a_full_socket():
    async def main():
        ours, theirs = socket_pair()
        supervisor, child = Channel(ours), AsyncChannel(theirs)
        for number in range(3000):
            child.send(Kind.STAPLE, {"name": str(number), "staple": "x" * 1000})
        drained = asyncio.ensure_future(child.drained())
        got = []
        while len(got) < 3000:
            got += [message.text("name") for message in supervisor.receive()]
            await asyncio.sleep(0)
        await asyncio.wait_for(drained, 5)
        assert got == [str(number) for number in range(3000)]
        receiving = asyncio.ensure_future(child.receive())
        await asyncio.sleep(0)
        supervisor.send(encode_frame(Kind.LISTEN))
        assert (await asyncio.wait_for(receiving, 5)).kind is Kind.LISTEN
        child.close()
        supervisor.close()

    asyncio.run(main())


def test_async_channel_bounds_what_the_supervisor_does_not_read():
    async def main():
        ours, theirs = socket_pair()
        child = AsyncChannel(theirs, unsent_limit=1_000_000)

        def send_many():
            for _ in range(100):
                child.send(Kind.STAPLE, "x" * 100_000)

        with pytest.raises(ChannelError, match="unread"):
            send_many()
        child.close()
        ours.close()

    asyncio.run(main())


def test_async_channel_hands_over_what_came_before_the_fault():
    async def main():
        ours, theirs = socket_pair()
        child = AsyncChannel(theirs)
        ours.send(encode_frame(Kind.LISTEN) + b"\xff" * 10)
        assert (await child.receive()).kind is Kind.LISTEN
        with pytest.raises(ChannelError):
            await child.receive()
        child.close()
        ours.close()

    asyncio.run(main())


def test_cancelled_receive_loses_nothing():
    async def main():
        ours, theirs = socket_pair()
        child = AsyncChannel(theirs)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.receive(), 0.01)
        ours.send(encode_frame(Kind.LISTEN))
        assert (await asyncio.wait_for(child.receive(), 5)).kind is Kind.LISTEN
        child.close()
        ours.close()

    asyncio.run(main())
