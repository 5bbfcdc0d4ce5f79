"""The stapler on real sockets: our own client, dialler and resolver against `openssl ocsp` behind relays.

Everything is on loopback. `localhost` is a responder with an address in both families.
"""

import asyncio
import contextlib
import errno
import random
import subprocess
import time
from collections.abc import Callable

import pytest

from headgate.clock import SystemClock
from headgate.counters import Counters
from headgate.net.dialer import Dialer
from headgate.net.resolver import Resolver, ResolverSettings
from headgate.ocsp.conversation import Failure
from headgate.ocsp.entry import StapleState
from headgate.ocsp.response import NotBelieved, Reason, verify
from headgate.ocsp.settings import OcspSettings
from headgate.ocsp.stapler import Stapler
from headgate.ocsp.store import StapleStore
from headgate.ocsp.subject import Subject
from headgate.testing.pki import Authority, Leaf
from headgate.testing.relay import Behaviour, BlackHole, Refusing, Relay, bind, bind_same_port
from headgate.testing.responder import OpensslResponder, answer_offline
from headgate.upstream.fetch import Fetcher

SETTINGS = OcspSettings(timeout=1.5)


@pytest.fixture(scope="module")
def authority():
    return Authority.root("Integration CA", key="rsa").intermediate("Integration Issuer", key="rsa")


class Gate:
    """A stapler on the machine's own clock, with what it published and said."""

    def __init__(self, directory=None, settings: OcspSettings = SETTINGS) -> None:
        self.published: dict[str, list] = {}
        self.events: list[tuple[str, dict]] = []
        self.directory = directory
        self.settings = settings

    async def run(self, body: Callable, *subjects: Subject):
        counters = Counters()
        # An address that is not there at all in place of nameservers: these tests resolve nothing but localhost.
        resolver = Resolver(ResolverSettings(nameservers=("127.0.0.1:1",)), counters=counters)
        self.stapler = Stapler(
            subjects,
            Fetcher(Dialer(resolver, counters=counters)),
            StapleStore(self.directory),
            SystemClock(),
            random.Random(7).random,
            lambda name, staple: self.published.setdefault(name, []).append(staple),
            lambda kind, fields: self.events.append((kind, fields)),
            counters,
            self.settings,
        )
        task = asyncio.ensure_future(self.stapler.run())
        try:
            async with asyncio.timeout(30):
                return await body(self)
        finally:
            task.cancel()
            await asyncio.wait([task])
            await resolver.close()
            assert task.cancelled()

    def __call__(self, *subjects: Subject, body: Callable | None = None):
        """Run until every subject was tried (or `body` ended) and return its status rows by name."""

        async def first_round(gate: Gate):
            await gate.stapler.first_round([subject.name for subject in subjects])
            return {row.name: row for row in gate.stapler.status()}

        return asyncio.run(self.run(body or first_round, *subjects))

    def last(self, name: str):
        return self.published.get(name, [None])[-1]

    def event(self, kind: str) -> dict:
        return [fields for k, fields in self.events if k == kind][-1]


def subject_of(leaf: Leaf, name: str = "a") -> Subject:
    return Subject.from_pem(name, leaf.chain_pem)


def leaf_at(authority: Authority, *urls: str, key="p256") -> Leaf:
    return authority.leaf("a.test", ocsp=urls, key=key)


@contextlib.contextmanager
def responding(tmp_path, authority, *, known=True, revoked=False, **options):
    """A leaf whose responder is `openssl ocsp` behind a relay: yields (leaf, relay)."""
    with Relay() as relay:
        leaf = leaf_at(authority, f"http://{relay.address}/")
        every = [leaf] if known else []
        options |= {"revoked": every if revoked else []}
        with OpensslResponder(tmp_path / "responder", authority, every, **options) as responder:
            relay.target = ("127.0.0.1", responder.port)
            yield leaf, relay


