"""The real supervisor, keeper, configuration and command line together; workers and responders are fakes."""

import base64
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from headgate.process.keeper import FIRST_BATCH
from headgate.testing.pki import Authority
from headgate.testing.relay import free_port

ROOT = Authority.root()
ISSUER = ROOT.intermediate()


class Site:
    """A configuration with certificates, and what the responders say about them."""

    def __init__(self, directory, gate):
        self.directory = directory
        self._gate = gate
        self.leaves = {}
        for name in ("certs", "responses"):
            (directory / name).mkdir()
        self.port = free_port("127.0.0.1")
        self.extra = ""

    def certificate(self, name, **options):
        leaf = ISSUER.leaf(f"{name}.test", ocsp=[f"http://ocsp.test/{name}"], **options)
        self.leaves[name] = leaf
        path = self.directory / "certs" / f"{name}.pem"
        path.write_bytes(leaf.chain_pem + leaf.key_pem)
        return str(path)

    def respond(self, name, status="good", age=60.0, lifetime=86_400.0):
        now = time.time()
        der = ISSUER.ocsp(self.leaves[name], status, this_update=now - age, next_update=now - age + lifetime)
        path = self.directory / "responses" / f"{name}.der"
        path.with_suffix(".tmp").write_bytes(der)
        path.with_suffix(".tmp").rename(path)
        return base64.b64encode(der).decode()

    def start(self, top="", **options):
        text = f"""
state_dir = "{self.directory}/state"
runtime_dir = "{self.directory}/run"
workers = 2
drain_timeout = "5s"
{top}
[[listener]]
addresses = ["127.0.0.1:{self.port}"]
[[certificate]]
files = "{self.directory}/certs/*.pem"
[[route]]
respond = {{ status = 200 }}
{self.extra}
"""
        (self.directory / "headgate.toml").write_text(text)
        config = str(self.directory / "headgate.toml")
        responses = str(self.directory / "responses")
        self.gate = self._gate(program="keeper_gate.py", config=config, responses=responses, **options)
        return self.gate

    def ask(self):
        return self.gate.ask(self.port)

    def cli(self, *arguments):
        result = subprocess.run(
            [sys.executable, "-m", "headgate", *arguments, "--runtime-dir", str(self.directory / "run")],
            capture_output=True,
            text=True,
            timeout=50,
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)},
        )
        return result.returncode, result.stdout, result.stderr

    def rows(self):
        code, out, _ = self.cli("ocsp", "--json")
        return code, {Path(row["name"]).stem: row for row in json.loads(out)["certificates"]}


@pytest.fixture
def site(directory, gate):
    return Site(directory, gate)


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return value


def test_first_connection_has_the_must_staple_staple(site):
    path = site.certificate("a", must_staple=True)
    der = site.respond("a")
    one = site.start()
    one.wait_for("listening")
    answer = site.ask()
    assert answer["staples"][path]["der"] == der
    one.signal(signal.SIGTERM)
    assert one.finish() == 0


def test_start_does_not_wait_for_what_need_not_be_stapled(site):
    site.certificate("a")
    (site.directory / "responses" / "a.silent").write_text("")
    one = site.start()
    began = time.monotonic()
    one.wait_for("listening", seconds=8)
    assert time.monotonic() - began < 8
    assert site.ask()["staples"] == {}


def test_start_waits_for_must_staple_no_longer_than_startup_wait(site):
    site.certificate("a", must_staple=True)
    (site.directory / "responses" / "a.silent").write_text("")
    site.extra = '[ocsp]\nstartup_wait = "1s"'
    one = site.start()
    assert one.wait_for("startup-wait-over")["level"] == "warning"
    one.wait_for("listening")
    code, rows = site.rows()
    assert code == 4
    assert rows["a"]["in_progress"] is True


def test_certificates_beyond_the_first_batch_get_their_staples_too(site):
    paths = set()
    for number in range(FIRST_BATCH + 6):
        paths.add(site.certificate(f"c{number}"))
        site.respond(f"c{number}")
    one = site.start()
    one.wait_for("listening")
    wait_until(lambda: set(site.ask()["staples"]) == paths)


