"""Lifespans: applications that take part, that do not, that fail and that hang."""

import asyncio

import pytest

from headgate.asgi.application import ApplicationError, ApplicationSpec
from headgate.asgi.lifespan import Lifespan

SPEC = ApplicationSpec("shop", "shop:app", start_timeout=0.2, stop_timeout=0.2)


async def _around(app):
    lifespan = Lifespan(app, SPEC)
    await lifespan.start()
    return lifespan, await lifespan.stop(0.2)


def around(app):
    return asyncio.run(_around(app))


def test_state_and_order():
    seen = []

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        seen.append(await receive())
        scope["state"]["db"] = "open"
        await send({"type": "lifespan.startup.complete"})
        seen.append(await receive())
        await send({"type": "lifespan.shutdown.complete"})

    lifespan, problem = around(app)
    assert (lifespan.state, lifespan.spoken, problem) == ({"db": "open"}, True, "")
    assert seen == [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]


def test_one_that_never_heard_of_it_is_served_without():
    async def app(scope, receive, send):
        raise AssertionError(f"unknown scope {scope['type']}")

    lifespan, problem = around(app)
    assert (lifespan.spoken, problem) == (False, "")


def test_startup_failed():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback\nValueError: no database"})

    with pytest.raises(ApplicationError, match="shop:app: its startup failed: ValueError: no database"):
        around(app)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_what_is_no_exception_is_a_failed_startup(error):
    async def app(scope, receive, send):
        await receive()
        raise error

    with pytest.raises(ApplicationError, match=f"its startup failed: .*{error.__name__}"):
        around(app)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_what_is_no_exception_is_a_failed_shutdown(error):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise error

    assert error.__name__ in around(app)[1]


def test_startup_takes_too_long():
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    with pytest.raises(ApplicationError, match=r"startup took longer than 0\.2 s"):
        around(app)


@pytest.mark.parametrize("way", ["hangs", "raises", "fails"])
def test_shutdown_that_goes_wrong_is_told(way):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if way == "hangs":
            await asyncio.Event().wait()
        elif way == "raises":
            raise ValueError("no")
        await send({"type": "lifespan.shutdown.failed", "message": "busy"})

    words = {"hangs": "longer than 0.2 s", "raises": "ValueError: no", "fails": "busy"}
    assert words[way] in around(app)[1]


def test_one_that_ended_by_itself():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async def late():
        lifespan = Lifespan(app, SPEC)
        await lifespan.start()
        await asyncio.sleep(0)
        return await lifespan.stop(0.2)

    assert asyncio.run(late()) == "it ended by itself"
