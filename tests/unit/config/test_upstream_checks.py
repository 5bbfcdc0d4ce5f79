"""Checks of an upstream's health, and the words of its tables."""

from pathlib import Path

import pytest
from gate_text import GATE, config_of, told

from headgate.config.files import check_files
from headgate.config.upstream_health import parse_statuses


def with_tables(text):
    return f"{GATE}\n{text}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[upstream.api.outliers]\nejection = "10m"',
            "upstream.api.outliers.ejection: is longer than max_ejection",
        ),
        (
            '[upstream.api.outliers]\nmax_ejected = "101%"',
            'expected a share from "0%" to "100%"',
        ),
        ("[upstream.api.outliers]\ntrials = 0", "upstream.api.outliers.trials: "),
        ("[upstream.api.outliers]\ntrial = 1", 'did you mean "trials"?'),
        (
            '[upstream.api.health]\ninterval = "1s"',
            "upstream.api.health.timeout: is longer than interval; a probe ends before the next one begins",
        ),
        (
            '[upstream.api.health]\nkind = "tcp"\npath = "/x"',
            "upstream.api.health.path: has no effect with kind tcp; it is for http",
        ),
        (
            '[upstream.api.health]\nmethod = "HEAD"\nbody = "x"',
            "upstream.api.health.body: with the method HEAD; its answer has no body",
        ),
        (
            '[upstream.api.health]\nkind = "tls"',
            "upstream.api.health.kind: tls to http://10.0.0.1:8080; take http or tcp",
        ),
        ('[upstream.api.health]\nstatus = ["20x"]', "expected a status, a range or a class"),
        ("[upstream.api.health]\nstatus = []", "upstream.api.health.status: "),
        ('[upstream.api.health]\npath = "healthz"', "expected a path that begins with"),
        ('[upstream.api.health]\npath = "/a b"', "expected a path that begins with"),
        ('[upstream.api.health]\nhost = "app:99999"', "expected one host, with or without a port"),
        ('[upstream.api.health]\nhost = "*.app"', "expected one host, with or without a port"),
        ("[upstream.api.health]\nrise = 0", "upstream.api.health.rise: "),
        (
            '[upstream.api.retries]\non = ["closed", "503", "closed"]',
            "upstream.api.retries.on[2]: closed stands there twice",
        ),
        ('[upstream.api.retries]\non = ["5xx"]', "upstream.api.retries.on: expected one of"),
        ("[upstream.api.retries]\nattempts = 0", "upstream.api.retries.attempts: "),
        ("[upstream.api.retries]\nattempts = 11", "upstream.api.retries.attempts: "),
        ('[upstream.api.retries]\nbudget = "0.2"', 'expected a share from "1%" to "100%"'),
        (
            '[upstream.api.retries]\nattempts = 1\nbudget = "10%"',
            "upstream.api.retries.budget: has no effect with attempts = 1",
        ),
        (
            "[upstream.api.pool]\nprewarm = 8\nmax_idle = 7",
            "upstream.api.pool.prewarm: 8 connections; it would be closed at once: max_idle is 7",
        ),
        (
            "[upstream.api.pool]\nprewarm = 8\n[limits]\nidle_connections = 7",
            "limits.idle_connections: 7 connections; the pools of all upstreams want 8 in each worker",
        ),
        ("[upstream.api.pool]\nprewarm = 257", "upstream.api.pool.prewarm: "),
    ],
)
def test_what_contradicts_itself_is_told(text, line):
    lines = told(with_tables(text))
    assert len(lines) == 1
    assert line in lines[0]


def test_probes_need_h1():
    text = GATE.replace('["http://10.0.0.1:8080"]', '["https://10.0.0.1:8080"]\nprotocols = ["h3"]')
    lines = told(text + "[upstream.api.health]\n")
    assert lines == [
        "24: upstream.api.health.kind: http over TCP, and h1 is not in protocols; add h1 or h2",
    ]


def test_without_the_table_there_are_no_probes():
    assert config_of(GATE).upstream["api"].health is None
    found = config_of(with_tables('[upstream.api.health]\nhost = "App.example:80"')).upstream["api"].health
    assert (found.kind, found.path, found.status, found.host) == ("http", "/", ("200-399",), "app.example:80")


def test_outliers_have_defaults():
    found = config_of(GATE).upstream["api"].outliers
    assert (found.consecutive_failures, found.consecutive_5xx, found.ejection) == (5, 10, 30.0)


@pytest.mark.parametrize(
    ("text", "statuses"),
    [("204", (204, 204)), ("200-399", (200, 399)), ("2xx", (200, 299)), ("5xx", (500, 599))],
)
def test_statuses(text, statuses):
    assert parse_statuses(text) == statuses