def test_ocsp_commands(site):
    site.certificate("fresh")
    site.certificate("bare", must_staple=True)
    site.respond("fresh")
    one = site.start()
    one.wait_for("staple-failed")
    wait_until(lambda: site.rows()[1]["fresh"]["state"] == "fresh")
    code, rows = site.rows()
    assert code == 4
    assert rows["bare"]["must_staple"] is True
    assert rows["bare"]["served"] is False
    assert rows["bare"]["last_failure"]["address"] == "192.0.2.7:80"
    assert rows["bare"]["last_failure"]["errno"] == 111
    code, out, err = site.cli("ocsp")
    assert code == 4
    assert "bare.pem is must-staple and has no staple" in err
    [line] = [line for line in out.splitlines() if "fresh.pem" in line]
    assert "network" in line
    [line] = [line for line in out.splitlines() if "bare.pem" in line]
    assert "(errno 111)" in line
    assert "192.0.2.7:80" in line

    code, out, _ = site.cli("ocsp", "show", "fresh.pem", "--text")
    assert code == 0
    assert "Response status: successful (0)" in out
    assert f"Certificate: serial {site.leaves['fresh'].certificate.serial_number:x}" in out
    assert site.cli("ocsp", "show", "bare.pem")[0] == 4
    serial = f"{site.leaves['fresh'].certificate.serial_number:X}"
    for other in ("fresh.test", serial):
        code, out, _ = site.cli("ocsp", "show", other)
        assert code == 0
        assert "fresh.pem" in out
        assert "fresh.test" in out
    code, _, err = site.cli("ocsp", "show", "frehs.pem")
    assert code == 1
    assert "there is no certificate frehs.pem; nearest: fresh.pem" in err

    site.respond("bare")
    code, out, _ = site.cli("ocsp", "refresh", "bare.test", "--json")
    assert code == 0
    assert json.loads(out)["certificates"][0]["state"] == "fresh"
    assert site.rows()[0] == 0
    wait_until(lambda: len(site.ask()["staples"]) == 2)


def test_refresh_that_fails_says_so(site):
    site.certificate("a")
    one = site.start()
    one.wait_for("staple-failed")
    code, out, _ = site.cli("ocsp", "refresh", "--wait", "20")
    assert code == 1
    assert "errno 111" in out


def test_status_and_its_processes(site):
    site.certificate("a")
    site.respond("a")
    one = site.start()
    one.wait_for("listening")
    code, out, _ = site.cli("status", "--json")
    assert code == 0
    status = json.loads(out)
    assert status["supervisor"] == one.process.pid
    rows = {row["name"]: row for row in status["processes"]}
    assert set(rows) == {"supervisor", "keeper", "worker 0", "worker 1"}
    small = [row for row in rows.values() if row["memory_bytes"] < 1_000_000 or row["open_files"] < 4]
    assert small == []
    assert {rows["worker 0"]["state"], rows["worker 1"]["state"]} == {"listening"}
    assert status["addresses"] == [{"listener": 0, "address": f"127.0.0.1:{site.port}"}]
    code, out, _ = site.cli("status")
    assert code == 0
    assert f"127.0.0.1:{site.port}" in out
    assert "listening, snapshot 1" in out
    victim = site.ask()["pid"]
    os.kill(victim, signal.SIGKILL)
    again = one.wait_for("child-started", generation=2)

    def shown():
        return next(
            (
                row
                for row in json.loads(site.cli("status", "--json")[1])["workers"]
                if row["pid"] == again["pid"]
            ),
            None,
        )

    assert wait_until(shown)["last_exit"] == "signal SIGKILL"


def test_admin_socket_is_its_owners_alone(site):
    site.certificate("a")
    one = site.start()
    one.wait_for("admin-socket-open")
    path = site.directory / "run" / "admin.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == os.geteuid()
    one.signal(signal.SIGTERM)
    assert one.finish() == 0
    assert not path.exists()
    code, _, err = site.cli("status")
    assert code == 3
    assert "no gate answers" in err


def test_an_admin_socket_that_was_removed_is_opened_anew(site):
    site.certificate("a")
    one = site.start()
    first = one.wait_for("admin-socket-open")
    (site.directory / "run" / "admin.sock").unlink()
    lost = one.wait_for("admin-socket-lost")
    assert lost["level"] == "warning"
    assert "admin.sock was removed" in lost["reason"]
    one.wait_for("admin-socket-open", since=one.events.index(first) + 1)
    assert site.cli("status")[0] == 0
    one.signal(signal.SIGTERM)
    assert one.finish() == 0
    assert sum(event["event"] == "admin-socket-lost" for event in one.events) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_another_user_everything_still_works(site):
    site.certificate("a", must_staple=True)
    der = site.respond("a")
    one = site.start(top='user = "nobody"')
    one.wait_for("listening")
    answer = site.ask()
    assert answer["uid"] == 65534
    assert not any(event["event"] == "defect" for event in one.events)
    assert [staple["der"] for staple in answer["staples"].values()] == [der]
    assert (site.directory / "run" / "admin.sock").stat().st_uid == 65534
    stored = list((site.directory / "state" / "staples").iterdir())
    assert [file.stat().st_uid for file in stored] == [65534]
    assert site.rows()[0] == 0
    status = json.loads(site.cli("status", "--json")[1])
    assert {row["name"] for row in status["processes"]} >= {"keeper", "worker 0"}


