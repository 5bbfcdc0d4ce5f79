"""One question, and servers that answer with what was not asked: forged, foreign, mad."""

import asyncio
import socket
import threading

import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest

from headgate.net.dns_query import MAX_BOGUS, NoAnswer, Question, ask


class RawServer:
    """Answers the first datagram with whatever `replies(query)` returns, in that order."""

    def __init__(self, replies):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, args=(replies,), daemon=True)

    def serve(self, replies):
        self.sock.settimeout(20)
        wire, peer = self.sock.recvfrom(4096)
        for reply in replies(wire):
            self.sock.sendto(reply, peer)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(20)
        self.sock.close()


def true_answer(wire, ip="192.0.2.1"):
    query = dns.message.from_wire(wire)
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", ip))
    return reply.to_wire()


def other_id(wire):
    return bytes([wire[0] ^ 1]) + wire[1:]


def put(server, timeout=10.0):
    question = Question(dns.name.from_text("app.example"), dns.rdatatype.A)

    async def run():
        return await ask(question, [server.address], stagger=3600, timeout=timeout)

    try:
        return asyncio.run(run()).message, question
    except NoAnswer:
        return None, question


def addresses(message):
    return [rdata.address for rrset in message.answer for rdata in rrset]


def test_wrong_id_is_skipped():
    with RawServer(lambda wire: [other_id(true_answer(wire, "192.0.2.66")), true_answer(wire)]) as server:
        assert addresses(put(server)[0]) == ["192.0.2.1"]


def test_wrong_id_cannot_send_us_to_tcp():
    def replies(wire):
        cut = other_id(true_answer(wire))
        return [cut[:2] + bytes([cut[2] | 0x02]) + cut[3:], true_answer(wire)]

    with RawServer(replies) as server:
        message, question = put(server)
        assert addresses(message) == ["192.0.2.1"]
        assert question.notes == {}


def test_answer_to_another_question_is_skipped():
    def replies(wire):
        foreign = dns.message.make_query("other.example", "A", id=int.from_bytes(wire[:2], "big"))
        return [true_answer(foreign.to_wire(), "192.0.2.66"), true_answer(wire)]

    with RawServer(replies) as server:
        assert addresses(put(server)[0]) == ["192.0.2.1"]


def test_a_question_is_no_answer():
    with RawServer(lambda wire: [wire, true_answer(wire)]) as server:
        assert addresses(put(server)[0]) == ["192.0.2.1"]


@pytest.mark.parametrize("size", [0, 1, 11, 12, 20])
def test_short_and_malformed_datagrams_are_skipped(size):
    def replies(wire):
        return [true_answer(wire)[:size], true_answer(wire)]

    with RawServer(replies) as server:
        assert addresses(put(server)[0]) == ["192.0.2.1"]


def test_limit_of_bogus_replies():
    """One less than the limit is survived, the limit is not: the true answer behind it is not looked at."""
    with RawServer(lambda wire: [b"x" * 12] * (MAX_BOGUS - 1) + [true_answer(wire)]) as server:
        assert addresses(put(server)[0]) == ["192.0.2.1"]
    with RawServer(lambda wire: [b"x" * 12] * MAX_BOGUS + [true_answer(wire)]) as server:
        message, question = put(server)
        assert message is None
        assert "replies that do not answer the question" in question.story(0.0)
