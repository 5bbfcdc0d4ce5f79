"""The loader: everything at once, each with its line, its key, what was expected and what to do."""

import os
from pathlib import Path

import pytest
from gate_text import GATE, config_of, edited, problems_of, told
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toml_texts import documents

from headgate.config.loader import load, loads
from headgate.config.model import Config
from headgate.config.problems import ConfigProblems, all_tables
from headgate.errors import ConfigError

LINE = {line: number for number, line in enumerate(GATE.splitlines(), 1)}


def test_a_small_file_gets_every_default():
    config = config_of(GATE)
    assert config.workers == 2
    listener = config.listener[0]
    assert listener.addresses == ("0.0.0.0:443",)
    assert (listener.offered, listener.quic_bound) == (("h1", "h2", "h3"), "try")
    assert (listener.timeouts.handshake, listener.timeouts.keep_alive) == (10.0, 60.0)
    assert (listener.limits.connections, listener.limits.head, listener.limits.body) == (20_000, 65_536, 0)
    assert config.upstream["api"].balance == "two-choices"
    assert config.upstream["api"].endpoints[0].url == "http://10.0.0.1:8080"
    assert config.log.access == "stdout"
    assert config.metrics is None
    assert config.drain_timeout == 30.0
    assert config.limits.memory_warning == 0.8


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ('min_version = "1.2"', 'min_verison = "1.2"'),
            '7: listener.tls.min_verison: unknown key; did you mean "min_version"?',
        ),
        (
            ('min_version = "1.2"', 'min_version = "1.1"'),
            '7: listener.tls.min_version: expected one of "1.2", "1.3", got "1.1"',
        ),
        (
            ('mode = "https"', 'mode = "htps"'),
            '5: listener.mode: expected one of "https", "http", "forward", "tcp", got "htps"; '
            'did you mean "https"?',
        ),
        (
            ('mode = "https"', 'mode = "https"\nprotocols = ["http/2"]'),
            '6: listener.protocols: expected one of "h1", "h2", "h3", got "http/2"; did you mean "h2"?',
        ),
        (
            ('mode = "https"', 'mode = "https"\nprotocols = ["h1", "http2"]'),
            '6: listener.protocols[1]: expected one of "h1", "h2", "h3", got "http2"; did you mean "h2"?',
        ),
        (
            ('head = "10s"', "head = 10"),
            '9: listener.timeouts.head: expected a duration with its unit, such as "10s" (ms, s, m, h, d; "1h30m"), '
            'got 10; write "10s" for seconds',
        ),
        (
            ('head = "64KiB"', 'head = "0"'),
            '11: listener.limits.head: expected a size above zero, got "0"; this limit cannot be lifted',
        ),
        (("workers = 2", "workers = 1025"), "1: workers: expected at most 1024, got 1025"),
        (("workers = 2", "workers = -1"), "1: workers: expected at least 0, got -1"),
        (("workers = 2", "workers = true"), "1: workers: expected a whole number, got true"),
        (
            ("workers = 2", 'workers = "2"'),
            '1: workers: expected a whole number, got "2"; write 2 without quotes',
        ),
        (
            ("workers = 2", "worker = 2"),
            '1: worker: unknown key; did you mean "workers"?',
        ),
        (
            ("workers = 2", "user = 33"),
            '1: user: expected text in quotes, got 33; write "33"',
        ),
        (
            ("workers = 2", "user = 2020-01-01"),
            "1: user: expected text in quotes, got 2020-01-01",
        ),
        (
            ('mode = "https"', 'mode = "https"\nredirect = "true"'),
            '6: listener.redirect: expected true or false, got "true"; write true without quotes',
        ),
        (
            ('addresses = ["0.0.0.0:443"]', 'addresses = "0.0.0.0:443"'),
            '4: listener.addresses: expected an array, got "0.0.0.0:443"; put brackets around it: ["0.0.0.0:443"]',
        ),
        (
            ('addresses = ["0.0.0.0:443"]', "addresses = []"),
            "4: listener.addresses: expected at least one, got []",
        ),
        (
            ('addresses = ["0.0.0.0:443"]\n', ""),
            "3: listener.addresses: missing, expected IP addresses with ports, such as "
            '`"0.0.0.0:443"` and `"[::]:443"`',
        ),
        (
            ("[[certificate]]", "[certificate]"),
            "13: certificate: expected an array, got a table; write [[certificate]], with double brackets",
        ),
        (
            ("[upstream.api]", "[[upstream.api]]"),
            "21: upstream.api: expected a table, got an array; write [upstream.api], with single brackets",
        ),
        (
            ("[listener.limits]", 'connect_timeout = "5s"\n[listener.limits]'),
            "10: listener.timeouts.connect_timeout: unknown key; `connect_timeout` belongs to "
            "[listener.forward] or [upstream.NAME]",
        ),
        (
            ("[[certificate]]", "[[certificate]]\nstapling = 'off'"),
            "14: certificate.stapling: unknown key; `stapling` belongs to [certificate.ocsp] or [ocsp]",
        ),
        (
            ("[upstream.api]", "[ocsps]\n[upstream.api]"),
            '21: ocsps: unknown key; did you mean "ocsp"?',
        ),
        (
            ("[upstream.api]", "[zebra]\n[upstream.api]"),
            "21: zebra: unknown key, expected one of state_dir, runtime_dir, workers, user, trusted_proxies, "
            "drain_timeout, listener, certificate, ocsp, resolver, route, upstream, log, metrics, limits, cache",
        ),
    ],
)
def test_one_problem(change, line):
    assert told(edited(change)) == [line]