@pytest.mark.parametrize("key", ["p256", "rsa"])
def test_good_over_get_from_the_real_responder(tmp_path, authority, key):
    with responding(tmp_path, authority) as (leaf, relay):
        gate = Gate(tmp_path / "staples")
        row = gate(subject_of(leaf))["a"]
    assert row.state is StapleState.FRESH
    assert 3500 < row.next_update - row.this_update <= 3600
    assert relay.requests[0].startswith(b"GET /")
    assert gate.event("staple-updated")["address"] == relay.address
    (file,) = (tmp_path / "staples").iterdir()
    assert file.read_bytes() == gate.last("a").der
    (tmp_path / "chain.pem").write_bytes(authority.pem + authority.issuer.pem)
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    command = f"openssl ocsp -respin {file} -issuer chain.pem -cert leaf.pem -CAfile chain.pem"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, timeout=20, check=False)
    assert b"Response verify OK" in done.stderr, "what is kept is plain DER that others read"


def test_post_when_the_url_is_long(tmp_path, authority):
    with Relay() as relay:
        leaf = leaf_at(authority, f"http://{relay.address}/" + "p" * 200)
        with OpensslResponder(tmp_path, authority, [leaf]) as responder:
            relay.target = ("127.0.0.1", responder.port)
            assert Gate()(subject_of(leaf))["a"].state is StapleState.FRESH
    assert relay.requests[0].startswith(b"POST /ppp")


def test_revoked(tmp_path, authority):
    with responding(tmp_path, authority, revoked=True) as (leaf, _relay):
        gate = Gate()
        assert gate(subject_of(leaf))["a"].state is StapleState.REVOKED
        assert gate.last("a").status == "revoked"


def failed(tmp_path, authority, **options) -> Failure:
    with responding(tmp_path, authority, **options) as (leaf, _relay):
        gate = Gate()
        row = gate(subject_of(leaf))["a"]
        assert gate.published == {}
        assert row.state is StapleState.NONE
        return row.last_failure


def test_unknown(tmp_path, authority):
    assert failed(tmp_path, authority, known=False).reason == Reason.UNKNOWN


def test_no_next_update(tmp_path, authority):
    assert failed(tmp_path, authority, minutes=None).reason == Reason.NO_NEXT_UPDATE


def test_bad_signature(tmp_path, authority):
    assert failed(tmp_path, authority, options=["-badsig"]).reason == Reason.BAD_SIGNATURE


def test_sha1_signature(tmp_path, authority):
    assert failed(tmp_path, authority, options=["-rmd", "sha1"]).reason == Reason.WEAK_SIGNATURE


def test_pss_signature_is_refused_by_name(tmp_path, authority):
    options = ["-rsigopt", "rsa_padding_mode:pss"]
    assert failed(tmp_path, authority, options=options).reason == Reason.UNSUPPORTED_SIGNATURE


@pytest.mark.parametrize("options", [[], ["-resp_key_id"]], ids=["by name", "by key"])
def test_delegate(tmp_path, authority, options):
    delegate = authority.delegate()
    with responding(tmp_path, authority, signer=delegate, options=options) as (leaf, _relay):
        assert Gate()(subject_of(leaf))["a"].state is StapleState.FRESH


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda a: a.delegate(not_after=time.time() - 60), Reason.DELEGATE_EXPIRED),
        (lambda a: a.delegate(ocsp_signing=False), Reason.DELEGATE_NOT_FOR_OCSP),
        (lambda a: a.rekeyed("rsa").delegate(), Reason.DELEGATE_NOT_ISSUED),
        (lambda a: a.issuer.delegate(), Reason.DELEGATE_NOT_ISSUED),
    ],
    ids=["expired", "without OCSP signing", "of a namesake", "of the root"],
)
def test_delegates_that_are_refused(tmp_path, authority, make, reason):
    assert failed(tmp_path, authority, signer=make(authority)).reason == reason


def test_several_single_responses_from_the_real_encoder(tmp_path, authority):
    one, two, three = (authority.leaf(f"{i}.test") for i in range(3))
    for cert_id in ("sha1", "sha256"):
        der = answer_offline(
            tmp_path, authority, [one, two, three], asked=[one, two], revoked=[two], cert_id=cert_id
        )
        now = time.time()
        assert verify(der, subject_of(one), now).status == "good"
        assert verify(der, subject_of(two), now).status == "revoked"
        with pytest.raises(NotBelieved) as caught:
            verify(der, subject_of(three), now)
        assert caught.value.reason is Reason.WRONG_CERTIFICATE


