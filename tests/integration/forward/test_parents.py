"""A proxy behind other proxies: one gate that hands on to others, which fail one after the other."""

import contextlib

import pytest
from tests.integration.forward.conftest import NAME, Proxy, rules
from tests.integration.gate import free_port, wait_for

HELLO = "hello from the mirror\n"


class Chain:
    """A gate with two parents, each a gate of its own; only the parents know the name of the mirror."""

    def __init__(self, folder, mirror, more="", nameserver=""):
        self.mirror = mirror
        self.stack = contextlib.ExitStack()
        self.parents = [
            Proxy(
                folder / f"parent{n}",
                rules(mirror),
                nameserver=mirror.names.address,
                users={"gate": "s3cret"},
            )
            for n in range(2)
        ]
        urls = ", ".join(f'"http://127.0.0.1:{parent.port}"' for parent in self.parents)
        self.child = Proxy(
            folder / "child",
            f'parents = [{urls}]\nparent_credentials = "gate:s3cret"\n{rules(mirror, more)}',
            nameserver=nameserver or mirror.names.address,
        )

    def __enter__(self):
        for proxy in (*self.parents, self.child):
            self.stack.enter_context(proxy)
        return self

    def __exit__(self, *error):
        self.stack.close()

    def both(self):
        """Fetch over a plain request and over a tunnel."""
        plain = self.child.curl(f"{self.mirror.http}/hello.txt")
        secure = self.child.curl("--cacert", str(self.mirror.ca), f"{self.mirror.https}/hello.txt")
        return plain, secure


@pytest.fixture(scope="module")
def chain(tmp_path_factory, mirror):
    with Chain(tmp_path_factory.mktemp("chain"), mirror) as made:
        yield made


def test_requests_and_tunnels_go_through_a_parent_that_fails_over_to_the_next(chain):
    plain, secure = chain.both()
    assert (plain.status, plain.text) == (200, HELLO)
    assert (secure.status, secure.text) == (200, HELLO)

    def lines():
        return [line for parent in chain.parents for line in parent.gate.access_lines()]

    wait_for("both kinds", lambda: {line["method"] for line in lines()} == {"GET", "CONNECT"})
    assert {line["user"] for line in lines()} == {"gate"}
    chain.parents[0].gate.stop()
    for answer in (*chain.both(), *chain.both()):
        assert (answer.status, answer.text) == (200, HELLO)
    chain.parents[1].gate.stop()
    plain, secure = chain.both()
    assert (plain.status, secure.connect) == (502, 502)
    events = wait_for("the event", lambda: chain.child.gate.events("upstream-failed"))
    assert "ECONNREFUSED" in events[-1]["detail"]


def test_without_parents_it_goes_from_here_where_that_is_allowed(tmp_path, mirror):
    more = f'parents = ["http://127.0.0.1:{free_port()}"]\ndirect = true'
    with Proxy(tmp_path / "gate", rules(mirror, more), nameserver=mirror.names.address) as proxy:
        answer = proxy.curl(f"{mirror.http}/hello.txt")
        assert (answer.status, answer.text) == (200, HELLO)
        answer = proxy.curl("--cacert", str(mirror.ca), f"{mirror.https}/hello.txt")
        assert (answer.status, answer.text) == (200, HELLO)


def test_what_is_bypassed_is_dialled_from_here(tmp_path, mirror):
    more = f'parents = ["http://127.0.0.1:{free_port()}"]\nbypass = ["{NAME}"]'
    with Proxy(tmp_path / "gate", rules(mirror, more), nameserver=mirror.names.address) as proxy:
        assert proxy.curl(f"{mirror.http}/hello.txt").status == 200
        assert proxy.curl("http://elsewhere.test/").status == 502


def test_a_parent_that_wants_other_credentials_is_told_apart(tmp_path, mirror):
    with Proxy(tmp_path / "parent", rules(mirror), users={"gate": "right"}) as parent:
        more = f'parents = ["{parent.url()}"]\nparent_credentials = "gate:wrong"'
        with Proxy(tmp_path / "child", rules(mirror, more)) as child:
            answer = child.curl("--cacert", str(mirror.ca), f"{mirror.https}/hello.txt")
            assert answer.connect == 502
            events = wait_for("the event", lambda: child.gate.events("upstream-failed"))
            assert events[0]["reason"] == "parent-refused"
            assert "407" in events[0]["detail"]
            assert child.curl(f"{mirror.http}/hello.txt").status == 407