@pytest.mark.parametrize(
    "key", ["state_dir", "runtime_dir", "workers", "user", "trusted_proxies", "drain_timeout"]
)
@pytest.mark.parametrize("header", ["[[listener]]", "[listener.tls]", "[[route]]", "[upstream.api]"])
def test_a_top_level_key_that_slipped_under_a_table_is_to_be_moved_up(key, header):
    (line,) = told(edited(("workers = 2\n", ""), (header, f"{header}\n{key} = 1")))
    assert line.endswith(
        f"{key}: unknown key; `{key}` is a key of the top level: move it above the first [table]"
    )


def test_a_table_of_the_top_level_under_another_is_shown_its_header():
    (line,) = told(edited(("[listener.tls]", "[listener.metrics]\naddress = '127.0.0.1:1'\n[listener.tls]")))
    assert line == "6: listener.metrics: unknown key; `metrics` belongs to [metrics]"


def test_all_problems_come_at_once_in_the_order_of_the_file():
    text = edited(
        ("workers = 2", "workers = -2"),
        ('min_version = "1.2"', 'min_verison = "1.2"'),
        ('files = "site.pem"', "file = 3"),
        ('path = "/api/"', 'path = "api/"'),
        ('upstream = "api"', 'upstream = "app"'),
        ("[upstream.api]", "[upstream.api]\nbalance = 'last'"),
    )
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in told(text)] == [
        "1 workers",
        "7 listener.tls.min_verison",
        "13 certificate.files",
        "14 certificate.file",
        "18 route.path",
        "19 route.upstream",
        "22 upstream.api.balance",
    ]


def test_what_was_refused_is_not_missed_a_second_time():
    """The upstream is there, although it is wrong; so are the certificate and the route's action."""
    text = edited(
        ('endpoints = ["http://10.0.0.1:8080"]', 'endpoints = ["10.0.0.1:8080"]'),
        ('files = "site.pem"', "files = 1"),
        ('path = "/api/"', 'path = "api"'),
    )
    assert [problem.key for problem in problems_of(text)] == [
        "certificate.files",
        "route.path",
        "upstream.api.endpoints",
    ]


def test_lines_stay_true_when_an_earlier_element_was_taken_out():
    text = edited(
        ("[[route]]", "[[route]]\nhosts = 3\nrespond = { status = 1 }\n[[route]]\nredirect = {}\n[[route]]"),
        ('upstream = "api"', 'upstream = "apu"'),
    )
    assert [(problem.line, problem.key) for problem in problems_of(text)] == [
        (17, "route[0].hosts"),
        (18, "route[0].respond.status"),
        (20, "route[1].redirect.to"),
        (24, "route[2].upstream"),
    ]


def test_lines_inside_a_long_array_stay_true():
    text = edited(
        (
            'addresses = ["0.0.0.0:443"]',
            'addresses = [\n "nonsense",\n "0.0.0.0:443",\n "0.0.0.0:80",\n "0.0.0.0:443",\n]',
        )
    )
    assert [(problem.line, problem.key) for problem in problems_of(text)] == [
        (5, "listener.addresses[0]"),
        (8, "listener.addresses[3]"),
    ]


