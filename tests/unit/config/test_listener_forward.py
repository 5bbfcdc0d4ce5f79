"""Forward listeners: their single values, and what may be wrong with one as a whole."""

import pytest
from gate_text import told

from headgate.config.listener_forward import parse_ports
from headgate.config.loader import loads
from headgate.proxy.guard import Guard

LISTENER = '[[listener]]\naddresses = ["127.0.0.1:3128"]\nmode = "forward"\n'
FORWARD = LISTENER + "[listener.forward]\n"


def forward(text="", listener=LISTENER):
    return loads(listener + "[listener.forward]\n" + text, environ={}, files=False).listener[0].forward


def test_nobody_from_elsewhere_and_no_place_inside_by_default():
    table = forward()
    assert "0.0.0.0/0" not in table.clients
    assert "10.0.0.0/8" in table.clients
    assert table.allow_networks == ()
    assert table.connect_ports == ("443",)
    ports = [parse_ports(text) for text in table.plain_ports]
    guard = Guard([parse_ports(text) for text in table.connect_ports], ports)
    assert guard.refusal(b"a", 443, True) == ""
    assert guard.refusal(b"a", 22, True) == "port-not-allowed"


def test_a_forward_listener_needs_neither_routes_nor_certificates():
    config = loads(LISTENER, environ={}, files=False)
    assert config.listener[0].mode == "forward"


def test_with_tls_it_has_what_listeners_with_tls_have():
    text = FORWARD + 'tls = true\n[listener.tls]\nmin_version = "1.3"\n[[certificate]]\nfiles = "a.pem"\n'
    listener = loads(text, environ={}, files=False).listener[0]
    assert listener.has_tls
    assert listener.offered == ("h1",)
    assert not loads(LISTENER, environ={}, files=False).listener[0].has_tls


@pytest.mark.parametrize(
    ("text", "ports"), [("443", (443, 443)), ("1-65535", (1, 65535)), ("1024-65535", (1024, 65535))]
)
def test_ports(text, ports):
    assert parse_ports(text) == ports


def test_ports_are_numbers_too():
    assert forward('connect_ports = [443, "8443-8450"]').connect_ports == ("443", "8443-8450")


WANT_PORTS = 'expected a port or a range of ports, such as 443 or "1024-65535"'


@pytest.mark.parametrize("value", ['"0"', '"65536"', '"9-8"', '"x"', '"1-2-3"', "0", "true", '""', "[1]"])
def test_what_is_no_port(value):
    assert WANT_PORTS in told(FORWARD + f"connect_ports = [{value}]\n")[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'parents = ["https://a:1"]',
            'listener.forward.parents: expected a proxy such as "http://proxy.internal:3128"',
        ),
        (
            'parents = ["http://u:p@a:1"]',
            "its user and password go into parent_credentials",
        ),
        (
            'parents = ["http://a"]\nparent_credentials = "alice"',
            'expected "user:password"',
        ),
        ('parent_credentials = "a:b"', "parent_credentials: has no effect without parents"),
        ('bypass = ["a.test"]', "bypass: has no effect without parents"),
        ("direct = true", "direct: has no effect without parents"),
        ('parents = ["http://a:80", "http://a"]', "parents[1]: http://a:80 stands there twice"),
        ("connect_ports = [443, 443]", "connect_ports[1]: 443 stands there twice"),
        ("clients = []", "clients: nobody could use it, expected at least one network"),
        ('allow_networks = ["10.0.0.1/8"]', 'did you mean "10.0.0.0/8"?'),
        ('deny_hosts = ["http://a"]', "a host name"),
        ('realm = "a\\"b"', "listener.forward.realm"),
        ("tunnels_per_client = 0", "listener.forward.tunnels_per_client"),
    ],
)
def test_one_problem(line, message):
    problems = told(FORWARD + line + "\n")
    assert len(problems) == 1, problems
    assert message in problems[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LISTENER + "allow_in_path = []\n", "allow_in_path: has no effect with mode forward"),
        (LISTENER + "redirect = true\n", "redirect: has no effect with mode forward"),
        (LISTENER + "advertise_port = 1\n", "advertise_port: has no effect with mode forward"),
        (LISTENER + 'protocols = ["h1", "h3"]\n', "h3 with mode forward"),
        (LISTENER + 'protocols = ["h1", "h2"]\n', "h2 with mode forward"),
        (FORWARD + "tls = true\n", "a listener with tls, and no [[certificate]] at all"),
        (LISTENER + '[listener.tls]\nmin_version = "1.3"\n', "tls: has no effect with mode forward"),
        (
            '[[listener]]\naddresses = ["127.0.0.1:80"]\nmode = "http"\n[listener.forward]\nrealm = "x"\n',
            'forward: has no effect with mode http; set mode = "forward"',
        ),
        (
            LISTENER + 'name = "out"\n[[route]]\nlisteners = ["out"]\nrespond = { status = 204 }\n',
            'has no effect: "out" is a forward proxy, and has no routes',
        ),
    ],
)
def test_what_does_not_fit_together(text, message):
    problems = told(text)
    assert len(problems) == 1, problems
    assert message in problems[0]


def test_users_that_cannot_be_used_are_told_with_their_line(tmp_path):
    (tmp_path / "users").write_text("# people\nalice:secret\n")
    text = FORWARD + 'users = "users"\n'
    assert "line 2: a hash that is none of bcrypt" in told(text, base=tmp_path, files=True)[0]
    (tmp_path / "users").unlink()
    assert "cannot be read: No such file" in told(text, base=tmp_path, files=True)[0]
