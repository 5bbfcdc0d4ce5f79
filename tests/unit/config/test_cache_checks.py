"""What contradicts itself in `[cache]` and `[route.cache]`."""

import pytest
from gate_text import config_of, edited, told

ENDPOINTS = 'endpoints = ["http://10.0.0.1:8080"]'
ACTION = 'upstream = "api"'


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("min_ttl = '2m'\nmax_ttl = '1m'", "cache.min_ttl: is longer than max_ttl"),
        ("query = 'only'", "cache.query: only, and no query_names beside it"),
        ("query_names = ['a']", "cache.query_names: has no effect with query = all"),
    ],
)
def test_routes(text, end):
    (line,) = told(edited((ACTION, f"{ACTION}\n[route.cache]\n{text}")))
    assert end in line


def test_a_route_that_nobody_stands_behind_has_nothing_to_store():
    lines = told(edited((ACTION, "respond = { status = 200 }\n[route.cache]\nenabled = true")))
    assert any("has no effect on a route without upstream" in line for line in lines)


def test_objects_that_fill_the_memory():
    (line,) = told(edited((ENDPOINTS, ENDPOINTS + "\n[cache]\nmemory = '8MiB'\nmax_object = '2MiB'")))
    assert line.endswith("is more than an eighth of memory")
    config_of(edited((ENDPOINTS, ENDPOINTS + "\n[cache]\nmemory = '8MiB'\nmax_object = '1MiB'")))
