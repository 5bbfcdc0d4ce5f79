"""Client certificates of a running gate: whom each kind of listener lets in, and what a ticket may not do."""

import datetime
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from headgate.testing.pki import Authority

VERSIONS = ["-tls1_2", "-tls1_3"]
CURL = {"-tls1_2": ("--tls-max", "1.2"), "-tls1_3": ("--tlsv1.3",)}


def crl_of(authority, *revoked, days=1):
    """Return a CRL in PEM that is valid for so many days."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - datetime.timedelta(days=2))
        .next_update(now + datetime.timedelta(days=days))
    )
    for leaf in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(leaf.certificate.serial_number)
            .revocation_date(now)
            .build()
        )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class People:
    """Clients with certificates: alice is good, bob revoked, mallory of another authority."""

    def __init__(self, site):
        self.authority = Authority.root("People")
        self.alice, self.bob = (self.authority.leaf(name, client=True) for name in ("alice", "bob"))
        stranger = Authority.root("Strangers").leaf("mallory", client=True)
        self.files = {
            name: site.write(f"{name}.pem", leaf.pem + leaf.key_pem)
            for name, leaf in [("alice", self.alice), ("bob", self.bob), ("mallory", stranger)]
        }
        self.ca = site.write("people.pem", self.authority.pem)
        self.crl = site.write("people.crl", crl_of(self.authority, self.bob))

    def tls(self, auth):
        return f'client_auth = "{auth}"\nclient_ca = "{self.ca}"\nclient_crl = "{self.crl}"'


@pytest.fixture(scope="module")
def site(shared_site):
    shared_site.certificate("a", "a.test")
    return shared_site


@pytest.fixture(scope="module")
def people(site):
    return People(site)


@pytest.fixture(scope="module")
def gate(site, people, tools):
    people.optional, optional = tools.listener(tls=people.tls("optional"))
    people.required, required = tools.listener(tls=people.tls("required"))
    with site.gate(tools.hello + optional + required, workers=2) as made:
        people.off = made.https_ports[0]
        yield made


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("auth", "who", "let_in"),
    [
        ("off", None, True),
        ("off", "mallory", True),
        ("optional", None, True),
        ("optional", "alice", True),
        ("optional", "bob", False),
        ("optional", "mallory", False),
        ("required", None, False),
        ("required", "alice", True),
        ("required", "bob", False),
        ("required", "mallory", False),
    ],
)
def test_who_is_let_in(site, gate, people, auth, who, let_in, version):
    certificate = ("--cert", people.files[who]) if who else ()
    done = site.curl(getattr(people, auth), *CURL[version], *certificate)
    assert (done.stdout == "let in") is let_in, done.stderr
    assert (done.returncode == 0) is let_in


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("who", "alert"), [(None, "(certificate required|handshake failure)"), ("bob", "certificate revoked")]
)
def test_the_client_hears_why(site, gate, people, who, alert, version):
    """In TLS 1.3 its request is under way by then; a reset for unread bytes would take the alert with it."""
    certificate = ("--cert", people.files[who]) if who else ()
    said = [site.curl(people.required, *CURL[version], *certificate).stderr for _ in range(5)]
    assert [one for one in said if not re.search(f"alert {alert}", one)] == []


def test_each_refusal_has_its_reason(site, gate, people, tools):
    for who in (None, "bob", "mallory"):
        site.curl(people.required, *(("--cert", people.files[who]) if who else ()))
    reasons = lambda: {event["reason"] for event in gate.events("connection-failed")}  # noqa: E731
    tools.wait_for("both", lambda: {"client-certificate-missing", "certificate-verify-failed"} <= reasons())
    tools.counted(gate, 'headgate_handshakes_total{kind="failed"}', 3)


@pytest.mark.parametrize("version", VERSIONS)
def test_resumed_without_showing_it_again_on_both_workers(site, gate, people, tools, version, tmp_path):
    path = str(tmp_path / "session")
    shown = ("-cert", people.files["alice"], "-key", people.files["alice"])
    assert "let in" in site.s_client(people.required, version, *shown, "-sess_out", path)
    before = tools.by_process(gate, 'handshakes_total{kind="resumed"')

    def both_did():
        said = site.s_client(people.required, version, "-sess_in", path)
        assert "Reused, TLSv1" in said
        assert "let in" in said
        now = tools.by_process(gate, 'handshakes_total{kind="resumed"')
        return all(now[worker] > before[worker] for worker in ("worker 0", "worker 1"))

    tools.wait_for("a resumption on both workers", both_did, 30)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("source", ["off", "optional"])
def test_a_ticket_does_not_stand_in_for_a_certificate(site, gate, people, source, version, tmp_path):
    path = str(tmp_path / "session")
    assert "let in" in site.s_client(getattr(people, source), version, "-sess_out", path)
    assert "Reused, TLSv1" in site.s_client(getattr(people, source), version, "-sess_in", path)
    for _ in range(6):
        said = site.s_client(people.required, version, "-sess_in", path)
        assert "Reused, TLSv1" not in said
        assert "let in" not in said
        assert "alert" in said  # and not because nobody answered


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_with_a_certificate_is_nothing_elsewhere(site, gate, people, version, tmp_path):
    path = str(tmp_path / "session")
    shown = ("-cert", people.files["alice"], "-key", people.files["alice"])
    assert "let in" in site.s_client(people.required, version, *shown, "-sess_out", path)
    for port in (people.optional, people.off):
        assert "New, TLSv1" in site.s_client(port, version, "-sess_in", path)


def test_the_authorities_are_told_to_the_client(site, gate, people):
    said = site.s_client(people.required, "-tls1_3")
    assert "Acceptable client certificate CA names\nCN = People" in said


# -- files that change, each with a gate of its own


@pytest.fixture
def own(tmp_path, tools):
    """A site and its people for one test, which may change their files."""
    place = tools.make_site(tmp_path)
    place.certificate("a", "a.test")
    return place, People(place)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_renewed_crl_is_taken_up_and_resumed_sessions_obey_it(own, tools, version):
    site, people = own
    path = str(site.folder / "session")
    shown = ("-cert", people.files["alice"], "-key", people.files["alice"])
    port, text = tools.listener(tls=people.tls("required"))
    with site.gate(tools.hello + text, https=0, workers=2) as gate:
        assert "let in" in site.s_client(port, version, *shown, "-sess_out", path)
        assert "let in" in site.s_client(port, version, "-sess_in", path)
        site.write("people.crl", crl_of(people.authority, people.alice, people.bob))

        def refused(*options):
            said = [site.s_client(port, version, *options) for _ in range(6)]
            return not any("let in" in one for one in said)

        tools.wait_for("both workers to refuse her", lambda: refused(*shown))
        assert refused("-sess_in", path), "the ticket of before would let her in"
        refusals = {event["reason"] for event in gate.events("connection-failed")}
        assert {"certificate-verify-failed", "client-certificate-refused"} <= refusals
        assert not gate.events("defect")


def test_a_crl_that_cannot_be_read_keeps_the_one_before_and_is_named(own, tools):
    site, people = own
    port, text = tools.listener(tls=people.tls("required"))
    with site.gate(tools.hello + text, https=0) as gate:
        site.write("people.crl", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
        event = tools.wait_for("the bad news", lambda: gate.events("client-files-problem"))[0]
        assert people.crl in event["file"]
        assert "still used" in event["reason"]
        assert site.curl(port, "--cert", people.files["alice"]).stdout == "let in"
        assert site.curl(port, "--cert", people.files["bob"]).returncode != 0
        site.write("people.crl", crl_of(people.authority))
        tools.wait_for("the good news", lambda: gate.events("client-files-mended"))
        tools.wait_for(
            "bob, pardoned", lambda: site.curl(port, "--cert", people.files["bob"]).stdout == "let in"
        )


def test_a_restarted_worker_has_the_crl_of_the_day(own, tools):
    site, people = own
    port, text = tools.listener(tls=people.tls("required"))
    with site.gate(tools.hello + text, https=0) as gate:
        site.write("people.crl", crl_of(people.authority, people.alice, people.bob))
        tools.wait_for("alice, revoked", lambda: site.curl(port, "--cert", people.files["alice"]).returncode)
        tools.kill(gate.worker_pids()[0])
        tools.wait_for("another worker", lambda: len(gate.worker_pids()) == 2)
        tools.wait_for("it listening", lambda: site.s_client(port).startswith("CONNECTED"))
        told = len(gate.events("connection-failed"))
        assert site.curl(port, "--cert", people.files["alice"]).returncode != 0
        refused = tools.wait_for("its reason", lambda: gate.events("connection-failed")[told:])
        assert {event["reason"] for event in refused} == {"certificate-verify-failed"}


def test_an_expired_crl_lets_nobody_in_and_says_so(own, tools):
    site, people = own
    site.write("people.crl", crl_of(people.authority, days=-1))
    port, text = tools.listener(tls=people.tls("optional"))
    with site.gate(tools.hello + text, https=0) as gate:
        event = tools.wait_for("the bad news", lambda: gate.events("client-files-problem"))[0]
        assert event["file"] == people.crl
        assert "expired" in event["reason"]
        assert site.curl(port, "--cert", people.files["alice"]).returncode != 0
        assert site.curl(port).stdout == "let in"


@pytest.mark.parametrize("name", ["people.pem", "people.crl"])
def test_garbage_at_the_start_is_a_configuration_error_with_the_file(own, tools, name):
    site, people = own
    site.write(name, b"nothing of the kind")
    _, text = tools.listener(tls=people.tls("required"))
    gate = site.gate(tools.hello + text, https=0)
    gate.start(wait=False)
    assert gate.process.wait(30) == 2
    gate.process = None
    said = gate.stderr.read_text()
    assert str(site.folder / name) in said
    assert "Traceback" not in said