# -- addresses


def test_ipv6_black_holed_while_ipv4_works_and_the_other_way_round(tmp_path, authority):
    for dead, living in (("::1", "127.0.0.1"), ("127.0.0.1", "::1")):
        hole_socket, relay_socket = bind_same_port(dead, living)
        with BlackHole(sock=hole_socket) as hole, Relay(sock=relay_socket) as relay:
            leaf = leaf_at(authority, f"http://localhost:{relay.port}/")
            with OpensslResponder(tmp_path, authority, [leaf]) as responder:
                relay.target = ("127.0.0.1", responder.port)
                gate = Gate()
                assert gate(subject_of(leaf))["a"].state is StapleState.FRESH
        event = gate.event("staple-updated")
        assert event["address"] == relay.address
        assert hole.port == relay.port


def test_responder_refuses_in_both_families_and_each_address_is_told(authority):
    sockets = bind_same_port("127.0.0.1", "::1")
    with Refusing(sock=sockets[0]) as four, Refusing(sock=sockets[1]) as six:
        gate = Gate()
        row = gate(subject_of(leaf_at(authority, f"http://localhost:{four.port}/")))["a"]
    assert row.last_failure.errno == errno.ECONNREFUSED
    assert {attempt.address for attempt in row.last_failure.attempts} == {four.address, six.address}
    told = " ".join(gate.event("staple-failed")["attempts"])
    assert four.address in told
    assert six.address in told


def test_first_responder_of_two_silent(tmp_path, authority):
    with Relay(behaviour=Behaviour.SILENT) as silent, Relay() as relay:
        leaf = leaf_at(authority, f"http://{silent.address}/", f"http://{relay.address}/")
        with OpensslResponder(tmp_path, authority, [leaf]) as responder:
            relay.target = ("127.0.0.1", responder.port)
            gate = Gate()
            row = gate(subject_of(leaf))["a"]
    assert row.state is StapleState.FRESH
    assert (row.last_failure.address, row.last_failure.stage) == (silent.address, "head")
    assert gate.event("responder-failed")["responder"] == f"http://{silent.address}/"


@pytest.mark.parametrize(
    ("behaviour", "stage"),
    [
        (Behaviour.SILENT, "head"),
        (Behaviour.TRICKLE, "head"),
        (Behaviour.CLOSE, "head"),
        (Behaviour.CLOSE_AFTER_REQUEST, "head"),
        (Behaviour.RESET_AFTER_REQUEST, "head"),
    ],
    ids=lambda value: value.name if isinstance(value, Behaviour) else "",
)
def test_a_responder_that_talks_badly_costs_its_timeout_at_most(authority, behaviour, stage):
    body = b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: 500\r\n\r\n"
    with Relay(behaviour=behaviour, answer=body + b"x" * 500) as relay:
        started = time.monotonic()
        row = Gate()(subject_of(leaf_at(authority, f"http://{relay.address}/")))["a"]
        assert time.monotonic() - started < SETTINGS.timeout + 1.0
    assert row.last_failure.stage in (stage, "send")
    assert row.last_failure.address == relay.address


def served(head: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "stage", "reason"),
    [
        (served("503 Busy"), "status", "http-503"),
        (served("200 OK\r\nContent-Type: text/html", b"<html>"), "content-type", "content-type"),
        (served("200 OK\r\nContent-Type: application/ocsp-response", b"<html>"), "answer", "malformed"),
        (
            served("200 OK\r\nContent-Type: application/ocsp-response", b"x" * 65_537),
            "too-large",
            "too-large",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "protocol", "protocol"),
    ],
    ids=["503", "html", "garbage", "too large", "not HTTP"],
)
def test_bad_answers_have_their_names(authority, answer, stage, reason):
    with Relay(behaviour=Behaviour.ANSWER, answer=answer) as relay:
        row = Gate()(subject_of(leaf_at(authority, f"http://{relay.address}/")))["a"]
    assert (row.last_failure.stage, row.last_failure.reason) == (stage, reason)


