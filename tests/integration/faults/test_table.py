"""The fault table over one running gate: each row is a certificate whose responder does one thing.

A row says what has to be on the wire and what the gate has to say about it: the event with address, errno,
milliseconds and the next attempt, the metric, and the row of `headgate ocsp --json`. The names of rows with the real
responder begin with `openssl`. One gate serves all, so that the table also shows that no row disturbs another.
"""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.faults.world import (
    OCSP_TYPE,
    Answering,
    World,
    configuration,
    event_of,
    hash_of,
    metric,
    next_host,
    on_the_wire,
    rows,
    saying,
    wait_for_rows,
)
from tests.integration.gate import Gate, wait_for

from headgate.ocsp.subject import staple_key
from headgate.testing.dns import DnsServer
from headgate.testing.pki import Authority, Single, ocsp_error, ocsp_response
from headgate.testing.relay import Behaviour, BlackHole, Refusing, Relay, bind_same_port
from headgate.testing.responder import OpensslResponder, answer_offline

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: 500\r\n\r\n"


@dataclass(frozen=True)
class Row:
    """What one row does, and what has to come of it.

    `wire` is the status of the staple that a client gets (None: none), `state` that of `headgate ocsp`, `stage` and
    `reason` those of the failure ("": there is none), `errno` its number."""

    name: str
    make: Callable[[World, str], None]
    wire: str | None = None
    state: str = "none"
    stage: str = ""
    reason: str = ""
    errno: int = 0
    source: str = "network"


TABLE: list[Row] = []


def row(wire: str | None = None, **expected):
    """Enter a row under the name of the function that prepares it."""

    def enter(make):
        state = expected.pop("state", "fresh" if wire else "none")
        TABLE.append(Row(make.__name__.replace("_", "-"), make, wire, state, **expected))
        return make

    return enter


def answered(world: World, name: str, answer, **options):
    """A leaf whose responder says what `answer` (a function of the leaf) returns."""
    responder = world.keep(Answering(saying(b"")))
    leaf = world.leaf(name, responder.url, **options)
    made = answer(leaf)
    responder.answer = made if callable(made) else saying(made)
    return leaf, responder


def relayed(world: World, name: str, behaviour: Behaviour, answer: bytes = b"", **options):
    relay = world.keep(Relay(host=next_host(), behaviour=behaviour, answer=answer, **options))
    world.leaf(name, f"http://{relay.address}/")


def real(world: World, name: str, *, known: bool = True, revoked: bool = False, **options):
    """A leaf whose responder is `openssl ocsp`, behind a relay."""
    relay = world.keep(Relay(host=next_host()))
    leaf = world.leaf(name, f"http://{relay.address}/")
    every = [leaf] if known else []
    folder = world.folder / f"responder-{name}"
    gone = every if revoked else []
    responder = world.keep(OpensslResponder(folder, world.issuer, every, revoked=gone, **options))
    relay.target = ("127.0.0.1", responder.port)


# -- the real responder


@row("good")
def openssl_good(world, name):
    real(world, name)


@row(stage="answer", reason="unknown")
def openssl_unknown(world, name):
    real(world, name, known=False)


@row(None, state="revoked")
def openssl_revoked(world, name):
    real(world, name, revoked=True)


@row("revoked", state="revoked")
def stapled_revoked(world, name):
    """With revoked = "staple" the bad news is told."""
    real(world, name, revoked=True)


@row(stage="answer", reason="bad-signature")
def openssl_bad_signature(world, name):
    real(world, name, options=["-badsig"])


@row(stage="answer", reason="no-next-update")
def openssl_no_next_update(world, name):
    real(world, name, minutes=None)


@row("good")
def openssl_delegate(world, name):
    real(world, name, signer=world.issuer.delegate())


@row(stage="answer", reason="delegate-expired")
def openssl_delegate_expired(world, name):
    real(world, name, signer=world.issuer.delegate(not_after=time.time() - 60))


@row(stage="answer", reason="delegate-not-for-ocsp")
def openssl_delegate_without_ocsp_signing(world, name):
    real(world, name, signer=world.issuer.delegate(ocsp_signing=False))


@row(stage="answer", reason="delegate-not-issued")
def openssl_delegate_of_a_namesake(world, name):
    real(world, name, signer=world.issuer.rekeyed("rsa").delegate())


@row("good", state="fresh")
def openssl_five_minutes(world, name):
    real(world, name, minutes=5)


@row("good")
def openssl_several_single_responses(world, name):
    def several(leaf):
        other = world.issuer.leaf("other.test")
        folder = world.folder / "several"
        return answer_offline(folder, world.issuer, [leaf, other], asked=[other, leaf], revoked=[other])

    answered(world, name, several)


# -- the road


