"""One conversation: in which ways a responder is asked, what is learnt, and what a failure says."""

import asyncio
import errno

import pytest

from headgate.http.fetch import FetchError, FetchResponse
from headgate.ocsp.conversation import Contact, Conversation, ConversationFailed, Failure, max_age_of
from headgate.ocsp.request import CertIdHash
from headgate.testing.pki import ocsp_error

URL = "http://ocsp.test/"


@pytest.fixture
def talk(bench):
    """Hold one conversation with what the world has at URL; return its Success, or raise."""

    def run(leaf, contact=None, timeout=10.0):
        subject = bench.subject(leaf)
        responder = subject.responders[0]
        contact = contact if contact is not None else Contact()

        async def whole():
            conversation = Conversation(bench.world.fetch, bench.clock, subject, responder, contact)
            held = asyncio.ensure_future(conversation.hold(timeout))
            await bench.clock.advance(timeout + 1)
            return await held

        return asyncio.run(whole())

    return run


def failure_of(talk, *arguments, **named):
    with pytest.raises(ConversationFailed) as caught:
        talk(*arguments, **named)
    return caught.value.failure


def test_short_requests_are_asked_by_get_with_sha1(bench, talk):
    leaf = bench.leaf("a.test", URL)
    bench.world.host("ocsp.test", bench.responder(leaf))
    success = talk(leaf)
    assert success.asked == ("GET sha1: good",)
    assert success.address == "203.0.113.1:80"
    (request,) = bench.world.requests("ocsp.test")
    assert (request.method, request.body, request.content_type) == ("GET", b"", "")
    assert request.accept == "application/ocsp-response"
    assert request.max_body == 64 * 1024


def test_long_requests_are_asked_by_post(bench, talk):
    leaf = bench.leaf("a.test", URL + "p" * 200)
    bench.world.host("ocsp.test", bench.responder(leaf))
    assert talk(leaf).asked == ("POST sha1: good",)


def test_failed_get_is_repeated_as_post_and_post_is_remembered(bench, talk):
    leaf, contact = bench.leaf("a.test", URL), Contact()
    bench.world.host("ocsp.test", bench.responder(leaf, methods=("POST",)))
    assert talk(leaf, contact).asked == ("GET sha1: http-405", "POST sha1: good")
    assert talk(leaf, contact).asked == ("POST sha1: good",)


def test_stale_get_is_repeated_as_post_but_get_is_not_given_up(bench, talk):
    """A cache in between serves something that has ended: that is no reason to pass the cache by for ever."""
    leaf, contact = bench.leaf("a.test", URL), Contact()
    stale = bench.authority.ocsp(
        leaf, this_update=bench.clock.wall() - 7200, next_update=bench.clock.wall() - 3600
    )
    responder = bench.responder(leaf)

    def cached(request):
        if request.method == "GET":
            return 200, {"content-type": "application/ocsp-response"}, stale
        return responder(request)

    bench.world.host("ocsp.test", cached)
    assert talk(leaf, contact).asked == ("GET sha1: expired", "POST sha1: good")
    assert not contact.post


def test_sha256_after_unauthorized_and_it_is_remembered(bench, talk):
    leaf, contact = bench.leaf("a.test", URL), Contact()
    bench.world.host("ocsp.test", bench.responder(leaf, hashes=("sha256",)))
    assert talk(leaf, contact).asked == ("GET sha1: unauthorized", "GET sha256: good")
    assert contact.cert_id is CertIdHash.SHA256
    assert talk(leaf, contact).asked == ("GET sha256: good",)


def test_sha1_again_when_sha256_is_refused_one_day(bench, talk):
    leaf, contact = bench.leaf("a.test", URL), Contact(cert_id=CertIdHash.SHA256)
    bench.world.host("ocsp.test", bench.responder(leaf, hashes=("sha1",)))
    assert talk(leaf, contact).asked == ("GET sha256: unauthorized", "GET sha1: good")


