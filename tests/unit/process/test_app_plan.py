"""Which processes a configuration asks for, and the message that says so."""

import pytest

from headgate.config.loader import loads
from headgate.process.app_plan import decode_plan, plans_of, plans_of_upstream
from headgate.process.channel import ChannelError, Kind, Message

TEXT = """
state_dir = "/var/lib/x"
runtime_dir = "/run/x"
trusted_proxies = ["10.0.0.0/8"]
[[listener]]
addresses = ["127.0.0.1:80"]
mode = "http"
[[route]]
upstream = "shop"
[upstream.shop]
endpoints = ["asgi:shop.main:app", { url = "asgi:canary:create", weight = 2 }, "http://10.0.0.1:80"]
[upstream.shop.asgi]
processes = 2
root_path = "/shop"
[upstream.one]
endpoints = ["asgi:one:app"]
[upstream.inside]
endpoints = ["asgi:two:app"]
[upstream.inside.asgi]
in_worker = true
"""


def test_one_plan_for_each_process():
    plans = plans_of(loads(TEXT, "x"))
    assert [(plan.name, plan.url, plan.socket) for plan in plans] == [
        ("app shop 0", "asgi:shop.main:app#0", "/run/x/app-shop-0.sock"),
        ("app shop 1", "asgi:shop.main:app#1", "/run/x/app-shop-1.sock"),
        ("app shop 2", "asgi:canary:create#2", "/run/x/app-shop-2.sock"),
        ("app shop 3", "asgi:canary:create#3", "/run/x/app-shop-3.sock"),
        ("app one", "asgi:one:app", "/run/x/app-one-0.sock"),
    ]
    assert plans[0].spec.root_path == "/shop"
    assert plans[2].spec.target == "canary:create"
    assert plans[0].trusted == ("10.0.0.0/8",)


def test_workers_find_the_same_sockets():
    config = loads(TEXT, "x")
    found = plans_of_upstream("shop", config.upstream["shop"], config.runtime_dir)
    assert [plan.socket for plan in found] == [plan.socket for plan in plans_of(config)[:4]]


def test_there_and_back():
    for plan in plans_of(loads(TEXT, "x")):
        assert decode_plan(Message(Kind.APPLICATION, plan.to_json())) == plan


@pytest.mark.parametrize("value", [None, {}, {"spec": {}, "trusted": []}, {"spec": {"no": 1}, "trusted": []}])
def test_what_is_no_plan_is_refused(value):
    with pytest.raises(ChannelError):
        decode_plan(Message(Kind.APPLICATION, value))