def test_a_syntax_error_stands_alone_with_line_and_column():
    (problem,) = problems_of(edited(("workers = 2", "workers = "), ("mode =", "mood =")))
    assert (problem.line, problem.column) == (1, 11)
    assert str(problem) == "gate.toml:1: syntax error: Invalid value"


def test_a_syntax_error_at_the_end_names_the_last_line():
    (problem,) = problems_of("a = 1\nb = [")
    assert (problem.line, problem.what) == (2, "syntax error: Invalid value")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("workers = 2\nworkers = 3\n", "2: syntax error: workers is there already"),
        ("workers = 2\nworkers = 3", "2: syntax error: workers is there already"),
        ('[log]\n"access" = "off"\n  access = "stdout" # again', "3: syntax error: access is there already"),
        (
            "log.access = 1\nlog . access = 2\n",
            "2: syntax error: log . access is there already, or what it is in was written whole",
        ),
        (
            "[upstream.a]\nx = 1\n[upstream.a]\n",
            "3: syntax error: [upstream.a] is there already, or what it is in was written whole",
        ),
        ("[[listener]]\n[ listener ]\n", "2: syntax error: [ listener ] is there already"),
        ("[listener]\n[[listener]]\n", "2: syntax error: [[listener]] is there already"),
        (
            "log = {}\n[log.x]\n",
            "2: syntax error: [log.x] is there already, or what it is in was written whole",
        ),
        # What does not begin on the line that the parser blames keeps the parser's words.
        ('user = "a"\nuser = """\nb\n"""\n', "4: syntax error: Cannot overwrite a value"),
        ("a = { b = 1, b = 2 }\n", "1: syntax error: Duplicate inline table key 'b'"),
    ],
)
def test_a_key_that_stands_twice_is_a_syntax_error_with_its_name(text, line):
    assert told(text) == [line]


def test_a_name_that_is_none_is_shown_and_not_what_it_is_set_to():
    for key in ("X bad", "[key]"):
        edits = ("[upstream", f'set_request_headers = {{ "{key}" = "value" }}\n[upstream')
        (line,) = told(edited(edits))
        assert "expected the name of a header field" in line
        assert line.endswith(f'got "{key}"')


def test_nesting_without_end_is_refused():
    (problem,) = problems_of("a = " + "[" * 100_000)
    assert problem.what.startswith("syntax error")


def test_variables_are_filled_in_and_may_stand_for_numbers():
    text = edited(
        ("workers = 2", 'workers = "${WORKERS}"'),
        ('mode = "https"', 'mode = "${MODE:-http}"\nredirect = "${REDIRECT}"'),
        ('[listener.tls]\nmin_version = "1.2"\n', ""),
        ("10.0.0.1:8080", "${HOST}:${PORT:-80}"),
    )
    config = config_of(text, {"WORKERS": "3", "REDIRECT": "true", "HOST": "10.0.0.9", "PORT": ""})
    assert config.workers == 3
    assert config.listener[0].mode == "http"
    assert config.listener[0].redirect is True
    assert config.upstream["api"].endpoints[0].url == "http://10.0.0.9:80"


def test_missing_variables_are_problems_with_their_lines():
    text = edited(('min_version = "1.2"', 'min_version = "${TLS}"'), ("10.0.0.1:8080", "${ORIGIN}"))
    assert told(text) == [
        '7: listener.tls.min_version: the environment variable TLS is not set, got "${TLS}"; '
        "a default would be ${TLS:-…}",
        '22: upstream.api.endpoints: the environment variable ORIGIN is not set, got "http://${ORIGIN}"; '
        "a default would be ${ORIGIN:-…}",
    ]


def test_a_variables_value_is_not_shown():
    text = edited(('upstream = "api"', 'upstream = "api"\nset_request_headers = { a = "${SECRET}" }'))
    (line,) = told(text, {"SECRET": "hunter2\n"})
    assert line.startswith("20: route.set_request_headers.a: expected the value of a header field")
    assert line.endswith('got "${SECRET}"')


def test_a_byte_order_mark_and_crlf_are_taken():
    text = "\ufeff" + edited(("workers = 2", "workers = -2")).replace("\n", "\r\n")
    assert told(text) == ["1: workers: expected at least 0, got -2"]


# -- files


def test_file_names_are_relative_to_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "site.pem").write_text("-")
    (tmp_path / "headgate.toml").write_text(GATE)
    monkeypatch.chdir("/")
    assert load(tmp_path / "headgate.toml").certificate[0].files == str(tmp_path / "site.pem")
    monkeypatch.chdir(tmp_path)
    assert load("headgate.toml").certificate[0].files == str(tmp_path / "site.pem")


