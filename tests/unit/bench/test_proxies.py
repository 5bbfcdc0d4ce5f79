"""What the proxies are told: the same job for each."""

import tomllib
from pathlib import Path

from bench.proxies import Haproxy, Headgate, Job, Nginx, Profile, headgate_config

JOB = Job(Profile(access_log=True, routes=3), Path("/w"), Path("/w/certs"), 8080, 8443, 9000)


def test_headgate_gets_the_job_as_toml():
    config = tomllib.loads(headgate_config(JOB))
    assert config["workers"] == 1
    assert config["log"]["access"] == "/w/access.log"
    assert [entry["addresses"] for entry in config["listener"]] == [["127.0.0.1:8080"], ["127.0.0.1:8443"]]
    assert [entry["mode"] for entry in config["listener"]] == ["http", "https"]
    assert len(config["route"]) == 3
    assert config["upstream"]["origin"]["endpoints"] == ["http://127.0.0.1:9000"]


def test_an_origin_over_tls_is_verified_by_everybody(tmp_path):
    job = Job(Profile(origin_tls=True), tmp_path, tmp_path / "certs", 8080, 8443, 9000)
    upstream = tomllib.loads(headgate_config(job))["upstream"]["origin"]
    assert upstream["endpoints"] == ["https://127.0.0.1:9000"]
    assert upstream["tls"] == {"ca": str(job.origin_authority), "name": "c00000.bench.test"}
    Haproxy("haproxy").command(job)
    assert f"ssl verify required ca-file {job.origin_authority}" in (tmp_path / "haproxy.cfg").read_text()
    Nginx("nginx").command(job)
    said = (tmp_path / "nginx.conf").read_text()
    assert "proxy_ssl_verify on" in said
    assert "proxy_pass https://origin" in said


def test_a_prototype_is_started_by_a_template(tmp_path):
    job = Job(Profile(), tmp_path, tmp_path / "certs", 8080, 8443, 9000)
    proxy = Headgate("headgate", "proto.py {port} {tls_port} {origin_port} {cert} {log} {config}")
    assert proxy.absent() is None
    command = proxy.command(job)
    assert command[:4] == ["proto.py", "8080", "8443", "9000"]
    assert command[4].startswith(str(tmp_path / "certs"))
    assert command[5] == "off"
    assert Path(command[6]).read_text() == headgate_config(job)


def test_an_absent_rival_says_where_it_was_looked_for(tmp_path):
    assert str(tmp_path) in (Haproxy("haproxy-new", tmp_path).absent() or "")


def test_a_rival_in_a_root_sees_its_own_paths(tmp_path):
    proxy = Nginx("nginx-new", tmp_path)
    work = proxy.work_directory(Path("/tmp/run-1"))
    assert work == tmp_path / "bench" / "run-1"
    job = Job(Profile(access_log=True), work / "a", work / "certs", 8080, 8443, 9000)
    job.directory.mkdir(parents=True)
    command = proxy.command(job)
    assert command[:2] == ["chroot", str(tmp_path)]
    assert str(tmp_path) not in (job.directory / "nginx.conf").read_text()
    assert "access_log /bench/run-1/a/access.log" in (job.directory / "nginx.conf").read_text()


def test_rows_have_names_of_their_own():
    from bench.rows import ROWS  # noqa: PLC0415 - only this test needs all rows

    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_headgate_that_is_not_compiled_says_so():
    said = Headgate("headgate").version()
    assert said.endswith("pure") or " compiled " in said
    assert Headgate("headgate", "proto.py {port}").version() == ""
