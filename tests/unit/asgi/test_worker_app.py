"""An application on a worker's loop: it stands, it fails, it takes its time."""

import asyncio
import sys
import types

import pytest

from headgate.asgi.application import ApplicationSpec
from headgate.counters import SIZE
from headgate.net.poller import Poller
from headgate.process import worker_app
from headgate.process.worker_app import WorkerApp


async def quick(scope, receive, send):
    for kind in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{kind}.complete"})


async def slow(scope, receive, send):
    await receive()
    await asyncio.sleep(0.1)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


@pytest.fixture
def made():
    poller = Poller()
    events = []

    def make(app):
        module = sys.modules["site_in_worker"] = types.ModuleType("site_in_worker")
        module.app = app
        spec = ApplicationSpec("shop", "site_in_worker:app")
        return WorkerApp(
            spec, poller, [0] * SIZE, lambda name, level="info", **fields: events.append((name, fields))
        ), events

    yield make
    poller.close()
    sys.modules.pop("site_in_worker", None)


def test_it_stands_before_start_returns(made):
    async def life():
        app, events = made(quick)
        await app.start()
        assert app.hosted.application is quick
        await app.stop(1.0)
        assert events == []

    asyncio.run(life())


def test_one_that_fails_is_told_and_named(made):
    async def life():
        app, events = made(fails)
        await app.start()
        assert app.hosted.application is None
        assert app.hosted.broken == "app-failed"
        [(name, fields)] = events
        assert name == "app-failed"
        assert "no database" in fields["reason"]
        await app.stop(1.0)

    asyncio.run(life())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_one_that_ends_its_process_fails_alone(made, error):
    async def leaves(scope, receive, send):
        await receive()
        raise error

    async def life():
        app, events = made(leaves)
        await asyncio.wait_for(app.start(), 10)
        assert app.hosted.broken == "app-failed"
        assert [name for name, _ in events] == ["app-failed"]
        await app.stop(1.0)

    asyncio.run(life())


def test_one_that_takes_its_time_is_not_waited_for(made, monkeypatch):
    monkeypatch.setattr(worker_app, "START_WAIT", 0.01)

    async def life():
        app, _ = made(slow)
        await app.start()
        assert app.hosted.application is None
        assert app.hosted.broken == "app-starting"
        await app._starting
        assert app.hosted.application is slow
        await app.stop(1.0)

    asyncio.run(life())
