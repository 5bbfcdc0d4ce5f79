"""The stapler when the wall clock jumps."""

URL = "http://ocsp.test/"
DAY = 86_400.0


# -- clocks


def test_wall_clock_that_jumps_forward_withdraws_what_ended_and_refreshes(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=0.1)
        first = b.last("a.test")
        b.clock.jump(2 * DAY)
        assert not first.usable(b.clock.wall()), "a worker would not serve it from this moment on"
        await b.clock.advance(31)
        assert b.published["a.test"][1] is None
        assert b.last("a.test").usable(b.clock.wall())
        assert round(b.event("clock-jumped")["seconds"]) == 2 * DAY

    scenario(body)


def test_a_jump_within_the_life_of_a_staple_makes_the_refresh_due(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        b.world.host("ocsp.test", b.responder(leaf, lifetime=DAY))
        await b.start(b.subject(leaf), run_for=0.1)
        b.clock.jump(0.7 * DAY)
        await b.clock.advance(31)
        assert len(b.world.requests("ocsp.test")) == 2

    scenario(body)


def test_wall_clock_that_jumps_back_delays_nothing_and_restores_what_had_ended(scenario):
    async def body(b):
        leaf = b.leaf("a.test", URL)
        responder = b.responder(leaf, lifetime=DAY)
        b.world.host("ocsp.test", responder)
        await b.start(b.subject(leaf), run_for=0.1)
        first = b.last("a.test")
        b.world.hosts.clear()
        b.clock.jump(2 * DAY)
        await b.clock.advance(31)
        assert b.last("a.test") is None
        b.clock.jump(-2 * DAY)
        await b.clock.advance(31)
        assert b.last("a.test") is first
        assert b.kinds()["staple-restored"] == 1
        b.world.host("ocsp.test", responder)
        b.clock.jump(-30 * DAY)
        responder.clock = type(b.clock)(wall=b.clock.wall())
        await b.clock.advance(0.7 * DAY)
        assert len(b.world.requests("ocsp.test")) >= 1, "monotonic time goes on"

    scenario(body)


def test_the_queue_of_alarms_does_not_grow_with_time(scenario):
    async def body(b):
        leaves = [b.leaf(f"{i}.test", URL) for i in range(5)]
        b.world.host("ocsp.test", b.responder(*leaves, lifetime=7 * DAY))
        await b.start(*(b.subject(leaf) for leaf in leaves), run_for=2 * DAY)
        assert len(b.stapler._queue) <= 5 * 8

    scenario(body)
