"""Users of a running proxy: asked for, counted, changed while it runs, and never shown to an origin."""

import base64
import json
import subprocess

import pytest
from tests.integration.forward.conftest import PASSWORD, Proxy, rules
from tests.integration.gate import wait_for

from headgate.proxy.authentication import ATTEMPTS
from headgate.testing.origin import Origin


@pytest.fixture
def own(tmp_path, mirror):
    """Return a starter of proxies with users."""

    def start(more="", users=None, **options):
        return Proxy(
            tmp_path / "gate",
            rules(mirror, more),
            nameserver=mirror.names.address,
            users=users or {"alice": PASSWORD, "bob": "b"},
            **options,
        )

    return start


def test_without_or_with_wrong_credentials_407(proxy, mirror):
    url = f"{mirror.http}/hello.txt"
    asked = len(mirror.plain.asked)
    assert proxy.curl(url).status == 407
    assert proxy.curl(url, user="alice", password="no").status == 407
    assert proxy.curl(url, user="mallory", password=PASSWORD).status == 407
    answer = proxy.curl("--proxytunnel", url)
    assert answer.connect == 407
    assert len(mirror.plain.asked) == asked


def test_curl_that_waits_to_be_asked_is_asked_and_answers(proxy, mirror):
    answer = proxy.curl("--proxy-anyauth", f"{mirror.http}/hello.txt", user="alice", password=PASSWORD)
    assert (answer.status, answer.text) == (200, "hello from the mirror\n")


def test_no_origin_sees_the_credentials_and_their_own_pass(tmp_path):
    seen = []

    def script(wire):
        while (head := wire.read_head()) is not None:
            seen.append(head)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with (
        Origin(script) as origin,
        Proxy(tmp_path / "gate", 'allow_networks = ["127.0.0.0/8"]', users={"alice": "a"}) as proxy,
    ):
        url = f"http://{origin.address}/"
        assert proxy.curl(url, "--user", "x:y", user="alice", password="a").status == 200
    assert seen[0].get("proxy-authorization") is None
    assert seen[0].get("proxy-connection") is None
    assert seen[0].get("authorization") == "Basic " + base64.b64encode(b"x:y").decode()
    assert seen[0].get("via") == "1.1 headgate"
    assert seen[0].get("forwarded") is None
    assert seen[0].get("x-forwarded-for") is None


def test_a_changed_file_lets_in_and_keeps_out_within_seconds(own, mirror):
    url = f"{mirror.http}/hello.txt"
    with own() as proxy:
        assert proxy.curl(url, user="alice", password=PASSWORD).status == 200
        proxy.write_users(bob="b", carol="c")
        wait_for("the new user", lambda: proxy.curl(url, user="carol", password="c").status == 200)
        assert proxy.curl(url, user="alice", password=PASSWORD).status == 407
        proxy.users.write_text("broken\n")
        wait_for("the event", lambda: proxy.gate.events("users-file-problem"))
        assert proxy.curl(url, user="bob", password="b").status == 200
        status = json.loads(proxy.gate.run("status", "--json").stdout)
        assert any("users of before" in reason for reason in status["certificate_problems"].values())


def test_who_guesses_is_stopped_and_counted(own, mirror):
    url = f"{mirror.http}/hello.txt"
    with own() as proxy:
        assert proxy.curl(url, user="bob", password="b").status == 200
        # Each of them is in front of the next by more than an attempt comes back in.
        answers = [proxy.curl(url, user="alice", password=f"guess{n}").status for n in range(ATTEMPTS + 3)]
        assert answers.count(407) >= ATTEMPTS
        assert answers[-1] == 429
        assert proxy.curl(url, user="bob", password="b").status == 200  # known, and goes on
        metrics = wait_for(
            "the counters",
            lambda: (
                (found := proxy.gate.metrics()).get(
                    'headgate_forward_refused_total{reason="too-many-attempts"}'
                )
                and found
            ),
        )
        assert metrics["headgate_password_checks_wrong_total"] >= ATTEMPTS


def test_costly_hashes_of_others_delay_nobody(own, mirror, tmp_path):
    """While checks that take a second each are under way, others are answered at once."""
    with own("\n") as proxy:
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-salt", "rounds=200000$saltsalt", "x"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert "rounds=200000" in hashed or hashed.startswith("$6$")
        proxy.users.write_text(f"slow:{hashed}\n" + proxy.users.read_text())
        url = f"{mirror.http}/hello.txt"
        wait_for("the new file", lambda: proxy.curl(url, user="slow", password="x").status == 200)
        assert proxy.curl(url, user="bob", password="b").status == 200
        guesses = [
            subprocess.Popen(
                ["curl", "-s", "-o", "/dev/null", "-x", proxy.url("slow", f"no{n}"), "--noproxy", "", url]
            )
            for n in range(4)
        ]
        try:
            taken = proxy.curl("--max-time", "2", url, user="bob", password="b")
            assert taken.status == 200
        finally:
            for guess in guesses:
                guess.wait(30)


def test_refusals_are_told_with_their_addresses_and_a_flood_of_them_is_summed_up(own, mirror):
    mirror.names.add("inside.test", "A", "10.1.2.3")
    with own() as proxy:
        assert proxy.curl("http://inside.test/", user="bob", password="b").status == 403
        event = wait_for("the event", lambda: proxy.gate.events("upstream-failed"))[0]
        assert event["reason"] == "address-not-allowed"
        assert event["endpoint"] == "http://inside.test:80"
        assert "10.1.2.3:80" in event["detail"]
        many = [f"http://10.0.0.{n}/" for n in range(100)]
        assert proxy.curl(*many, user="bob", password="b").status == 403
        wait_for("all lines", lambda: len(proxy.gate.access_lines()) == 101)
        assert {line["reason"] for line in proxy.gate.access_lines()} == {"address-not-allowed"}
        assert len(proxy.gate.events("upstream-failed")) < 50
        metric = 'headgate_forward_refused_total{reason="address-not-allowed"}'
        wait_for("the counter", lambda: proxy.gate.metrics().get(metric) == 101)


def test_bytes_of_a_user_add_up_over_requests_and_tunnels(own, mirror):
    with own() as proxy:
        for _ in range(3):
            proxy.curl(f"{mirror.http}/hello.txt", user="bob", password="b")
        answer = proxy.curl(
            "--proxytunnel", f"{mirror.http.replace(str(mirror.plain.port), '1')}/", user="bob", password="b"
        )
        assert answer.connect == 403
        secure = proxy.curl("--cacert", str(mirror.ca), f"{mirror.https}/hello.txt", user="bob", password="b")
        assert secure.status == 200
        lines = wait_for(
            "all lines", lambda: (lines := proxy.gate.access_lines()) and len(lines) >= 5 and lines
        )
    assert {line["user"] for line in lines} == {"bob"}
    plain = [line for line in lines if line["method"] == "GET"]
    assert [line["bytes_out"] for line in plain] == [22] * 3
    tunnel = [line for line in lines if line["method"] == "CONNECT" and line["status"] == 200]
    assert len(tunnel) == 1
    assert tunnel[0]["bytes_in"] > 0
    assert tunnel[0]["bytes_out"] > 22