def test_malformed_request_tries_post_then_sha256(bench, talk, replies):
    leaf = bench.leaf("a.test", URL)
    bench.world.host("ocsp.test", replies(ocsp_error("malformedRequest")))
    failure = failure_of(talk, leaf)
    assert failure.asked == tuple(
        f"{method} {hash}: malformed-request" for hash in ("sha1", "sha256") for method in ("GET", "POST")
    )
    assert failure.reason == "malformed-request"


def test_unauthorized_in_both_hashes_is_two_requests(bench, talk, replies):
    bench.world.host("ocsp.test", replies(ocsp_error("unauthorized")))
    failure = failure_of(talk, bench.leaf("a.test", URL))
    assert failure.asked == ("GET sha1: unauthorized", "GET sha256: unauthorized")
    assert (failure.stage, failure.blames_host) == ("answer", False)


@pytest.mark.parametrize("status", ["tryLater", "internalError", "sigRequired"])
def test_a_responder_that_says_later_is_not_asked_in_another_way(bench, talk, replies, status):
    bench.world.host("ocsp.test", replies(ocsp_error(status)))
    assert len(failure_of(talk, bench.leaf("a.test", URL)).asked) == 1


@pytest.mark.parametrize(
    "content_type",
    [
        "application/ocsp-response",
        "application/ocsp-response;charset=utf-8",
        "Application/OCSP-Response ; x=y",
    ],
)
def test_content_type_with_and_without_parameters(bench, talk, replies, content_type):
    leaf = bench.leaf("a.test", URL)
    der = bench.authority.ocsp(leaf, this_update=bench.clock.wall(), next_update=bench.clock.wall() + 3600)
    bench.world.host("ocsp.test", replies(der, content_type=content_type))
    assert talk(leaf).staple.der == der


@pytest.mark.parametrize("content_type", ["text/html", "", "application/ocsp-responses"])
def test_other_content_types_are_refused(bench, talk, replies, content_type):
    leaf = bench.leaf("a.test", URL)
    der = bench.authority.ocsp(leaf, this_update=bench.clock.wall(), next_update=bench.clock.wall() + 3600)
    bench.world.host("ocsp.test", replies(der, content_type=content_type))
    assert failure_of(talk, leaf).stage == "content-type"


@pytest.mark.parametrize(
    ("status", "blamed"), [(503, True), (500, True), (429, True), (404, False), (204, False)]
)
def test_statuses_other_than_200(bench, talk, replies, status, blamed):
    bench.world.host("ocsp.test", replies(b"", status=status))
    failure = failure_of(talk, bench.leaf("a.test", URL))
    assert (failure.stage, failure.reason, failure.blames_host) == ("status", f"http-{status}", blamed)
    assert failure.asked == (f"GET sha1: http-{status}", f"POST sha1: http-{status}")


def test_garbage_is_asked_for_twice_and_named(bench, talk, replies):
    bench.world.host("ocsp.test", replies(b"<html>"))
    failure = failure_of(talk, bench.leaf("a.test", URL))
    assert (failure.stage, failure.reason) == ("answer", "malformed")
    assert len(failure.asked) == 2


def test_refused_connection_says_address_errno_and_time_and_is_not_repeated(bench, talk):
    bench.world.host("ocsp.test", **{"[2001:db8::1]:80": "refuse", "203.0.113.1:80": "refuse"})
    failure = failure_of(talk, bench.leaf("a.test", URL))
    assert (failure.address, failure.errno) == ("203.0.113.1:80", errno.ECONNREFUSED)
    assert [attempt.address for attempt in failure.attempts] == ["[2001:db8::1]:80", "203.0.113.1:80"]
    assert len(failure.asked) == 1
    assert "203.0.113.1:80" in str(failure)
    assert f"errno {errno.ECONNREFUSED}" in str(failure)


def test_a_failed_dial_is_told_once():
    # As the dialler words it: every address with its error and its time.
    detail = "[::1]:80 ENETUNREACH (no road) after 0 ms; 127.0.0.1:80 ECONNREFUSED (refused) after 1 ms"
    dial = Failure(URL, "connect", "connect", detail, "127.0.0.1:80", errno.ECONNREFUSED, 1.0)
    assert str(dial) == f"{URL}: connect: {detail} (errno 111)"
    status = Failure(URL, "status", "http-503", "status 503, expected 200", "127.0.0.1:80", 0, 2.0)
    assert str(status) == f"{URL} at 127.0.0.1:80: http-503: status 503, expected 200 after 2 ms"