def test_a_link_to_the_configuration_counts_where_the_link_is(tmp_path):
    """Kubernetes mounts files as links into a folder that changes with each update."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/headgate.toml").write_text(GATE)
    (tmp_path / "headgate.toml").symlink_to("real/headgate.toml")
    (tmp_path / "site.pem").write_text("-")
    assert load(tmp_path / "headgate.toml").certificate[0].files == str(tmp_path / "site.pem")


def test_a_configuration_that_is_not_there(tmp_path):
    path = tmp_path / "headgate.toml"
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory (errno 2)"


def test_a_configuration_that_is_a_folder(tmp_path):
    with pytest.raises(ConfigProblems, match="Is a directory"):
        load(tmp_path)


def test_bytes_that_are_no_text_are_shown_with_their_line(tmp_path):
    path = tmp_path / "headgate.toml"
    path.write_bytes(b"# one\n# caf\xe9\n")
    with pytest.raises(ConfigProblems) as caught:
        load(path)
    assert str(caught.value) == f"{path}:2: byte 0xe9 is not UTF-8"


def test_state_and_runtime_folders_follow_the_environment(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    environ = {"XDG_STATE_HOME": "/home/x/state", "XDG_RUNTIME_DIR": "/run/user/1000"}
    config = config_of(GATE, environ)
    assert config.state_dir == Path("/home/x/state/headgate")
    assert config.admin_socket == Path("/run/user/1000/headgate/admin.sock")
    assert config_of(edited(("workers = 2", 'state_dir = "/s"')), environ).state_dir == Path("/s")


# -- robustness: whatever valid TOML says, the answer is a configuration or problems with lines of the file

KEYS = sorted({name for _, table in all_tables() for name in table.model_fields} | {"api", "x y"})
WORDS = [
    "https",
    "h1",
    "h3",
    "10s",
    "64KiB",
    "500/s",
    "/api",
    "*.a.com",
    "http://a",
    "api",
    "${X}",
    "${A:-b}",
    "1.2.3.4:1",
]


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=150
)
@given(documents(st.sampled_from(KEYS), st.sampled_from(WORDS) | st.integers(-1, 70_000) | st.booleans()))
def test_any_document_gets_an_answer(document):
    text, _ = document
    try:
        config = loads(text, "x", {"X": "y"}, files=False)
    except ConfigProblems as refusal:
        problems = refusal.problems
    else:
        assert Config.from_json(config.to_json()) == config
        return
    lines = text.count("\n") + 1
    assert problems
    assert all(0 <= problem.line <= lines and (problem.what or problem.expected) for problem in problems)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_value_anywhere_in_a_good_file_gets_an_answer(data):
    lines = GATE.splitlines()
    spots = [i for i, line in enumerate(lines) if " = " in line]
    for spot in data.draw(st.sets(st.sampled_from(spots), min_size=1, max_size=3)):
        value = data.draw(
            st.sampled_from(["0", "true", '""', "[]", "{}", '["x"]', "[1]", '"/"', "[[]]", "[{}]", "1.5"])
        )
        lines[spot] = lines[spot].split(" = ")[0] + " = " + value
    try:
        loads("\n".join(lines), "x", {}, files=False)
    except ConfigProblems as refusal:
        problems = refusal.problems
    else:
        return
    assert problems
    assert all(0 <= problem.line <= len(lines) for problem in problems)


@pytest.mark.parametrize(
    ("line", "offered", "bound"),
    [
        ("", ("h1", "h2", "h3"), "try"),
        ('protocols = ["h2", "h3"]', ("h2", "h3"), "must"),
        ('protocols = ["h1", "h3"]', ("h1", "h3"), "must"),
        ('protocols = ["h1"]', ("h1",), "off"),
        ('mode = "http"', ("h1", "h2"), "off"),
        ('mode = "http"\nprotocols = ["h2"]', ("h2",), "off"),
    ],
)
def test_all_versions_are_offered_unless_something_speaks_against_it(line, offered, bound):
    text = f'[[listener]]\naddresses = ["127.0.0.1:443"]\n{line}\n[[certificate]]\nfiles = "a.pem"\n'
    [listener] = loads(text + "[[route]]\nrespond = {}\n", environ={}, files=False).listener
    assert (listener.offered, listener.quic_bound) == (offered, bound)
