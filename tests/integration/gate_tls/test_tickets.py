"""Tickets of a running gate: good on every worker and over a rotation, never on another listener."""

import re
import ssl

import pytest

VERSIONS = ["-tls1_2", "-tls1_3"]
RESUMED = 'handshakes_total{kind="resumed"'
# Short, so that a running gate rotates while the test watches; in earnest it is half a day.
PERIOD = 5.0


@pytest.fixture(scope="module")
def site(shared_site):
    shared_site.certificate("a", "a.test")
    shared_site.certificate("b", "b.test")
    return shared_site


@pytest.fixture(scope="module")
def gate(site, tools):
    with site.gate(tools.hello, workers=2, https=2) as made:
        yield made


def context_of(site, version):
    context = site.client()
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_every_worker_opens_the_ticket_of_every_other(site, gate, tools, version):
    pids = gate.worker_pids()
    context, port = context_of(site, version), gate.https_ports[0]
    sessions, seen = {}, set()
    for _ in range(200):
        with site.connect(port, "a.test", context) as sock:
            worker = tools.worker_of(sock, pids)
            assert tools.request(sock).endswith(b"let in")
            sessions[worker] = sock.session
        if len(sessions) == 2:
            break
    assert set(sessions) == set(pids)
    for _ in range(200):
        for maker, session in sessions.items():
            with site.connect(port, "a.test", context, session=session) as sock:
                assert sock.session_reused
                seen.add((maker, tools.worker_of(sock, pids)))
                assert tools.request(sock).endswith(b"let in")
        if len(seen) == 4:
            break
    assert seen == {(a, b) for a in pids for b in pids}


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_resumes_until_both_workers_have_seen_it(site, gate, tools, version, tmp_path):
    path, port = str(tmp_path / "session"), gate.https_ports[0]
    assert "New, TLSv1" in site.s_client(port, version, "-sess_out", path)
    before = tools.by_process(gate, RESUMED)

    def both_did():
        said = site.s_client(port, version, "-sess_in", path)
        assert "Reused, TLSv1" in said
        assert "let in" in said
        now = tools.by_process(gate, RESUMED)
        return all(now[worker] > before[worker] for worker in ("worker 0", "worker 1"))

    tools.wait_for("a resumption on both workers", both_did, 30)


@pytest.mark.parametrize("version", VERSIONS)
def test_not_on_another_listener_of_the_same_kind(site, gate, version, tmp_path):
    path = str(tmp_path / "session")
    one, other = gate.https_ports
    site.s_client(one, version, "-sess_out", path)
    assert "Reused, TLSv1" in site.s_client(one, version, "-sess_in", path)
    for _ in range(6):
        said = site.s_client(other, version, "-sess_in", path)
        assert "New, TLSv1" in said
        assert "let in" in said


def test_a_restarted_worker_opens_what_was_made_before_it(tools, tmp_path):
    place = tools.make_site(tmp_path)
    place.certificate("a", "a.test")
    with place.gate(tools.hello, workers=1) as gate:
        port, path = gate.https_ports[0], str(tmp_path / "session")
        place.s_client(port, "-tls1_3", "-sess_out", path)
        tools.kill(gate.worker_pids()[0])
        tools.wait_for("another worker", lambda: len(gate.worker_pids()) == 2)
        tools.wait_for("an answer", lambda: place.fingerprint(port))
        assert "Reused, TLSv1.3" in place.s_client(port, "-tls1_3", "-sess_in", path)


def test_over_one_rotation_and_no_longer(tmp_path, tools):
    site = tools.make_site(tmp_path)
    site.certificate("a", "a.test")
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(
        "from headgate.tls.tickets import TicketRing\n"
        f"TicketRing.__init__.__kwdefaults__['period'] = {PERIOD}\n"
    )
    with site.gate(tools.hello, workers=2, environ=tools.python_path(tmp_path / "python")) as gate:
        port = gate.https_ports[0]

        def session(name):
            """Take sessions of both versions; return the name of the key that made them."""
            for version in VERSIONS:
                said = site.s_client(port, version, "-sess_out", str(tmp_path / f"{name}{version}"))
                assert "let in" in said
                if version == "-tls1_2":
                    key = re.search(r"TLS session ticket:\n\s*0000 - (.*?)   ", said)
                    assert key is not None, said
            return key.group(1)

        def next_key(name, key):
            """Take sessions until the gate has rotated."""
            return tools.wait_for("a rotation", lambda: (found := session(name)) != key and found, 30)

        def resumes(name, version):
            # Four times: one of the workers alone would be luck.
            said = [
                site.s_client(port, version, "-sess_in", str(tmp_path / f"{name}{version}")) for _ in range(4)
            ]
            assert all("let in" in one for one in said)
            return {"Reused, TLSv1" in one for one in said}

        # Each of these was the last before it changed, whatever the machine's pace.
        zero = session("zero")
        next_key("one", zero)
        session("fresh")
        assert [resumes("fresh", version) for version in VERSIONS] == [{True}, {True}]
        one = session("fresh")
        next_key("two", one)
        assert [resumes("fresh", version) for version in VERSIONS] == [{True}, {True}]
        assert [resumes("zero", version) for version in VERSIONS] == [{False}, {False}]
        assert not gate.events("defect")
