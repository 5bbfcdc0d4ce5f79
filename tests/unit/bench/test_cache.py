"""The cache on the bench: everybody is told to store, and a hit is one that the origin did not see."""

import tomllib

import pytest
from bench.cache_rivals import Varnish
from bench.lab import Lane
from bench.load import Load, LoadError, _numbered
from bench.proxies import Haproxy, Headgate, Job, Nginx, Profile, headgate_config
from bench.rows.cache import ManyStored, Miss, MissTwo, check_hits


def job(root, **profile):
    (root / "a").mkdir(exist_ok=True)
    return Job(Profile(**profile), root / "a", root / "certs", 8080, 8443, 9000)


@pytest.mark.parametrize("cache", ["", "memory"])
def test_each_is_told_to_store_and_only_when_asked(tmp_path, cache):
    one = job(tmp_path, cache=cache)
    config = tomllib.loads(headgate_config(one))
    assert config.get("cache", {}) == ({"enabled": True, "memory": "64MiB"} if cache else {})
    Nginx("nginx").command(one)
    assert ("proxy_cache all;" in (one.directory / "nginx.conf").read_text()) is bool(cache)
    Varnish("varnish").command(one)
    assert ("return (pass)" in (one.directory / "rules.vcl").read_text()) is not bool(cache)


def test_what_reached_the_origin_is_no_hit():
    check_hits(100, 101)
    with pytest.raises(LoadError, match="899 of what should be hits"):
        check_hits(100, 1000)


def test_misses_and_many_are_compared_with_the_same_proxy():
    proxies = [Headgate("headgate", "x"), Haproxy("haproxy"), Nginx("nginx")]
    row = Miss("m", "m", goal=1.1, path="/no-store/")
    assert [lane.label for lane in row.lanes(proxies)] == [
        "headgate",
        "headgate caching",
        "nginx",
        "nginx caching",
    ]
    assert row.baseline("nginx caching") == "nginx"
    alone, caching = MissTwo("m", "m", goal=1.1, path="/no-store/").lanes(proxies)
    assert (alone.profile.workers, alone.profile.cache) == (2, "")
    assert (caching.profile.workers, caching.profile.cache) == (2, "memory")
    few, many = ManyStored(1000).lanes(proxies)
    assert (few.label, many.label) == ("headgate", "headgate ×1000")
    assert isinstance(few, Lane)
    assert few.profile != many.profile


def test_numbered_requests_have_urls_of_their_own():
    assert _numbered("http://h:1", Load("/a")) == ""
    said = _numbered("http://h:1", Load("/a/", first=7))
    assert "local number = 7" in said
    assert r'"GET /a/" .. number' in said
    assert r"Host: h:1\r\n\r\n" in said
    assert "math.random(50)" in _numbered("http://h:1", Load("/a/", many=50))