@row(stage="connect", reason="connect", errno=errno.ECONNREFUSED)
def refuses(world, name):
    world.leaf(name, f"http://{world.keep(Refusing(next_host())).address}/")


@row(stage="head", reason="head", errno=errno.ETIMEDOUT)
def accepts_and_never_answers(world, name):
    relayed(world, name, Behaviour.SILENT)


@row(stage="head", reason="head", errno=errno.ETIMEDOUT)
def trickles(world, name):
    relayed(world, name, Behaviour.TRICKLE, HEAD + b"x" * 500)


@row(stage="body", reason="body", errno=errno.ETIMEDOUT)
def trickles_the_body(world, name):
    relayed(world, name, Behaviour.TRICKLE, HEAD + b"x" * 500, trickle_bytes=100, trickle_seconds=0.4)


@row(stage="head", reason="head")
def closes(world, name):
    relayed(world, name, Behaviour.CLOSE_AFTER_REQUEST)


@row(stage="connect", reason="connect", errno=errno.ETIMEDOUT)
def black_holed(world, name):
    world.leaf(name, f"http://{world.keep(BlackHole(next_host())).address}/")


def two_families(world, name, dead: str, living: str):
    hole, socket = bind_same_port(dead, living)
    world.keep(BlackHole(sock=hole))
    relay = world.keep(Relay(sock=socket))
    world.dns.add(f"{name}.ocsp.test", "A", "127.0.0.1")
    world.dns.add(f"{name}.ocsp.test", "AAAA", "::1")
    leaf = world.leaf(name, f"http://{name}.ocsp.test:{relay.port}/")
    responder = world.keep(OpensslResponder(world.folder / f"responder-{name}", world.issuer, [leaf]))
    relay.target = ("127.0.0.1", responder.port)


@row("good")
def ipv6_black_holed(world, name):
    two_families(world, name, "::1", "127.0.0.1")


@row("good")
def ipv4_black_holed(world, name):
    two_families(world, name, "127.0.0.1", "::1")


@row(stage="resolve", reason="resolve")
def no_such_name(world, name):
    world.leaf(name, "http://no-such-name.ocsp.test/")


@row("good", stage="head", reason="head", errno=errno.ETIMEDOUT)
def first_of_two_silent(world, name):
    silent = world.keep(Relay(host=next_host(), behaviour=Behaviour.SILENT))
    second = world.keep(Answering(saying(b"")))
    leaf = world.leaf(name, f"http://{silent.address}/", second.url)
    second.answer = saying(world.response(leaf))


# -- HTTP


@row(stage="status", reason="http-503")
def busy(world, name):
    answered(world, name, lambda _leaf: lambda _request: (503, {"Retry-After": "9"}, b""))


@row("good")
def redirected(world, name):
    target = world.keep(Answering(saying(b"")))
    leaf, _ = answered(world, name, lambda _leaf: lambda _request: (307, {"Location": target.url}, b""))
    # A GET is redirected to the bare URL and fails there; the POST takes its body along.
    target.answer = saying(world.response(leaf))


@row(stage="refused-address", reason="refused-address")
def redirected_into_a_private_network(world, name):
    answered(world, name, lambda _leaf: lambda _request: (302, {"Location": "http://169.254.169.254/"}, b""))


@row("good")
def charset(world, name):
    answered(world, name, lambda leaf: saying(world.response(leaf), f"{OCSP_TYPE};charset=utf-8"))


@row(stage="content-type", reason="content-type")
def html(world, name):
    answered(world, name, lambda _leaf: saying(b"<html>", "text/html"))


@row(stage="too-large", reason="too-large")
def too_large(world, name):
    answered(world, name, lambda _leaf: saying(b"x" * 65_537))


# -- the answer


@row(stage="answer", reason="malformed")
def garbage(world, name):
    answered(world, name, lambda _leaf: saying(b"\x30\x82\xff\xff garbage"))


@row(stage="answer", reason="wrong-certificate")
def wrong_certificate(world, name):
    answered(world, name, lambda _leaf: world.response(world.issuer.leaf("other.test")))


@row("good")
def sha256_only(world, name):
    def picky(leaf):
        good = world.response(leaf, hash="sha256")
        no = ocsp_error("unauthorized")
        return lambda request: (
            200,
            {"Content-Type": OCSP_TYPE},
            good if hash_of(request) == "sha256" else no,
        )

    answered(world, name, picky)


@row(stage="answer", reason="delegate-not-issued")
def another_signer(world, name):
    stranger = Authority.root("Somebody Else")
    answered(world, name, lambda leaf: world.response(leaf, signer=stranger))


@row(stage="answer", reason="bad-signature")
def bad_signature(world, name):
    def forged(leaf):
        now = time.time()
        return ocsp_response(
            [Single(leaf, "good", now - 60, now + 3600)], world.issuer, corrupt_signature=True
        )

    answered(world, name, forged)


