"""Tickets: across workers, over a rotation, and never from one listener to another."""

import pytest

from headgate.tls.policy import TlsPolicy

VERSIONS = ["-tls1_2", "-tls1_3"]
PERIOD = 1000.0


@pytest.fixture
def ports(site):
    identities = [site.identity("a.test"), site.identity("b.test")]
    site.serve(TlsPolicy("other"), identities)
    return site.serve(TlsPolicy("https"), identities, workers=3)


def session(site, tools, port, version, facts) -> str:
    path = str(site.folder / f"session{version}")
    assert not facts(tools.s_client(port, version, "-sess_out", path))["resumed"]
    return path


def resumes(tools, facts, port, version, path, name="a.test") -> bool:
    said = tools.s_client(port, version, "-sess_in", path, name=name)
    assert ("Reused, TLSv1" in said) is facts(said)["resumed"]
    return facts(said)["resumed"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_resumes_on_every_worker(site, tools, ports, facts, version):
    path = session(site, tools, ports[0], version, facts)
    for number, port in enumerate(ports):
        said = tools.s_client(port, version, "-sess_in", path)
        assert facts(said)["worker"] == number
        assert facts(said)["resumed"]


@pytest.mark.parametrize("version", VERSIONS)
def test_over_one_rotation_on_every_worker_and_no_longer(site, tools, ports, facts, version):
    path = session(site, tools, ports[0], version, facts)
    site.clock.advance(PERIOD)
    assert all(resumes(tools, facts, port, version, path) for port in ports)
    fresh = session(site, tools, ports[1], version, facts)
    assert all(resumes(tools, facts, port, version, fresh) for port in ports)
    site.clock.advance(2 * PERIOD)
    assert not any(resumes(tools, facts, port, version, path) for port in ports)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_of_one_listener_never_opens_another(site, tools, ports, facts, version):
    path = session(site, tools, ports[0], version, facts)
    assert resumes(tools, facts, ports[0], version, path)
    assert not resumes(tools, facts, site.ports["other"][0], version, path)
    assert resumes(tools, facts, ports[1], version, path)


def test_rfc6066_a_ticket_of_one_name_under_another(site, tools, ports, facts):
    # What makes client certificates a matter of the listener: a session is not tied to its name.
    path = session(site, tools, ports[0], "-tls1_3", facts)
    said = tools.s_client(ports[0], "-tls1_3", "-sess_in", path, name="b.test")
    assert facts(said)["name"] == "b.test"
