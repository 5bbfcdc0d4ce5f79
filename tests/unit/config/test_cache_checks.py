"""What contradicts itself in `[cache]` and `[route.cache]`."""

import pytest
from gate_text import config_of, edited, told

from headgate.config.cache_checks import find_odd_targets
from headgate.config.cache_policy import policy_of

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


@pytest.mark.parametrize(
    ("disk", "end"),
    [
        ("disk = '1GiB'\ndisk_max_object = '129MiB'", "is more than an eighth of disk"),
        ("disk = '0'\ndisk_max_object = '1MiB'", "has no effect without disk"),
        ("disk = '15MiB'", 'expected a size of 16MiB or more, or 0, got "15MiB"'),
    ],
)
def test_objects_that_fill_the_disk(disk, end):
    (line,) = told(edited((ENDPOINTS, f"{ENDPOINTS}\n[cache]\n{disk}")))
    assert line.endswith(end)


def test_an_eighth_of_the_disk():
    config_of(edited((ENDPOINTS, ENDPOINTS + "\n[cache]\ndisk = '1GiB'\ndisk_max_object = '128MiB'")))


def with_slice(text):
    return edited((ACTION, f"{ACTION}\n[route.cache]\n{text}"))


def test_a_slice_that_could_not_be_stored():
    assert len(told(with_slice("slice = '16MiB'"))) == 1
    assert len(told(with_slice("slice = '1MiB'\nmax_object = '512KiB'"))) == 1
    assert len(told(with_slice("slice = '1KiB'"))) == 1
    assert len(told(with_slice("slice_prefetch = 2"))) == 1
    own = config_of(with_slice("slice = '8MiB'\nslice_prefetch = 2"))
    policy = policy_of(own.cache, own.route[0].cache, "a")
    assert (policy.slice_size, policy.slice_prefetch) == (8 << 20, 2)


def test_a_targeted_field_of_an_unusual_name_is_no_fault():
    general = f"{ENDPOINTS}\n[cache]\ntargeted_fields = ['CDN-CacheControl', 'CDN-Cache-Control']"
    for text, location in (
        (edited((ENDPOINTS, general)), ("cache", "targeted_fields")),
        (with_slice("targeted_fields = ['CDN-CacheControl']"), ("route", 0, "cache", "targeted_fields")),
    ):
        (finding,) = find_odd_targets(config_of(text))
        assert (finding.location, finding.fatal) == (location, False)
        assert finding.what.startswith("CDN-CacheControl is")