@pytest.mark.parametrize(
    "text", ["", "2", "1xx", "6xx", "100", "600", "399-200", "200-", "-200", "200,201", "²00"]
)
def test_what_is_no_status(text):
    with pytest.raises(ValueError, match="expected a status"):
        parse_statuses(text)


def applications(endpoints, *lines):
    return (
        GATE + "\n[upstream.site]\nendpoints = " + endpoints + "\n[upstream.site.asgi]\n" + "\n".join(lines)
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            applications('["asgi:site:app", "http://10.0.0.9:80"]', "in_worker = true"),
            "upstream.site.asgi.in_worker: true, and 2 endpoints, expected one endpoint",
        ),
        (
            applications('["asgi:site:app"]', "in_worker = true", "processes = 2"),
            "upstream.site.asgi.processes: has no effect with in_worker",
        ),
        (
            applications('["asgi:site:app"]', "in_worker = true", "[upstream.site.health]"),
            "upstream.site.health: has no effect with asgi.in_worker",
        ),
        (
            applications('["http://10.0.0.9:80"]', "processes = 2"),
            "upstream.site.asgi: has no effect without an application",
        ),
        (applications('["asgi:site:app"]', "processes = 0"), "expected at least 1"),
        (applications('["asgi:site"]'), 'did you mean "asgi:site:app"?'),
        (applications('["asgi:site/main.py:app"]'), "its folder goes into asgi.app_dir"),
        (applications('["asgi:"]'), "expected an application such as"),
        (applications('["asgi:site:app:x"]'), "expected an application such as"),
    ],
)
def test_applications_that_cannot_be(text, line):
    lines = told(text)
    assert len(lines) == 1
    assert line in lines[0]


@pytest.mark.parametrize("rest", [0, 1])
def test_a_socket_of_an_application_has_a_short_name(rest):
    """sun_path has room for 107 octets and an end."""
    folder = "/run/" + "x" * (107 + rest - len("/run//app-site-0.sock"))
    text = f'runtime_dir = "{folder}"\n' + applications('["asgi:site:app"]')
    lines = told(text) if rest else []
    assert bool(rest) == any("longer than the 107 octets of a socket's name" in line for line in lines)
    if not rest:
        assert config_of(text).upstream["site"].asgi.processes == 1


def test_the_folder_of_an_application_is_there(tmp_path):
    text = GATE + ('\n[upstream.site]\nendpoints = ["asgi:site:app"]\n[upstream.site.asgi]\napp_dir = "{}"\n')
    for name, there in (("absent", False), ("present", True)):
        folder = tmp_path / name
        if there:
            folder.mkdir()
        config = config_of(text.replace("{}", str(folder)))
        found = [finding.what for finding in check_files(config) if finding.location[-1] == "app_dir"]
        assert found == ([] if there else [f"there is no folder {folder}"])


def test_an_application_has_its_folder_beside_the_configuration():
    config = config_of(applications('["asgi:site.main:app"]', "factory = true"))
    table = config.upstream["site"]
    assert table.endpoints[0].url == "asgi:site.main:app"
    assert (table.asgi.factory, table.asgi.in_worker, table.asgi.app_dir) == (True, False, Path.cwd())
    assert config_of(GATE).upstream["api"].asgi.app_dir is None


def test_a_try_is_no_longer_than_all_of_them():
    text = GATE.replace("[upstream.api]", '[upstream.api]\ntry_timeout = "11s"\ntotal_timeout = "10s"')
    assert [line.partition(": ")[2] for line in told(text)] == [
        "upstream.api.try_timeout: is longer than total_timeout"
    ]


def test_what_is_dialled_ahead_speaks_h1():
    text = GATE.replace('["http://10.0.0.1:8080"]', '["https://10.0.0.1:8080"]\nprotocols = ["h3"]')
    (line,) = told(text + "[upstream.api.pool]\nprewarm = 1\n")
    assert line.endswith("upstream.api.pool.prewarm: has no effect without h1 in protocols")


def test_the_words_of_retries_and_pools():
    text = (
        GATE
        + """[upstream.api.retries]
on = ["connect", "timeout", "503"]
budget = "5%"
budget_floor = "0"
[upstream.api.pool]
max_idle = 0
max_age = "10m"
"""
    )
    upstream = config_of(text).upstream["api"]
    assert (upstream.retries.attempts, upstream.retries.budget) == (3, 0.05)
    assert upstream.retries.budget_floor.per_second == 0
    assert (upstream.pool.max_idle, upstream.pool.max_age, upstream.pool.prewarm) == (0, 600.0, 0)