@row(stage="answer", reason="expired")
def expired(world, name):
    answered(world, name, lambda leaf: world.response(leaf, age=7200, life=-60))


@row(stage="answer", reason="from-the-future")
def from_the_future(world, name):
    answered(world, name, lambda leaf: world.response(leaf, age=-3600, life=7200))


@row(stage="answer", reason="try-later")
def try_later(world, name):
    answered(world, name, lambda _leaf: ocsp_error("tryLater"))


@row(stage="answer", reason="unauthorized")
def unauthorized(world, name):
    answered(world, name, lambda _leaf: ocsp_error("unauthorized"))


@row(stage="answer", reason="unknown")
def unknown(world, name):
    answered(world, name, lambda leaf: world.response(leaf, "unknown"))


@row("good")
def preproduced_past_half_life(world, name):
    answered(world, name, lambda leaf: world.response(leaf, age=6 * 3600, life=2 * 3600))


# -- what lies on the disk


@row(stage="connect", reason="connect", errno=errno.ECONNREFUSED)
def expired_file(world, name):
    leaf = world.leaf(name, f"http://{world.keep(Refusing(next_host())).address}/")
    ocsp_file(world, name).write_bytes(world.response(leaf, age=7200, life=-60))


@row("good")
def expired_file_and_a_good_responder(world, name):
    leaf, _ = world.good(name)
    ocsp_file(world, name).write_bytes(world.response(leaf, age=7200, life=-60))


@row("good", source="file")
def good_file_and_a_dead_responder(world, name):
    leaf = world.leaf(name, f"http://{world.keep(Refusing(next_host())).address}/")
    ocsp_file(world, name).write_bytes(world.response(leaf))


@row(stage="connect", reason="connect", errno=errno.ECONNREFUSED)
def truncated_stored_staple(world, name):
    leaf = world.leaf(name, f"http://{world.keep(Refusing(next_host())).address}/")
    stored(world, leaf).write_bytes(world.response(leaf)[:-40])


@row("good", source="store")
def stored_staple_and_a_dead_responder(world, name):
    leaf = world.leaf(name, f"http://{world.keep(Refusing(next_host())).address}/")
    stored(world, leaf).write_bytes(world.response(leaf))


def ocsp_file(world, name):
    return world.path(name).with_name(world.path(name).name + ".ocsp")


def stored(world, leaf):
    folder = world.folder / "state" / "staples"
    folder.mkdir(0o700, parents=True, exist_ok=True)
    return folder / f"{staple_key(leaf.certificate, world.issuer.certificate)}.der"


# -- the gate


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("table")) as world:
        world.dns = world.keep(DnsServer())
        for entry in TABLE:
            entry.make(world, entry.name)
        yield world


@pytest.fixture(scope="module")
def gate(world):
    special = world.path("stapled-revoked")
    special.rename(world.folder / special.name)
    tables = f"""
[[certificate]]
files = "{special.name}"
ocsp = {{ revoked = "staple" }}
[[certificate]]
files = "certs/*.pem"
"""
    more = f'[resolver]\nnameservers = ["{world.dns.address}"]\n'
    text = configuration(certificates=tables, more=more)
    with Gate(world.folder, text, http=0, https=1) as gate:
        quiet = {"good-file-and-a-dead-responder", "stored-staple-and-a-dead-responder"}
        wait_for_rows(gate, *({entry.name for entry in TABLE} - quiet))
        gate.rows = rows(gate)
        yield gate


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_what_is_on_the_wire(world, gate, entry):
    assert on_the_wire(world, gate, entry.name) == entry.wire
    assert on_the_wire(world, gate, entry.name, tls12=True) == entry.wire


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_the_row_of_headgate_ocsp_and_the_metric(world, gate, entry):
    row = gate.rows[entry.name]
    assert row["state"] == entry.state
    assert row["served"] == (entry.wire is not None)
    assert row["source"] == (entry.source if entry.wire or entry.state == "revoked" else None)
    assert (
        gate.metrics()[f'headgate_staple_state{{certificate="{row["name"]}",state="{entry.state}"}}'] == 1.0
    )
    # Whatever happened, there will be another attempt, in time for a staple that is held.
    assert time.time() < row["next_attempt"] < time.time() + 12 * 3600
    if row["next_update"] is not None:
        assert row["next_attempt"] < row["next_update"]
    failure = row["last_failure"]
    if not entry.stage:
        assert failure is None
        return
    assert (failure["stage"], failure["reason"], failure["errno"]) == (entry.stage, entry.reason, entry.errno)
    assert failure["milliseconds"] < 1500
    if entry.stage != "resolve":
        assert failure["address"] in responders_of(row) or "169.254." in failure["address"]


