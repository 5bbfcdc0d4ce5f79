"""The admin API and its client, over a real socket."""

import asyncio
import threading
from pathlib import Path

import orjson
import pytest

from headgate.admin.api import AdminApi, MetricsApi
from headgate.admin.client import AdminClient, AdminError, NoGateError
from headgate.admin.http import SmallRequest, SmallServer

ROW = {"name": "/etc/a b.pem", "state": "good"}


class FakeControl:
    def __init__(self):
        self.asked = []
        self.ended = asyncio.Event()
        self.ended.set()

    def status(self):
        return {"version": "1"}

    def ocsp(self):
        return [ROW]

    def ocsp_text(self, name):
        if name != ROW["name"]:
            raise LookupError(f"there is no certificate {name}")
        return {**ROW, "text": "OCSP Response Data"}

    def refresh(self, name):
        self.asked.append(name)
        return [ROW["name"]]

    async def refreshed(self, names):
        await self.ended.wait()

    def metrics(self):
        return b"headgate_up 1\n"

    async def explain(self, url, method, fields, wait):
        self.asked.append((url, method, list(fields)))
        return [{"worker": 0}]

    def cache(self):
        return [{"name": "all"}]

    async def purge(self, kind, pattern, is_soft, wait):
        self.asked.append((kind, pattern, is_soft))
        return {"behind": ["worker 1"] if pattern == "slow" else []}

    def switch_qlog(self, is_on):
        self.asked.append(is_on)
        return "/state/qlog"


def ask(api, method, path, **query):
    return asyncio.run(api(SmallRequest(method, path, query)))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/status", 200),
        ("HEAD", "/status", 200),
        ("POST", "/status", 405),
        ("GET", "/ocsp", 200),
        ("DELETE", "/ocsp", 405),
        ("GET", "/ocsp/%2Fetc%2Fa%20b.pem", 200),
        ("GET", "/ocsp//etc/a%20b.pem", 200),
        ("GET", "/ocsp/other", 404),
        ("POST", "/ocsp/refresh", 200),
        ("GET", "/ocsp/refresh", 405),
        ("GET", "/qlog", 405),
        ("GET", "/cache", 200),
        ("POST", "/cache", 405),
        ("GET", "/cache/explain", 200),
        ("POST", "/cache/explain", 405),
        ("GET", "/cache/purge", 405),
        ("GET", "/metrics", 200),
        ("GET", "/", 404),
        ("GET", "/statuses", 404),
    ],
)
def test_routes(method, path, status):
    assert ask(AdminApi(FakeControl()), method, path).status == status


@pytest.mark.parametrize(("wait", "status"), [("0", 202), ("0.01", 202)])
def test_refresh_waits_no_longer_than_asked(wait, status):
    control = FakeControl()
    control.ended.clear()
    assert ask(AdminApi(control), "POST", "/ocsp/refresh", wait=wait).status == status


@pytest.mark.parametrize("wait", ["x", "nan", "-1"])
def test_refresh_with_a_wait_that_is_none(wait):
    with pytest.raises(ValueError):  # the server answers it with 400
        ask(AdminApi(FakeControl()), "POST", "/ocsp/refresh", wait=wait)


@pytest.mark.parametrize(("word", "on"), [("true", True), ("false", False)])
def test_qlog_is_switched(word, on):
    control = FakeControl()
    assert b'"folder":"/state/qlog"' in ask(AdminApi(control), "POST", "/qlog", on=word).body
    assert control.asked == [on]
    with pytest.raises(ValueError, match="true or false"):
        ask(AdminApi(control), "POST", "/qlog", on="yes")


def test_405_names_what_is_allowed():
    assert ask(AdminApi(FakeControl()), "GET", "/ocsp/refresh").headers == ((b"allow", b"POST"),)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/metrics", 200), ("POST", "/metrics", 405), ("GET", "/ocsp", 404)]
)
def test_metrics_port_has_metrics_only(method, path, status):
    response = ask(MetricsApi(FakeControl()), method, path)
    assert response.status == status
    assert (response.body == b"headgate_up 1\n") == (status == 200)


@pytest.fixture
def client(tmp_path):
    """A client of a live server in a thread."""
    control, path = FakeControl(), tmp_path / "admin.sock"
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def main():
        server = SmallServer(AdminApi(control), lambda name, exc: None)
        await server.listen_unix(path)
        stop.append(asyncio.Event())
        ready.set()
        await stop[0].wait()
        server.close()

    stop = []
    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert ready.wait(10)
    one = AdminClient(path)
    one.control = control
    yield one
    loop.call_soon_threadsafe(stop[0].set)
    thread.join(10)
    loop.close()


def test_client_asks_for_everything(client):
    assert client.status() == {"version": "1"}
    assert client.ocsp() == [ROW]
    assert client.ocsp_text(ROW["name"])["text"] == "OCSP Response Data"
    assert client.refresh() == ([ROW["name"]], True)
    assert client.refresh("a&b=c d", 5.0) == ([ROW["name"]], True)
    assert client.control.asked == [None, "a&b=c d"]
    assert client.metrics() == "headgate_up 1\n"


def test_client_passes_on_the_gates_words(client):
    with pytest.raises(AdminError, match="there is no certificate x") as caught:
        client.ocsp_text("x")
    assert caught.value.status == 404


def test_nobody_there(tmp_path):
    with pytest.raises(NoGateError, match=r"no gate answers at .*: No such file"):
        AdminClient(tmp_path / "admin.sock").status()
    with pytest.raises(NoGateError):
        AdminClient(Path("/" + "x" * 200)).status()


def test_a_purge_is_handed_on():
    control = FakeControl()
    assert ask(AdminApi(control), "POST", "/cache/purge", url="https://a/b").status == 200
    assert ask(AdminApi(control), "POST", "/cache/purge", tag="slow", soft="true").status == 202
    assert control.asked == [("url", "https://a/b", False), ("tag", "slow", True)]


@pytest.mark.parametrize(
    "query", [{}, {"url": "a", "tag": "b"}, {"everything": "yes"}, {"tag": "a", "soft": "1"}]
)
def test_a_purge_that_is_not_clear_is_refused(query):
    control = FakeControl()
    with pytest.raises(ValueError, match=r"is true|name one of"):
        ask(AdminApi(control), "POST", "/cache/purge", **query)
    assert control.asked == []


def test_a_question_about_a_request_is_handed_on():
    control = FakeControl()
    answer = ask(AdminApi(control), "GET", "/cache/explain", url="http://a/", fields="Accept: b\nX-C: d e")
    assert orjson.loads(answer.body) == {"workers": [{"worker": 0}]}
    assert control.asked == [("http://a/", "GET", ["Accept: b", "X-C: d e"])]


@pytest.mark.parametrize("query", [{"fields": "no colon"}, {"fields": "a b: c"}, {"fields": "a: \x00"}])
def test_a_request_that_cannot_be_is_not_explained(query):
    control = FakeControl()
    with pytest.raises(ValueError, match="is not part of a request"):
        ask(AdminApi(control), "GET", "/cache/explain", url="http://a/", **query)
    assert control.asked == []
