"""The row of ASGI applications: the same application for everybody, in what each is started with."""

import tomllib
from pathlib import Path

import pytest
from bench.proxies import Job, Profile
from bench.rows.asgi import APPLICATION, Asgi, AsgiGate, Uvicorn

from headgate.config.loader import loads


@pytest.fixture
def job(tmp_path):
    return Job(Profile(), tmp_path, tmp_path, 10_080, 10_443, 10_081)


@pytest.mark.parametrize("in_worker", [False, True])
def test_a_gate_has_the_application_alone(job, in_worker):
    command = AsgiGate("headgate", in_worker=in_worker).command(job)
    text = Path(command[-1]).read_text()
    assert tomllib.loads(text)["upstream"]["app"]["asgi"]["in_worker"] is in_worker
    assert loads(text, "headgate.toml").upstream["app"].endpoints[0].url == "asgi:hello_world:app"


def test_all_run_the_same_application(job):
    command = Uvicorn("uvicorn").command(job)
    assert "hello_world:app" in command
    assert (job.directory / "hello_world.py").read_text() == APPLICATION
    compile(APPLICATION, "hello_world.py", "exec")


def test_uvicorn_is_what_the_others_are_compared_with():
    row = Asgi("asgi", "hello")
    assert [lane.label for lane in row.lanes([])] == ["headgate", "own process", "uvicorn"]
    assert {row.baseline(lane.label) for lane in row.lanes([])} == {"uvicorn"}