def test_killed_keeper_comes_back_with_the_staples_of_the_disk(site):
    path = site.certificate("a")
    der = site.respond("a")
    one = site.start()
    one.wait_for("listening")
    wait_until(lambda: path in site.ask()["staples"])
    (site.directory / "responses" / "a.der").unlink()
    first = json.loads(site.cli("status", "--json")[1])["keeper"]["pid"]
    os.kill(first, signal.SIGKILL)
    assert site.ask()["staples"][path]["der"] == der
    one.wait_for("child-started", child="keeper", generation=2)
    wait_until(lambda: site.cli("status")[0] == 0)
    _, rows = site.rows()
    assert rows["a"]["state"] == "fresh"
    assert rows["a"]["source"] == "store"


def test_changed_and_broken_certificate_files(site):
    path = site.certificate("a")
    site.respond("a")
    one = site.start()
    one.wait_for("listening")
    wait_until(lambda: path in site.ask()["staples"])
    before = site.ask()
    good = Path(path).read_bytes()
    Path(path).write_bytes(good[:200])
    problem = one.wait_for("certificate-problem", seconds=20)
    assert problem["file"] == path
    assert site.ask()["keys"] == before["keys"]
    assert path in json.loads(site.cli("status", "--json")[1])["certificate_problems"]
    site.certificate("a")
    site.respond("a", age=30)
    answer = wait_until(lambda: next((a for a in [site.ask()] if a["snapshot"] == 2), None))
    assert answer["keys"] != before["keys"] or answer["snapshot"] == 2
    one.wait_for("certificate-mended")
    # The new certificate's own staple comes; the old one's was taken back with the Snapshot.
    wait_until(lambda: site.ask()["staples"].get(path))


def test_one_broken_file_does_not_keep_the_others_from_being_served(site):
    site.certificate("a")
    (site.directory / "certs" / "broken.pem").write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    site.respond("a")
    one = site.start()
    assert one.wait_for("certificate-problem")["file"].endswith("broken.pem")
    one.wait_for("listening")
    assert len(site.ask()["keys"]) == 1
    code, rows = site.rows()
    assert code == 0
    assert rows["broken"]["state"] == "unusable"
    assert rows["broken"]["problem"]
    code, _, err = site.cli("ocsp", "show", "broken.pem")
    assert code == 1
    assert "broken.pem cannot be used: " in err


def test_metrics_port(site):
    site.certificate("a")
    site.respond("a")
    port = free_port("127.0.0.1")
    site.extra = f'[metrics]\naddress = "127.0.0.1:{port}"'
    one = site.start()
    one.wait_for("metrics-open")
    one.wait_for("listening")

    def fresh():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
            text = response.read().decode()
        return text if 'headgate_staples{process="keeper",state="fresh"} 1.0' in text else None

    text = wait_until(fresh)
    assert 'headgate_staple_state{certificate="' in text
    assert 'headgate_process_resident_bytes{process="supervisor"}' in text
    assert 'headgate_child_starts{child="worker 0",last_exit=""} 1.0' in text


def test_taken_metrics_port_costs_the_metrics_only(site):
    site.certificate("a")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        site.extra = f'[metrics]\naddress = "127.0.0.1:{holder.getsockname()[1]}"'
        one = site.start()
        one.wait_for("listening")
        failed = one.wait_for("metrics-failed")
        assert "errno 98" in failed["reason"]
        assert site.cli("status")[0] == 0


def test_events_say_what_was_started(site):
    path = site.certificate("a", must_staple=True)
    site.respond("a")
    one = site.start()
    listener = one.wait_for("listener")
    assert listener["address"] == f"127.0.0.1:{site.port}"
    certificate = one.wait_for("certificate")
    assert certificate["file"] == path
    assert certificate["staple"] == "good"