def test_silence_costs_one_timeout_and_the_next_conversation_begins_with_post_elsewhere(bench, talk):
    leaf, contact = bench.leaf("a.test", URL), Contact()
    host = bench.world.host(
        "ocsp.test", **{"203.0.113.1:80": "silent", "203.0.113.2:80": bench.responder(leaf)}
    )
    failure = failure_of(talk, leaf, contact)
    assert failure.asked == ("GET sha1: head",)
    assert failure.milliseconds == 10_000
    assert contact.avoid == ("203.0.113.1:80",)
    assert talk(leaf, contact).address == "203.0.113.2:80"
    assert host.requests[-1].method == "POST"
    assert contact.avoid == ("203.0.113.1:80",), "nothing says that it recovered"


def test_addresses_that_fail_are_walked_in_turn_and_begun_again():
    contact = Contact()
    for address in ("a", "b", "c"):
        contact.failed_at(address)
    assert contact.avoid == ("a", "b", "c")
    contact.failed_at("a")
    assert contact.avoid == ("a",)


def test_avoided_addresses_are_bounded():
    contact = Contact()
    for i in range(17):
        contact.failed_at(f"{i}")
    assert contact.avoid == tuple(str(i) for i in range(1, 17))


def test_a_trail_of_ways_ends_with_the_timeout(bench, talk):
    leaf = bench.leaf("a.test", URL)
    bench.world.host("ocsp.test", bench.responder(leaf, methods=()), latency=6.0)
    failure = failure_of(talk, leaf)
    assert failure.asked == ("GET sha1: http-405", "POST sha1: head")
    assert [request.timeout for request in bench.world.requests("ocsp.test")] == [10.0, 4.0]


def test_redirect_into_a_private_network_is_refused_unless_the_responder_lives_there(bench, talk):
    leaf = bench.leaf("a.test", URL)

    def away(request):
        return 302, {"location": request.url.replace("ocsp.test", "inside.test")}, b""

    bench.world.host("inside.test", **{"10.0.0.5:80": bench.responder(leaf)})
    host = bench.world.host("ocsp.test", **{"8.8.8.8:80": away})
    failure = failure_of(talk, leaf)
    assert (failure.stage, failure.address) == ("refused-address", "8.8.8.8:80")
    assert not failure.blames_host
    assert bench.world.hosts["inside.test"].peak == 1
    host.addresses = {"10.0.0.9:80": away}
    assert talk(leaf).staple.status == "good"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"cache-control": "max-age=600"}, 600),
        ({"cache-control": "public, Max-Age=600, no-transform"}, 600),
        ({"cache-control": 'max-age="600"', "age": "100"}, 500),
        ({"cache-control": "max-age=600", "age": "700"}, 0),
        ({"cache-control": "max-age=600, no-cache"}, 0),
        ({"cache-control": "no-store"}, 0),
        ({"cache-control": "max-age=-5"}, 0),
        ({"cache-control": "max-age=٣"}, 0),
        ({"cache-control": "max-age=" + "9" * 5000}, 0),
        ({"cache-control": "max-age=9999999999"}, 366 * 86_400),
    ],
)
def test_rfc9111_5_2_2_1_max_age(headers, seconds):
    assert max_age_of(FetchResponse(200, headers, b"", "", 0.0)) == seconds


def test_a_timer_that_fires_early_leaves_no_time_for_another_request(bench, talk):
    """What is left could only fail, and hide that the responder accepted and kept silent."""
    leaf, contact = bench.leaf("a.test", URL), Contact()
    asked = []

    async def impatient(request):
        asked.append(request.method)
        await bench.clock.sleep(request.timeout - 0.001)
        raise FetchError("head", "nothing came", "203.0.113.1:80", errno.ETIMEDOUT, 9_999.0)

    bench.world.fetch = impatient
    failure = failure_of(talk, leaf, contact)
    assert (failure.stage, failure.asked, asked) == ("head", ("GET sha1: head",), ["GET"])
    assert contact.post, "the next conversation asks the other way"
