"""Fixed responses."""

import pytest

from headgate.pipeline.middleware.reply import text_reply
from headgate.pipeline.middleware.respond import Respond


def test_a_fixed_response():
    reply = Respond(503, b"soon", headers={"Retry-After": "60"}).reply()
    assert (reply.status, reply.body) == (503, b"soon")
    assert reply.fields.lines == [b"Content-Type: text/plain; charset=utf-8", b"Retry-After: 60"]


def test_a_content_type_among_the_headers_wins():
    reply = Respond(200, b"{}", headers={"content-type": "application/json"}).reply()
    assert reply.fields.lines == [b"content-type: application/json"]


def test_without_content_there_is_no_content_type():
    assert Respond(204).reply().fields.lines == []


def test_each_reply_has_its_own_fields():
    respond = Respond(200, b"x")
    respond.reply().fields.add(b"a", b"b")
    assert respond.reply().fields.names == [b"content-type"]


@pytest.mark.parametrize("status", [99, 101, 199, 600])
def test_only_final_status_codes(status):
    with pytest.raises(ValueError, match="final"):
        Respond(status)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_rfc9110_6_4_1_no_content_where_none_can_be(status):
    with pytest.raises(ValueError, match="no content"):
        Respond(status, b"x")


@pytest.mark.parametrize("headers", [{"Content-Length": "1"}, {"a": "b\r\nc: d"}, {"Connection": "close"}])
def test_headers_are_checked(headers):
    with pytest.raises(ValueError, match=r"edited|control"):
        Respond(200, b"", headers=headers)


def test_text_reply_and_repr():
    reply = text_reply(404, b"no\n")
    assert reply.fields.get(b"content-type") == b"text/plain; charset=utf-8"
    assert repr(reply) == "<Reply 404 3 octets>"
    assert repr(Respond(200, b"ok")) == "<Respond 200 2 octets>"
