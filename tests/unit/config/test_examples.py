"""Every example loads, and the full one has every key."""

import tomllib
from pathlib import Path

import pytest

from headgate.config.loader import load, loads
from headgate.config.problems import all_tables

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_loads(path):
    config = load(path, {}, files=False)
    assert config.listener
    assert config.route or all(listener.mode == "forward" for listener in config.listener)


def test_the_smallest_has_five_lines():
    text = (ROOT / "examples/minimal.toml").read_text()
    assert len(text.splitlines()) == 5
    assert text in (ROOT / "docs/configuration.md").read_text()


def test_the_full_one_has_every_key():
    tree = tomllib.loads((ROOT / "examples/full.toml").read_text())

    def has(node, path):
        if not path:
            return True
        if isinstance(node, list):
            return any(has(element, path) for element in node)
        if path[0] == "NAME":
            return any(has(value, path[1:]) for value in node.values())
        return isinstance(node, dict) and path[0] in node and has(node[path[0]], path[1:])

    for header, table in all_tables():
        path = [step for step in header.strip("[]").split(".") if step]
        for name in table.model_fields:
            assert has(tree, [*path, name]), f"{header} {name}"


def test_the_container_takes_its_variables():
    text = (ROOT / "examples/behind-balancer.toml").read_text()
    config = loads(text, environ={"WORKERS": "2", "PORT": "9000", "APP_URL": "http://app:80"}, files=False)
    assert config.workers == 2
    assert config.listener[0].addresses == ("0.0.0.0:9000",)
    assert config.upstream["app"].endpoints[0].url == "http://app:80"


def test_the_examples_of_the_page_on_http2_load():
    texts = (ROOT / "docs/http2.md").read_text().split("```toml\n")[1:]
    configs = [loads(text.partition("```")[0], environ={}, files=False) for text in texts]
    assert ["h2" in config.listener[0].offered for config in configs] == [True, True]
    assert [next(iter(config.upstream.values())).protocols for config in configs] == [("h2",), ("h1",)]
    assert configs[1].trusted_proxies


def test_the_listeners_of_the_reference_have_the_routes_that_it_says():
    page = (ROOT / "docs/configuration.md").read_text().partition("## Which listener answers")[2]
    text = page.split("```")[1].removeprefix("toml\n")
    text += '[[certificate]]\nfiles = "a.pem"\n'
    text += "".join(f'[upstream.{name}]\nendpoints = ["http://{name}"]\n' for name in ("shop", "admin"))
    config = loads(text, environ={}, files=False)
    assert [config.routes_of(index) for index in range(2)] == [(0,), (0, 1)]


def test_the_example_of_the_page_on_the_cache_loads():
    (text,) = (ROOT / "docs/cache.md").read_text().split("```toml\n")[1:]
    config = loads(
        text.partition("```")[0] + '[[listener]]\naddresses = ["127.0.0.1:80"]\nmode = "http"\n',
        environ={},
        files=False,
    )
    assert [route.cache.enabled for route in config.route] == [None, False]
    assert config.cache.enabled