def responders_of(row):
    return [url.removeprefix("http://").rstrip("/") for url in row["responders"]]


@pytest.mark.parametrize("entry", [entry for entry in TABLE if entry.stage], ids=lambda entry: entry.name)
def test_the_log_line_of_a_failure(gate, entry):
    other = entry.wire is not None
    event = event_of(gate, "responder-failed" if other else "staple-failed", entry.name)
    assert event["level"] == ("warning" if other else "error")
    assert (event["stage"], event["reason"], event["errno"]) == (entry.stage, entry.reason, entry.errno)
    assert event["milliseconds"] < 1500
    assert event["responder"] == gate.rows[entry.name]["responders"][0]
    if entry.stage != "resolve":
        assert event["address"]
        assert event["attempts"]
    if not other:
        assert event["holds"] == "nothing"
        assert event["next_seconds"] > 0


@pytest.mark.parametrize(
    "entry",
    [entry for entry in TABLE if entry.source == "network" and entry.state != "none"],
    ids=lambda entry: entry.name,
)
def test_the_log_line_of_a_staple(gate, entry):
    kind = "certificate-revoked" if entry.state == "revoked" else "staple-updated"
    event = event_of(gate, kind, entry.name)
    assert event["address"]
    assert event["milliseconds"] < 1500
    assert event["next_update"].endswith("Z")
    assert event["next_seconds"] > 0


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("expired-file", "file", "expired"),
        ("expired-file-and-a-good-responder", "file", "expired"),
        ("truncated-stored-staple", "store", "malformed"),
    ],
)
def test_what_lay_on_the_disk_and_was_not_believed(gate, name, source, reason):
    event = event_of(gate, "staple-source-refused", name)
    assert (event["level"], event["source"], event["reason"]) == ("warning", source, reason)
    assert metric(gate, "ocsp_sources_refused_total") == 3


def test_short_lived_and_preproduced_answers_are_renewed_in_time(gate):
    for name in ("openssl-five-minutes", "preproduced-past-half-life"):
        row = gate.rows[name]
        left = row["next_update"] - row["last_success"]
        assert row["next_attempt"] - row["last_success"] <= 0.76 * left


def test_metrics_add_up(gate):
    states = [row["state"] for row in rows(gate).values()]
    for state in set(states):
        assert metric(gate, f'staples{{state="{state}"}}') == states.count(state)
    failed = [entry for entry in TABLE if entry.stage]
    answers = [entry for entry in failed if entry.stage == "answer"]
    assert metric(gate, 'ocsp_fetches_total{outcome="not-believed"}') >= len(answers)
    assert metric(gate, 'ocsp_fetches_total{outcome="failed"}') >= len(failed) - len(answers)
    assert metric(gate, 'dial_failed_total{error="ECONNREFUSED",family="ipv4"}') >= 3
    assert metric(gate, 'dial_failed_total{error="overtaken",family="ipv6"}') >= 1
    assert metric(gate, "resolve_failed_total") >= 1


def test_the_documented_table_has_every_row():
    told = (Path(__file__).parents[3] / "docs" / "faults.md").read_text(encoding="utf-8")
    assert [entry.name for entry in TABLE if f"`{entry.name}`" not in told] == []


def test_no_private_network_was_dialled(gate):
    event = event_of(gate, "staple-failed", "redirected-into-a-private-network")
    assert not any("169.254" in attempt for attempt in event["attempts"])


def test_an_older_good_does_not_come_back_after_a_revocation(tmp_path):
    with World(tmp_path) as world:
        leaf, responder = world.good("a")
        text = configuration()
        with Gate(tmp_path, text, http=0, https=1) as gate:
            wait_for_rows(gate)
            assert on_the_wire(world, gate, "a") == "good"
            responder.answer = saying(world.response(leaf, "revoked", age=30))
            assert gate.run("ocsp", "refresh").returncode == 0
            wait_for("the staple to go", lambda: on_the_wire(world, gate, "a") is None)
            responder.answer = saying(world.response(leaf, age=45, life=9000))
            assert gate.run("ocsp", "refresh").returncode in (0, 1)
            assert rows(gate)["a"]["state"] == "revoked"
            assert on_the_wire(world, gate, "a") is None
            event_of(gate, "certificate-revoked", "a")
        # Nor from a file, nor after a restart.
        ocsp_file(world, "a").write_bytes(world.response(leaf, age=40, life=9000))
        with Gate(tmp_path, text, http=0, https=1) as gate:
            assert rows(gate)["a"]["state"] == "revoked"
            assert on_the_wire(world, gate, "a") is None
            wait_for("the counter", lambda: metric(gate, 'stapled_total{result="withheld-revoked"}') == 1)