def test_charset_behind_the_content_type(authority):
    with Relay(behaviour=Behaviour.ANSWER) as relay:
        leaf = leaf_at(authority, f"http://{relay.address}/")
        der = authority.ocsp(leaf, this_update=time.time() - 1, next_update=time.time() + 3600)
        relay.answer = served("200 OK\r\nContent-Type: application/ocsp-response;charset=utf-8", der)
        assert Gate()(subject_of(leaf))["a"].state is StapleState.FRESH


def test_redirect_within_loopback_is_followed(tmp_path, authority):
    with Relay(behaviour=Behaviour.ANSWER) as first, Relay() as relay:
        leaf = leaf_at(authority, f"http://{first.address}/" + "p" * 200)
        with OpensslResponder(tmp_path, authority, [leaf]) as responder:
            relay.target = ("127.0.0.1", responder.port)
            first.answer = served(f"307 Elsewhere\r\nLocation: http://{relay.address}/moved")
            assert Gate()(subject_of(leaf))["a"].state is StapleState.FRESH
    assert relay.requests[0].startswith(b"POST /moved ")


def test_redirect_into_another_private_network_is_never_dialled(authority):
    with Relay(
        behaviour=Behaviour.ANSWER, answer=served("302 x\r\nLocation: http://169.254.169.254/")
    ) as relay:
        row = Gate()(subject_of(leaf_at(authority, f"http://{relay.address}/")))["a"]
    assert row.last_failure.stage == "refused-address"
    assert not any("169.254" in attempt.address for attempt in row.last_failure.attempts)


def test_name_that_does_not_resolve_says_so(authority):
    row = Gate()(subject_of(leaf_at(authority, "http://ocsp.invalid/")))["a"]
    assert row.last_failure.stage == "resolve"
    assert "ocsp.invalid" in row.last_failure.detail


def test_99_certificates_on_one_silent_host_do_not_delay_the_hundredth(tmp_path, authority):
    with Relay(behaviour=Behaviour.SILENT, host="127.0.0.3") as silent, Relay() as relay:
        dead = [subject_of(leaf_at(authority, f"http://{silent.address}/"), f"dead {i}") for i in range(99)]
        leaf = leaf_at(authority, f"http://{relay.address}/")
        with OpensslResponder(tmp_path, authority, [leaf]) as responder:
            relay.target = ("127.0.0.1", responder.port)
            gate = Gate()

            async def body(gate: Gate):
                started = time.monotonic()
                await gate.stapler.first_round(["living"])
                return time.monotonic() - started

            took = gate(*dead, subject_of(leaf, "living"), body=body)
    assert took < 1.4
    assert gate.last("living").status == "good"
    assert silent.accepted <= 2


def test_restart_with_every_responder_dead_serves_what_was_kept(tmp_path, authority):
    with responding(tmp_path, authority) as (leaf, _relay):
        Gate(tmp_path / "staples")(subject_of(leaf))
    gate = Gate(tmp_path / "staples")
    row = gate(subject_of(leaf))["a"]
    assert (row.state, row.source) == (StapleState.FRESH, "store")

    async def refresh(gate: Gate):
        assert gate.stapler.refresh("a") == ("a",)
        await gate.stapler.rounds_ended(["a"])
        return gate.stapler.status()[0]

    gate = Gate(tmp_path / "staples")
    row = gate(subject_of(leaf), body=refresh)
    assert (row.state, row.failures) == (StapleState.FRESH, 1)
    assert gate.last("a").usable(time.time())


def test_a_bound_port_stays_ours(authority):
    """The relays of this file hold their ports; a responder that is `Refusing` must not be answered by another."""
    with contextlib.closing(bind("127.0.0.1")) as sock:
        row = Gate()(subject_of(leaf_at(authority, f"http://127.0.0.1:{sock.getsockname()[1]}/")))["a"]
    assert row.last_failure.errno == errno.ECONNREFUSED
